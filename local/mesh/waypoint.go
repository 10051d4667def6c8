package mesh

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"artemis.example/local/hbone"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// waypoint is a Cell's waypoint: it takes tunnels to the Services bound to it,
// judges what comes through, and opens tunnels to their pods.
type waypoint struct {
	m   *Mesh
	ref topology.Ref
	ip  netip.Addr
	up  upstreams

	mu     sync.Mutex
	server *hbone.Server // nil while stopped
}

// startWaypoints starts the waypoints that a World has and stops those that it
// has no more.
func (m *Mesh) startWaypoints(w *topology.World) error {
	for ref, wp := range m.waypoints {
		if w.WaypointGateway(ref) == nil {
			wp.stop()
			m.ready.Delete(ref)
			delete(m.waypoints, ref)
		}
	}
	if m.cfg.ExternalWaypoints {
		return nil
	}
	for _, g := range w.Waypoints {
		if m.waypoints[g.Pod.Ref] != nil {
			continue
		}
		wp := &waypoint{m: m, ref: g.Pod.Ref, ip: g.Pod.IP}
		if err := wp.start(g.Pod); err != nil {
			return err
		}
		m.waypoints[g.Pod.Ref] = wp
	}
	return nil
}

func (w *waypoint) start(pod *topology.Pod) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server != nil {
		return nil
	}
	ln, err := w.m.listen(w.ip, topology.HBONEPort)
	if err != nil {
		return fmt.Errorf("start waypoint %s: %w", w.ref, err)
	}
	server := &hbone.Server{
		Identity: w.m.cfg.CA.Source(pod.ID),
		Handle:   w.handle,
		Logger:   w.m.cfg.Logger,
		Failed:   func(remote net.Addr, err error) { w.m.noteHostile(w.ref, decision.HopWaypoint, remote, err) },
	}
	w.server = server
	w.m.ready.Store(w.ref, true)
	go func() { _ = server.Serve(ln) }()
	return nil
}

func (w *waypoint) stop() {
	w.mu.Lock()
	server := w.server
	w.server = nil
	w.mu.Unlock()
	if server != nil {
		server.Close()
	}
	w.up.close()
}

// chain is what a waypoint does with the connections to one port of a Service.
type chain struct {
	service *topology.Service
	port    topology.Port
	gateway *topology.WaypointGateway
}

// find returns the chain of an address: of a Service that is bound to this
// waypoint, and of nothing else (filter chains inbound-vip of a waypoint with
// waypoint-for: service).
func (w *waypoint) find(s *state, dst netip.AddrPort) (chain, bool) {
	svc := s.world.ServiceAt(dst.Addr())
	if svc == nil || svc.Waypoint == nil || svc.Waypoint.Pod.Ref != w.ref {
		return chain{}, false
	}
	port, ok := svc.Port(dst.Port())
	return chain{svc, port, svc.Waypoint}, ok
}

// tunnelConn is one tunnel through a waypoint.
type tunnelConn struct {
	w      *waypoint
	st     *hbone.Stream
	dst    netip.AddrPort
	caller string
	remote netip.AddrPort
	// last is the chain that the tunnel was last seen under. Calls that are under
	// way when its Service leaves the waypoint end under it.
	last chain
}

func (w *waypoint) handle(st *hbone.Stream) {
	dst, err := netip.ParseAddrPort(st.Authority())
	if st.Malformed() || err != nil {
		_ = st.Refuse(http.StatusBadRequest)
		w.m.noteHostile(w.ref, decision.HopWaypoint, st.RemoteAddr(),
			fmt.Errorf("%s asked for %.60q", st.Peer(), st.Authority()))
		return
	}
	s := w.m.state.Load()
	t := &tunnelConn{w: w, st: st, dst: dst, caller: st.Peer().String(), remote: addrPort(st.RemoteAddr())}
	var ok bool
	if t.last, ok = w.find(s, dst); !ok {
		// Its Service may have left the waypoint while the tunnel was under way.
		if before := s.before.Load(); before != nil {
			t.last, ok = w.find(before, dst)
		}
	}
	if err := st.Accept(); err != nil {
		return
	}
	if !ok {
		rec := t.record(s)
		rec.Verdict, rec.Reason = decision.Failed, "the waypoint serves no such address: "+dst.String()
		w.m.note(s, rec)
		_ = st.Reset()
		return
	}
	l := w.m.track(s, nil, func(now *state) disposition {
		if now.world.WaypointGateway(w.ref) == nil {
			return closeNow
		}
		return keep
	}, func() { _ = st.Reset() })
	defer l.done()
	switch t.last.port.Protocol {
	case topology.TCP:
		t.tcp(nil)
	case topology.Sniffed:
		t.sniff()
	default:
		t.http(nil)
	}
}

// chainUnder returns the chain of the tunnel under a state. When the Service has
// left the waypoint and this tunnel has not yet, it is the last one, with the
// Service's pods where they are now.
func (t *tunnelConn) chainUnder(s *state) chain {
	if c, ok := t.w.find(s, t.dst); ok {
		return c
	}
	c := t.last
	if svc := s.world.Service(c.service.Ref); svc != nil {
		c.service = svc
	}
	return c
}

// record begins a record of this tunnel.
func (t *tunnelConn) record(s *state) decision.Record {
	r := decision.Record{
		From: callerOf(s.world, t.caller, t.remote), Hop: decision.HopWaypoint, Layer: 3, Encrypted: true,
		To: decision.Peer{Namespace: t.w.ref.Namespace, Address: t.dst.String()},
	}
	if svc := t.last.service; svc != nil {
		r.To = serviceAt(svc, t.dst)
	} else {
		r.Layer = 0
	}
	return r
}

// connect opens a connection to a pod of the Service.
func (t *tunnelConn) connect(s *state) (*state, route, net.Conn, error) {
	s, r, conn, err := t.w.m.connect(s, t.route)
	if err != nil {
		t.w.m.noteFailure(s, r, err)
	}
	return s, r, conn, err
}

// route finds the leg from the waypoint to the Service's pods.
func (t *tunnelConn) route(s *state) route {
	self := s.world.Pod(t.w.ref)
	if self == nil {
		return route{failure: "the waypoint is gone"}
	}
	c := t.chainUnder(s)
	return t.w.m.route(s, self, topology.Destination{Service: c.service, Port: c.port.Number})
}

const sniffTimeout = 5 * time.Second

// sniff waits for the caller's first bytes, as Envoy's HTTP inspector does on a
// port whose protocol nobody named.
func (t *tunnelConn) sniff() {
	_ = t.st.SetReadDeadline(time.Now().Add(sniffTimeout))
	first := make([]byte, 1024)
	n, err := 0, error(nil)
	for n < 24 && err == nil && couldBeHTTP(first[:n]) {
		var k int
		k, err = t.st.Read(first[n:])
		n += k
		if looksLikeHTTP(first[:n]) {
			break
		}
	}
	_ = t.st.SetReadDeadline(time.Time{})
	if looksLikeHTTP(first[:n]) {
		t.http(first[:n])
		return
	}
	t.tcp(first[:n])
}
