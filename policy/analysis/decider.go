package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/message"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
)

// side is one state of the manifests with its policies compiled: what is asked, or
// one of the two that are compared.
type side struct {
	*evaluate.Policies
	world *topology.World
	named map[*authz.Engine]map[bool]*named
	// workloads, names, offered and found are made when they are first asked for: the
	// pods of a workload, what the World offers a pod by, and the ways to a workload.
	workloads map[workload][]*topology.Pod
	names     map[string][]*topology.Pod // a pod of each workload of that name
	offered   map[*topology.Pod][]topology.Destination
	found     map[workload][]*destination
	called    map[string][]netip.Prefix
	// worlds are those of all sides: the ports of a pod that names none, by namespace, are
	// cut alike for all, so that they can be compared.
	worlds []*topology.World
	spans  map[string][]uint16
}

func newSide(w *topology.World) *side {
	return &side{Policies: evaluate.New(w), world: w, worlds: []*topology.World{w},
		named: map[*authz.Engine]map[bool]*named{}}
}

// decider is what one side says about the requests of one caller by one way: no
// to all, yes to all, or what a waypoint's rules say to each.
type decider struct {
	closed bool
	why    string // it is closed
	err    error  // it cannot be judged
	// rest is what the rules still have to say; decide is the data path's own
	// evaluator, and has the last word.
	rest   *authz.Rest
	decide func(*authz.Request) bool
}

func closed(why string) decider { return decider{closed: true, why: why} }

var everything = decider{rest: &authz.Rest{}, decide: func(*authz.Request) bool { return true }}

func (d *decider) allows(r *authz.Request) bool { return !d.closed && d.decide(r) }

// key returns a text that two deciders share only when they say the same.
func (d *decider) key() string {
	if d.closed {
		return "closed"
	}
	return d.rest.Key()
}

// request is what of a call is known before its first byte: who calls, what the
// connection shows, and the headers that the waypoint itself writes, or the gateway.
func (s *side) request(l *topology.Leg, http bool) *authz.Request {
	r := &authz.Request{
		Principal: l.Identity(), SourceIP: l.From.Endpoint.IP, RemoteIP: l.From.Endpoint.IP,
		DestIP: l.Authority.Addr(), DestPort: l.Authority.Port(), HTTP: http,
	}
	if http {
		r.Header = evaluate.View(l.Waypoint).Certain(r.Principal)
		if r.Scheme = s.world.SchemeOf(&l.From); r.Scheme != "" {
			r.Header.Set("X-Forwarded-Proto", r.Scheme)
		}
	}
	return r
}

// question is one caller, one destination, and whether what is sent is HTTP.
type question struct {
	from  topology.Caller
	to    *destination
	bytes bool
	// identityOnly leaves the NetworkPolicies out: it asks for the most that callers
	// of that identity could have.
	identityOnly bool
	// blocks are those that callers' addresses are compared with.
	blocks []netip.Prefix
}

// errHop is returned where a decision depends on an address that a cluster makes up.
var errHop = errors.New("a NetworkPolicy or rule looks at the address of a waypoint, of a called pod, of a host " +
	"by name or of a caller's node, which is not in the manifests")

// errSNI is returned where a decision depends on what TLS says that a port carries: a
// waypoint looks into it where a Service's port is one of TLS.
var errSNI = errors.New("rules look at connection.sni, which a client's TLS may say where a port carries bytes")

// depends reports whether what is decided about a leg changes with the address of the
// waypoint that opens it, or of the pod at its end.
func (s *side) depends(l *topology.Leg, blocks []netip.Prefix) bool {
	says := func(l topology.Leg) bool {
		return s.Perimeter(&l).Allowed && (l.Waypoint != nil || s.AtPod(&l).Allowed)
	}
	as := says(*l)
	if l.From.Pod != nil && l.From.Pod.Kind == topology.Waypoint && len(blocks) > 0 {
		for _, c := range podClasses(blocks) {
			other := *l
			other.From.Endpoint.IP = c.addr
			if says(other) != as {
				return true
			}
		}
	}
	if p := l.From.Pod; p != nil && p.HostNetwork {
		node := *l
		if node.From.Endpoint = (netpol.Endpoint{IP: p.IP}); says(node) != as {
			return true
		}
	}
	if l.Pod.Kind == topology.External {
		return s.Unsure(l)
	}
	if called := s.calledBlocks(l.From.Endpoint.Namespace); len(called) > 0 {
		for _, c := range podClasses(called) {
			pod := *l.Pod
			pod.Endpoint.IP = c.addr
			other := *l
			other.Pod = &pod
			if s.Perimeter(&other).Allowed != s.Perimeter(l).Allowed {
				return true
			}
		}
	}
	return false
}

// calledBlocks returns the blocks that the egress policies of a namespace name.
func (s *side) calledBlocks(namespace string) []netip.Prefix {
	if namespace == "" {
		return nil
	}
	if b, ok := s.called[namespace]; ok {
		return b
	}
	m := netpol.NewMentions()
	s.Mentions(m, nil, namespace)
	if s.called == nil {
		s.called = map[string][]netip.Prefix{}
	}
	s.called[namespace] = m.Blocks
	return m.Blocks
}

// decider returns what a side says.
func (s *side) decider(q question) decider {
	if q.to == nil {
		return closed("there is no such destination")
	}
	var out decider
	for i, way := range q.to.ways(s.world, q.from) {
		d := s.way(q, &way)
		if i == 0 || out.closed {
			out = d
		}
	}
	return out
}

func (s *side) way(q question, w *topology.Way) decider {
	out := everything
	var unknown error
	for i := range w.Legs {
		l := &w.Legs[i]
		if !q.identityOnly && s.depends(l, q.blocks) {
			unknown = errHop
			if l.Waypoint == nil {
				continue
			}
		} else if !(q.identityOnly && i == 0) {
			if r := s.Perimeter(l); !r.Allowed {
				return closed("NetworkPolicy " + r.Policy)
			}
		}
		switch {
		case l.Waypoint != nil:
			var why error
			if out, why = s.atWaypoint(q, l); out.closed {
				return out
			}
			unknown = cmp.Or(why, unknown)
		case l.Pod.Meshed && s.namedBy(s.PodEngine(l.Pod), false).destination:
			unknown = errAddress
		default:
			if r := s.AtPod(l); !r.Allowed {
				return closed(refusal(&r))
			}
		}
	}
	if w.Failure != "" {
		return closed(w.Failure)
	}
	out.err = unknown
	return out
}

// atWaypoint returns what a waypoint says, and why that is not known where it is not.
func (s *side) atWaypoint(q question, l *topology.Leg) (out decider, unknown error) {
	http := !q.bytes && l.Protocol != topology.TCP
	if q.bytes && l.Protocol == topology.HTTP {
		return closed("the waypoint takes HTTP only"), nil
	}
	e := s.WaypointEngine(l.Waypoint, l.Service)
	if s.namedBy(e, http).destination {
		unknown = errAddress
	}
	r, anyPort := s.request(l, http), q.to.anyPort
	known := func(a authz.Attribute) bool {
		switch a {
		case authz.AttributePrincipal, authz.AttributeSourceIP, authz.AttributeDestIP:
			return true
		case authz.AttributeSNI:
			return http
		case authz.AttributePort:
			return !anyPort
		case authz.AttributeRemoteIP: // which nobody forwards where there is no HTTP
			return !http
		case authz.AttributeScheme:
			return r.Scheme != ""
		}
		name, ok := a.Header()
		return ok && (message.Certain(name) || len(r.Header[name]) > 0)
	}
	out = decider{rest: e.Rest(http).Given(r, known), decide: func(asked *authz.Request) bool {
		q := *r
		if anyPort {
			q.DestPort = asked.DestPort
		}
		if http {
			q.RemoteIP, q.Scheme = asked.RemoteIP, cmp.Or(r.Scheme, asked.Scheme)
			q.Method, q.Host, q.Path = asked.Method, asked.Host, asked.Path
			q.Header = maps.Clone(r.Header)
			maps.Copy(q.Header, asked.Header)
		}
		return e.Decide(&q).Allowed
	}}
	if wants([]decider{out}, authz.AttributeSNI) {
		unknown = errSNI
	}
	if allowed, ok := out.rest.Decided(); ok && !allowed {
		return closed(reason(e, l)), nil
	}
	return out, unknown
}

// reason names the policies that refuse everything.
func reason(e *authz.Engine, l *topology.Leg) string {
	if p := e.Policies(); len(p) > 0 {
		return "AuthorizationPolicy " + strings.Join(p, ", ")
	}
	return fmt.Sprintf("waypoint %s", l.Pod.Ref)
}

// refusal names the policy by which a node proxy refuses a connection.
func refusal(r *evaluate.Ruling) string {
	switch {
	case r.Engine == nil:
		return "PeerAuthentication " + r.Policy
	case r.Policy == "":
		return "AuthorizationPolicy " + strings.Join(r.Engine.Policies(), ", ")
	}
	return "AuthorizationPolicy " + r.Policy
}

// named is what the rules of an engine compare identities with.
type named struct {
	accounts map[string]bool // "namespace/account" of those that are named one by one
	// patterns are what else they are compared with; of those whom no pattern and no
	// name means, one is as good as another.
	patterns []authz.Value
	// address is set where an address matters, too, and destination where the
	// destination's does.
	address, destination bool
}

func (s *side) namedBy(e *authz.Engine, http bool) *named {
	if s.named[e] == nil {
		s.named[e] = map[bool]*named{}
	}
	if n := s.named[e][http]; n != nil {
		return n
	}
	n := &named{accounts: map[string]bool{}}
	rest := e.Rest(http)
	rest.Values(authz.AttributePrincipal, func(v authz.Value) {
		switch {
		case v.Identity != "":
			n.accounts[v.Identity] = true
		case v.Text != "*":
			n.patterns = append(n.patterns, v)
		}
	})
	rest.Values(authz.AttributeSourceIP, func(authz.Value) { n.address = true })
	rest.Values(authz.AttributeDestIP, func(authz.Value) { n.destination = true })
	s.named[e][http] = n
	return n
}
