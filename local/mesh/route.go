package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"artemis.example/local/hbone"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// route is the next leg of a call's way, or why there is none.
type route struct {
	topology.Leg
	self    *topology.Pod // who opens it
	dst     topology.Destination
	failure string
}

// to describes the destination: behind a waypoint the Service with its pod.
func (r *route) to() decision.Peer {
	to := peerOf(r.Pod)
	switch {
	case r.Waypoint != nil && r.Service != nil:
		to = serviceAt(r.Service, r.Authority)
	case r.Pod != nil:
		to.Address = r.Authority.String()
	}
	if s := r.dst.Service; s != nil {
		to.Service, to.Namespace = s.Name, s.Namespace
	}
	return to
}

// serviceAt describes a Service by its first pod.
func serviceAt(s *topology.Service, at netip.AddrPort) decision.Peer {
	var to decision.Peer
	if b := s.Backends(at.Port()); len(b) > 0 {
		to = peerOf(b[0].Pod)
	}
	to.Address, to.Service, to.Namespace = at.String(), s.Name, s.Namespace
	return to
}

// live is what the topology asks a running mesh for.
func (m *Mesh) live() topology.Live {
	return topology.Live{
		Ready: func(w *topology.WaypointGateway) bool { _, ever := m.ready.Load(w.Pod.Ref); return ever },
		Pick:  func(b []topology.Backend) topology.Backend { return b[int(m.next.Add(1))%len(b)] },
	}
}

// route finds the next leg from a pod, a waypoint or the gateway.
func (m *Mesh) route(s *state, from *topology.Pod, to topology.Destination) route {
	r := route{self: from, dst: to}
	r.Leg, r.failure = s.world.NextLeg(from.Caller(), to, m.live())
	return r
}

// routeOutbound finds the next leg to an address that a pod's program dials.
func (m *Mesh) routeOutbound(s *state, from *topology.Pod, dst netip.AddrPort) route {
	to, ok := s.world.DestinationAt(dst)
	if !ok {
		return route{self: from, failure: fmt.Sprintf("no pod and no Service has the address %s", dst.Addr())}
	}
	return m.route(s, from, to)
}

// networkError is a NetworkPolicy's refusal.
type networkError struct{ policy, direction string }

// Error names the policy.
func (e *networkError) Error() string {
	return fmt.Sprintf("NetworkPolicy %s refuses the %s", e.policy, e.direction)
}

var errNoRoute = errors.New("there is nothing to connect to")

// dial makes the connection of a route, if the NetworkPolicies allow it.
func (m *Mesh) dial(ctx context.Context, s *state, r route) (net.Conn, error) {
	if err := m.checkNetworkPolicy(s, r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	src := r.From.Pod
	at := netip.AddrPortFrom(r.Pod.IP, r.Port)
	if !r.HBONE {
		return m.cfg.Node.Dial(ctx, src.IP, at)
	}
	st, err := m.pool.Open(ctx, hbone.Target{
		Source: m.cfg.CA.Source(src.ID), SourceIP: src.IP, Address: at, Peer: r.Pod.ID,
	}, r.Authority.String(), "")
	if err != nil {
		return nil, err
	}
	return st, nil
}

// connect makes the connection of the route that find returns under a state. When
// that fails and the state is no longer in force, it was perhaps right to fail: it
// is tried again under the one that is. connect returns the state by which it was
// made, or failed.
func (m *Mesh) connect(s *state, find func(*state) route) (*state, route, net.Conn, error) {
	for {
		r := find(s)
		conn, err := m.dial(context.Background(), s, r)
		now := m.state.Load()
		if err == nil || now == s {
			return s, r, conn, err
		}
		s = now
	}
}

// checkNetworkPolicy asks the NetworkPolicies about a route's connection.
func (m *Mesh) checkNetworkPolicy(s *state, r route) error {
	if r.Pod == nil {
		return fmt.Errorf("%w: %s", errNoRoute, r.failure)
	}
	if d := s.policies.Perimeter(&r.Leg); !d.Allowed {
		return &networkError{d.Policy, string(d.Direction)}
	}
	return nil
}

// noteFailure records why a connection could not be made, unless the other end
// has recorded it already.
func (m *Mesh) noteFailure(s *state, r route, err error) {
	src := r.self
	if src == nil {
		return
	}
	rec := decision.Record{
		From: peerOf(src), To: r.to(), Encrypted: r.HBONE, Verdict: decision.Failed, Reason: err.Error(),
	}
	rec.From.Address = src.IP.String()
	rec.Hop = decision.HopNodeProxyOutbound
	switch src.Kind {
	case topology.Waypoint:
		rec.Hop = decision.HopWaypoint
	case topology.Ingress:
		rec.Hop = decision.HopGateway
	}
	var refused *networkError
	var status *hbone.StatusError
	switch {
	case errors.As(err, &refused):
		rec.Hop, rec.Layer, rec.Verdict, rec.Policy = decision.HopNetworkPolicy, 1, decision.DeniedNetwork,
			refused.policy
		rec.To.Address = netip.AddrPortFrom(r.Pod.IP, r.Port).String()
	case errors.As(err, &status):
		if status.Code == 401 {
			return
		}
	}
	m.note(s, rec)
}

// reevaluateRoute compares an open connection's leg with the one that a new
// connection would take.
func (m *Mesh) reevaluateRoute(now *state, was, again route) disposition {
	if m.checkNetworkPolicy(now, again) != nil {
		return closeNow
	}
	if again.SameWay(&was.Leg) {
		return keep
	}
	// Another pod of the same Service is no other way.
	if svc := again.dst.Service; svc != nil && again.HBONE == was.HBONE && again.Waypoint == nil &&
		was.Waypoint == nil {
		for _, b := range svc.Backends(again.dst.Port) {
			if b.Pod.IP == was.Pod.IP {
				return keep
			}
		}
	}
	return drain
}
