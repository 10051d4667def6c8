package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Gap is something of the input that is left out and that answers depend on: a
// field that the evaluators lack, or an object that they do not know.
type Gap struct {
	Origin
	Object Key
	// Field is the path within the object, empty for the whole of it.
	Field string
	// Why says what is not understood, or what it can change.
	Why   string
	Scope Scope
	// Bounded gaps are in Input.Most and Input.Least both ways that they can go:
	// only answers in which the two differ depend on them. Every answer within
	// the scope of another gap depends on it.
	Bounded bool
}

// String returns "FIELD in FILE:LINE", or the object in place of the field.
func (g Gap) String() string {
	return fmt.Sprintf("%s in %s:%d", cmp.Or(g.Field, g.Object.WithKind()), g.File, g.Line)
}

// Scope is which calls a Gap can touch. An empty field is no limit.
type Scope struct {
	// Namespace is the destination's, or where Callers is set also the caller's.
	Namespace string
	Callers   bool
	// Labels are the destination pod's.
	Labels map[string]string
	// Service is the name of the Service that is called, or ServiceEntry of that.
	Service, ServiceEntry string
	// Gateway is "namespace/name" of a waypoint or gateway on the way; with
	// AnyGateway, whichever.
	Gateway    string
	AnyGateway bool
	// Around is set for what is a way of its own, or hides one: it concerns who asks for
	// every way to the destination.
	Around bool
}

// Target is what a call touches on its way.
type Target struct {
	// Caller is the caller's namespace, Namespace the destination's.
	Caller, Namespace string
	// Labels are the destination pod's, Service or ServiceEntry what is called; empty
	// for a call to a pod's own address.
	Labels                map[string]string
	Service, ServiceEntry string
	// Gateways are the waypoint and the gateway on the way, as "namespace/name".
	Gateways []string
	// Around is set where every way to the destination is asked for.
	Around bool
}

// Touches reports whether a call depends on what is in the scope.
func (s Scope) Touches(t Target) bool {
	switch {
	case s.Around && !t.Around:
		return false
	case s.Gateway != "":
		return slices.Contains(t.Gateways, s.Gateway)
	case s.AnyGateway && len(t.Gateways) == 0:
		return false
	case s.AnyGateway && slices.ContainsFunc(t.Gateways, s.holds):
		return s.Service == "" || s.Service == t.Service
	case s.Namespace != "" && s.Namespace != t.Namespace && (!s.Callers || s.Namespace != t.Caller):
		return false
	case s.Service != "" && s.Service != t.Service, s.ServiceEntry != "" && s.ServiceEntry != t.ServiceEntry:
		return false
	}
	return Selects(s.Labels, t.Labels)
}

// scope returns the calls that an object can touch.
func (k Key) scope() Scope {
	switch k.Kind {
	case "Service":
		return Scope{Namespace: k.Namespace, Service: k.Name}
	case "ServiceEntry":
		return Scope{Namespace: k.Namespace, ServiceEntry: k.Name}
	case "Gateway":
		return Scope{Gateway: k.String()}
	case "HTTPRoute":
		return Scope{Namespace: k.Namespace, AnyGateway: true}
	case "Namespace":
		return Scope{Namespace: k.Name, Callers: true}
	}
	return Scope{Namespace: k.Namespace, Callers: true}
}

// scope returns the calls to a workload's pods.
func (w *Workload) scope() Scope { return Scope{Namespace: w.Namespace, Labels: w.Template.Labels} }

// atWaypoint returns those of a scope that come through a waypoint or gateway.
func (s Scope) atWaypoint() Scope {
	s.AnyGateway = true
	return s
}

// holds reports whether a gateway is of the scope's namespace.
func (s Scope) holds(gateway string) bool { return strings.HasPrefix(gateway, s.Namespace+"/") }

// Touching returns the gaps that a call depends on.
func Touching(gaps []Gap, t Target) []Gap {
	var out []Gap
	for _, g := range gaps {
		if g.Scope.Touches(t) {
			out = append(out, g)
		}
	}
	return out
}
