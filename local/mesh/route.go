package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"artemis.example/local/hbone"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// route is where a connection goes next, and why.
type route struct {
	service *topology.Service // that was addressed, if one was
	pod     *topology.Pod     // the next hop: the destination, or its waypoint
	// tunnel is set when the hop speaks HBONE; authority is what is asked of it.
	tunnel    bool
	authority netip.AddrPort
	// port is the destination's own, outer the one that the packet shows.
	port, outer uint16
	// failure says why there is no next hop.
	failure string
}

// same reports whether two routes lead the same way.
func (r route) same(o route) bool {
	return r.tunnel == o.tunnel && r.outer == o.outer && r.pod != nil && o.pod != nil && r.pod.IP == o.pod.IP && r.authority == o.authority
}

func (r route) to() decision.Peer {
	to := peerOf(r.pod)
	if r.pod != nil {
		to.Address = netip.AddrPortFrom(r.pod.IP, r.port).String()
	}
	if r.service != nil {
		to.Service, to.Namespace = r.service.Name, r.service.Namespace
		if b := r.service.Backends(r.authority.Port()); r.pod != nil && r.pod.Kind == topology.Waypoint && len(b) > 0 {
			address := netip.AddrPortFrom(r.service.VIP, r.authority.Port()).String()
			to = peerOf(b[0].Pod)
			to.Service, to.Address = r.service.Name, address
		}
	}
	return to
}

// roundRobin spreads calls over the pods of a Service.
type roundRobin struct{ n atomic.Uint32 }

func (r *roundRobin) pick(b []topology.Backend) topology.Backend {
	return b[int(r.n.Add(1))%len(b)]
}

// routeOutbound decides as the caller's node proxy does
// (istio/ztunnel src/proxy/outbound.rs, build_request): a Service with a
// waypoint through it, anything else to the pod, an unknown address nowhere.
func (m *Mesh) routeOutbound(s *state, src *topology.Pod, dst netip.AddrPort) route {
	if svc := s.world.ServiceAt(dst.Addr()); svc != nil {
		if _, ok := svc.Port(dst.Port()); !ok {
			return route{service: svc, failure: fmt.Sprintf("Service %s has no port %d", svc.Ref, dst.Port())}
		}
		if w := svc.Waypoint; w != nil && src.Meshed && m.ready.is(w.Pod.Ref) {
			return throughWaypoint(svc, w, dst)
		}
		return m.routeToService(svc, src.Meshed, dst.Port())
	}
	if pod := s.world.PodAt(dst.Addr()); pod != nil {
		return routeToPod(nil, src.Meshed, pod, dst.Port())
	}
	return route{failure: "nobody has the address " + dst.Addr().String()}
}

func throughWaypoint(svc *topology.Service, w *topology.WaypointGateway, dst netip.AddrPort) route {
	return route{service: svc, pod: w.Pod, tunnel: true, authority: dst, port: dst.Port(), outer: topology.HBONEPort}
}

func (m *Mesh) routeToService(svc *topology.Service, meshed bool, port uint16) route {
	backends := svc.Backends(port)
	if len(backends) == 0 {
		return route{service: svc, failure: fmt.Sprintf("Service %s has no pod for port %d", svc.Ref, port)}
	}
	b := m.next.pick(backends)
	return routeToPod(svc, meshed, b.Pod, b.Port)
}

// routeToPod tunnels when both ends are in the mesh.
func routeToPod(svc *topology.Service, meshed bool, pod *topology.Pod, port uint16) route {
	r := route{service: svc, pod: pod, port: port, outer: port, authority: netip.AddrPortFrom(pod.IP, port)}
	if meshed && pod.Meshed {
		r.tunnel, r.outer = true, topology.HBONEPort
	}
	return r
}

// networkError is a NetworkPolicy's refusal.
type networkError struct{ policy, direction string }

// Error names the policy.
func (e *networkError) Error() string {
	return fmt.Sprintf("NetworkPolicy %s refuses the %s", e.policy, e.direction)
}

var errNoRoute = errors.New("there is no way there")

// dial makes the connection of a route, if the NetworkPolicies allow it.
func (m *Mesh) dial(ctx context.Context, s *state, src *topology.Pod, r route) (net.Conn, error) {
	if err := m.checkNetworkPolicy(s, src, r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if !r.tunnel {
		return m.cfg.Node.Dial(ctx, src.IP, netip.AddrPortFrom(r.pod.IP, r.port))
	}
	st, err := m.pool.Open(ctx, hbone.Target{
		Source:   m.cfg.CA.Source(src.ID),
		SourceIP: src.IP,
		Address:  netip.AddrPortFrom(r.pod.IP, topology.HBONEPort),
		Peer:     r.pod.ID,
	}, r.authority.String(), "")
	if err != nil {
		return nil, err
	}
	return st, nil
}

// checkNetworkPolicy asks the NetworkPolicies.
func (m *Mesh) checkNetworkPolicy(s *state, src *topology.Pod, r route) error {
	if r.pod == nil {
		return fmt.Errorf("%w: %s", errNoRoute, r.failure)
	}
	if d := s.network.Decide(src.Endpoint, r.pod.Endpoint, r.outer); !d.Allowed {
		return &networkError{d.Policy, string(d.Direction)}
	}
	return nil
}

// noteFailure records why a connection could not be made, unless the other end
// has recorded it already.
func (m *Mesh) noteFailure(s *state, src *topology.Pod, r route, err error) {
	rec := decision.Record{From: peerOf(src), To: r.to(), Encrypted: r.tunnel, Verdict: decision.Failed, Reason: err.Error()}
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
		rec.Hop, rec.Layer, rec.Verdict, rec.Policy = decision.HopNetworkPolicy, 1, decision.DeniedNetwork, refused.policy
		rec.To.Address = netip.AddrPortFrom(r.pod.IP, r.outer).String()
	case errors.As(err, &status):
		if status.Code == 401 {
			return
		}
	}
	m.note(s, rec)
}
