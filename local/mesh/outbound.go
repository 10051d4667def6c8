package mesh

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"artemis.example/local/capture"
	"artemis.example/policy/decision"
)

// carryOut is the caller's side: it finds the way of what the pod's program opens
// and goes it. A connection on which requests of HTTP/1 follow each other outlives
// its way: when that changes, the next request takes the new one, as a new
// connection would, and the program sees no end.
func (n *nodeProxy) carryOut(c capture.Captured) {
	var request []byte // read already, and to be sent first
	for again := true; again; {
		request, again = n.carryLeg(c, request)
	}
}

// route finds the next leg to what the pod's program dials.
func (n *nodeProxy) route(s *state, dst netip.AddrPort) route {
	self := n.self(s)
	if self == nil {
		return route{failure: "the pod is gone"}
	}
	return n.m.routeOutbound(s, self, dst)
}

// outboundLeg is one way that a captured connection takes.
type outboundLeg struct {
	*link
	n           *nodeProxy
	dst         netip.AddrPort
	was         route
	program, up net.Conn
	http        atomic.Bool  // the program speaks HTTP/1
	leaving     atomic.Bool  // the next request takes another way
	since       atomic.Int64 // when that was decided, in Unix nanoseconds
	left        atomic.Bool  // and has
}

// carryLeg carries a captured connection for as long as its way holds. first is
// what was read already. again is set when the connection is to go on another way,
// beginning with the request that is returned.
func (n *nodeProxy) carryLeg(c capture.Captured, first []byte) (request []byte, again bool) {
	m := n.m
	start := time.Now()
	s, r, up, err := m.connect(m.state.Load(), func(s *state) route { return n.route(s, c.Dst) })
	if err != nil {
		m.noteFailure(s, r, err)
		n.refuse(c.Conn, err)
		return nil, false
	}
	if !r.HBONE && !r.Pod.Meshed {
		m.notePlaintext(s, r, time.Since(start))
	}
	o := &outboundLeg{n: n, dst: c.Dst, was: r, program: c.Conn, up: up}
	o.link = newLink(o.evaluate, o.end)
	o.link.answers = m.calls.between(r.self, r)
	m.register(o.link, s, &n.links)
	defer o.done()
	return o.carry(first)
}

// evaluate compares the way with the one that a new connection would take. An
// unused connection, and one of requests, leave theirs with what comes next.
func (o *outboundLeg) evaluate(now *state) disposition {
	d := o.n.m.reevaluateRoute(now, o.was, o.n.route(now, o.dst))
	if d == drain && (o.http.Load() || o.unused()) {
		d = leave
	}
	if d == leave && !o.leaving.Load() {
		o.since.Store(time.Now().UnixNano())
	}
	o.leaving.Store(d == leave)
	return d
}

// end breaks the connection: but a program that nobody owes an answer to sees an
// end, and one that has left this way nothing.
func (o *outboundLeg) end() {
	abort(o.up)
	switch {
	case o.left.Load():
	case o.leaving.Load() && o.answered.Load():
		_ = o.program.Close()
	default:
		abort(o.program)
	}
}

func (o *outboundLeg) carry(first []byte) (request []byte, again bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.carryAnswers()
	}()
	if len(first) > 0 {
		o.http.Store(true)
		o.note(false)
		if _, err := o.up.Write(first); err != nil {
			o.end()
			<-done
			return nil, false
		}
	}
	request, again = o.carryRequests()
	if again {
		o.left.Store(true)
		_ = o.up.Close()
	}
	<-done
	if !again {
		_ = o.program.Close()
		_ = o.up.Close()
	}
	return request, again
}

// carryAnswers moves what comes back. When the way breaks that is being left, the
// program does not see it unless it waits for an answer.
func (o *outboundLeg) carryAnswers() {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	err := o.copy(o.program, o.up, *buf, true)
	if o.left.Load() || err != nil && o.leaving.Load() && o.answered.Load() {
		return
	}
	settle(err, o.program, o.up, *buf)
}

// carryRequests moves what the program sends, up to the request that is to take
// another way.
func (o *outboundLeg) carryRequests() (request []byte, again bool) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := o.program.Read(*buf)
		if p := (*buf)[:n]; n > 0 {
			o.follow(o.n.m)
			begins := o.unused() || o.http.Load() && o.answered.Load() && beginsRequest(p)
			if o.unused() {
				o.http.Store(beginsRequest(p))
			}
			if o.leaving.Load() {
				if begins {
					return slices.Clone(p), true
				}
				if time.Now().UnixNano()-o.since.Load() > int64(drainAfter) {
					// What still belongs to a request of before may hide one of its own.
					abort(o.up)
					abort(o.program)
					return nil, false
				}
			}
			o.note(false)
			if _, err := o.up.Write(p); err != nil {
				settle(errTakesNoMore, o.up, o.program, *buf)
				return nil, false
			}
		}
		if errors.Is(err, io.EOF) {
			settle(nil, o.up, o.program, *buf)
			return nil, false
		}
		if err != nil {
			settle(err, o.up, o.program, *buf)
			return nil, false
		}
	}
}

// beginsRequest reports whether bytes are the beginning of an HTTP/1 request: what
// follows an answer on a connection of requests, unless it is the rest of the one
// that was answered.
func beginsRequest(p []byte) bool {
	line, _, whole := bytes.Cut(bytes.TrimLeft(p, "\r\n"), []byte{'\n'})
	if whole {
		return bytes.Contains(line, []byte(" HTTP/1."))
	}
	method, _, spaced := strings.Cut(string(line), " ")
	return slices.ContainsFunc(commonMethods, func(m string) bool {
		return m == method || !spaced && strings.HasPrefix(m, method)
	})
}

var commonMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

// notePlaintext records a connection that nobody else will look at.
func (m *Mesh) notePlaintext(s *state, r route, took time.Duration) {
	d := s.policies.Perimeter(&r.Leg)
	rec := decision.Record{
		From: peerOf(r.self), To: r.to(), Hop: decision.HopNetworkPolicy, Layer: 1, Verdict: decision.Allowed,
		Policy: d.Policy, Reason: "plaintext; no mesh looks at it", DurationUS: took.Microseconds(),
	}
	if d.Policy == "" {
		rec.Layer, rec.Reason = 0, "plaintext; no policy applies"
	}
	rec.From.Identity, rec.From.Address = "", r.self.IP.String()
	rec.To.Identity = ""
	m.note(s, rec)
}
