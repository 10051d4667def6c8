package lint

import (
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
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
		message := "has no default-deny: a Service without an ALLOW policy of its own is open to everyone, also a " +
			"second Service that somebody puts over protected pods"
		var open []string
		used := false
		for _, s := range c.world.Services {
			used = used || s.Waypoint == g
			if s.Waypoint == g && len(c.policies.WaypointEngine(g, s).Policies()) == 0 {
				open = append(open, s.Name)
			}
		}
		if len(open) > 0 {
			message += "; open now: " + list(open)
		}
		if !used {
			c.notJudged(g.Pod.Workload, "", "no Service that uses the waypoint is among the files")
			continue
		}
		c.add(c.hole(g.Pod.Namespace), "no-default-deny", g.Pod.Workload, message, defaultDeny(g.Pod.Ref))
	}
}

// bypasses says how the pods behind a waypoint can be reached past it, past a
// policy of the Service that protects them, and where they shut it out.
func (c *checker) bypasses() {
	for p := range c.apps {
		protecting := c.protecting(p)
		if len(protecting) == 0 {
			continue
		}
		main := protecting[0]
		w := c.world.Service(ref(main)).Waypoint
		if in, known := c.enrolled(p); !in {
			c.certain(known, "not-in-the-mesh", p.Workload, "", fmt.Sprintf("is behind waypoint %s and not in the "+
				"ambient mesh: whoever dials its pods is not asked who he is", w.Pod.Name),
				"label its Namespace istio.io/dataplane-mode: ambient",
				fmt.Sprintf("whether its pods are in the mesh: Namespace %s is not among the files", p.Namespace))
			continue
		}
		if c.shutOut(p, main, w) {
			continue // nobody comes through the waypoint: that comes first
		}
		past := c.pastWaypoint(p, main, w)
		if len(past) > 0 {
			c.add(c.hole(p.Namespace), "bypass-pod-ip", p.Workload,
				fmt.Sprintf("can be reached by pod IP, past waypoint %s and the policies of Service %s, by %s",
					w.Pod.Name, main.Name, list(past)),
				viaWaypointOnly(p.Namespace, w.Pod.Ref))
		}
		c.plaintext(p, main)
		c.otherServices(p, main, w, len(past) > 0)
	}
}

// shutOut says where a pod's node proxy refuses the pod's own waypoint.
func (c *checker) shutOut(p *topology.Pod, s *corev1.Service, w *topology.WaypointGateway) bool {
	for _, port := range c.targetPorts(s, p) {
		if c.atPod(p, port, w.Pod.Identity, w.Pod.Endpoint) {
			continue
		}
		by := list(c.policies.PodEngine(p).Policies())
		if r := c.policies.Inbound(p, w.Pod.Identity, w.Pod.IP, port); r.Policy != "" {
			by = r.Policy
		}
		c.add(Error, "waypoint-shut-out", p.Workload,
			fmt.Sprintf("its pods refuse waypoint %s (%s): every call of Service %s, whoever makes it, ends with 503",
				w.Pod.Name, by, s.Name),
			fmt.Sprintf("allow the waypoint's account, and name the callers in a policy with targetRefs to the "+
				"Service: %s", viaWaypointOnly(p.Namespace, w.Pod.Ref)))
		return true
	}
	return false
}

// pastWaypoint lists who may connect to the pods without coming from their
// waypoint, on the ports that the Service serves.
func (c *checker) pastWaypoint(p *topology.Pod, s *corev1.Service, w *topology.WaypointGateway) []string {
	for _, port := range c.targetPorts(s, p) {
		if c.atPod(p, port, stranger, netpol.Endpoint{}) {
			return []string{"any identity of the mesh"}
		}
		var accounts []string
		for a := range c.accounts {
			accounts = append(accounts, a)
		}
		slices.Sort(accounts)
		var out []string
		for _, a := range accounts {
			ns, sa, _ := strings.Cut(a, "/")
			if id := identity(ns, sa); id != w.Pod.Identity && c.atPod(p, port, id, netpol.Endpoint{}) {
				out = append(out, a)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (c *checker) plaintext(p *topology.Pod, s *corev1.Service) {
	for _, port := range c.targetPorts(s, p) {
		if !c.atPod(p, port, "", netpol.Endpoint{}) {
			continue
		}
		message := fmt.Sprintf("takes plaintext on port %d from whoever can reach it, without an identity", port)
		if mode := c.policies.Mode(p, port); mode.Policy != "" {
			message += " (PeerAuthentication " + mode.Policy + ")"
		}
		c.add(c.hole(p.Namespace), "plaintext", p.Workload, message,
			fmt.Sprintf("a PeerAuthentication in namespace %s with mtls.mode: STRICT", p.Namespace))
		return
	}
}

// otherServices looks at every other way that the manifests themselves offer
// to the same pods.
func (c *checker) otherServices(p *topology.Pod, main *corev1.Service, w *topology.WaypointGateway, podOpen bool) {
	for _, s := range c.set.Services {
		if s == main || s.Namespace != p.Namespace || len(s.Spec.Selector) == 0 || !subset(s.Spec.Selector, p.Labels) {
			continue
		}
		at := key("Service", s.Namespace, s.Name)
		over := fmt.Sprintf("is over the pods of %s %s", p.Workload.Kind, p.Workload.Name)
		through := c.world.Service(ref(s))
		past := headless(s) || through.Waypoint == nil
		switch {
		case headless(s) && podOpen:
			c.add(c.hole(p.Namespace), "bypass-headless", at, over+" and headless: calls through it skip the "+
				"waypoint and the policies of Service "+main.Name, viaWaypointOnly(s.Namespace, w.Pod.Ref))
		case past && podOpen:
			c.add(c.hole(p.Namespace), "bypass-shadow", at, over+" and uses no waypoint: calls through it skip the "+
				"policies of Service "+main.Name, viaWaypointOnly(s.Namespace, w.Pod.Ref))
		case past:
			c.add(Note, "refused-by-node-proxy", at, over+" and skips the waypoint: its calls are refused there",
				"let it use the waypoint, if it is meant to work")
		case !c.ownPolicy(s) && c.ownPolicy(main) && c.throughWaypoint(through, stranger):
			c.add(c.hole(p.Namespace), "bypass-second-service", at, over+" and has no policy of its own: the "+
				"waypoint carries everyone's calls past the policies of Service "+main.Name,
				defaultDeny(through.Waypoint.Pod.Ref))
		}
	}
}

// ingress says which routes do not go through the waypoint, or lead nowhere.
func (c *checker) ingress() {
	for _, r := range c.set.HTTPRoutes {
		for i, rule := range r.Spec.Rules {
			for j, backend := range rule.BackendRefs {
				if backend.Kind != nil && *backend.Kind != "Service" {
					continue
				}
				namespace := r.Namespace
				if backend.Namespace != nil {
					namespace = string(*backend.Namespace)
				}
				at, path := key("HTTPRoute", r.Namespace, r.Name), fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)
				s := c.serviceOf(namespace, string(backend.Name))
				if s == nil {
					c.certain(c.whole(namespace) && c.services[namespace], "attached-to-nothing", at, path,
						fmt.Sprintf("routes to Service %s/%s, which is not among the files", namespace, backend.Name),
						"",
						fmt.Sprintf("routes to Service %s/%s, which is not among the files, and neither is all of "+
							"its namespace", namespace, backend.Name))
					continue
				}
				w := c.world.Service(ref(s))
				if w == nil || w.Waypoint == nil || w.IngressWaypoint != nil {
					continue
				}
				effect := "the pods then refuse them (503)"
				for _, p := range c.behind(s) {
					for _, port := range c.targetPorts(s, p) {
						if c.gatewayPasses(p, port) {
							effect = "its policies are not asked"
						}
					}
				}
				c.add(c.hole(s.Namespace), "ingress-not-through-waypoint", key("Service", s.Namespace, s.Name),
					fmt.Sprintf("HTTPRoute %s sends requests straight to its pods, past waypoint %s: %s", r.Name,
						w.Waypoint.Pod.Name, effect),
					"label the Service istio.io/ingress-use-waypoint: \"true\"")
			}
		}
	}
}

// gatewayPasses reports whether a pod would take a connection of some ingress
// gateway.
func (c *checker) gatewayPasses(p *topology.Pod, port uint16) bool {
	if c.atPod(p, port, stranger, netpol.Endpoint{}) {
		return true
	}
	return slices.ContainsFunc(c.world.Gateways, func(g *topology.Gateway) bool {
		return c.atPod(p, port, g.Pod.Identity, g.Pod.Endpoint)
	})
}
