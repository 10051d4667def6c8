package lint

import (
	"fmt"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
)

// service says what of a Service keeps its waypoint from judging its requests.
func (c *checker) service(s *corev1.Service) {
	at := key("Service", s.Namespace, s.Name)
	b := c.binding(s)
	if b.at.Name == "" {
		if c.anyMeshed(s) && !headless(s) && !managed(s) && !c.overProtected(s) {
			why := "no istio.io/use-waypoint on it or its Namespace"
			if b.optOut {
				why = "it opts out"
			}
			c.add(Warning, "service-without-waypoint", at, "is in the mesh and uses no waypoint ("+why+
				"): methods and paths cannot be judged", "label it istio.io/use-waypoint: NAME")
		}
		return
	}
	w := c.world.Service(ref(s))
	if c.uncovered(at, b, w, headless(s)) || headless(s) {
		return
	}
	for _, p := range w.Ports {
		name := fmt.Sprintf("port %d", p.Number)
		if p.Name != "" {
			name = fmt.Sprintf("port %s (%d)", p.Name, p.Number)
		}
		switch p.Protocol {
		case topology.HTTP:
		case topology.Sniffed:
			c.add(Warning, "port-not-http", at, name+" does not say its protocol: the waypoint guesses from the "+
				"first bytes, and judges methods and paths only when it guesses HTTP",
				"name it http or set appProtocol: http")
		default:
			c.add(Warning, "port-not-http", at, name+" is no HTTP to the waypoint: methods and paths are lost, ALLOW "+
				"rules with them are left out, and a server that speaks first is heard by callers that are refused",
				"name it http if it is; otherwise protect the pods by a policy without a target, which decides "+
					"before the connection")
		}
	}
}

// uncovered says why the waypoint that something is to use is not before it, and
// reports whether it said so.
func (c *checker) uncovered(at manifest.Key, b binding, w *topology.Service, headless bool) bool {
	switch {
	case b.gateway == nil:
		sev := Warning // it may be made elsewhere, as by istioctl waypoint apply
		if c.gateways {
			sev = Error
		}
		c.add(sev, "waypoint-missing", at, fmt.Sprintf("is to use waypoint %s, which is not among the files: until "+
			"it exists, calls go past it, unjudged", b.at), "make the Gateway, class "+waypointClass)
	case b.gateway.Spec.GatewayClassName != waypointClass && b.gateway.Spec.GatewayClassName != catalog.IngressClass:
		c.notJudged(at, "", fmt.Sprintf("is to use Gateway %s, of whose class, %s, nothing is known", b.at,
			b.gateway.Spec.GatewayClassName))
	case b.gateway.Spec.GatewayClassName != waypointClass:
		c.add(Error, "waypoint-does-not-cover", at,
			fmt.Sprintf("is to use Gateway %s, which is of class %s and no waypoint", b.at,
				b.gateway.Spec.GatewayClassName), "use class "+waypointClass)
	case headless || w == nil || w.Waypoint != nil:
		return false
	default:
		if g := c.world.WaypointGateway(b.at); g != nil && g.Services {
			c.add(Error, "waypoint-does-not-cover", at, fmt.Sprintf("is to use waypoint %s, whose listener admits no "+
				"Services of namespace %s: calls go past it, unjudged", b.at, at.Namespace),
				"give the listener allowedRoutes.namespaces.from: All, or a Selector that finds the Namespace")
			return true
		}
		c.add(Error, "waypoint-does-not-cover", at, fmt.Sprintf("is to use waypoint %s, which serves %q and no "+
			"Services: calls go past it, unjudged", b.at, b.gateway.Labels[topology.LabelWaypointFor]),
			"label the Gateway istio.io/waypoint-for: service")
	}
	return true
}

// overProtected reports whether the pods of a Service are also behind one with a
// waypoint: the bypass checks speak about those.
func (c *checker) overProtected(s *corev1.Service) bool {
	for _, p := range c.behind(s) {
		if len(c.protecting(p)) > 0 {
			return true
		}
	}
	return false
}

func (c *checker) anyMeshed(s *corev1.Service) bool {
	for _, p := range c.behind(s) {
		if p.Meshed {
			return true
		}
	}
	return false
}
