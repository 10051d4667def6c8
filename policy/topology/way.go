package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Caller is who opens a connection. Pod is nil for one whom the manifests do not
// name.
type Caller struct {
	Pod *Pod
	// Identity is the SPIFFE ID that the caller can prove, empty for one outside of
	// the mesh.
	Identity string
	// Endpoint is the caller as NetworkPolicies see it.
	Endpoint netpol.Endpoint
	// Meshed callers speak HBONE, or have a node proxy that does for them.
	Meshed bool
}

// Caller returns the pod as one who opens connections.
func (p *Pod) Caller() Caller {
	c := Caller{Pod: p, Endpoint: p.Endpoint, Meshed: p.Meshed || p.Kind == Waypoint || p.Kind == Ingress}
	if c.Meshed {
		c.Identity = p.Identity
	}
	return c
}

// Account returns a pod that the manifests do not name, without labels, of that
// namespace and ServiceAccount; it is in the mesh when its namespace is, or when
// that is not among the manifests.
func (w *World) Account(namespace, account string) (Caller, error) {
	id, err := ID(namespace, account)
	if err != nil {
		return Caller{}, fmt.Errorf("identity of account %s/%s: %w", namespace, account, err)
	}
	return w.Identity(id.String())
}

// Identity returns the pod that has a SPIFFE ID, or else one that might have it:
// in the namespace that the ID names, without labels.
func (w *World) Identity(id string) (Caller, error) {
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return Caller{}, fmt.Errorf("identity %s: %w", id, err)
	}
	if p := w.PodOf(parsed.String()); p != nil {
		return p.Caller(), nil
	}
	c := Caller{Identity: parsed.String(), Meshed: true}
	part := strings.Split(parsed.Path(), "/")
	if len(part) == 5 && part[1] == "ns" && parsed.TrustDomain() == TrustDomain {
		c.Endpoint.Namespace = part[2]
		if of, known := w.Namespaces[part[2]]; known {
			c.Endpoint.NamespaceLabels = of
			c.Meshed = of[LabelDataplaneMode] == ModeAmbient
		}
	}
	if !c.Meshed {
		c.Identity = ""
	}
	return c, nil
}

// Outside returns a caller that is no pod.
func Outside(ip netip.Addr) Caller { return Caller{Endpoint: netpol.Endpoint{IP: ip}} }

// waypoint reports whether the caller is one: it goes to the pods.
func (c *Caller) waypoint() bool { return c.Pod != nil && c.Pod.Kind == Waypoint }

// gateway reports whether the caller is a north/south gateway.
func (c *Caller) gateway() bool { return c.Pod != nil && c.Pod.Kind == Ingress }

// SchemeOf returns what a caller's x-forwarded-proto says whatever was sent: a gateway
// writes it. It is empty for everybody else, and where that one may write either.
func (w *World) SchemeOf(c *Caller) string {
	for _, g := range w.Gateways {
		if g.Pod == c.Pod {
			return g.Scheme
		}
	}
	return ""
}

// Destination is what a call is meant for: a Service, a pod's own address, or what
// an HTTPRoute of the calling gateway leads to. Exactly one of them is set.
type Destination struct {
	Service *Service
	Pod     *Pod
	Route   *Route
	Port    uint16 // of the Service, or of the pod; a Route has its own
}

// service returns the Service that is meant, and its port; nil for a pod's address.
func (d *Destination) service() (*Service, uint16) {
	if d.Route != nil {
		return d.Route.Service, d.Route.Port
	}
	return d.Service, d.Port
}

// DestinationAt returns what an address means to a mesh.
func (w *World) DestinationAt(addr netip.AddrPort) (Destination, bool) {
	if s := w.ServiceAt(addr.Addr()); s != nil {
		return Destination{Service: s, Port: addr.Port()}, true
	}
	if p := w.PodAt(addr.Addr()); p != nil {
		return Destination{Pod: p, Port: addr.Port()}, true
	}
	return Destination{}, false
}

// Destinations returns every way in which the World offers a pod: each port of each
// Service over it, each of the ports at its own address, each rule of an HTTPRoute
// that leads to it.
func (w *World) Destinations(p *Pod) []Destination {
	var out []Destination
	behind := func(s *Service, port uint16) bool {
		return slices.ContainsFunc(s.Backends(port), func(b Backend) bool { return b.Pod == p })
	}
	for _, s := range w.Services {
		for _, port := range s.Ports {
			if behind(s, port.Number) {
				out = append(out, Destination{Service: s, Port: port.Number})
			}
		}
	}
	for _, port := range p.Ports {
		out = append(out, Destination{Pod: p, Port: port})
	}
	for _, g := range w.Gateways {
		for i := range g.Routes {
			if r := &g.Routes[i]; r.Service != nil && behind(r.Service, r.Port) {
				out = append(out, Destination{Route: r})
			}
		}
	}
	return out
}

// Way is how a call goes: its connections in order, up to the program in the pod,
// or up to the first that cannot be made.
type Way struct {
	From Caller
	To   Destination
	Legs []Leg
	// Failure says why there is no further leg, empty when the last one leads to the
	// destination's pod.
	Failure string
}

// Target returns what the call touches, for the gaps that it may depend on.
func (w *Way) Target() manifest.Target {
	t := manifest.Target{Caller: w.From.Endpoint.Namespace}
	pod := w.To.Pod
	for i := range w.Legs {
		if l := &w.Legs[i]; l.Waypoint != nil {
			t.Gateways = append(t.Gateways, l.Pod.Ref.String())
		} else {
			pod = l.Pod
		}
	}
	if w.From.gateway() {
		t.Gateways = append(t.Gateways, w.From.Pod.Ref.String())
	}
	if s, _ := w.To.service(); s != nil && s.Entry {
		t.Namespace, t.ServiceEntry = s.Namespace, s.Name
	} else if s != nil {
		t.Namespace, t.Service = s.Namespace, s.Name
	}
	if pod != nil {
		t.Namespace, t.Labels = pod.Namespace, pod.Labels
	}
	return t
}

// Leg is one connection of a Way, with all that those who judge it go by: the
// NetworkPolicies of both ends; then the waypoint, where Waypoint is set; else the
// pod's node proxy, where the pod is Meshed; else nobody.
type Leg struct {
	From Caller
	// Pod is the next hop: the destination's pod, or a waypoint's.
	Pod *Pod
	// HBONE is set when the connection is a tunnel over mutual TLS; it is plaintext
	// otherwise, and the caller proves nothing.
	HBONE bool
	// Port is what the packet shows, and what NetworkPolicies see.
	Port uint16
	// Authority is what is asked for: the Service's address at its waypoint, the
	// pod's own otherwise.
	Authority netip.AddrPort
	// Waypoint is set when the hop is that one. It judges by the policies of Service,
	// or where that is nil by those for no Service.
	Waypoint *WaypointGateway
	// Service is the one that was addressed, nil for a pod's own address.
	Service *Service
	// Protocol is how a waypoint treats what it sees.
	Protocol Protocol
}

// Identity returns what the caller proves on this leg, empty in plaintext.
func (l *Leg) Identity() string {
	if l.HBONE {
		return l.From.Identity
	}
	return ""
}

// Live is what only a running mesh knows. The zero value stands for one in which
// every waypoint is ready, and the first pod answers.
type Live struct {
	// Ready reports whether a waypoint has been ready: one that never was is gone
	// around.
	Ready func(*WaypointGateway) bool
	// Pick chooses among the pods of a Service.
	Pick func([]Backend) Backend
}

func (l Live) ready(w *WaypointGateway) bool { return w != nil && (l.Ready == nil || l.Ready(w)) }

func (l Live) pick(b []Backend) Backend {
	if l.Pick == nil {
		return b[0]
	}
	return l.Pick(b)
}

// Way returns the whole way of a call.
func (w *World) Way(from Caller, to Destination, live Live) Way {
	way := Way{From: from, To: to}
	leg, failure := w.NextLeg(from, to, live)
	if failure == "" {
		way.Legs = append(way.Legs, leg)
		if leg.Waypoint != nil {
			if leg, failure = w.NextLeg(leg.Pod.Caller(), to, live); failure == "" {
				way.Legs = append(way.Legs, leg)
			}
		}
	}
	way.Failure = failure
	return way
}

// Ways returns the ways of a call, one for each pod that may answer it, and at
// least one.
func (w *World) Ways(from Caller, to Destination) []Way {
	backends := 1
	ways := []Way{w.Way(from, to, Live{Pick: func(b []Backend) Backend { backends = len(b); return b[0] }})}
	for i := 1; i < backends; i++ {
		ways = append(ways, w.Way(from, to, Live{Pick: func(b []Backend) Backend { return b[i] }}))
	}
	return ways
}

// NextLeg returns the connection that a caller opens for a call: as a node proxy
// decides (istio/ztunnel src/proxy/outbound.rs, build_request), as a gateway does
// with its HTTPRoutes, or as a waypoint does with what it has admitted. failure
// says why there is none.
func (w *World) NextLeg(from Caller, to Destination, live Live) (leg Leg, failure string) {
	if to.Pod != nil {
		if g := to.Pod.Waypoint; live.ready(g) && from.Meshed && !from.waypoint() && !from.gateway() {
			return Leg{
				From: from, Pod: g.Pod, HBONE: true, Port: HBONEPort, Authority: netip.AddrPortFrom(to.Pod.IP, to.Port),
				Waypoint: g, Protocol: Sniffed,
			}, ""
		}
		return legToPod(from, nil, Backend{to.Pod, to.Port}), ""
	}
	if to.Route != nil {
		if !from.gateway() && !from.waypoint() {
			return leg, fmt.Sprintf("HTTPRoute %s is for the gateway's callers", to.Route.Ref)
		}
		if to.Route.Service == nil {
			return leg, fmt.Sprintf("HTTPRoute %s leads to a Service that does not exist", to.Route.Ref)
		}
	}
	s, number := to.service()
	port, ok := s.Port(number)
	if !ok {
		return leg, fmt.Sprintf("%s %s has no port %d", s.Kind(), s.Ref, number)
	}
	if s.Entry && !from.Meshed {
		return leg, fmt.Sprintf("callers outside of the mesh know no ServiceEntry: what %s is to them, their DNS says",
			s.Host)
	}
	if g := s.waypointFor(&from); live.ready(g) && from.Meshed {
		return Leg{
			From: from, Pod: g.Pod, HBONE: true, Port: HBONEPort, Authority: netip.AddrPortFrom(s.VIP, number),
			Waypoint: g, Service: s, Protocol: port.Protocol,
		}, ""
	}
	backends := s.Backends(number)
	if len(backends) == 0 {
		return leg, fmt.Sprintf("%s %s has no endpoint for port %d", s.Kind(), s.Ref, number)
	}
	b := live.pick(backends)
	if !s.VIP.IsValid() && !s.Entry && !from.gateway() {
		// Who asks a headless Service gets the pods' addresses, and dials the port that
		// he knows.
		leg, failure = w.NextLeg(from, Destination{Pod: b.Pod, Port: number}, live)
		if leg.Waypoint == nil {
			leg.Service, leg.Protocol = s, port.Protocol
		}
		return leg, failure
	}
	leg = legToPod(from, s, b)
	leg.Protocol = port.Protocol
	return leg, ""
}

// waypointFor returns what a caller of the Service goes through, nil for none.
func (s *Service) waypointFor(c *Caller) *WaypointGateway {
	switch {
	case c.waypoint():
		return nil
	case c.gateway():
		return s.IngressWaypoint
	}
	return s.Waypoint
}

// legToPod tunnels when both ends are in the mesh.
func legToPod(from Caller, s *Service, to Backend) Leg {
	l := Leg{
		From: from, Pod: to.Pod, Port: to.Port, Authority: netip.AddrPortFrom(to.Pod.IP, to.Port),
		Service: s, Protocol: Sniffed,
	}
	if from.Meshed && to.Pod.Meshed {
		l.HBONE, l.Port = true, HBONEPort
	}
	return l
}

// SameWay reports whether two legs are to the same hop by the same means.
func (l *Leg) SameWay(o *Leg) bool {
	return l.Pod != nil && o.Pod != nil && l.HBONE == o.HBONE && l.Port == o.Port &&
		l.Pod.IP == o.Pod.IP && l.Authority == o.Authority
}
