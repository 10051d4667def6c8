package mesh

import (
	"bytes"
	"context"
	"net"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
)

// tcp serves a port of which the waypoint sees bytes only. As in Envoy, the
// connection to the pod opens first and the decision falls with the caller's
// first byte: a server that speaks first has spoken by then
// (envoyproxy/envoy issue 9023).
func (v *visit) tcp(s *state, first []byte) {
	up, _, err := v.connect(context.Background(), s, v.dst.Port())
	if err != nil {
		_ = v.st.Reset()
		return
	}
	l := &link{end: func() { abort(v.st); abort(up) }}
	v.w.m.links.add(l, s, v.w.m.state.Load)
	defer v.w.m.links.remove(l)
	l.judge = func(*state) fate { return keep }
	if len(first) > 0 && !v.admitBytes(s) {
		v.bye(up)
		return
	}
	if len(first) > 0 {
		if _, err := up.Write(first); err != nil {
			l.end()
			return
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.pump(v.st, up, true)
	}()
	if len(first) == 0 {
		switch err := v.st.Await(); {
		case err == nil && !v.admitBytes(v.w.m.state.Load()):
			v.bye(up)
			<-done
			return
		}
	}
	l.pump(up, v.st, false)
	<-done
	_ = up.Close()
}

// bye ends a refused connection as Envoy does, without a word.
func (v *visit) bye(up net.Conn) {
	_ = v.st.CloseWrite()
	_ = v.st.Close()
	_ = up.Close()
}

func (v *visit) admitBytes(s *state) bool {
	engine := s.waypoints.ForService(v.w.ref.Namespace, v.w.ref.Name, v.last.service.Name)
	r := engine.Decide(&authz.Request{
		Principal: v.caller, SourceIP: v.remote.Addr(), RemoteIP: v.remote.Addr(),
		DestIP: v.dst.Addr(), DestPort: v.dst.Port(),
	})
	rec := v.record(s)
	rec.Policy, rec.Rule, rec.Reason, rec.Verdict = r.Policy, r.Rule, string(r.Reason), decision.Allowed
	if !r.Allowed {
		rec.Verdict = decision.DeniedL7
	}
	v.w.m.note(s, rec)
	return r.Allowed
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
