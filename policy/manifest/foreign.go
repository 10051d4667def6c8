package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"artemis.example/catalog"
	"go.yaml.in/yaml/v3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// podMakers are the kinds that make pods of a template in spec.template, or a CronJob in
// its jobTemplate. Any other kind with a pod template in spec.template is one, too.
var podMakers = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job",
	"CronJob"}

// content is what is asked of an object of a kind that Set does not hold. What it has of
// another type than it should have is not there.
type content struct {
	Metadata struct {
		OwnerReferences []reference
		Labels          map[string]string
	}
	Spec struct {
		Replicas    *int32
		Template    json.RawMessage
		JobTemplate struct {
			Spec struct{ Template json.RawMessage }
		}

		Gateways, Hosts []string
		ParentRefs      []reference
		TargetRef       *typev1beta1.PolicyTargetReference
		TargetRefs      []*typev1beta1.PolicyTargetReference
		JWTRules        []struct{ FromHeaders []struct{ Name string } }
		Labels          map[string]string
		// Where routes and VirtualServices lead.
		Rules []struct {
			BackendRefs []struct {
				reference
				Filters []mirroring
			}
			Filters []mirroring
		}
		HTTP, TLS, TCP []struct {
			Route, Mirrors []struct{ Destination host }
			Mirror         host
			Delegate       reference
		}
		From, To []reference // of a ReferenceGrant

		ConnectionSettings json.RawMessage // of a ProxyConfig
		// Of an IstioOperator, and of an Istio.
		MeshConfig map[string]any
		Values     struct{ MeshConfig map[string]any }
	}
}

type reference struct{ Kind, Namespace, Name string }

type host struct{ Host string }

// mirroring is a route's filter, of which the mirror alone is asked for.
type mirroring struct {
	RequestMirror struct{ BackendRef reference }
}

// read reads an object's content.
func (o *Object) read(n *yaml.Node) error {
	var badKey error
	data, err := jsonOf(n, "", nil, func(line int, code Code, format string, args ...any) {
		if code == CodeDuplicateKey || code == CodeSyntax {
			badKey = fmt.Errorf("line %d: "+format, append([]any{line}, args...)...)
		}
	})
	if err := cmp.Or(err, badKey); err != nil {
		return err
	}
	var wrongType *json.UnmarshalTypeError
	if err := json.Unmarshal([]byte(data), &o.content); err != nil && !errors.As(err, &wrongType) {
		return err
	}
	switch spec := &o.content.Spec; {
	case o.Kind == "Pod" && o.APIVersion == "v1":
		spec.Template = json.RawMessage(data)
	case o.Kind == "CronJob":
		spec.Template = spec.JobTemplate.Spec.Template
	}
	return nil
}

// workload returns what an object of a kind that Set does not hold makes pods of.
func (o *Object) workload() (Workload, bool) {
	var template struct { // of a Pod's metadata no more is asked for
		Metadata struct{ Labels, Annotations map[string]string }
		Spec     corev1.PodSpec
	}
	if len(o.content.Spec.Template) == 0 || json.Unmarshal(o.content.Spec.Template, &template) != nil ||
		len(template.Spec.Containers) == 0 && o.Kind != "Pod" {
		return Workload{}, false
	}
	w := Workload{Key: o.Key, Replicas: ptr.Deref(o.content.Spec.Replicas, 1), Template: &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: template.Metadata.Labels, Annotations: template.Metadata.Annotations},
		Spec:       template.Spec,
	}}
	if group, _, ok := strings.Cut(o.APIVersion, "/"); ok && !slices.Contains(podMakers, o.Kind) {
		w.Kind += "." + group // another's kind of that name
	}
	admit(&w.Template.Spec)
	for _, owner := range o.content.Metadata.OwnerReferences {
		w.Owner = Key{owner.Kind, o.Namespace, owner.Name}
	}
	return w, true
}

// admit fills in what an API server does: the ServiceAccount by the field's older name
// (k8s.io/kubernetes pkg/apis/core/v1, Convert_v1_PodSpec_To_core_PodSpec).
func admit(pod *corev1.PodSpec) {
	pod.ServiceAccountName = cmp.Or(pod.ServiceAccountName, pod.DeprecatedServiceAccount)
}

// adopt adds the workloads among the other objects: what somebody else makes is
// no workload of its own where its maker is among the files.
func (in *Input) adopt() {
	in.Set.Deployments = slices.DeleteFunc(in.Set.Deployments, func(d *appsv1.Deployment) bool {
		w := Workload{Key: KeyOf(d), Template: &d.Spec.Template}
		why := w.unnamable()
		if why != "" {
			in.leaveOut(w.Kind, "no API server takes it: "+why, in.Set.Origins[w.Key])
			delete(in.Set.Origins, w.Key)
		}
		return why != ""
	})
	known := map[Key]bool{}
	for _, d := range in.Set.Deployments {
		known[KeyOf(d)] = true
	}
	for _, g := range in.Set.Gateways {
		known[KeyOf(g)] = true
	}
	var found []Workload
	for _, o := range in.Other {
		if w, ok := o.workload(); ok {
			if why := w.unnamable(); why != "" {
				in.leaveOut(w.Kind, "no API server takes it: "+why, o.Origin)
				continue
			}
			if known[w.Key] {
				in.leaveOut(w.Kind, givenAgain, o.Origin)
				in.Torn[w.Namespace] = true
				continue
			}
			found = append(found, w)
			known[w.Key] = true
			in.Set.Origins[w.Key] = o.Origin
		}
	}
	for _, w := range found {
		owner := w.Owner
		if owner.Kind == "ReplicaSet" && !known[owner] {
			// A Deployment's ReplicaSet is named after it and the template's hash.
			if name, ok := strings.CutSuffix(owner.Name, "-"+w.Template.Labels["pod-template-hash"]); ok {
				owner = Key{"Deployment", owner.Namespace, name}
			}
		}
		if owner.Name == "" || !known[owner] {
			if owner.Name != "" { // one of several alike: its maker stands for all
				known[owner] = true
				origin := in.Set.Origins[w.Key]
				w.Name = owner.Name
				in.Set.Origins[w.Key] = origin
			}
			in.Set.Workloads = append(in.Set.Workloads, w)
		} else {
			in.leaveOut(w.Kind, "made by a workload that is among the files, and judged with it", in.Set.Origins[w.Key])
			delete(in.Set.Origins, w.Key)
		}
	}
}

// finish looks at everything that was read together.
func (in *Input) finish() {
	in.adopt()
	in.Problems = in.Problems.sorted()
	for _, o := range in.Other {
		in.foreign(o)
	}
	in.gapsOfSet()
	in.bound()
	for _, p := range in.Problems {
		if p.Code == CodeInvalid && p.Object.Kind != "" {
			in.gap(Gap{Origin: p.Origin, Object: p.Object, Why: "admission refuses it: " + p.Message},
				in.scopesOfKey(p.Object)...)
		}
		if p.Code == CodeDuplicateObject {
			in.gap(Gap{Origin: p.Origin, Object: p.Object, Why: p.Message + ", with other content"},
				in.scopesOfKey(p.Object)...)
		}
	}
	slices.SortStableFunc(in.Gaps, func(a, b Gap) int {
		return cmp.Or(a.compare(b.Origin), cmp.Compare(a.Field, b.Field))
	})
	slices.SortStableFunc(in.LeftOut, func(a, b LeftOut) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
}

func (in *Input) gap(g Gap, scopes ...Scope) {
	for _, s := range scopes {
		g.Scope = s
		in.Gaps = append(in.Gaps, g)
	}
}

// gapAt adds a gap in the line of a field of an object of the Set.
func (in *Input) gapAt(key Key, path, why string, scopes ...Scope) {
	in.gap(in.lack(key, path, why), scopes...)
}

// lack returns a gap in the line of a field of an object of the Set.
func (in *Input) lack(key Key, path, why string) Gap {
	origin := in.Set.Origins[key]
	origin.Line = lineOf(path, in.Lines[key], origin.Line)
	return Gap{Origin: origin, Object: key, Field: path, Why: why}
}

// foreign says what an object of another kind can change.
func (in *Input) foreign(o Object) {
	if _, ok := o.workload(); ok {
		return
	}
	group, _, versioned := strings.Cut(o.APIVersion, "/")
	if !versioned {
		group = ""
	}
	what, why := o.Kind, "nothing that is judged depends on it"
	if group != "" {
		what += " of " + group
	}
	touches := func(because string, scopes ...Scope) {
		why = because
		in.gap(Gap{Origin: o.Origin, Object: o.Key, Why: because}, scopes...)
	}
	switch {
	case strings.HasSuffix(o.Kind, "NetworkPolicy") && group != "k8s.cni.cncf.io":
		// Cilium's, Calico's, Antrea's and the administrator's: they open and close
		// beside Kubernetes' own.
		touches("it can open and close connections beside the NetworkPolicies", o.scope())
	case group == "networking.istio.io" && o.Kind == "VirtualService":
		if scopes := in.virtualServiceScopes(o); len(scopes) > 0 {
			touches("it can send requests elsewhere, or change them, at a waypoint", scopes...)
			in.leads(o.Origin, o.Key, scopes, in.virtualServiceDestinations(o))
		}
	case group == "networking.istio.io" && (o.Kind == "EnvoyFilter" ||
		o.Kind == "ProxyConfig" && o.content.Spec.ConnectionSettings != nil), group == "extensions.istio.io":
		touches("it can change what a waypoint or gateway does", namespaceScope(o.Namespace).atWaypoint())
	case group == "networking.istio.io" && o.Kind == "WorkloadEntry":
		why = "endpoints that are no pods are not judged"
	case group == "gateway.networking.k8s.io" && strings.HasSuffix(o.Kind, "Route"):
		touches("it can lead somewhere that no HTTPRoute does", routeScopes(o)...)
		in.leads(o.Origin, o.Key, routeScopes(o), in.routeBackends(o))
	case o.Kind == "RequestAuthentication" && group == "security.istio.io":
		why = "nothing verifies tokens here; what it can refuse is taken into account"
		if len(TargetRefs(o.asPolicy())) == 0 {
			why = "without a target it goes to sidecars and gateways, which node proxies are not"
		}
	}
	in.leaveOut(what, why, o.Origin)
}

// virtualServiceScopes are the Services whose requests in the mesh it is for.
func (in *Input) virtualServiceScopes(o Object) []Scope {
	spec := &o.content.Spec
	if len(spec.Gateways) > 0 && !slices.Contains(spec.Gateways, "mesh") {
		return nil
	}
	var out []Scope
	for _, h := range spec.Hosts {
		entries := len(out)
		for _, e := range in.Set.ServiceEntries {
			if slices.ContainsFunc(e.Spec.Hosts, func(own string) bool { return meets(own, h) || meets(h, own) }) {
				out = append(out, KeyOf(e).scope().atWaypoint())
			}
		}
		switch suffix, wild := strings.CutPrefix(h, "*"); {
		case wild:
			if scope, some := servicesOf(suffix); some {
				out = append(out, scope.atWaypoint())
			}
		case len(out) == entries:
			out = append(out, serviceOf(h, o.Namespace).atWaypoint())
		}
	}
	return out
}

// meets reports whether a host is another, or is of its wildcard.
func meets(host, of string) bool {
	suffix, wild := strings.CutPrefix(of, "*")
	return host == of || wild && strings.HasSuffix(host, suffix)
}

// servicesOf returns the Services whose hosts end so, and whether there can be any: those
// of a namespace where the suffix has it as a whole.
func servicesOf(suffix string) (Scope, bool) {
	const domain = ".svc.cluster.local"
	of, whole := strings.CutSuffix(suffix, domain)
	if i := strings.LastIndexByte(of, '.'); whole && i >= 0 {
		return Scope{Namespace: of[i+1:]}, true
	}
	return Scope{}, whole || strings.HasSuffix(domain, suffix)
}

func routeScopes(o Object) []Scope {
	var out []Scope
	for _, ref := range o.content.Spec.ParentRefs {
		parent := Key{ref.Kind, cmp.Or(ref.Namespace, o.Namespace), ref.Name}
		if parent.Kind == "Service" || parent.Kind == "ServiceEntry" {
			out = append(out, parent.scope().atWaypoint())
		} else {
			out = append(out, Scope{Gateway: parent.String()})
		}
	}
	return out
}

// asPolicy returns a policy without rules that is for what an Istio object is for.
func (o *Object) asPolicy() *securityv1.AuthorizationPolicy {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}}
	p.Spec.TargetRef, p.Spec.TargetRefs = o.content.Spec.TargetRef, o.content.Spec.TargetRefs
	return p
}

// scopesOf returns the calls that an AuthorizationPolicy is for.
func scopesOf(p *securityv1.AuthorizationPolicy) []Scope {
	var out []Scope
	for _, r := range TargetRefs(p) {
		switch r.GetKind() {
		case "Service", "ServiceEntry", "Gateway":
			out = append(out, Key{r.GetKind(), p.Namespace, r.GetName()}.scope())
		case "GatewayClass":
			out = append(out, Scope{AnyGateway: true})
		}
	}
	if len(TargetRefs(p)) == 0 {
		scope := namespaceScope(p.Namespace)
		scope.Labels = p.Spec.GetSelector().GetMatchLabels()
		out = append(out, scope)
	}
	return out
}

// scopesOfKey returns the calls that an object of the Set can touch.
func (in *Input) scopesOfKey(key Key) []Scope {
	switch key.Kind {
	case "AuthorizationPolicy":
		if p := Find(in.Set.AuthorizationPolicies, key.Namespace, key.Name); p != nil {
			return scopesOf(p)
		}
	case "PeerAuthentication":
		if key.Namespace == rootNamespace {
			return []Scope{{}}
		}
	case "ServiceAccount", "ConfigMap":
		return nil
	}
	return []Scope{key.scope()}
}

// gapsOfSet finds what the evaluators lack of the objects that they know.
func (in *Input) gapsOfSet() {
	in.gateways()
	for _, s := range in.Set.Services {
		switch key := KeyOf(s); {
		case s.Spec.Type == corev1.ServiceTypeExternalName:
			in.gapAt(key, "spec.externalName", "it is another name for "+s.Spec.ExternalName, key.scope())
		case len(s.Spec.Selector) == 0:
			in.gapAt(key, "spec", "has no selector: somebody else says what its endpoints are", key.scope())
		}
	}
	for _, r := range in.Set.HTTPRoutes {
		for i, p := range r.Spec.ParentRefs {
			if parent := Parent(r, p); parent.Kind == "Service" || parent.Kind == "ServiceEntry" {
				in.gapAt(KeyOf(r), fmt.Sprintf("spec.parentRefs[%d]", i),
					"it can send the requests elsewhere at a waypoint", parent.scope().atWaypoint())
			}
		}
	}
	in.routeFields()
	for _, w := range in.Set.AllWorkloads() {
		if w.Template.Spec.HostNetwork {
			in.gapAt(w.Key, "spec.template.spec.hostNetwork",
				"its pods have the node's address, which policies do not see as theirs", w.scope())
		}
		if on := w.Template.Annotations["ambient.istio.io/bypass-inbound-capture"]; on == "true" {
			in.gapAt(w.Key, "spec.template.metadata.annotations.ambient.istio.io/bypass-inbound-capture",
				"its node proxy does not take part", w.scope())
		}
	}
	in.serviceEntries()
	in.around()
	in.sidecars()
	in.undeclaredNamespaces()
}

// gateways names the gateways of which not all is known, as waypoints too: istiod sends
// Services' calls to any Gateway that they name. And the policies for those of the
// ingress.
func (in *Input) gateways() {
	for _, g := range in.Set.Gateways {
		key, class := KeyOf(g), g.Spec.GatewayClassName
		if class == catalog.WaypointClass {
			in.waypointClass(g)
			continue
		}
		if class != catalog.IngressClass {
			in.gapAt(key, "spec.gatewayClassName", fmt.Sprintf("nothing is known of gateways of class %s", class),
				key.scope())
		}
		in.gapAt(key, "spec.gatewayClassName", fmt.Sprintf("what a Gateway of class %s does as a waypoint is not known",
			class), in.boundTo(key)...)
		for _, p := range in.Set.AuthorizationPolicies {
			in.gatewayPolicy(p, key)
		}
	}
}

// waypointClass names a GatewayClass that says for its waypoints, where they do not
// themselves, what they are for.
func (in *Input) waypointClass(g *gatewayv1.Gateway) {
	_, own := g.Labels[labelWaypointFor]
	for _, o := range in.Other {
		if o.Kind == "GatewayClass" && o.Name == catalog.WaypointClass && !own &&
			o.content.Metadata.Labels[labelWaypointFor] != "" {
			in.gap(Gap{Origin: o.Origin, Object: o.Key, Why: "what a GatewayClass says of " + labelWaypointFor +
				" is not judged: say it of the Gateway"}, KeyOf(g).scope())
		}
	}
}

// boundTo returns what names a Gateway as its waypoint.
func (in *Input) boundTo(gateway Key) []Scope {
	var out []Scope
	add := func(key Key, own map[string]string) {
		if in.waypointOf(key.Namespace, own) == gateway {
			out = append(out, key.scope())
		}
	}
	for _, s := range in.Set.Services {
		add(KeyOf(s), s.Labels)
	}
	for _, e := range in.Set.ServiceEntries {
		add(KeyOf(e), e.Labels)
	}
	return out
}

// waypointOf returns the Gateway that an object of a namespace names as its waypoint, or
// that its namespace does.
func (in *Input) waypointOf(namespace string, own map[string]string) Key {
	from := own
	if _, ok := own[labelUseWaypoint]; !ok {
		from = nil
		if n := Find(in.Set.Namespaces, "", namespace); n != nil {
			from = n.Labels
		}
	}
	return WaypointOf(namespace, from)
}

// WaypointOf returns the Gateway that labels of an object of a namespace, or of that itself,
// name as a waypoint.
func WaypointOf(namespace string, from map[string]string) Key {
	if other, given := from[labelUseWaypoint+"-namespace"]; given {
		namespace = other
	}
	return Key{"Gateway", namespace, from[labelUseWaypoint]}
}

// Sidecar reports whether a workload's pods get a sidecar: by their own word, or by
// their namespace's.
func Sidecar(w Workload, namespace map[string]string) bool {
	for _, c := range append(w.Template.Spec.Containers, w.Template.Spec.InitContainers...) {
		if c.Name == "istio-proxy" && w.Template.Annotations["sidecar.istio.io/status"] != "" {
			return true
		}
	}
	for _, own := range []map[string]string{w.Template.Labels, w.Template.Annotations} {
		if v, ok := own["sidecar.istio.io/inject"]; ok {
			return v == "true"
		}
	}
	if w.Template.Spec.HostNetwork {
		return false
	}
	if v, ok := namespace["istio-injection"]; ok {
		return v == "enabled"
	}
	_, revision := namespace["istio.io/rev"]
	return revision && namespace[labelDataplaneMode] != "ambient"
}

// sidecars names the workloads that sidecars stand before: those judge otherwise
// than node proxies and waypoints do.
func (in *Input) sidecars() {
	namespaces := in.Set.NamespaceLabels()
	for _, w := range in.Set.AllWorkloads() {
		if w.Owner.Kind != "Gateway" && Sidecar(w, namespaces[w.Namespace]) {
			in.gap(Gap{Origin: in.Set.Origins[w.Key], Object: w.Key,
				Why: "has a sidecar, and only ambient meshes are judged"}, w.scope())
		}
	}
}

// gatewayPolicy names a policy that an ingress gateway enforces, which nothing
// here does.
func (in *Input) gatewayPolicy(p *securityv1.AuthorizationPolicy, front Key) {
	if p.Spec.Action == securityv1beta1.AuthorizationPolicy_AUDIT {
		return
	}
	selector := p.Spec.GetSelector().GetMatchLabels()
	switch {
	case Targets(p, "Gateway", front.Namespace, front.Name):
		in.gapAt(KeyOf(p), "spec.targetRefs", "it is for an ingress gateway, whose policies are not judged",
			front.scope())
	case len(TargetRefs(p)) == 0 && (p.Namespace == rootNamespace || p.Namespace == front.Namespace) &&
		(len(selector) == 0 || selector["gateway.networking.k8s.io/gateway-name"] == front.Name):
		in.gapAt(KeyOf(p), "spec", "it is for an ingress gateway, too, whose policies are not judged", front.scope())
	}
}

// Meshes reports whether anything of the input is in an ambient mesh, or is to be.
func (in *Input) Meshes() bool {
	ambient := func(labels map[string]string) bool { return labels[labelDataplaneMode] == "ambient" }
	return slices.ContainsFunc(in.Set.Namespaces, func(n *corev1.Namespace) bool { return ambient(n.Labels) }) ||
		slices.ContainsFunc(in.Set.Gateways,
			func(g *gatewayv1.Gateway) bool { return g.Spec.GatewayClassName == catalog.WaypointClass }) ||
		slices.ContainsFunc(in.Set.AllWorkloads(), func(w Workload) bool { return ambient(w.Template.Labels) })
}

// undeclaredNamespaces names namespaces whose labels, and so whether their pods
// are in the mesh, the input does not say. Where there is no mesh in the input
// it makes no difference.
func (in *Input) undeclaredNamespaces() {
	if !in.Meshes() {
		return
	}
	declared := in.Set.NamespaceLabels()
	for _, w := range in.Set.AllWorkloads() {
		if _, known := declared[w.Namespace]; known || w.Template.Labels[labelDataplaneMode] != "" {
			continue
		}
		key := Key{"Namespace", "", w.Namespace}
		declared[w.Namespace] = nil // said once
		in.gap(Gap{Origin: in.Set.Origins[w.Key], Object: key,
			Why: "is not among the files: whether its pods are in the mesh is not known"}, key.scope())
	}
}
