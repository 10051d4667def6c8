package mesh

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
)

// tcp serves a port of which the waypoint sees bytes only. As in Envoy, the
// connection to the pod opens first and the decision falls with the caller's
// first byte, or with its end without one: a server that speaks first has spoken
// by then (envoyproxy/envoy issue 9023). first is what was read already.
//
// The decision is by the state in force when it falls. From then on every new
// state decides again, and one that forbids the connection ends it.
func (t *tunnelConn) tcp(first []byte) {
	m := t.w.m
	s := m.state.Load()
	t.last = t.chainUnder(s)
	s, way, up, err := t.connect(s)
	if err != nil {
		_ = t.st.Reset()
		return
	}
	var mu sync.Mutex
	admitted := false
	admit := func() bool {
		mu.Lock()
		defer mu.Unlock()
		s := m.state.Load()
		rec := t.decideBytes(s)
		m.note(s, rec)
		admitted = rec.Verdict == decision.Allowed
		return admitted
	}
	l := m.track(s, nil, func(now *state) disposition {
		mu.Lock()
		defer mu.Unlock()
		if admitted {
			if rec := t.decideBytes(now); rec.Verdict != decision.Allowed {
				rec.Reason = closedByChange + rec.Reason
				m.note(now, rec)
				return closeNow
			}
		}
		return m.reevaluateRoute(now, way, t.route(now))
	}, func() { abort(t.st); abort(up) })
	defer l.done()
	if len(first) > 0 {
		if !admit() {
			t.closeSilently(up)
			return
		}
		if _, err := up.Write(first); err != nil {
			l.end()
			return
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.pump(t.st, up, true)
	}()
	if len(first) == 0 {
		if err := t.st.Await(); (err == nil || errors.Is(err, io.EOF)) && !admit() {
			t.closeSilently(up)
			<-done
			return
		}
	}
	l.pump(up, t.st, false)
	<-done
	_ = up.Close()
}

// closeSilently ends a refused connection as Envoy does, without a word.
func (t *tunnelConn) closeSilently(up net.Conn) {
	_ = t.st.CloseWrite()
	_ = t.st.Close()
	_ = up.Close()
}

// decideBytes returns what a state decides about a connection of which only bytes
// are seen.
func (t *tunnelConn) decideBytes(s *state) decision.Record {
	c := t.chainUnder(s)
	engine := s.policies.WaypointEngine(c.gateway, c.service)
	r := engine.Decide(&authz.Request{
		Principal: t.caller, SourceIP: t.remote.Addr(), RemoteIP: t.remote.Addr(),
		DestIP: t.dst.Addr(), DestPort: t.dst.Port(),
	})
	rec := t.record(s)
	rec.Policy, rec.Rule, rec.Reason = evaluate.Deciders(r, engine), r.Rule, string(r.Reason)
	rec.Verdict = decision.Allowed
	if !r.Allowed {
		rec.Verdict = decision.DeniedL7
	}
	return rec
}

// couldBeHTTP reports whether bytes may be the beginning of a request line.
func couldBeHTTP(b []byte) bool {
	for i, c := range b {
		if c == ' ' {
			return i > 0
		}
		if i >= 16 || !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-') {
			return false
		}
	}
	return true
}

// looksLikeHTTP reports whether bytes are: a method and a space.
func looksLikeHTTP(b []byte) bool {
	i := bytes.IndexByte(b, ' ')
	return i > 0 && couldBeHTTP(b)
}
