package lint

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// service says what of a Service keeps its waypoint from judging its requests.
func (c *checker) service(s *corev1.Service) {
	at := key("Service", s.Namespace, s.Name)
	b := c.mesh.binding(s)
	if b.name == "" {
		if in, ok := c.anyMeshed(s); ok && in && !headless(s) && !c.overProtected(s) {
			why := "no istio.io/use-waypoint on it or its Namespace"
			if b.optOut {
				why = "it opts out"
			}
			c.add(Warning, "service-without-waypoint", at, "is in the mesh and uses no waypoint ("+why+"): methods and paths cannot be judged", "label it istio.io/use-waypoint: NAME")
		}
		return
	}
	switch {
	case b.gateway == nil:
		c.add(Error, "waypoint-missing", at, fmt.Sprintf("is to use waypoint %s/%s, which is not among the files: until it exists, calls go past it, unjudged", b.namespace, b.name), "make the Gateway, class "+waypointClass)
	case b.gateway.Spec.GatewayClassName != waypointClass:
		c.add(Error, "waypoint-does-not-cover", at, fmt.Sprintf("is to use Gateway %s/%s, which is of class %s and no waypoint", b.namespace, b.name, b.gateway.Spec.GatewayClassName), "use class "+waypointClass)
	case !b.serves():
		c.add(Error, "waypoint-does-not-cover", at, fmt.Sprintf("is to use waypoint %s/%s, which serves %q and no Services: calls go past it, unjudged", b.namespace, b.name, b.gateway.Labels[labelFor]), "label the Gateway istio.io/waypoint-for: service")
	}
	if b.namespace != s.Namespace {
		o := c.mesh.set.Origins[at]
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, "Service " + at.String(), "uses a waypoint of another namespace"})
	}
	if headless(s) {
		return
	}
	for _, p := range s.Spec.Ports {
		name := fmt.Sprintf("port %d", p.Port)
		if p.Name != "" {
			name = fmt.Sprintf("port %s (%d)", p.Name, p.Port)
		}
		switch http, sniffed := isHTTP(p); {
		case http:
		case sniffed:
			c.add(Warning, "port-not-http", at, name+" does not say its protocol: the waypoint guesses from the first bytes, and judges methods and paths only when it guesses HTTP", "name it http or set appProtocol: http")
		default:
			c.add(Warning, "port-not-http", at, name+" is no HTTP to the waypoint: methods and paths are lost, ALLOW rules with them are left out, and a server that speaks first is heard by callers that are refused",
				"name it http if it is; otherwise protect the pods by a policy without a target, which decides before the connection")
		}
	}
}

// overProtected reports whether the pods of a Service are also behind one with a
// waypoint: the bypass checks speak about those.
func (c *checker) overProtected(s *corev1.Service) bool {
	for _, w := range c.mesh.behind(s) {
		if len(c.mesh.protecting(w)) > 0 {
			return true
		}
	}
	return false
}

func (c *checker) anyMeshed(s *corev1.Service) (in, known bool) {
	for _, w := range c.mesh.behind(s) {
		if in, known := c.mesh.meshed(w); in {
			return in, known
		}
	}
	return false, true
}

// protecting returns the Services over a workload that a waypoint serves, the
// ones with policies of their own first.
func (m *mesh) protecting(w workload) []*corev1.Service {
	var out []*corev1.Service
	for _, s := range m.set.Services {
		if s.Namespace != w.key.Namespace || headless(s) || len(s.Spec.Selector) == 0 || !subset(s.Spec.Selector, w.labels) {
			continue
		}
		if b := m.binding(s); b.serves() && b.namespace == s.Namespace {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *corev1.Service) int { return rank(m, a) - rank(m, b) })
	return out
}

func rank(m *mesh, s *corev1.Service) int {
	if m.ownPolicy(s) {
		return 0
	}
	return 1
}

// ownPolicy reports whether a policy targets the Service itself.
func (m *mesh) ownPolicy(s *corev1.Service) bool {
	for _, p := range m.set.AuthorizationPolicies {
		if p.Namespace != s.Namespace {
			continue
		}
		for _, r := range targetRefs(p) {
			if r.GetKind() == "Service" && r.GetName() == s.Name {
				return true
			}
		}
	}
	return false
}
