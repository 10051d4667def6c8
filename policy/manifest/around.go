package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"artemis.example/catalog"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
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
		same := func(f Scope) bool { return f.Namespace == s.Namespace && f.Service == s.Service }
		if !slices.ContainsFunc(from, same) {
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
func (in *Input) routeBackends(o Object) []Scope {
	var out []Scope
	add := func(r reference) {
		if r.Name != "" {
			out = append(out, in.behind(Key{r.Kind, cmp.Or(r.Namespace, o.Namespace), r.Name})...)
		}
	}
	mirrors := func(filters []mirroring) {
		for _, f := range filters {
			add(f.RequestMirror.BackendRef)
		}
	}
	for _, rule := range o.content.Spec.Rules {
		mirrors(rule.Filters)
		for _, ref := range rule.BackendRefs {
			add(ref.reference)
			mirrors(ref.Filters)
		}
	}
	return out
}

// behind returns the Services that the backend of a route means: a Service of type
// ExternalName is another name for one (istio.io/istio pilot/pkg/model, Alias), and so is
// the kind Hostname of networking.istio.io.
func (in *Input) behind(backend Key) []Scope {
	if backend.Kind == "Hostname" {
		return in.behind(serviceKey(serviceOf(backend.Name, backend.Namespace)))
	}
	out := []Scope{{Namespace: backend.Namespace, Service: backend.Name}}
	for range maxAliases {
		last := out[len(out)-1]
		s := Find(in.Set.Services, last.Namespace, last.Service)
		if s == nil || s.Spec.Type != corev1.ServiceTypeExternalName {
			break
		}
		out = append(out, serviceOf(s.Spec.ExternalName, s.Namespace))
	}
	return out
}

// maxAliases is how many names of names Istio follows.
const maxAliases = 10

func serviceKey(s Scope) Key { return Key{"Service", s.Namespace, s.Service} }

// virtualServiceDestinations are the Services that a VirtualService leads to, by itself or
// by another to which it hands requests on.
func (in *Input) virtualServiceDestinations(o Object) []Scope {
	var out []Scope
	add := func(of Object, h host) {
		if h.Host != "" {
			out = append(out, in.behind(serviceKey(serviceOf(h.Host, of.Namespace)))...)
		}
	}
	var follow func(of Object, delegates bool)
	follow = func(of Object, delegates bool) {
		spec := &of.content.Spec
		for _, rule := range slices.Concat(spec.HTTP, spec.TLS, spec.TCP) {
			for _, to := range slices.Concat(rule.Route, rule.Mirrors) {
				add(of, to.Destination)
			}
			add(of, rule.Mirror)
			to := Key{"VirtualService", cmp.Or(rule.Delegate.Namespace, of.Namespace), rule.Delegate.Name}
			for _, d := range in.Other {
				if delegates && d.Key == to {
					follow(d, false) // a delegate has none of its own
				}
			}
		}
	}
	follow(o, true)
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

// around finds what opens or closes ways though nothing here looks at it.
func (in *Input) around() {
	for _, r := range in.Set.HTTPRoutes {
		in.aroundBy(r)
	}
	for _, g := range in.Set.Gateways {
		for _, a := range g.Spec.Addresses {
			if ptr.Deref(a.Type, gatewayv1.IPAddressType) != gatewayv1.IPAddressType {
				in.gapAt(KeyOf(g), "spec.addresses", "its pods are another's: what they run as is not known",
					KeyOf(g).scope())
			}
		}
	}
	in.waypointsElsewhere()
	in.canaries()
	in.clusterLabels()
	in.meshConfig()
}

// aroundBy finds where an HTTPRoute leads past policies. Of a gateway's, plain backends are
// judged; what its filters mirror to, and Services that have another name there, are not.
func (in *Input) aroundBy(r *gatewayv1.HTTPRoute) {
	var from, gateways, plain, other []Scope
	for _, p := range r.Spec.ParentRefs {
		switch parent := Parent(r, p); parent.Kind {
		case "Gateway":
			g := Find(in.Set.Gateways, parent.Namespace, parent.Name)
			if g == nil || g.Spec.GatewayClassName == catalog.IngressClass {
				gateways = append(gateways, parent.scope())
			}
		case "Service", "ServiceEntry":
			from = append(from, parent.scope())
		default: // a ListenerSet's Gateway is not looked for
			from = append(from, Scope{Gateway: parent.String()})
		}
	}
	mirrors := func(filters []gatewayv1.HTTPRouteFilter) {
		for _, f := range filters {
			if f.RequestMirror != nil {
				to := gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: f.RequestMirror.BackendRef}}
				other = append(other, in.behind(Backend(r, to))...)
			}
		}
	}
	for _, rule := range r.Spec.Rules {
		mirrors(rule.Filters)
		for _, ref := range rule.BackendRefs {
			mirrors(ref.Filters)
			backend := Backend(r, ref)
			to := in.behind(backend)
			if backend.Kind == "Service" {
				plain, to = append(plain, to[0]), to[1:]
			}
			other = append(other, to...)
			s := Scope{Namespace: backend.Namespace, Service: backend.Name}
			if s.Namespace != r.Namespace && !in.granted(r.Namespace, s) {
				s.AnyGateway = true
				why := fmt.Sprintf("no ReferenceGrant lets it lead to %s of %s", s.Service, s.Namespace)
				in.gapAt(KeyOf(r), "spec.rules", why, s)
			}
		}
	}
	in.leads(in.Set.Origins[KeyOf(r)], KeyOf(r), from, slices.Concat(plain, other))
	in.leads(in.Set.Origins[KeyOf(r)], KeyOf(r), gateways, other)
}

// granted reports whether a ReferenceGrant lets HTTPRoutes of a namespace lead to a
// Service of another.
func (in *Input) granted(from string, to Scope) bool {
	return slices.ContainsFunc(in.Other, func(o Object) bool {
		return o.Kind == "ReferenceGrant" && o.Namespace == to.Namespace &&
			slices.Contains(o.content.Spec.From, reference{Kind: "HTTPRoute", Namespace: from}) &&
			slices.ContainsFunc(o.content.Spec.To, func(r reference) bool {
				return r.Kind == "Service" && (r.Name == "" || r.Name == to.Service)
			})
	})
}

// waypointsElsewhere names the Services whose waypoint is of a namespace of which no Gateway
// is among the files: whether it is there is not known. Without it callers go to the pods.
func (in *Input) waypointsElsewhere() {
	gateways := map[string]bool{} // by namespace
	for _, g := range in.Set.Gateways {
		gateways[g.Namespace] = true
	}
	for _, s := range in.Set.Services {
		at := in.waypointOf(s.Namespace, s.Labels)
		if at.Name == "" || at.Name == "none" || gateways[at.Namespace] {
			continue
		}
		in.gap(Gap{Origin: in.Set.Origins[KeyOf(s)], Object: at,
			Why: "is not among the files, nor any of its namespace: what it admits is not known"},
			Scope{Namespace: s.Namespace, Service: s.Name, Around: true})
	}
}

// canaries names what sends some of its calls to a second waypoint.
func (in *Input) canaries() {
	const canary = labelUseWaypoint + "-canary"
	second := func(o metav1.Object, key Key, scope Scope) {
		if o.GetLabels()[canary] != "" {
			in.gapAt(key, "metadata.labels."+canary, "a second waypoint is not judged", scope)
		}
	}
	for _, s := range in.Set.Services {
		second(s, KeyOf(s), KeyOf(s).scope())
	}
	for _, e := range in.Set.ServiceEntries {
		second(e, KeyOf(e), KeyOf(e).scope())
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
					in.gapAt(key, path, fmt.Sprintf("the cluster gives pods the label %s", label), scope)
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
		var mesh map[string]any
		if c.Namespace == rootNamespace && (c.Name == "istio" || strings.HasPrefix(c.Name, "istio-")) &&
			yaml.Unmarshal([]byte(c.Data["mesh"]), &mesh) == nil {
			in.unusual(in.Set.Origins[KeyOf(c)], KeyOf(c), mesh)
		}
	}
	for _, o := range in.Other {
		in.unusual(o.Origin, o.Key, o.content.Spec.MeshConfig)
		in.unusual(o.Origin, o.Key, o.content.Spec.Values.MeshConfig)
	}
}

func (in *Input) unusual(origin Origin, key Key, mesh map[string]any) {
	usual := map[string][]string{
		"rootNamespace": {rootNamespace}, "trustDomain": {catalog.TrustDomain}, "trustDomainAliases": {"[]"},
		"pathNormalization":  {"map[normalization:DEFAULT]", "map[normalization:BASE]"},
		"discoverySelectors": {"[]"},
	}
	for _, name := range slices.Sorted(maps.Keys(mesh)) {
		set := fmt.Sprint(mesh[name])
		if usual[name] != nil && !slices.Contains(usual[name], set) ||
			name == "defaultConfig" && strings.Contains(set, "gatewayTopology") {
			in.gap(Gap{Origin: origin, Object: key, Field: name, Why: "it is not what is judged by"}, Scope{})
		}
	}
}
