package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// podTemplates are the kinds that make pods, each with the way to its template.
// Any other kind with a pod template in spec.template is one, too.
var podTemplates = map[string][]string{
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"ReplicationController": {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

// workload returns what an object of a kind that Set does not hold makes pods of.
func (o *Object) workload() (Workload, bool) {
	if o.Kind == "Pod" && o.APIVersion == "v1" {
		return o.template(o.Fields, 1)
	}
	fields := o.Fields
	way, known := podTemplates[o.Kind]
	if !known {
		way = []string{"spec", "template"}
	}
	for _, step := range way {
		fields, _ = fields[step].(map[string]any)
	}
	spec, _ := fields["spec"].(map[string]any)
	if containers, ok := spec["containers"].([]any); !ok || len(containers) == 0 {
		return Workload{}, false
	}
	replicas := int32(1)
	if top, ok := o.Fields["spec"].(map[string]any); ok {
		if n, ok := top["replicas"].(int); ok {
			replicas = int32(n)
		}
	}
	return o.template(fields, replicas)
}

// template reads a pod template on Kubernetes' own type.
func (o *Object) template(fields map[string]any, replicas int32) (Workload, bool) {
	w := Workload{Key: o.Key, Replicas: replicas, Template: &corev1.PodTemplateSpec{}}
	if group, _, ok := strings.Cut(o.APIVersion, "/"); ok && podTemplates[o.Kind] == nil && o.Kind != "Deployment" {
		w.Kind += "." + group // another's kind of that name
	}
	own, _ := fields["metadata"].(map[string]any)
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": own["labels"],
		"annotations": own["annotations"]}, "spec": fields["spec"]})
	if err != nil || json.Unmarshal(data, w.Template) != nil {
		return Workload{}, false
	}
	meta, _ := o.Fields["metadata"].(map[string]any)
	owners, _ := meta["ownerReferences"].([]any)
	for _, r := range owners {
		owner, _ := r.(map[string]any)
		kind, _ := owner["kind"].(string)
		name, _ := owner["name"].(string)
		w.Owner = Key{kind, o.Namespace, name}
	}
	return w, true
}

// adopt adds the workloads among the other objects: what somebody else makes is
// no workload of its own where its maker is among the files.
func (in *Input) adopt() {
	in.Set.Deployments = slices.DeleteFunc(in.Set.Deployments, func(d *appsv1.Deployment) bool {
		w := Workload{Key: Key{"Deployment", d.Namespace, d.Name}, Template: &d.Spec.Template}
		why := w.unnamable()
		if why != "" {
			in.leaveOut(w.Kind, "no API server takes it: "+why, in.Set.Origins[w.Key])
			delete(in.Set.Origins, w.Key)
		}
		return why != ""
	})
	known := map[Key]bool{}
	for _, d := range in.Set.Deployments {
		known[Key{"Deployment", d.Namespace, d.Name}] = true
	}
	for _, g := range in.Set.Gateways {
		known[Key{"Gateway", g.Namespace, g.Name}] = true
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
	sortGaps(in.Gaps)
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
func (in *Input) gapAt(key Key, path, why string, bounded bool, scopes ...Scope) {
	origin := in.Set.Origins[key]
	for at := path; at != ""; {
		if line, ok := in.Lines[key][at]; ok {
			origin.Line = line
			break
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			break
		}
		at = at[:i]
	}
	in.gap(Gap{Origin: origin, Object: key, Field: path, Why: why, Bounded: bounded}, scopes...)
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
	spec, _ := o.Fields["spec"].(map[string]any)
	const unknown = "nothing that is judged depends on it"
	what, why := o.Kind, unknown
	if group != "" {
		what += " of " + group
	}
	touches := func(because string, scopes ...Scope) {
		why = because
		in.gap(Gap{Origin: o.Origin, Object: o.Key, Why: because}, scopes...)
	}
	namespaced := Scope{Namespace: o.Namespace, Callers: true}
	switch {
	case strings.HasSuffix(o.Kind, "NetworkPolicy") && group != "k8s.cni.cncf.io":
		// Cilium's, Calico's, Antrea's and the administrator's: they open and close
		// beside Kubernetes' own.
		touches("it can open and close connections beside the NetworkPolicies", namespaced)
	case group == "networking.istio.io" && o.Kind == "VirtualService":
		if scopes := in.virtualServiceScopes(o, spec); len(scopes) > 0 {
			touches("it can send requests elsewhere, or change them, at a waypoint", scopes...)
			in.leads(o.Origin, o.Key, scopes, virtualServiceDestinations(o, spec))
		}
	case group == "networking.istio.io" && (o.Kind == "EnvoyFilter" || o.Kind == "ProxyConfig" &&
		spec["connectionSettings"] != nil), group == "extensions.istio.io":
		scope := Scope{Namespace: o.Namespace, AnyGateway: true}
		if o.Namespace == rootNamespace {
			scope.Namespace = ""
		}
		touches("it can change what a waypoint or gateway does", scope)
	case group == "networking.istio.io" && o.Kind == "WorkloadEntry":
		why = "endpoints that are no pods are not judged"
	case group == "gateway.networking.k8s.io" && strings.HasSuffix(o.Kind, "Route"):
		touches("it can lead somewhere that no HTTPRoute does", routeScopes(o, spec)...)
		in.leads(o.Origin, o.Key, routeScopes(o, spec), routeBackends(o, spec))
	case o.Kind == "RequestAuthentication" && group == "security.istio.io":
		why = "nothing verifies tokens here; what it can refuse is taken into account"
		if len(targetRefsOf(o)) == 0 {
			why = "without a target it goes to sidecars and gateways, which node proxies are not"
		}
	}
	in.leaveOut(what, why, o.Origin)
}

// virtualServiceScopes are the Services whose requests in the mesh it is for.
func (in *Input) virtualServiceScopes(o Object, spec map[string]any) []Scope {
	if gateways := texts(spec["gateways"]); len(gateways) > 0 && !slices.Contains(gateways, "mesh") {
		return nil
	}
	var out []Scope
	for _, h := range texts(spec["hosts"]) {
		entry := false
		for _, e := range in.Set.ServiceEntries {
			if slices.Contains(e.Spec.Hosts, h) {
				entry = true
				out = append(out, Scope{Namespace: e.Namespace, ServiceEntry: e.Name, AnyGateway: true})
			}
		}
		if entry {
			continue
		}
		scope := serviceOf(h, o.Namespace)
		if scope.AnyGateway = true; strings.Contains(scope.Service, "*") {
			scope.Service = ""
		}
		out = append(out, scope)
	}
	return out
}

func routeScopes(o Object, spec map[string]any) []Scope {
	var out []Scope
	refs, _ := spec["parentRefs"].([]any)
	for _, r := range refs {
		ref, _ := r.(map[string]any)
		name, _ := ref["name"].(string)
		namespace, _ := ref["namespace"].(string)
		namespace = cmp.Or(namespace, o.Namespace)
		switch kind, _ := ref["kind"].(string); kind {
		case "Service":
			out = append(out, Scope{Namespace: namespace, Service: name, AnyGateway: true})
			continue
		case "ServiceEntry":
			out = append(out, Scope{Namespace: namespace, ServiceEntry: name, AnyGateway: true})
			continue
		}
		out = append(out, Scope{Gateway: namespace + "/" + name})
	}
	return out
}

// targetRefsOf returns the targets of an Istio object of a kind that Set does not
// hold.
func targetRefsOf(o Object) []*typev1beta1.PolicyTargetReference {
	spec, _ := o.Fields["spec"].(map[string]any)
	list, _ := spec["targetRefs"].([]any)
	if one, ok := spec["targetRef"]; ok {
		list = append(list, one)
	}
	var out []*typev1beta1.PolicyTargetReference
	for _, r := range list {
		ref, _ := r.(map[string]any)
		group, _ := ref["group"].(string)
		kind, _ := ref["kind"].(string)
		name, _ := ref["name"].(string)
		out = append(out, &typev1beta1.PolicyTargetReference{Group: group, Kind: kind, Name: name})
	}
	return out
}

// scopesOf returns the calls that an AuthorizationPolicy is for.
func (in *Input) scopesOf(p *securityv1.AuthorizationPolicy) []Scope {
	var out []Scope
	for _, r := range TargetRefs(p) {
		switch r.GetKind() {
		case "Service":
			out = append(out, Scope{Namespace: p.Namespace, Service: r.GetName()})
		case "ServiceEntry":
			out = append(out, Scope{Namespace: p.Namespace, ServiceEntry: r.GetName()})
		case "Gateway":
			out = append(out, Scope{Gateway: p.Namespace + "/" + r.GetName()})
		case "GatewayClass":
			out = append(out, Scope{AnyGateway: true})
		}
	}
	if len(TargetRefs(p)) == 0 {
		scope := Scope{Namespace: p.Namespace, Labels: p.Spec.GetSelector().GetMatchLabels()}
		if p.Namespace == rootNamespace {
			scope.Namespace = ""
		}
		out = append(out, scope)
	}
	return out
}

// scopesOfKey returns the calls that an object of the Set can touch.
func (in *Input) scopesOfKey(key Key) []Scope {
	switch key.Kind {
	case "AuthorizationPolicy":
		for _, p := range in.Set.AuthorizationPolicies {
			if p.Namespace == key.Namespace && p.Name == key.Name {
				return in.scopesOf(p)
			}
		}
	case "PeerAuthentication":
		if key.Namespace == rootNamespace {
			return []Scope{{}}
		}
	case "Service":
		return []Scope{{Namespace: key.Namespace, Service: key.Name}}
	case "ServiceEntry":
		return []Scope{{Namespace: key.Namespace, ServiceEntry: key.Name}}
	case "Gateway":
		return []Scope{{Gateway: key.String()}}
	case "HTTPRoute":
		return []Scope{{Namespace: key.Namespace, AnyGateway: true}}
	case "Namespace":
		return []Scope{{Namespace: key.Name, Callers: true}}
	case "ServiceAccount", "ConfigMap":
		return nil
	}
	return []Scope{{Namespace: key.Namespace, Callers: true}}
}

// gapsOfSet finds what the evaluators lack of the objects that they know.
func (in *Input) gapsOfSet() {
	fronts := map[string]bool{} // ingress gateways
	for _, g := range in.Set.Gateways {
		key := Key{"Gateway", g.Namespace, g.Name}
		switch class := string(g.Spec.GatewayClassName); class {
		case "istio-waypoint":
		case "istio":
			fronts[key.String()] = true
		default:
			fronts[key.String()] = true
			in.gapAt(key, "spec.gatewayClassName", fmt.Sprintf("nothing is known of gateways of class %s", class),
				false, Scope{Gateway: key.String()})
		}
		if g.Spec.GatewayClassName != "istio-waypoint" {
			// istiod sends Services' calls to any Gateway that they name as their waypoint.
			for _, scope := range in.boundTo(key) {
				in.gapAt(key, "spec.gatewayClassName", fmt.Sprintf("what a Gateway of class %s does as a waypoint is "+
					"not known", g.Spec.GatewayClassName), false, scope)
			}
		}
	}
	for _, s := range in.Set.Services {
		key := Key{"Service", s.Namespace, s.Name}
		scope := Scope{Namespace: s.Namespace, Service: s.Name}
		switch {
		case s.Spec.Type == corev1.ServiceTypeExternalName:
			in.gapAt(key, "spec.externalName", "it is another name for "+s.Spec.ExternalName, false, scope)
		case len(s.Spec.Selector) == 0:
			in.gapAt(key, "spec", "has no selector: somebody else says what its endpoints are", false, scope)
		}
	}
	for _, r := range in.Set.HTTPRoutes {
		for i, p := range r.Spec.ParentRefs {
			scope := Scope{Namespace: parentNamespace(r, p), AnyGateway: true}
			switch {
			case p.Kind != nil && *p.Kind == "Service":
				scope.Service = string(p.Name)
			case p.Kind != nil && *p.Kind == "ServiceEntry":
				scope.ServiceEntry = string(p.Name)
			default:
				continue
			}
			in.gapAt(Key{"HTTPRoute", r.Namespace, r.Name}, fmt.Sprintf("spec.parentRefs[%d]", i),
				"it can send the requests elsewhere at a waypoint", false, scope)
		}
	}
	in.routeFields()
	for _, p := range in.Set.AuthorizationPolicies {
		in.gatewayPolicy(p, fronts)
	}
	for _, w := range in.Set.AllWorkloads() {
		if w.Template.Spec.HostNetwork {
			in.gapAt(w.Key, "spec.template.spec.hostNetwork",
				"its pods have the node's address, which policies do not see as theirs", false,
				Scope{Namespace: w.Namespace, Labels: w.Template.Labels})
		}
		if on := w.Template.Annotations["ambient.istio.io/bypass-inbound-capture"]; on == "true" {
			in.gapAt(w.Key, "spec.template.metadata.annotations.ambient.istio.io/bypass-inbound-capture",
				"its node proxy does not take part", false,
				Scope{Namespace: w.Namespace, Labels: w.Template.Labels})
		}
	}
	in.serviceEntries()
	in.around()
	in.sidecars()
	in.undeclaredNamespaces()
}

// boundTo returns what names a Gateway as its waypoint.
func (in *Input) boundTo(gateway Key) []Scope {
	bound := func(namespace string, own map[string]string) bool { return in.waypointOf(namespace, own) == gateway }
	var out []Scope
	for _, s := range in.Set.Services {
		if bound(s.Namespace, s.Labels) {
			out = append(out, Scope{Namespace: s.Namespace, Service: s.Name})
		}
	}
	for _, e := range in.Set.ServiceEntries {
		if bound(e.Namespace, e.Labels) {
			out = append(out, Scope{Namespace: e.Namespace, ServiceEntry: e.Name})
		}
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
	return Key{"Gateway", cmp.Or(from[labelUseWaypoint+"-namespace"], namespace), from[labelUseWaypoint]}
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
	return revision && namespace["istio.io/dataplane-mode"] != "ambient"
}

// sidecars names the workloads that sidecars stand before: those judge otherwise
// than node proxies and waypoints do.
func (in *Input) sidecars() {
	namespaces := map[string]map[string]string{}
	for _, n := range in.Set.Namespaces {
		namespaces[n.Name] = n.Labels
	}
	for _, w := range in.Set.AllWorkloads() {
		if w.Owner.Kind != "Gateway" && Sidecar(w, namespaces[w.Namespace]) {
			in.gap(Gap{Origin: in.Set.Origins[w.Key], Object: w.Key,
				Why: "has a sidecar, and only ambient meshes are judged"},
				Scope{Namespace: w.Namespace, Labels: w.Template.Labels})
		}
	}
}

// gatewayPolicy names a policy that an ingress gateway enforces, which nothing
// here does.
func (in *Input) gatewayPolicy(p *securityv1.AuthorizationPolicy, fronts map[string]bool) {
	if p.Spec.Action == securityv1beta1.AuthorizationPolicy_AUDIT {
		return
	}
	refs := TargetRefs(p)
	selector := p.Spec.GetSelector().GetMatchLabels()
	for front := range fronts {
		namespace, name, _ := strings.Cut(front, "/")
		for _, r := range refs {
			if r.GetKind() == "Gateway" && namespace == p.Namespace && r.GetName() == name {
				in.gapAt(Key{"AuthorizationPolicy", p.Namespace, p.Name}, "spec.targetRefs",
					"it is for an ingress gateway, whose policies are not judged", false, Scope{Gateway: front})
			}
		}
		label, labelled := selector["gateway.networking.k8s.io/gateway-name"]
		if len(refs) == 0 && (p.Namespace == rootNamespace || p.Namespace == namespace) && (len(selector) == 0 ||
			labelled && label == name) {
			in.gapAt(Key{"AuthorizationPolicy", p.Namespace, p.Name}, "spec",
				"it is for an ingress gateway, too, whose policies are not judged", false, Scope{Gateway: front})
		}
	}
}

// Meshes reports whether anything of the input is in an ambient mesh, or is to be.
func (in *Input) Meshes() bool {
	for _, n := range in.Set.Namespaces {
		if n.Labels["istio.io/dataplane-mode"] == "ambient" {
			return true
		}
	}
	for _, g := range in.Set.Gateways {
		if g.Spec.GatewayClassName == "istio-waypoint" {
			return true
		}
	}
	return slices.ContainsFunc(in.Set.AllWorkloads(),
		func(w Workload) bool { return w.Template.Labels["istio.io/dataplane-mode"] == "ambient" })
}

// undeclaredNamespaces names namespaces whose labels, and so whether their pods
// are in the mesh, the input does not say. Where there is no mesh in the input
// it makes no difference.
func (in *Input) undeclaredNamespaces() {
	if !in.Meshes() {
		return
	}
	declared := map[string]bool{}
	for _, n := range in.Set.Namespaces {
		declared[n.Name] = true
	}
	for _, w := range in.Set.AllWorkloads() {
		if declared[w.Namespace] || w.Template.Labels["istio.io/dataplane-mode"] != "" {
			continue
		}
		declared[w.Namespace] = true
		in.gap(Gap{Origin: in.Set.Origins[w.Key], Object: Key{"Namespace", "", w.Namespace},
			Why: "is not among the files: whether its pods are in the mesh is not known"}, Scope{Namespace: w.Namespace,
			Callers: true})
	}
}
