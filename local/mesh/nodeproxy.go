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
		if n.outbound.Add(1) > n.m.perPod {
			n.outbound.Add(-1)
			abort(c.Conn)
			continue
		}
		go func() {
			defer n.outbound.Add(-1)
			defer n.m.containPanic(c.Conn)
			n.carryOut(c)
		}()
	}
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
	remote, caller := addrPort(st.RemoteAddr()), st.Peer().String()
	r := s.policies.Inbound(pod, caller, remote.Addr(), dst.Port())
	if !r.Allowed {
		m.note(s, n.inboundRecord(s, pod, caller, remote, dst.Port(), r))
		_ = st.Refuse(http.StatusUnauthorized)
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	app, err := n.pod.DialApp(ctx, remote.Addr(), dst.Port())
	cancel()
	if err != nil {
		m.note(s, unanswered(n.inboundRecord(s, pod, caller, remote, dst.Port(), r), err))
		_ = st.Refuse(http.StatusServiceUnavailable)
		return
	}
	if err := st.Accept(); err != nil {
		_ = app.Close()
		return
	}
	out := n.inboundRecord(s, pod, caller, remote, dst.Port(), r)
	out.DurationUS = time.Since(start).Microseconds()
	m.note(s, out)
	l := m.track(s, &n.links, func(now *state) disposition {
		if pod := n.self(now); pod != nil && !pod.Meshed {
			return leave
		}
		return n.reevaluateInbound(now, caller, remote, dst.Port())
	}, func() { abort(st); abort(app) })
	defer l.done()
	l.carry(st, app)
}

// inboundRecord describes a decision about a connection that arrives at the pod.
// caller is empty in plaintext.
func (n *nodeProxy) inboundRecord(
	s *state, pod *topology.Pod, caller string, remote netip.AddrPort, port uint16, r evaluate.Ruling,
) decision.Record {
	to := peerOf(pod)
	to.Address = netip.AddrPortFrom(n.ip, port).String()
	out := decision.Record{
		From: callerOf(s.world, caller, remote), To: to, Hop: r.Hop, Layer: r.Layer, Verdict: decision.Allowed,
		Encrypted: caller != "", Policy: r.Policy, Rule: r.Rule, Reason: r.Reason,
	}
	if !r.Allowed {
		out.Verdict = decision.DeniedL4
	}
	return out
}

// unanswered makes the record of an admitted connection one of a program that does
// not take it.
func unanswered(r decision.Record, err error) decision.Record {
	r.Verdict, r.Reason = decision.Failed, "the program does not answer: "+err.Error()
	r.Policy, r.Rule, r.Layer = "", "", 0
	return r
}

// mayArrive reports whether a connection in plaintext that a state refuses was under
// way when that state came, and is of somebody who may call the pod still. It is
// then let in for the answer, as if it had arrived before.
func (n *nodeProxy) mayArrive(now, before *state, remote netip.AddrPort, port uint16) bool {
	pod := n.self(before)
	return pod != nil && before.policies.Inbound(pod, "", remote.Addr(), port).Allowed && n.mayCall(now, "",
		remote.Addr())
}

// mayCall reports whether a caller could call the pod in any way.
func (n *nodeProxy) mayCall(s *state, caller string, ip netip.Addr) bool {
	from, err := callerAt(s.world, caller, ip)
	return err == nil && s.policies.CouldAdmit(from, n.self(s))
}

// reevaluateInbound decides again about a connection that was admitted. One whose
// caller may call the pod still, in another way, stays for the answer under way:
// the caller's side takes that other way with the next request.
func (n *nodeProxy) reevaluateInbound(now *state, caller string, remote netip.AddrPort, port uint16) disposition {
	pod := n.self(now)
	if pod == nil {
		return closeNow
	}
	r := now.policies.Inbound(pod, caller, remote.Addr(), port)
	if r.Allowed {
		return keep
	}
	if n.mayCall(now, caller, remote.Addr()) {
		return leave
	}
	r.Reason = closedByChange + r.Reason
	n.m.note(now, n.inboundRecord(now, pod, caller, remote, port, r))
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

func (n *nodeProxy) acceptPlain(ln plainListener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		if n.inbound.Add(1) > n.m.perPod {
			n.inbound.Add(-1)
			abort(c)
			continue
		}
		go func() {
			defer n.inbound.Add(-1)
			defer n.m.containPanic(c)
			n.carryIn(c, ln.port)
		}()
	}
}

// carryIn is the callee's side of a plaintext connection.
func (n *nodeProxy) carryIn(c net.Conn, port uint16) {
	m := n.m
	s := m.state.Load()
	pod := n.self(s)
	if pod == nil {
		abort(c)
		return
	}
	remote := addrPort(c.RemoteAddr())
	r := s.policies.Inbound(pod, "", remote.Addr(), port)
	if before := s.before.Load(); !r.Allowed && before != nil && n.mayArrive(s, before, remote, port) {
		s = before
		pod = n.self(s)
		r = s.policies.Inbound(pod, "", remote.Addr(), port)
	}
	if !r.Allowed {
		m.note(s, n.inboundRecord(s, pod, "", remote, port, r))
		abort(c)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	app, err := n.pod.DialApp(ctx, remote.Addr(), port)
	cancel()
	if err != nil {
		m.note(s, unanswered(n.inboundRecord(s, pod, "", remote, port, r), err))
		abort(c)
		return
	}
	if pod.Meshed {
		m.note(s, n.inboundRecord(s, pod, "", remote, port, r))
	}
	l := m.track(s, &n.links, func(now *state) disposition {
		return n.reevaluateInbound(now, "", remote, port)
	}, func() { abort(c); abort(app) })
	defer l.done()
	l.carry(c, app)
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
