package lint

import (
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// policy is an AuthorizationPolicy while it is checked.
type policy struct {
	*checker
	*securityv1.AuthorizationPolicy
	at   place
	refs []*typev1beta1.PolicyTargetReference
	// pods are those that a policy without a target is for; meshed reports whether one
	// of them is in the mesh, and known whether that is known of all.
	pods          []*topology.Pod
	meshed, known bool
	// elsewhere says why a policy without a target is not, or not only, a matter of
	// node proxies; empty when it is.
	elsewhere string
}

// policy says what there is to say of an AuthorizationPolicy.
func (c *checker) policy(of *securityv1.AuthorizationPolicy) {
	p := &policy{checker: c, AuthorizationPolicy: of, at: on(manifest.KeyOf(of)), refs: manifest.TargetRefs(of)}
	p.known = true
	for w := range c.apps {
		if (w.Namespace == p.Namespace || p.Namespace == rootNamespace) && manifest.Selects(p.selector(), w.Labels) {
			in, sure := c.enrolled(w)
			p.pods, p.meshed, p.known = append(p.pods, w), p.meshed || in, p.known && sure
		}
	}
	if len(p.refs) == 0 {
		p.elsewhere = p.whyElsewhere()
	}
	for i := range p.refs {
		p.attachment(i)
	}
	if len(p.refs) == 0 && p.elsewhere == "" {
		p.selection()
	}
	p.rules()
}

func (p *policy) selector() map[string]string { return p.Spec.GetSelector().GetMatchLabels() }

// attachment says where a target is not there, or enforces nothing.
func (p *policy) attachment(i int) {
	at := p.at.field(fmt.Sprintf("spec.targetRefs[%d]", i))
	to := manifest.Key{Kind: p.refs[i].GetKind(), Namespace: p.Namespace, Name: p.refs[i].GetName()}
	ref := topology.Ref{Namespace: to.Namespace, Name: to.Name}
	const nothing = ": the policy does nothing"
	fix := fmt.Sprintf("name a %s of the policy's own namespace", to.Kind)
	switch to.Kind {
	case "Service":
		s := p.world.Service(ref)
		if s == nil {
			p.missing(at, "targets", to, nothing+p.namesakes(to.Name)).Fix = fix
		} else if !p.unserved(to, p.binding(s)) && headless(s) {
			p.add(Error, "service-without-waypoint", p.at, "targets Service %s, which is headless: calls through it "+
				"go to the pods' own addresses, past the waypoint", s.Name).Fix = "give the Service a cluster IP"
		}
	case "ServiceEntry":
		e := manifest.Find(p.set.ServiceEntries, to.Namespace, to.Name)
		if e == nil {
			p.missing(at, "targets", to, nothing).Fix = fix
		} else {
			p.unserved(to, p.told(e.Namespace, e.Labels))
		}
	case "Gateway":
		if p.gateway(ref) == nil && !p.fronts[to.String()] {
			p.missing(at, "targets", to, nothing).Fix = fix
		}
	case "GatewayClass":
		if p.Namespace != rootNamespace || to.Name != waypointClass {
			p.add(Error, "attached-to-nothing", at, "targets GatewayClass %s from namespace %s: only %s counts, and "+
				"only from the root namespace %s", to.Name, p.Namespace, waypointClass, rootNamespace).
				Fix = fmt.Sprintf("move it to %s, or target a Gateway", rootNamespace)
		}
	default:
		p.notJudged(at, "its target %s is not among what lint knows", to.Kind)
	}
}

// namesakes says where there is a Service of a name, if in another namespace.
func (p *policy) namesakes(name string) string {
	for _, s := range p.set.Services {
		if s.Name == name {
			return fmt.Sprintf("; there is %s/%s, but a policy attaches in its own namespace only", s.Namespace, name)
		}
	}
	return ""
}

// unserved reports whether no waypoint is before a target, and says so.
func (p *policy) unserved(to manifest.Key, b binding) bool {
	switch {
	case b.at.Name != "":
		return false
	case b.optOut:
		p.add(Error, "service-without-waypoint", p.at, "targets %s %s, which opts out of the waypoint: nothing "+
			"enforces the policy", to.Kind, to.Name).Fix = "take istio.io/use-waypoint: none off the " + to.Kind
	case p.whole(p.Namespace) && p.gateways:
		p.add(Error, "service-without-waypoint", p.at, "targets %s %s, which uses no waypoint: nothing enforces the "+
			"policy", to.Kind, to.Name).Fix = fmt.Sprintf("label the Namespace or the %s istio.io/use-waypoint: NAME "+
			"and make that waypoint Gateway", to.Kind)
	default:
		p.notJudged(p.at, "targets %s %s; whether that uses a waypoint is not among the files", to.Kind, to.Name)
	}
	return true
}

// selection says where a policy without a target is for no pod that a node proxy stands
// for.
func (p *policy) selection() {
	where := "of namespace " + p.Namespace
	if p.Namespace == rootNamespace {
		where = "of any namespace"
	}
	switch {
	case len(p.pods) == 0 && (len(p.selector()) == 0 || !p.whole(p.Namespace) || !p.populated[p.Namespace]):
		p.notJudged(p.at, "no workload %s that it is for is among the files", where)
	case len(p.pods) == 0:
		p.add(Error, "attached-to-nothing", p.at.field("spec.selector"), "its selector %v finds no workload %s: the "+
			"policy does nothing here", p.selector(), where).Fix = "correct the labels or the namespace"
	case p.meshed && authz.SelectsNothing(p.AuthorizationPolicy):
		p.add(Error, "attached-to-nothing", p.at.field("spec.selector"), "its selector is empty: istiod gives the "+
			"policy to no node proxy").Fix = "leave spec.selector out: the policy is then for the whole namespace"
	case p.meshed:
	case p.known && p.meshes:
		p.add(Error, "not-in-the-mesh", p.at, "none of the workloads that it is for is in the ambient mesh: nothing "+
			"enforces it").Fix = "label the Namespace istio.io/dataplane-mode: ambient"
	default:
		p.notJudged(p.at, "whether the workloads that it is for are in an ambient mesh")
	}
}

// whyElsewhere says why a policy without a target is not, or not only, a matter of node
// proxies; empty when it is.
func (p *policy) whyElsewhere() string {
	const ingress = "it is for an ingress gateway"
	selector := p.selector()
	if strings.Contains(selector["istio"], "gateway") ||
		strings.Contains(selector["app"], "gateway") && strings.HasPrefix(selector["app"], "istio") {
		return ingress
	}
	if name, ok := selector[topology.LabelGatewayName]; ok {
		if g := p.gateway(topology.Ref{Namespace: p.Namespace, Name: name}); g == nil ||
			g.Spec.GatewayClassName != waypointClass {
			return ingress
		}
	}
	workloads, sidecars := false, false
	for w := range p.world.Apps() {
		if w.Namespace == p.Namespace {
			workloads, sidecars = workloads || !p.sidecars[w.Ref], sidecars || p.sidecars[w.Ref]
		}
	}
	if !workloads && (sidecars || p.sidecarNamespace(p.Namespace)) {
		return "its namespace has sidecars, and lint judges ambient meshes"
	}
	for front := range p.fronts {
		if namespace, _, _ := strings.Cut(front, "/"); namespace == p.Namespace && !workloads {
			return ingress
		}
	}
	return ""
}

func (c *checker) sidecarNamespace(name string) bool {
	of := c.declared[name]
	_, revision := of["istio.io/rev"]
	return !c.ambient(name) && (revision || of["istio-injection"] == "enabled")
}

// rules says what of a policy's rules the proxy that gets them cannot enforce,
// or enforces otherwise than it reads.
func (p *policy) rules() {
	onNode := len(p.refs) == 0 && p.elsewhere == ""
	if p.elsewhere != "" {
		p.notJudged(p.at, "%s", p.elsewhere)
	}
	action, at := p.Spec.Action, p.at.field("spec.action")
	if onNode && action != securityv1beta1.AuthorizationPolicy_ALLOW &&
		action != securityv1beta1.AuthorizationPolicy_DENY {
		if p.meshed {
			p.add(Error, "not-enforced-by-node-proxy", at, "%s without a target goes to node proxies, which do not "+
				"know it", action).Fix = "target a Service or a Gateway"
		} else {
			p.notJudged(at, "%s without a target: node proxies do not know it, if its pods are in an ambient mesh",
				action)
		}
	}
	if p.Annotations["istio.io/dry-run"] == "true" {
		where := "its waypoint only counts what it would do"
		if onNode {
			where = "node proxies do not even receive it"
		}
		p.add(Note, "dry-run", p.at, "is a dry run: %s", where).
			Fix = "take the annotation istio.io/dry-run off to enforce it"
	}
	for i, r := range p.Spec.Rules {
		if r == nil {
			continue
		}
		r := &rule{p, r, fmt.Sprintf("rule %d", i), p.at.field(fmt.Sprintf("spec.rules[%d]", i))}
		if onNode {
			r.atNodeProxy()
		}
		r.callers()
		if len(p.refs) > 0 {
			r.paths()
		}
		r.unmatchable()
		if p.atWaypoint() {
			r.addresses()
		}
	}
}

// allows reports whether what the rules match is let through.
func (p *policy) allows() bool { return p.Spec.Action == securityv1beta1.AuthorizationPolicy_ALLOW }

// denies reports whether what the rules match is refused.
func (p *policy) denies() bool { return p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY }

// atWaypoint reports whether a policy is for waypoints: an ingress gateway sees addresses.
func (p *policy) atWaypoint() bool {
	return slices.ContainsFunc(p.refs, func(r *typev1beta1.PolicyTargetReference) bool {
		return r.GetKind() != "Gateway" ||
			p.world.WaypointGateway(topology.Ref{Namespace: p.Namespace, Name: r.GetName()}) != nil
	})
}
