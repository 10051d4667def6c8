package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/hbone"
	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/topology"
)

// nodeProxy is one pod's share of the node proxy.
type nodeProxy struct {
	m      *Mesh
	ref    topology.Ref
	ip     netip.Addr
	pod    capture.Pod
	tunnel *hbone.Server
	hbone  net.Listener
	plain  []plainListener

	outbound, inbound atomic.Int64
	links             linkSet
}

type plainListener struct {
	net.Listener
	port uint16
}

func (m *Mesh) newNodeProxy(p *topology.Pod, pod capture.Pod) (*nodeProxy, error) {
	n := &nodeProxy{m: m, ref: p.Ref, ip: p.IP, pod: pod}
	ln, err := m.listen(p.IP, topology.HBONEPort)
	if err != nil {
		return nil, fmt.Errorf("listen for HBONE: %w", err)
	}
	n.hbone = ln
	for _, port := range p.Ports {
		ln, err := m.listen(p.IP, port)
		if err != nil {
			n.closeListeners()
			return nil, fmt.Errorf("listen on port %d: %w", port, err)
		}
		n.plain = append(n.plain, plainListener{ln, port})
	}
	n.tunnel = &hbone.Server{
		Identity: m.cfg.CA.Source(p.ID),
		Handle:   n.handle,
		Logger:   m.cfg.Logger,
		// A pod that is not enrolled has nobody on that port.
		Admit:  func(net.Conn) bool { q := n.self(m.state.Load()); return q != nil && q.Meshed },
		Failed: func(remote net.Addr, err error) { m.noteHostile(n.ref, decision.HopNodeProxyInbound, remote, err) },
	}
	return n, nil
}

// self returns the pod as a state knows it, nil when it is no longer part of it.
func (n *nodeProxy) self(s *state) *topology.Pod { return s.world.Pod(n.ref) }

func (n *nodeProxy) start() {
	go func() { _ = n.tunnel.Serve(n.hbone) }()
	for _, ln := range n.plain {
		go n.acceptPlain(ln)
	}
	go n.acceptCaptured()
}

func (n *nodeProxy) closeListeners() {
	_ = n.hbone.Close()
	for _, ln := range n.plain {
		_ = ln.Close()
	}
}

func (n *nodeProxy) close() {
	n.closeListeners()
	n.tunnel.Close()
	n.links.close()
}

// acceptCaptured takes what the pod's program opens.
func (n *nodeProxy) acceptCaptured() {
	for {
		c, err := n.pod.Accept()
		if err != nil {
			return
		}
		n.serve(&n.outbound, c.Conn, func() { n.carryOut(c) })
	}
}

// acceptPlain takes what comes to the pod in plaintext.
func (n *nodeProxy) acceptPlain(ln plainListener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		n.serve(&n.inbound, c, func() { n.carryIn(c, ln.port) })
	}
}

// serve has a connection carried beside the others, unless too many are open.
func (n *nodeProxy) serve(open *atomic.Int64, c net.Conn, carry func()) {
	if open.Add(1) > n.m.perPod {
		open.Add(-1)
		abort(c)
		return
	}
	go func() {
		defer open.Add(-1)
		defer n.m.containPanic(c)
		carry()
	}()
}

// refuse ends a captured connection whose way is barred. With Drop a refusal by
// NetworkPolicy is a silence, and the caller waits as for a host that is not
// there.
func (n *nodeProxy) refuse(c net.Conn, err error) {
	var refused *networkError
	if n.m.cfg.NetworkPolicyAction == Drop && errors.As(err, &refused) {
		_ = c.SetReadDeadline(time.Now().Add(n.m.cfg.DropTimeout))
		buf := make([]byte, 512)
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
	}
	abort(c)
}

// handle is the callee's side of a tunnel.
func (n *nodeProxy) handle(st *hbone.Stream) {
	m := n.m
	s := m.state.Load()
	pod := n.self(s)
	dst, err := netip.ParseAddrPort(st.Authority())
	if st.Malformed() || err != nil || dst.Addr() != n.ip || dst.Port() == topology.HBONEPort || dst.Port() == 0 {
		_ = st.Refuse(http.StatusBadRequest)
		remote := addrPort(st.RemoteAddr())
		m.note(s, decision.Record{
			From: callerOf(s.world, st.Peer().String(), remote), To: peerOf(pod), Hop: decision.HopNodeProxyInbound,
			Layer:   2,
			Verdict: decision.DeniedL4, Encrypted: true,
			Reason: fmt.Sprintf("the tunnel is to lead to %.60q, which is not here", st.Authority()),
		})
		return
	}
	if pod == nil || !pod.Meshed {
		_ = st.Refuse(http.StatusServiceUnavailable)
		return
	}
	a := arrival{n, st.Peer().String(), addrPort(st.RemoteAddr()), dst.Port()}
	r := a.decide(s)
	start := time.Now()
	app, status := a.open(s, r)
	if app == nil {
		_ = st.Refuse(status)
		return
	}
	if err := st.Accept(); err != nil {
		_ = app.Close()
		return
	}
	rec := a.record(s, r)
	rec.DurationUS = time.Since(start).Microseconds()
	m.note(s, rec)
	m.carry(s, &n.links, st, app, func(now *state) disposition {
		if pod := n.self(now); pod != nil && !pod.Meshed {
			return leave
		}
		return a.reevaluate(now)
	})
}

// carryIn is the callee's side of a plaintext connection.
func (n *nodeProxy) carryIn(c net.Conn, port uint16) {
	m := n.m
	s := m.state.Load()
	if n.self(s) == nil {
		abort(c)
		return
	}
	a := arrival{n: n, remote: addrPort(c.RemoteAddr()), port: port}
	r := a.decide(s)
	if before := s.before.Load(); !r.Allowed && before != nil && a.mayArrive(s, before) {
		s = before
		r = a.decide(s)
	}
	app, _ := a.open(s, r)
	if app == nil {
		abort(c)
		return
	}
	if n.self(s).Meshed {
		m.note(s, a.record(s, r))
	}
	m.carry(s, &n.links, c, app, a.reevaluate)
}

// arrival is a connection that comes to a pod.
type arrival struct {
	n      *nodeProxy
	caller string // who has proven to be it; empty in plaintext
	remote netip.AddrPort
	port   uint16
}

// decide returns what a state's policies make of it; the pod is part of that state.
func (a arrival) decide(s *state) evaluate.Ruling {
	return s.policies.Inbound(a.n.self(s), a.caller, a.remote.Addr(), a.port)
}

// open connects to the pod's program where that is admitted, or records why not and
// returns the status that says so.
func (a arrival) open(s *state, r evaluate.Ruling) (app net.Conn, status int) {
	rec := a.record(s, r)
	if !r.Allowed {
		a.n.m.note(s, rec)
		return nil, http.StatusUnauthorized
	}
	app, err := dialApp(a.n.pod, a.remote.Addr(), a.port)
	if err != nil {
		rec.Verdict, rec.Reason = decision.Failed, "the program does not answer: "+err.Error()
		rec.Policy, rec.Rule, rec.Layer = "", "", 0
		a.n.m.note(s, rec)
		return nil, http.StatusServiceUnavailable
	}
	return app, 0
}

// dialApp connects to a program in a pod.
func dialApp(pod capture.Pod, src netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return pod.DialApp(ctx, src, port)
}

// record describes what was decided.
func (a arrival) record(s *state, r evaluate.Ruling) decision.Record {
	to := peerOf(a.n.self(s))
	to.Address = netip.AddrPortFrom(a.n.ip, a.port).String()
	rec := decision.Record{
		From: callerOf(s.world, a.caller, a.remote), To: to, Hop: r.Hop, Layer: r.Layer, Verdict: decision.Allowed,
		Encrypted: a.caller != "", Policy: r.Policy, Rule: r.Rule, Reason: r.Reason,
	}
	if !r.Allowed {
		rec.Verdict = decision.DeniedL4
	}
	return rec
}

// mayArrive reports whether a connection in plaintext that a state refuses was under
// way when that state came, and is of somebody who may call the pod still. It is
// then let in for the answer, as if it had arrived before.
func (a arrival) mayArrive(now, before *state) bool {
	return a.n.self(before) != nil && a.decide(before).Allowed && a.mayCall(now)
}

// mayCall reports whether the caller could call the pod in any way.
func (a arrival) mayCall(s *state) bool {
	from, err := callerAt(s.world, a.caller, a.remote.Addr())
	return err == nil && s.policies.CouldAdmit(from, a.n.self(s))
}

// reevaluate decides again about a connection that was admitted. One whose caller may
// call the pod still, in another way, stays for the answer under way: the caller's
// side takes that other way with the next request.
func (a arrival) reevaluate(now *state) disposition {
	if a.n.self(now) == nil {
		return closeNow
	}
	r := a.decide(now)
	if r.Allowed {
		return keep
	}
	if a.mayCall(now) {
		return leave
	}
	r.Reason = closedByChange + r.Reason
	a.n.m.note(now, a.record(now, r))
	return closeNow
}

// callerAt returns who has proven an identity, or none, from an address.
func callerAt(w *topology.World, identity string, ip netip.Addr) (topology.Caller, error) {
	p := w.PodAt(ip)
	switch {
	case p != nil && (identity == "" || p.Identity == identity):
		return p.Caller(), nil
	case identity != "":
		return w.Identity(identity)
	}
	return topology.Outside(ip), nil
}

// noteHostile records a connection to a mesh port that came to nothing because
// of what the peer did or did not prove.
func (m *Mesh) noteHostile(at topology.Ref, hop decision.Hop, remote net.Addr, err error) {
	s := m.state.Load()
	if s == nil {
		return
	}
	from := callerOf(s.world, "", addrPort(remote))
	reason := strings.ToValidUTF8(err.Error(), "?")
	if len(reason) > 300 {
		reason = reason[:300]
	}
	m.log.Info("refused a peer", "at", at.String(), "hop", hop, "from", from.Address, "reason", reason)
	m.note(s, decision.Record{
		From: from, To: peerOf(s.world.Pod(at)), Hop: hop, Layer: 2, Verdict: decision.DeniedL4, Reason: reason,
	})
}
