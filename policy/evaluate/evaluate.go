// Package evaluate holds the evaluators of a World, compiled once and with one
// configuration, and puts the legs of a call's way before them. The data path,
// explain, lint and analysis decide by it; it knows no bytes and no words for
// people.
package evaluate

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
	"artemis.example/policy/netpol"
	"artemis.example/policy/peerauth"
	"artemis.example/policy/topology"
)

// Policies is every policy of a World.
type Policies struct {
	World *topology.World
	// Headers reports whether any policy looks at a request's header.
	Headers bool

	network   *netpol.Policies
	peer      *peerauth.Policies
	node      *authz.NodeProxy
	waypoints *authz.Waypoint
	pods      map[topology.Ref]*authz.Engine
}

// New compiles the policies of a World.
func New(w *topology.World) *Policies {
	cfg := authz.Config{TrustDomain: catalog.TrustDomain, RootNamespace: catalog.RootNamespace}
	policies := w.Set.AuthorizationPolicies
	p := &Policies{
		World:     w,
		network:   netpol.New(w.Set.NetworkPolicies),
		peer:      peerauth.New(catalog.RootNamespace, w.Set.PeerAuthentications),
		node:      authz.NewNodeProxy(cfg, policies),
		waypoints: authz.NewWaypoint(cfg, policies),
		pods:      make(map[topology.Ref]*authz.Engine, len(w.Pods)),
	}
	for _, pod := range w.Pods {
		p.pods[pod.Ref] = p.node.ForWorkload(pod.Namespace, pod.Labels)
	}
	for _, a := range policies {
		for _, r := range a.Spec.Rules {
			for _, c := range r.GetWhen() {
				p.Headers = p.Headers || strings.HasPrefix(c.GetKey(), "request.headers")
			}
		}
	}
	return p
}

// Call is what is sent on a way, as far as any policy may look at it: a request,
// or bytes that are none.
type Call struct {
	// Head is the request as the caller sends it.
	Head *message.Head
	// Seen is, instead of Head, the request as a waypoint's policies see it: Method,
	// Host, Path, Header and RemoteIP.
	Seen *authz.Request
	// Bytes is set when what is sent is no HTTP.
	Bytes bool
}

// Ruling is what one evaluator says about one leg.
type Ruling struct {
	Hop     decision.Hop
	Layer   int // 0 where nobody decides
	Allowed bool
	// Policy and Rule are those that decided, empty where none did by itself.
	Policy, Rule string
	Reason       string
	// Direction is the side of the connection that a NetworkPolicy refused.
	Direction netpol.Direction
	// Refused is set where a waypoint answers before any policy.
	Refused *message.Refusal
	// Target is the path and query that a waypoint passes on, empty for bytes.
	Target string
	// Engine and Request are what an authorization decision was made by and about,
	// for those who want to know more of it. Request is nil where none was asked.
	Engine  *authz.Engine
	Request *authz.Request
}

// Network asks the NetworkPolicies of both ends about a connection.
func (p *Policies) Network(from, to netpol.Endpoint, port uint16) netpol.Result {
	return p.network.Decide(from, to, port)
}

// Mentions adds to m what the NetworkPolicies compare the callers of some pods with,
// and the pods of some namespaces as callers.
func (p *Policies) Mentions(m *netpol.Mentions, to []*topology.Pod, from ...string) {
	for _, pod := range to {
		m.Ingress(p.network, pod.Endpoint)
	}
	for _, namespace := range from {
		m.Egress(p.network, namespace)
	}
}

// Mode returns the mode of mutual TLS of a pod's port.
func (p *Policies) Mode(pod *topology.Pod, port uint16) peerauth.Result {
	return p.peer.For(pod.Namespace, pod.Labels, port)
}

// PodEngine returns what the pod's node proxy decides by.
func (p *Policies) PodEngine(pod *topology.Pod) *authz.Engine { return p.pods[pod.Ref] }

// WaypointEngine returns what a waypoint decides by for a Service, or with nil for
// what is addressed to none.
func (p *Policies) WaypointEngine(g *topology.WaypointGateway, s *topology.Service) *authz.Engine {
	if s == nil {
		return p.waypoints.ForService(g.Pod.Namespace, g.Pod.Name, "")
	}
	to := authz.Target{Namespace: s.Namespace, Name: s.Name, Entry: s.Entry}
	return p.waypoints.At(g.Pod.Namespace, g.Pod.Name, to)
}

// Way decides about every leg of a way, in order and up to the first refusal. That
// a way has a Failure is the caller's to say.
func (p *Policies) Way(way *topology.Way, c *Call) []Ruling {
	var out []Ruling
	for i := range way.Legs {
		out = append(out, p.Leg(&way.Legs[i], c)...)
		if !out[len(out)-1].Allowed {
			break
		}
	}
	return out
}

// Leg decides about one leg: the perimeter, then whoever takes the connection.
func (p *Policies) Leg(l *topology.Leg, c *Call) []Ruling {
	network := p.Perimeter(l)
	switch {
	case !network.Allowed:
		return []Ruling{network}
	case l.Waypoint != nil:
		return []Ruling{network, p.AtWaypoint(l, c)}
	}
	return []Ruling{network, p.AtPod(l)}
}

// Perimeter asks the NetworkPolicies about a leg.
func (p *Policies) Perimeter(l *topology.Leg) Ruling {
	r := p.network.Decide(l.From.Endpoint, l.Pod.Endpoint, l.Port)
	return Ruling{Hop: decision.HopNetworkPolicy, Layer: 1, Allowed: r.Allowed, Policy: r.Policy,
		Direction: r.Direction}
}

// Unsure reports whether what NetworkPolicies say of a leg depends on an address that
// only DNS knows: its end is outside of the cluster, and named.
func (p *Policies) Unsure(l *topology.Leg) bool {
	if l.Pod.Kind != topology.External || l.Pod.IP.IsValid() {
		return false
	}
	m := netpol.NewMentions()
	m.Egress(p.network, l.From.Endpoint.Namespace)
	allowed := p.Perimeter(l).Allowed
	return slices.ContainsFunc(netpol.Edges(m.Blocks), func(a netip.Addr) bool {
		to := l.Pod.Endpoint
		to.IP = a
		return a.IsGlobalUnicast() && p.network.Decide(l.From.Endpoint, to, l.Port).Allowed != allowed
	})
}

// AtPod asks the node proxy of a leg's pod.
func (p *Policies) AtPod(l *topology.Leg) Ruling {
	return p.Inbound(l.Pod, l.Identity(), l.From.Endpoint.IP, l.Authority.Port())
}

// Inbound decides at a pod's node proxy whether a connection may enter: by the mode
// of mutual TLS where it carries no identity, then by the L4 policies.
func (p *Policies) Inbound(pod *topology.Pod, identity string, source netip.Addr, port uint16) Ruling {
	out := Ruling{Hop: decision.HopNodeProxyInbound, Allowed: true}
	switch {
	case pod.Kind == topology.External:
		out.Reason = "it is outside of the cluster"
		return out
	case !pod.Meshed:
		out.Reason = "the pod is not in the mesh"
		return out
	}
	out.Layer = 2
	if identity == "" {
		if mode := p.Mode(pod, port); mode.Mode == peerauth.Strict {
			out.Allowed, out.Policy, out.Reason = false, mode.Policy, "plaintext, where mutual TLS is STRICT"
			return out
		}
	}
	out.Engine = p.pods[pod.Ref]
	out.Request = &authz.Request{Principal: identity, SourceIP: source, RemoteIP: source, DestIP: pod.IP,
		DestPort: port}
	out.decide()
	return out
}

// AtWaypoint asks the waypoint of a leg.
func (p *Policies) AtWaypoint(l *topology.Leg, c *Call) Ruling {
	source := l.From.Endpoint.IP
	out := Ruling{
		Hop: decision.HopWaypoint, Layer: 3, Engine: p.WaypointEngine(l.Waypoint, l.Service),
		Request: &authz.Request{
			Principal: l.Identity(), SourceIP: source, RemoteIP: source,
			DestIP: l.Authority.Addr(), DestPort: l.Authority.Port(),
		},
	}
	switch {
	case l.Protocol == topology.TCP || l.Protocol == topology.Sniffed && c.Bytes:
	case c.Bytes:
		out.refuse(message.Refuse(message.Malformed("request line")))
		return out
	case c.Seen != nil:
		r := *c.Seen
		r.HTTP, r.Principal, r.SourceIP = true, l.Identity(), source
		r.DestIP, r.DestPort = l.Authority.Addr(), l.Authority.Port()
		if !r.RemoteIP.IsValid() {
			r.RemoteIP = source
		}
		out.Request, out.Target = &r, r.Path
	default:
		out.Request.HTTP, out.Request.Header = true, http.Header{}
		target, refused := View(l.Waypoint).See(c.Head, out.Request)
		if refused != nil {
			out.refuse(refused)
			return out
		}
		out.Target = target
	}
	out.decide()
	return out
}

// CouldAdmit reports whether any call of a caller to a pod could be let through:
// whether there is a way on which nothing refuses it for who it is.
func (p *Policies) CouldAdmit(from topology.Caller, pod *topology.Pod) bool {
	for _, to := range p.World.Destinations(pod) {
		for _, way := range p.World.Ways(from, to) {
			if n := len(way.Legs); way.Failure != "" || way.Legs[n-1].Pod != pod {
				continue
			}
			if !slices.ContainsFunc(way.Legs, func(l topology.Leg) bool { return !p.couldPass(&l) }) {
				return true
			}
		}
	}
	return false
}

func (p *Policies) couldPass(l *topology.Leg) bool {
	switch {
	case !p.Perimeter(l).Allowed:
		return false
	case l.Waypoint == nil:
		return p.AtPod(l).Allowed
	}
	source := l.From.Endpoint.IP
	e := p.WaypointEngine(l.Waypoint, l.Service)
	q := &authz.Request{Principal: l.Identity(), SourceIP: source, RemoteIP: source, HTTP: l.Protocol != topology.TCP}
	return len(e.Policies()) == 0 || slices.ContainsFunc(e.Trace(q), func(t authz.Trace) bool {
		return !t.Deny && !t.Never && !slices.ContainsFunc(t.Misses, authz.Miss.OfCaller)
	})
}

// Deciders names who decided: the policy that did, or, where a refusal comes from
// none of the rules matching, all those that would have had to allow it.
func Deciders(r authz.Result, e *authz.Engine) string {
	if r.Reason == authz.ReasonUnmatched {
		return strings.Join(e.Policies(), ", ")
	}
	return r.Policy
}

// View returns how a waypoint's policies see requests.
func View(g *topology.WaypointGateway) message.Waypoint {
	return message.Waypoint{Identity: g.Pod.Identity, ClientIdentity: g.XFCC}
}

func (r *Ruling) decide() {
	d := r.Engine.Decide(r.Request)
	r.Allowed, r.Policy, r.Rule, r.Reason = d.Allowed, d.Policy, d.Rule, string(d.Reason)
}

func (r *Ruling) refuse(why *message.Refusal) {
	r.Allowed, r.Refused, r.Request = false, why, nil
	r.Reason = "the waypoint refuses the request before any policy: " + why.Error()
}
