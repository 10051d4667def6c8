package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// lenient reads an object of anybody's: what only a cluster writes is taken off,
// what is not understood is named.
func (o *object) lenient(apiVersion string) {
	group, _, _ := strings.Cut(apiVersion, "/")
	items := field(o.node, "items")
	switch {
	case strings.HasSuffix(o.key.Kind, "List") && items != nil && items.Kind == yaml.SequenceNode:
		for _, item := range items.Content {
			inherit(item, "apiVersion", apiVersion)
			inherit(item, "kind", strings.TrimSuffix(o.key.Kind, "List"))
			o.reader.object(o.origin.File, item)
		}
		return
	case group == "kustomize.config.k8s.io":
		o.input.leaveOut(o.key.Kind, renderKustomize, o.origin)
		return
	case unrendered(o.node, o.key.Kind):
		o.input.leaveOut("templates", "render them first", o.origin)
		return
	}
	expandMerges(o.node, 0)
	remove(o.node, "status")
	meta := field(o.node, "metadata")
	for _, key := range []string{"managedFields", "uid", "resourceVersion", "generation", "selfLink",
		"deletionTimestamp", "deletionGracePeriodSeconds"} {
		remove(meta, key)
	}
	if o.key.Name == "" {
		o.key.Name = text(field(meta, "generateName"))
	}
	impl, known := implementation(apiVersion, o.key.Kind)
	switch {
	case known && impl.clusterScoped, !known && clusterWide(o.key.Kind):
		o.key.Namespace = ""
	case o.namespace != "":
		o.key.Namespace = o.namespace
	case o.key.Namespace == "":
		o.key.Namespace = o.input.Namespace
		if known {
			o.input.Assumed++
		}
	}
	o.silences()
	if !known {
		o.keep(apiVersion, group)
		return
	}
	if o.key.Name == "" {
		o.fault(o.node.Line, CodeInvalid, "metadata.name is missing")
		return
	}
	if why := o.key.unnamable(); why != "" {
		switch {
		case o.key.placeholder():
			o.input.leaveOut("templates", "render them first", o.origin)
		case o.concerns(CodeInvalid):
			o.fault(o.node.Line, CodeInvalid, "%s", why)
		default:
			o.input.leaveOut(o.key.Kind, "no API server takes it: "+why, o.origin)
		}
		return
	}
	o.read(impl)
}

// placeholder reports whether a name that is none looks like one that somebody is to
// replace.
func (k Key) placeholder() bool {
	return slices.ContainsFunc([]string{k.Namespace, k.Name}, func(name string) bool {
		return strings.ContainsAny(name, "$%@<>{}[]()#~|") || strings.HasPrefix(name, "_") ||
			name != "" && name == strings.ToUpper(name) && name != strings.ToLower(name) ||
			strings.Contains(strings.ToLower(name), "placeholder")
	})
}

// unnamable says why nothing can have a key's names, empty where something can.
func (k Key) unnamable() string {
	if len(validation.IsDNS1123Subdomain(strings.TrimSuffix(k.Name, "-"))) > 0 {
		return fmt.Sprintf("%q is no name", k.Name)
	}
	if k.Namespace != "" && len(validation.IsDNS1123Label(k.Namespace)) > 0 {
		return fmt.Sprintf("%q is no namespace's name", k.Namespace)
	}
	return ""
}

// clusterWide reports whether a kind that Set does not hold has no namespace, for
// those that a decision may depend on.
func clusterWide(kind string) bool {
	for _, prefix := range []string{"Cluster", "Global", "Admin", "BaselineAdmin", "CiliumClusterwide",
		"CustomResourceDefinition"} {
		if strings.HasPrefix(kind, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"PersistentVolume", "StorageClass", "Node", "GatewayClass", "PriorityClass",
		"IngressClass"}, kind)
}

// keep keeps an object of a kind that Set does not hold.
func (o *object) keep(apiVersion, group string) {
	found := Object{Key: o.key, Origin: o.origin, APIVersion: apiVersion}
	spec := field(o.node, "spec")
	if slices.Contains([]string{"networking.istio.io", "extensions.istio.io", "security.istio.io",
		"gateway.networking.k8s.io", "install.istio.io", "sailoperator.io"}, group) ||
		strings.HasSuffix(o.key.Kind, "NetworkPolicy") || o.key.Kind == "Pod" ||
		field(spec, "template") != nil || field(spec, "jobTemplate") != nil {
		// Of others nothing is asked for: large kinds are not read further.
		if err := found.read(o.node); err != nil {
			o.input.leaveOut(o.key.Kind, "it cannot be read: "+err.Error(), o.origin)
			return
		}
	}
	o.survey.Other = append(o.survey.Other, found)
}

// concerns reports whether a problem of that class in the object is a matter of
// the mesh's policies. The rest is for those who run the workloads.
func (o *object) concerns(code Code) bool {
	policy := slices.Contains([]string{"AuthorizationPolicy", "PeerAuthentication", "NetworkPolicy", "ServiceEntry"},
		o.key.Kind)
	switch code {
	case CodeNotImplemented, CodeNoNamespace, CodeUnknownKind:
		return false
	case CodeUnknownField:
		return policy
	case CodeInvalid, CodeYAMLBoolean, CodeDuplicateObject:
		return policy || slices.Contains([]string{"Service", "Gateway", "HTTPRoute", "Namespace",
			"ServiceEntry"}, o.key.Kind)
	}
	return true
}

// place puts an object into the namespace that it is judged in.
func (o *object) place(value any) {
	if m, ok := value.(metav1.Object); ok && o.input != nil {
		m.SetNamespace(o.key.Namespace)
		m.SetName(o.key.Name)
	}
}

// repeated reports whether an object was read before, and names it where the two
// are not the same.
func (o *object) repeated(data string) bool {
	content := strings.Join(strings.Fields(data), "")
	first, dup := o.survey.Set.Origins[o.key]
	if !dup {
		o.contents[o.key] = content
		return false
	}
	same := o.contents[o.key] == content
	if o.input != nil && (same || !o.concerns(CodeDuplicateObject)) {
		o.input.leaveOut(o.key.Kind, givenAgain, o.origin)
	}
	if o.input != nil && !same {
		o.input.Torn[cmp.Or(o.key.Namespace, o.key.Name)] = true
	}
	if o.input == nil || !same {
		o.fault(o.node.Line, CodeDuplicateObject, "%s", givenTwice(first))
	}
	return true
}

func givenTwice(first Origin) string {
	return fmt.Sprintf("given twice, first in %s:%d", first.File, first.Line)
}

// givenAgain is why the second of two objects of one name is left out.
const givenAgain = "given again; the first was judged"

func inherit(n *yaml.Node, key, value string) {
	if n.Kind == yaml.MappingNode && field(n, key) == nil && value != "" {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: n.Line},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Line: n.Line})
	}
}

// remove takes a key out of a mapping.
func remove(n *yaml.Node, key string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(slices.Clone(n.Content), i, i+2)
			return
		}
	}
}

// expandMerges writes out the merge keys, as kubectl does.
func expandMerges(n *yaml.Node, depth int) {
	if n == nil || depth > maxDepth {
		return
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].ShortTag() != "!!merge" {
				continue
			}
			merged := n.Content[i+1]
			n.Content = slices.Delete(slices.Clone(n.Content), i, i+2)
			i -= 2
			if merged.Kind == yaml.AliasNode {
				merged = merged.Alias
			}
			if merged.Kind != yaml.MappingNode || depth > 20 {
				continue
			}
			expandMerges(merged, depth+1)
			for j := 0; j+1 < len(merged.Content); j += 2 {
				if field(n, merged.Content[j].Value) == nil {
					n.Content = append(n.Content, merged.Content[j], merged.Content[j+1])
				}
			}
		}
	}
	for _, c := range n.Content {
		if c.Kind != yaml.AliasNode {
			expandMerges(c, depth+1)
		}
	}
}
