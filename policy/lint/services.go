package lint

import (
	"fmt"
	"slices"

	"artemis.example/catalog"
	"artemis.example/policy/topology"
)

// service says what of a Service keeps its waypoint from judging its requests.
func (c *checker) service(s *topology.Service) {
	at, b := service(s), c.binding(s)
	if b.at.Name == "" {
		meshed := slices.ContainsFunc(c.behind(s), func(p *topology.Pod) bool { return p.Meshed })
		// Of pods that are also behind a waypoint, the bypass checks speak.
		elsewhere := slices.ContainsFunc(c.behind(s), func(p *topology.Pod) bool { return len(c.protecting(p)) > 0 })
		if meshed && !elsewhere && !headless(s) && !managed(s) {
			why := "no istio.io/use-waypoint on it or its Namespace"
			if b.optOut {
				why = "it opts out"
			}
			c.add(Warning, "service-without-waypoint", at, "is in the mesh and uses no waypoint (%s): methods and "+
				"paths cannot be judged", why).Fix = "label it istio.io/use-waypoint: NAME"
		}
		return
	}
	if c.uncovered(at, b, s) || headless(s) {
		return
	}
	for _, p := range s.Ports {
		name := fmt.Sprintf("port %d", p.Number)
		if p.Name != "" {
			name = fmt.Sprintf("port %s (%d)", p.Name, p.Number)
		}
		switch p.Protocol {
		case topology.HTTP:
		case topology.Sniffed:
			c.add(Warning, "port-not-http", at, "%s does not say its protocol: the waypoint guesses from the first "+
				"bytes, and judges methods and paths only when it guesses HTTP", name).
				Fix = "name it http or set appProtocol: http"
		default:
			c.add(Warning, "port-not-http", at, "%s is no HTTP to the waypoint: methods and paths are lost, ALLOW "+
				"rules with them are left out, and a server that speaks first is heard by callers that are refused",
				name).Fix = "name it http if it is; otherwise protect the pods by a policy without a target, which " +
				"decides before the connection"
		}
	}
}

// uncovered says why the waypoint that something is to use is not before it, and
// reports whether it said so.
func (c *checker) uncovered(at place, b binding, s *topology.Service) bool {
	switch {
	case b.gateway == nil:
		sev := Warning // it may be made elsewhere, as by istioctl waypoint apply
		if c.gateways {
			sev = Error
		}
		c.add(sev, "waypoint-missing", at, "is to use waypoint %s, which is not among the files: until it exists, "+
			"calls go past it, unjudged", b.at).Fix = "make the Gateway, class " + waypointClass
	case b.gateway.Spec.GatewayClassName == catalog.IngressClass:
		c.add(Error, "waypoint-does-not-cover", at, "is to use Gateway %s, which is of class %s and no waypoint", b.at,
			b.gateway.Spec.GatewayClassName).Fix = "use class " + waypointClass
	case b.gateway.Spec.GatewayClassName != waypointClass:
		c.notJudged(at, "is to use Gateway %s, of whose class, %s, nothing is known", b.at,
			b.gateway.Spec.GatewayClassName)
	case headless(s) || s.Waypoint != nil:
		return false
	default:
		if g := c.world.WaypointGateway(b.at); g != nil && g.Services {
			c.add(Error, "waypoint-does-not-cover", at, "is to use waypoint %s, whose listener admits no Services of "+
				"namespace %s: calls go past it, unjudged", b.at, at.Namespace).Fix = "give the listener " +
				"allowedRoutes.namespaces.from: All, or a Selector that finds the Namespace"
			return true
		}
		c.add(Error, "waypoint-does-not-cover", at, "is to use waypoint %s, which serves %q and no Services: calls go "+
			"past it, unjudged", b.at, b.gateway.Labels[topology.LabelWaypointFor]).
			Fix = "label the Gateway istio.io/waypoint-for: service"
	}
	return true
}
