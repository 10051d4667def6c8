package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// stranger is an identity that no policy can mean.
const stranger = "spiffe://" + trustDomain + "/ns/nobody-knows/sa/nobody-knows"

// hole is how bad an opening in a namespace is: where no policy protects anything,
// nothing is walked around.
func (c *checker) hole(namespace string) Severity {
	for _, p := range c.set.AuthorizationPolicies {
		if p.Namespace == namespace || p.Namespace == rootNamespace {
			return Error
		}
	}
	return Warning
}

// waypoints says which waypoints leave open what nobody wrote a policy for.
func (c *checker) waypoints() {
	for _, g := range c.world.Waypoints {
		if len(c.policies.WaypointEngine(g, nil).Policies()) > 0 || !g.Services {
			continue
		}
		var open []string
		used := false
		for _, s := range c.world.Services {
			used = used || s.Waypoint == g
			if s.Waypoint == g && len(c.policies.WaypointEngine(g, s).Policies()) == 0 {
				open = append(open, s.Name)
			}
		}
		if !used {
			c.notJudged(on(g.Pod.Workload), "no Service that uses the waypoint is among the files")
			continue
		}
		now := ""
		if len(open) > 0 {
			now = "; open now: " + list(open)
		}
		c.add(c.hole(g.Pod.Namespace), "no-default-deny", on(g.Pod.Workload), "has no default-deny: a Service without "+
			"an ALLOW policy of its own is open to everyone, also a second Service that somebody puts over protected "+
			"pods%s", now).Fix = defaultDeny(g.Pod.Ref)
	}
}

// protected is a pod behind a waypoint, with the Service that has it there.
type protected struct {
	*checker
	*topology.Pod
	main     *topology.Service
	waypoint *topology.WaypointGateway
	ports    []uint16 // behind the Service
}

// bypasses says how the pods behind a waypoint can be reached past it, past a
// policy of the Service that protects them, and where they shut it out.
func (c *checker) bypasses() {
	for pod := range c.apps {
		protecting := c.protecting(pod)
		if len(protecting) == 0 {
			continue
		}
		main := protecting[0]
		p := &protected{c, pod, main, main.Waypoint, main.PortsOf(pod)}
		in, known := c.enrolled(pod)
		switch {
		case !in && known:
			c.add(Error, "not-in-the-mesh", on(p.Workload), "is behind waypoint %s and not in the ambient mesh: "+
				"whoever dials its pods is not asked who he is", p.waypoint.Pod.Name).
				Fix = "label its Namespace istio.io/dataplane-mode: ambient"
		case !in:
			c.notJudged(on(p.Workload), "whether its pods are in the mesh: Namespace %s is not among the files",
				p.Namespace)
		case p.shutsOut(): // nobody comes through the waypoint: that comes first
		default:
			past := p.past()
			if len(past) > 0 {
				c.add(c.hole(p.Namespace), "bypass-pod-ip", on(p.Workload), "can be reached by pod IP, past waypoint "+
					"%s and the policies of Service %s, by %s", p.waypoint.Pod.Name, main.Name, list(past)).
					Fix = p.waypointOnly()
			}
			p.plaintext()
			p.otherServices(len(past) > 0)
		}
	}
}

// waypointOnly is the policy by which the pods admit nobody but their waypoint.
func (p *protected) waypointOnly() string {
	account := p.waypoint.Pod.ServiceAccount
	if p.waypoint.Pod.Namespace != p.Namespace {
		account = p.waypoint.Pod.Namespace + "/" + account
	}
	return fmt.Sprintf("an AuthorizationPolicy via-waypoint-only in namespace %s without a target: ALLOW, rules "+
		"[{from: [{source: {serviceAccounts: [%s]}}]}]", p.Namespace, account)
}

// shutsOut reports whether the pod's node proxy refuses the pod's own waypoint, and says
// so.
func (p *protected) shutsOut() bool {
	w := p.waypoint.Pod
	for _, port := range p.ports {
		r := p.policies.Inbound(p.Pod, w.Identity, w.IP, port)
		if r.Allowed {
			continue
		}
		by := r.Policy
		if by == "" {
			by = list(p.policies.PodEngine(p.Pod).Policies())
		}
		p.add(Error, "waypoint-shut-out", on(p.Workload), "its pods refuse waypoint %s (%s): every call of Service "+
			"%s, whoever makes it, ends with 503", w.Name, by, p.main.Name).Fix = "allow the waypoint's account, and " +
			"name the callers in a policy with targetRefs to the Service: " + p.waypointOnly()
		return true
	}
	return false
}

// past lists who may connect to the pods without coming from their waypoint, on the
// ports that the Service serves.
func (p *protected) past() []string {
	for _, port := range p.ports {
		if p.atPod(p.Pod, port, stranger, netip.Addr{}) {
			return []string{"any identity of the mesh"}
		}
		var out []string
		for _, a := range p.existing() {
			ns, sa, _ := strings.Cut(a, "/")
			if id := identity(ns, sa); id != p.waypoint.Pod.Identity && p.atPod(p.Pod, port, id, netip.Addr{}) {
				out = append(out, a)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// plaintext says where the pods ask nobody who he is.
func (p *protected) plaintext() {
	for _, port := range p.ports {
		if !p.atPod(p.Pod, port, "", netip.Addr{}) {
			continue
		}
		by := ""
		if mode := p.policies.Mode(p.Pod, port); mode.Policy != "" {
			by = " (PeerAuthentication " + mode.Policy + ")"
		}
		p.add(p.hole(p.Namespace), "plaintext", on(p.Workload), "takes plaintext on port %d from whoever can reach "+
			"it, without an identity%s", port, by).
			Fix = fmt.Sprintf("a PeerAuthentication in namespace %s with mtls.mode: STRICT", p.Namespace)
		return
	}
}

// otherServices looks at every other way that the manifests themselves offer to the same
// pods. open reports whether those take calls that do not come from the waypoint.
func (p *protected) otherServices(open bool) {
	for _, s := range p.world.Services {
		if s == p.main || s.Entry || !slices.Contains(s.Selected, p.Pod) {
			continue
		}
		bad := p.hole(p.Namespace)
		over := fmt.Sprintf("is over the pods of %s %s", p.Workload.Kind, p.Workload.Name)
		switch {
		case headless(s) && open:
			p.add(bad, "bypass-headless", service(s), "%s and headless: calls through it skip the waypoint and the "+
				"policies of Service %s", over, p.main.Name).Fix = p.waypointOnly()
		case s.Waypoint == nil && open:
			p.add(bad, "bypass-shadow", service(s), "%s and uses no waypoint: calls through it skip the policies of "+
				"Service %s", over, p.main.Name).Fix = p.waypointOnly()
		case s.Waypoint == nil:
			p.add(Note, "refused-by-node-proxy", service(s), "%s and skips the waypoint: its calls are refused there",
				over).Fix = "let it use the waypoint, if it is meant to work"
		case !p.ownPolicy(s) && p.ownPolicy(p.main) && p.throughWaypoint(s, stranger):
			p.add(bad, "bypass-second-service", service(s), "%s and has no policy of its own: the waypoint carries "+
				"everyone's calls past the policies of Service %s", over, p.main.Name).
				Fix = defaultDeny(s.Waypoint.Pod.Ref)
		}
	}
}

// ingress says which routes do not go through the waypoint, or lead nowhere.
func (c *checker) ingress() {
	for _, r := range c.set.HTTPRoutes {
		for i, rule := range r.Spec.Rules {
			for j, backend := range rule.BackendRefs {
				at := on(manifest.KeyOf(r)).field(fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j))
				to := manifest.Backend(r, backend)
				if to.Kind != "Service" {
					continue
				}
				s := c.world.Service(topology.Ref{Namespace: to.Namespace, Name: to.Name})
				if s == nil {
					c.missing(at, "routes to", to, "")
				} else if s.Waypoint != nil && s.IngressWaypoint == nil {
					c.pastIngress(s, r.Name)
				}
			}
		}
	}
}

// pastIngress says that the requests of a route go past the waypoint.
func (c *checker) pastIngress(s *topology.Service, route string) {
	effect := "the pods then refuse them (503)"
	for _, p := range c.behind(s) {
		if slices.ContainsFunc(s.PortsOf(p), func(port uint16) bool { return c.gatewayPasses(p, port) }) {
			effect = "its policies are not asked"
		}
	}
	c.add(c.hole(s.Namespace), "ingress-not-through-waypoint", service(s), "HTTPRoute %s sends requests straight to "+
		"its pods, past waypoint %s: %s", route, s.Waypoint.Pod.Name, effect).
		Fix = "label the Service istio.io/ingress-use-waypoint: \"true\""
}

// gatewayPasses reports whether a pod would take a connection of some ingress
// gateway.
func (c *checker) gatewayPasses(p *topology.Pod, port uint16) bool {
	if c.atPod(p, port, stranger, netip.Addr{}) {
		return true
	}
	return slices.ContainsFunc(c.world.Gateways, func(g *topology.Gateway) bool {
		return c.atPod(p, port, g.Pod.Identity, g.Pod.IP)
	})
}
