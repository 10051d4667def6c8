package mesh

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"artemis.example/local/capture"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// externalWaypoint is a waypoint whose work another program does in a pod of its
// own: the mesh brings it what is sent to its address, and takes from it what it
// opens, as far as the NetworkPolicies allow.
type externalWaypoint struct {
	m     *Mesh
	ref   topology.Ref
	pod   capture.Pod
	ln    net.Listener
	other func(capture.Captured) bool
	links linkSet
}

// AttachWaypoint puts the program of a pod in the place of a waypoint. Every
// connection that the program opens is offered to other first, which keeps those
// for which it returns true. Config.ExternalWaypoints has to be set. SetWaypointReady says
// when the program answers, DetachPod ends it.
func (m *Mesh) AttachWaypoint(ref topology.Ref, pod capture.Pod, other func(capture.Captured) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state.Load()
	switch {
	case m.closed:
		return net.ErrClosed
	case s == nil || s.world.WaypointGateway(ref) == nil:
		return fmt.Errorf("attach waypoint %s: %w", ref, ErrUnknownPod)
	case m.external[ref] != nil:
		return fmt.Errorf("attach waypoint %s: it is attached already", ref)
	}
	ln, err := m.listen(s.world.Pod(ref).IP, topology.HBONEPort)
	if err != nil {
		return fmt.Errorf("attach waypoint %s: %w", ref, err)
	}
	e := &externalWaypoint{m: m, ref: ref, pod: pod, ln: ln, other: other}
	m.external[ref] = e
	go e.accept()
	go e.open()
	return nil
}

// accept brings what arrives at the waypoint's address.
func (e *externalWaypoint) accept() {
	for {
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer e.m.containPanic(c)
			s := e.m.state.Load()
			in, err := dialApp(e.pod, addrPort(c.RemoteAddr()).Addr(), topology.HBONEPort)
			if err != nil {
				abort(c)
				return
			}
			e.m.carry(s, &e.links, c, in, func(now *state) disposition {
				if now.world.WaypointGateway(e.ref) == nil {
					return closeNow
				}
				return keep
			})
		}()
	}
}

// open takes what the waypoint opens.
func (e *externalWaypoint) open() {
	for {
		c, err := e.pod.Accept()
		if err != nil {
			return
		}
		if e.other(c) {
			continue
		}
		go e.carryOut(c)
	}
}

func (e *externalWaypoint) carryOut(c capture.Captured) {
	m := e.m
	defer m.containPanic(c.Conn)
	s := m.state.Load()
	self := s.world.Pod(e.ref)
	if self == nil {
		abort(c.Conn)
		return
	}
	r := e.route(s, self, c.Dst)
	var up net.Conn
	err := m.checkNetworkPolicy(s, r)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		up, err = m.cfg.Node.Dial(ctx, self.IP, c.Dst)
		cancel()
	}
	if err != nil {
		m.noteFailure(s, r, err)
		abort(c.Conn)
		return
	}
	m.carry(s, &e.links, c.Conn, up, func(now *state) disposition {
		self := now.world.Pod(e.ref)
		if self == nil || m.checkNetworkPolicy(now, e.route(now, self, c.Dst)) != nil {
			return closeNow
		}
		return keep
	})
}

// route is the leg of a connection that the waypoint opens itself, as it does.
func (e *externalWaypoint) route(s *state, self *topology.Pod, dst netip.AddrPort) route {
	r := route{self: self, Leg: topology.Leg{
		From: self.Caller(), Pod: s.world.PodAt(dst.Addr()),
		HBONE: dst.Port() == topology.HBONEPort, Port: dst.Port(), Authority: dst,
	}}
	if r.Pod == nil {
		r.failure = "no pod has the address " + dst.Addr().String()
	}
	return r
}

func (e *externalWaypoint) close() {
	_ = e.ln.Close()
	e.links.close()
}

// NoteAccess records a call that an external waypoint reports. The record names no
// policy and no rule: Envoy does not say which one it was.
func (m *Mesh) NoteAccess(ref topology.Ref, a decision.Access) {
	s := m.state.Load()
	if s == nil {
		return
	}
	rec := decision.Record{
		At: a.At, From: callerOf(s.world, a.Caller, a.Remote), Hop: decision.HopWaypoint, Layer: 3, Encrypted: true,
		To:     decision.Peer{Namespace: ref.Namespace, Address: a.To.String()},
		Method: a.Method, Path: a.Path, Status: a.Status, TraceID: traceID(a.Trace),
		DurationUS: a.Duration.Microseconds(), Reason: "Envoy: " + a.Details,
	}
	if svc := s.world.ServiceAt(a.To.Addr()); svc != nil {
		rec.To = serviceAt(svc, a.To)
	}
	switch {
	case a.Denied:
		rec.Verdict = decision.DeniedL7
	case a.Method != "" && a.Details != "via_upstream":
		rec.Verdict = decision.Failed
		if a.Status < http.StatusInternalServerError {
			rec.Layer = 0
		}
	default:
		rec.Verdict = decision.Allowed
	}
	m.note(s, rec)
}
