// Package objects turns what OpenChoreo rendered into the files of the
// repository: it collects the objects of a running control plane, takes out
// what differs from run to run, and writes them readably. It changes nothing
// else.
package objects

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"artemis.example/conformance/render/cluster"
)

// Owner is what the objects were rendered for: a Cell, or a Component of it.
type Owner struct{ Cell, Component string }

// Set is everything rendered, by owner.
type Set map[Owner][]*unstructured.Unstructured

// Kind returns one of OpenChoreo's kinds.
func Kind(name string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "openchoreo.dev", Version: "v1alpha1", Kind: name}
}

// Collect reads what OpenChoreo has rendered in a control-plane namespace, as
// it hands it to the data plane: before the API server adds its defaults.
func Collect(ctx context.Context, c *cluster.Client, namespace string) (Set, error) {
	releases, err := c.List(ctx, Kind("RenderedRelease"), namespace)
	if err != nil {
		return nil, fmt.Errorf("read what was rendered: %w", err)
	}
	set := Set{}
	for _, r := range releases {
		var spec struct {
			Owner struct {
				ProjectName   string `json:"projectName"`
				ComponentName string `json:"componentName"`
			} `json:"owner"`
			Resources []struct {
				Object map[string]any `json:"object"`
			} `json:"resources"`
		}
		given, _ := r.Object["spec"].(map[string]any)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(given, &spec); err != nil {
			return nil, fmt.Errorf("read what was rendered: %s: %w", r.GetName(), err)
		}
		owner := Owner{spec.Owner.ProjectName, spec.Owner.ComponentName}
		for _, resource := range spec.Resources {
			set[owner] = append(set[owner], &unstructured.Unstructured{Object: resource.Object})
		}
	}
	return set, nil
}

// Applied returns an error unless every object of the set is on the cluster with
// everything that was rendered.
func (s Set) Applied(ctx context.Context, c *cluster.Client) error {
	for _, objects := range s {
		for _, o := range objects {
			live, err := c.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
			if err != nil {
				return fmt.Errorf("%s: %w", cluster.Name(o), err)
			}
			if where, ok := within(o.Object, live.Object, ""); !ok {
				return fmt.Errorf("%s is not as rendered at %s", cluster.Name(o), where)
			}
		}
	}
	return nil
}

// within reports whether have has everything of want, and else where it differs.
// Empty collections and absent ones are alike.
func within(want, have any, at string) (string, bool) {
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		for k, v := range w {
			if where, ok := within(v, h[k], at+"."+k); !ok {
				return where, false
			}
		}
		return "", true
	case []any:
		h, _ := have.([]any)
		if len(w) != len(h) {
			return at, false
		}
		for i := range w {
			if where, ok := within(w[i], h[i], fmt.Sprintf("%s[%d]", at, i)); !ok {
				return where, false
			}
		}
		return "", true
	default:
		return at, fmt.Sprint(want) == fmt.Sprint(have)
	}
}

// volatile is what differs between two installations of the same manifests:
// labels with the uid of an object of the control plane, and the hash over
// them. The names that stand beside the uids identify the same pods.
func volatile(key string) bool {
	return strings.HasPrefix(key, "openchoreo.dev/") && (strings.HasSuffix(key, "-uid") || strings.HasSuffix(key,
		"/dp-resource-hash"))
}

// Normalise returns the set without what is volatile, sorted.
func (s Set) Normalise() Set {
	out := Set{}
	for owner, objects := range s {
		for _, o := range objects {
			n := o.DeepCopy()
			n.Object = clean(n.Object).(map[string]any)
			out[owner] = append(out[owner], n)
		}
		slices.SortFunc(out[owner], compare)
	}
	return out
}

func clean(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			if volatile(k) {
				continue
			}
			cleaned := clean(item)
			if m, ok := cleaned.(map[string]any); ok && len(m) == 0 && len(item.(map[string]any)) > 0 {
				continue // nothing but volatile keys
			}
			out[k] = cleaned
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = clean(item)
		}
		return out
	default:
		return v
	}
}

// kinds is the order of the kinds within a file: the place before what lives in
// it, the identity before what uses it, the general policy before the special.
var kinds = []string{
	"Namespace", "Gateway", "PeerAuthentication", "ServiceAccount", "ConfigMap", "Deployment", "Service", "HTTPRoute",
	"NetworkPolicy", "AuthorizationPolicy",
}

func compare(a, b *unstructured.Unstructured) int {
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.GetKind()), slices.Index(kinds, b.GetKind())),
		cmp.Compare(a.GetName(), b.GetName()))
}

// Mesh reports whether an object is judged by the mesh rather than by Kubernetes:
// its file is under istio/.
func Mesh(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Gateway" || strings.HasSuffix(o.GroupVersionKind().Group, "istio.io")
}

// Differing returns the objects of s that are not the same in base, by owner. Both
// must hold the same objects: a stage changes content and nothing else.
func (s Set) Differing(base Set) (Set, error) {
	if a, b := s.names(), base.names(); !slices.Equal(a, b) {
		return nil, fmt.Errorf("the two sets hold different objects: %q and %q", a, b)
	}
	out := Set{}
	for owner, objects := range s {
		for i, o := range objects {
			if !reflect.DeepEqual(o.Object, base[owner][i].Object) {
				out[owner] = append(out[owner], o)
			}
		}
	}
	return out, nil
}

func (s Set) names() []string {
	var names []string
	for owner, objects := range s {
		for _, o := range objects {
			names = append(names, owner.Cell+"/"+owner.Component+": "+cluster.Name(o))
		}
	}
	slices.Sort(names)
	return names
}
