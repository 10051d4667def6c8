package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/netpol"
	"artemis.example/policy/peerauth"
	corev1 "k8s.io/api/core/v1"
)

// stranger is an identity that no policy can mean.
const stranger = "spiffe://" + trustDomain + "/ns/nobody-knows/sa/nobody-knows"

const hbonePort = catalog.HBONEPort

// waypoints says which waypoints leave open what nobody wrote a policy for.
func (c *checker) waypoints() {
	for _, g := range c.mesh.set.Gateways {
		if g.Spec.GatewayClassName != waypointClass {
			continue
		}
		if len(c.mesh.waypoint.ForService(g.Namespace, g.Name, "").Policies()) > 0 {
			continue
		}
		at := key("Gateway", g.Namespace, g.Name)
		message := "has no default-deny: a Service without an ALLOW policy of its own is open to everyone, also a second Service that somebody puts over protected pods"
		if open := c.open(g.Namespace, g.Name); len(open) > 0 {
			message += "; open now: " + strings.Join(open, ", ")
		}
		c.add(Error, "no-default-deny", at, message, defaultDeny(g.Namespace, g.Name))
	}
}

// open lists the Services of a waypoint that let a stranger through.
func (c *checker) open(namespace, gateway string) []string {
	var out []string
	for _, s := range c.mesh.set.Services {
		if b := c.mesh.binding(s); s.Namespace != namespace || b.name != gateway || b.namespace != namespace || headless(s) {
			continue
		}
		if c.throughWaypoint(s, gateway, stranger) {
			out = append(out, s.Name)
		}
	}
	return out
}

// throughWaypoint reports whether the waypoint would let an identity call
// something of a Service.
func (c *checker) throughWaypoint(s *corev1.Service, gateway, principal string) bool {
	e := c.mesh.waypoint.ForService(s.Namespace, gateway, s.Name)
	return e.Decide(&authz.Request{Principal: principal, Method: "GET", Host: s.Name, Path: "/", HTTP: true}).Allowed
}

// atPod reports whether a workload's node proxy would let an identity connect.
func (c *checker) atPod(w workload, port uint16, principal string) bool {
	e := c.mesh.nodeProxy.ForWorkload(w.key.Namespace, w.labels)
	return e.Decide(&authz.Request{Principal: principal, DestPort: port, SourceIP: netip.IPv4Unspecified()}).Allowed
}

// bypasses says how the pods behind a waypoint can be reached past it, past a
// policy of the Service that protects them.
func (c *checker) bypasses() {
	for _, w := range c.mesh.workloads {
		protecting := c.mesh.protecting(w)
		if len(protecting) == 0 {
			continue
		}
		main := protecting[0]
		gateway := c.mesh.binding(main).name
		if in, known := c.mesh.meshed(w); !in && known {
			c.add(Error, "not-in-the-mesh", w.key, fmt.Sprintf("is behind waypoint %s and not in the ambient mesh: whoever dials its pods is not asked who he is", gateway), "label its Namespace istio.io/dataplane-mode: ambient")
			continue
		}
		past := c.pastWaypoint(w, main, gateway)
		if len(past) > 0 {
			c.add(Error, "bypass-pod-ip", w.key,
				fmt.Sprintf("can be reached by pod IP, past waypoint %s and the policies of Service %s, by %s", gateway, main.Name, strings.Join(past, ", ")),
				viaWaypointOnly(w.key.Namespace, gateway))
		}
		c.plaintext(w, main)
		c.otherServices(w, main, gateway, len(past) > 0)
	}
}

// pastWaypoint lists who may connect to the pods without coming from their
// waypoint, on the ports that the Service serves.
func (c *checker) pastWaypoint(w workload, s *corev1.Service, gateway string) []string {
	for _, port := range targetPorts(s, w) {
		if c.atPod(w, port, stranger) {
			return []string{"any identity of the mesh"}
		}
		var accounts []string
		for a := range c.mesh.accounts {
			accounts = append(accounts, a)
		}
		slices.Sort(accounts)
		var out []string
		for _, a := range accounts {
			ns, sa, _ := strings.Cut(a, "/")
			if a != w.key.Namespace+"/"+gateway && c.atPod(w, port, identity(ns, sa)) {
				out = append(out, a)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (c *checker) plaintext(w workload, s *corev1.Service) {
	for _, port := range targetPorts(s, w) {
		mode := c.mesh.mtls.For(w.key.Namespace, w.labels, port)
		if mode.Mode == peerauth.Strict || !c.atPod(w, port, "") {
			continue
		}
		message := fmt.Sprintf("takes plaintext on port %d from whoever can reach it, without an identity", port)
		if mode.Policy != "" {
			message += " (PeerAuthentication " + mode.Policy + ")"
		}
		c.add(Error, "plaintext", w.key, message, fmt.Sprintf("a PeerAuthentication in namespace %s with mtls.mode: STRICT", w.key.Namespace))
		return
	}
}

// otherServices looks at every other way that the manifests themselves offer
// to the same pods.
func (c *checker) otherServices(w workload, main *corev1.Service, gateway string, podOpen bool) {
	for _, s := range c.mesh.set.Services {
		if s == main || s.Namespace != w.key.Namespace || len(s.Spec.Selector) == 0 || !subset(s.Spec.Selector, w.labels) {
			continue
		}
		at := key("Service", s.Namespace, s.Name)
		b := c.mesh.binding(s)
		over := fmt.Sprintf("is over the pods of %s %s", w.key.Kind, w.key.Name)
		switch {
		case headless(s) && podOpen:
			c.add(Error, "bypass-headless", at, over+" and headless: calls through it skip the waypoint and the policies of Service "+main.Name, viaWaypointOnly(s.Namespace, gateway))
		case !b.serves() && podOpen:
			c.add(Error, "bypass-shadow", at, over+" and uses no waypoint: calls through it skip the policies of Service "+main.Name, viaWaypointOnly(s.Namespace, gateway))
		case headless(s) || !b.serves():
			c.add(Note, "refused-by-node-proxy", at, over+" and skips the waypoint: its calls are refused there", "let it use the waypoint, if it is meant to work")
		case !c.mesh.ownPolicy(s) && c.throughWaypoint(s, b.name, stranger):
			c.add(Error, "bypass-second-service", at, over+" and has no policy of its own: the waypoint carries everyone's calls past the policies of Service "+main.Name, defaultDeny(s.Namespace, b.name))
		}
	}
}

// ingress says which routes do not go through the waypoint.
func (c *checker) ingress() {
	for _, r := range c.mesh.set.HTTPRoutes {
		for _, rule := range r.Spec.Rules {
			for _, ref := range rule.BackendRefs {
				if ref.Kind != nil && *ref.Kind != "Service" {
					continue
				}
				namespace := r.Namespace
				if ref.Namespace != nil {
					namespace = string(*ref.Namespace)
				}
				at := key("HTTPRoute", r.Namespace, r.Name)
				s := c.mesh.service(namespace, string(ref.Name))
				if s == nil {
					c.add(Error, "attached-to-nothing", at, fmt.Sprintf("routes to Service %s/%s, which is not among the files", namespace, ref.Name), "")
					continue
				}
				b := c.mesh.binding(s)
				if !b.serves() || s.Labels[labelIngress] == "true" || c.mesh.namespaceLabel(namespace, labelIngress) == "true" {
					continue
				}
				effect := "the pods then refuse them (503)"
				for _, w := range c.mesh.behind(s) {
					for _, port := range targetPorts(s, w) {
						if c.gatewayPasses(w, port) {
							effect = "its policies are not asked"
						}
					}
				}
				c.add(Error, "ingress-not-through-waypoint", key("Service", s.Namespace, s.Name),
					fmt.Sprintf("HTTPRoute %s sends requests straight to its pods, past waypoint %s: %s", r.Name, b.name, effect),
					"label the Service istio.io/ingress-use-waypoint: \"true\"")
			}
		}
	}
}

// gatewayPasses reports whether the pods would take a connection of some ingress
// gateway.
func (c *checker) gatewayPasses(w workload, port uint16) bool {
	if c.atPod(w, port, stranger) {
		return true
	}
	for _, g := range c.mesh.set.Gateways {
		if g.Spec.GatewayClassName != waypointClass && c.atPod(w, port, identity(g.Namespace, gatewayAccount(g))) {
			return true
		}
	}
	return false
}

// perimeter says where NetworkPolicies keep the mesh itself out.
func (c *checker) perimeter() {
	for _, w := range c.mesh.workloads {
		in, _ := c.mesh.meshed(w)
		protecting := c.mesh.protecting(w)
		if !in || len(protecting) == 0 {
			continue
		}
		labels := map[string]string(nil)
		if n := c.mesh.namespaces[w.key.Namespace]; n != nil {
			labels = n.Labels
		}
		gateway := c.mesh.binding(protecting[0]).name
		waypoint := netpol.Endpoint{Namespace: w.key.Namespace, NamespaceLabels: labels, PodLabels: map[string]string{"gateway.networking.k8s.io/gateway-name": gateway}}
		pod := netpol.Endpoint{Namespace: w.key.Namespace, NamespaceLabels: labels, PodLabels: w.labels, Ports: w.ports}
		if got := c.mesh.network.Decide(waypoint, pod, hbonePort); !got.Allowed {
			c.add(Error, "mesh-refused", w.key, fmt.Sprintf("NetworkPolicy %s refuses its waypoint %s on port %d, where all of the mesh's traffic arrives", got.Policy, gateway, hbonePort),
				fmt.Sprintf("a NetworkPolicy in namespace %s that admits port %d", w.key.Namespace, hbonePort))
		}
	}
}
