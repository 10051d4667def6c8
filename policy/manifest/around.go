package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"artemis.example/catalog"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A waypoint sends what it has admitted for one Service to the pods of another where a
// route says so, and asks no policy of that one's. So does a gateway.

// leads names an object that leads from some Services and gateways to the pods of other
// Services.
func (in *Input) leads(origin Origin, key Key, from, to []Scope) {
	if !slices.ContainsFunc(from, in.behindProxy) {
		return
	}
	for _, s := range to {
		if !slices.ContainsFunc(
			from,
			func(f Scope) bool { return f.Namespace == s.Namespace && f.Service == s.Service },
		) {
			s.Around = true
			in.gap(Gap{Origin: origin, Object: key,
				Why: "it leads to " + s.Service + ", too, past the policies of that Service"}, s)
		}
	}
}

// behindProxy reports whether calls to what a scope means go through a waypoint or a
// gateway, as far as labels say.
func (in *Input) behindProxy(of Scope) bool {
	if of.Gateway != "" || of.ServiceEntry != "" || of.Service == "" {
		return true
	}
	var own map[string]string
	if s := Find(in.Set.Services, of.Namespace, of.Service); s != nil {
		own = s.Labels
	}
	name := in.waypointOf(of.Namespace, own).Name
	return name != "" && name != "none"
}

// routeBackends are the Services that a route of a kind that Set does not hold leads to.
func routeBackends(o Object, spec map[string]any) []Scope {
	var out []Scope
	for _, rule := range mappings(spec["rules"]) {
		for _, ref := range mappings(rule["backendRefs"]) {
			name, _ := ref["name"].(string)
			namespace, _ := ref["namespace"].(string)
			out = append(out, Scope{Namespace: cmp.Or(namespace, o.Namespace), Service: name})
		}
	}
	return out
}

// virtualServiceDestinations are the Services that a VirtualService leads to.
func virtualServiceDestinations(o Object, spec map[string]any) []Scope {
	var out []Scope
	add := func(destination any) {
		d, _ := destination.(map[string]any)
		if host, _ := d["host"].(string); host != "" {
			out = append(out, serviceOf(host, o.Namespace))
		}
	}
	for _, protocol := range []string{"http", "tls", "tcp"} {
		for _, rule := range mappings(spec[protocol]) {
			for _, to := range append(mappings(rule["route"]), mappings(rule["mirrors"])...) {
				add(to["destination"])
			}
			add(rule["mirror"])
		}
	}
	return out
}

// serviceOf returns the Service that a host of Istio's means.
func serviceOf(host, namespace string) Scope {
	part := strings.Split(host, ".")
	if len(part) > 1 {
		namespace = part[1]
	}
	return Scope{Namespace: namespace, Service: part[0]}
}

func mappings(list any) []map[string]any {
	items, _ := list.([]any)
	var out []map[string]any
	for _, i := range items {
		if m, ok := i.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// around finds what opens or closes ways though nothing here looks at it.
func (in *Input) around() {
	for _, r := range in.Set.HTTPRoutes {
		var from, to []Scope
		for _, p := range r.Spec.ParentRefs {
			switch {
			case p.Kind != nil && *p.Kind == "Service":
				from = append(from, Scope{Namespace: parentNamespace(r, p), Service: string(p.Name)})
			case p.Kind != nil && *p.Kind == "ServiceEntry":
				from = append(from, Scope{Namespace: parentNamespace(r, p), ServiceEntry: string(p.Name)})
			}
		}
		for _, rule := range r.Spec.Rules {
			for _, ref := range rule.BackendRefs {
				s := Scope{Namespace: r.Namespace, Service: string(ref.Name)}
				if ref.Namespace != nil {
					s.Namespace = string(*ref.Namespace)
				}
				to = append(to, s)
			}
		}
		in.leads(in.Set.Origins[KeyOf(r)], KeyOf(r), from, to)
	}
	for _, g := range in.Set.Gateways {
		for _, a := range g.Spec.Addresses {
			if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
				in.gapAt(KeyOf(g), "spec.addresses", "its pods are another's: what they run as is not known", false,
					Scope{Gateway: KeyOf(g).String()})
			}
		}
	}
	in.canaries()
	in.clusterLabels()
	in.meshConfig()
}

// canaries names what sends some of its calls to a second waypoint.
func (in *Input) canaries() {
	const canary = labelUseWaypoint + "-canary"
	second := func(o metav1.Object, key Key, scope Scope) {
		if o.GetLabels()[canary] != "" {
			in.gapAt(key, "metadata.labels."+canary, "a second waypoint is not judged", false, scope)
		}
	}
	for _, s := range in.Set.Services {
		second(s, KeyOf(s), Scope{Namespace: s.Namespace, Service: s.Name})
	}
	for _, e := range in.Set.ServiceEntries {
		second(e, KeyOf(e), Scope{Namespace: e.Namespace, ServiceEntry: e.Name})
	}
	for _, n := range in.Set.Namespaces {
		second(n, Key{"Namespace", "", n.Name}, Scope{Namespace: n.Name})
	}
}

// given are the labels of pods that a cluster gives: no template has them.
var given = []string{
	"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name",
	"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-completion-index",
	"controller-revision-hash", "pod-template-generation", "pod-template-hash",
}

// clusterLabels names selectors of labels that only a cluster gives to pods.
func (in *Input) clusterLabels() {
	look := func(key Key, path string, scope Scope, selectors ...*metav1.LabelSelector) {
		for _, s := range selectors {
			for _, label := range given {
				if s != nil && (s.MatchLabels[label] != "" || slices.ContainsFunc(s.MatchExpressions,
					func(r metav1.LabelSelectorRequirement) bool { return r.Key == label })) {
					in.gapAt(key, path, fmt.Sprintf("the cluster gives pods the label %s", label), false, scope)
				}
			}
		}
	}
	for _, p := range in.Set.NetworkPolicies {
		selectors := []*metav1.LabelSelector{&p.Spec.PodSelector}
		for _, rule := range p.Spec.Ingress {
			for _, peer := range rule.From {
				selectors = append(selectors, peer.PodSelector)
			}
		}
		for _, rule := range p.Spec.Egress {
			for _, peer := range rule.To {
				selectors = append(selectors, peer.PodSelector)
			}
		}
		look(KeyOf(p), "spec", Scope{Namespace: p.Namespace, Callers: len(p.Spec.Egress) > 0}, selectors...)
	}
	for _, s := range in.Set.Services {
		look(KeyOf(s), "spec.selector", Scope{Namespace: s.Namespace, Around: true},
			&metav1.LabelSelector{MatchLabels: s.Spec.Selector})
	}
	for _, p := range in.Set.AuthorizationPolicies {
		look(KeyOf(p), "spec.selector", namespaceScope(p.Namespace),
			&metav1.LabelSelector{MatchLabels: p.Spec.GetSelector().GetMatchLabels()})
	}
	for _, p := range in.Set.PeerAuthentications {
		look(KeyOf(p), "spec.selector", namespaceScope(p.Namespace),
			&metav1.LabelSelector{MatchLabels: p.Spec.GetSelector().GetMatchLabels()})
	}
}

// namespaceScope is what a policy of a namespace can be about.
func namespaceScope(namespace string) Scope {
	if namespace == rootNamespace {
		return Scope{}
	}
	return Scope{Namespace: namespace}
}

// meshConfig names settings of the mesh that are not those which every answer takes for
// granted.
func (in *Input) meshConfig() {
	for _, c := range in.Set.ConfigMaps {
		if c.Namespace != rootNamespace || c.Name != "istio" && !strings.HasPrefix(c.Name, "istio-") {
			continue
		}
		for _, field := range unusualSettings(c) {
			in.gapAt(KeyOf(c), "data.mesh", field+" is not what is judged by", false, Scope{})
		}
	}
}

func unusualSettings(c *corev1.ConfigMap) []string {
	var mesh map[string]any
	if yaml.Unmarshal([]byte(c.Data["mesh"]), &mesh) != nil {
		return nil
	}
	var out []string
	for name, usual := range map[string][]string{
		"rootNamespace": {rootNamespace}, "trustDomain": {catalog.TrustDomain}, "trustDomainAliases": {"[]"},
		"pathNormalization":  {"map[normalization:DEFAULT]", "map[normalization:BASE]"},
		"discoverySelectors": {"[]"},
	} {
		if set, is := mesh[name]; is && !slices.Contains(usual, fmt.Sprint(set)) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
