package mesh

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"artemis.example/local/mesh/http1"
	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
)

const (
	headTimeout = 10 * time.Second // from a request's first byte to the end of its head
	keepAlive   = 5 * time.Minute  // between requests
	bodyTimeout = 5 * time.Minute  // between two pieces of a request's body
)

// httpConn is one HTTP connection through a waypoint: requests and answers, one
// after the other.
type httpConn struct {
	*tunnelConn
	in       *http1.Reader
	request  message.Head
	response message.Head
	query    authz.Request
	header   http.Header
	out      []byte // the request's head; a request that is still being sent owns it
	back     []byte // the answer's
	closing  bool
}

// http serves HTTP/1.1 on the tunnel. first is what was read off it already.
func (t *tunnelConn) http(first []byte) {
	x := &httpConn{tunnelConn: t, in: http1.NewReader(t.st)}
	if len(first) > 0 {
		x.in = http1.NewReader(io.MultiReader(strings.NewReader(string(first)), t.st))
	}
	x.query = authz.Request{
		HTTP: true, Principal: t.caller, SourceIP: t.remote.Addr(), DestIP: t.dst.Addr(), DestPort: t.dst.Port(),
	}
	for first := len(first) > 0; !x.closing; first = false {
		if !first && x.in.Buffered() == 0 {
			x.in.Release()
			_ = t.st.SetReadDeadline(time.Now().Add(keepAlive))
			if err := t.st.Await(); err != nil {
				break
			}
			_ = t.st.SetReadDeadline(time.Time{})
		}
		if !x.one() {
			break
		}
	}
	_ = t.st.CloseWrite()
	_ = t.st.Close()
}

// one serves one request; false ends the connection.
func (x *httpConn) one() bool {
	slow := false
	err := x.in.ReadRequest(&x.request, func() {
		slow = true
		_ = x.st.SetReadDeadline(time.Now().Add(headTimeout))
	})
	if slow {
		_ = x.st.SetReadDeadline(time.Time{})
	}
	start := time.Now()
	s := x.w.m.state.Load()
	x.last = x.chainUnder(s)
	if refused := message.Refuse(err); refused != nil {
		return x.fault(s, refused)
	}
	switch {
	case err != nil && slow:
		return x.fault(s, &message.Refusal{Status: http.StatusRequestTimeout, Err: err})
	case err != nil:
		return false
	}
	req := &x.request
	x.query.Header = nil
	if s.policies.Headers {
		if x.header == nil {
			x.header = http.Header{}
		}
		x.query.Header = x.header
	}
	target, refused := x.sight().See(req, &x.query)
	if refused != nil {
		return x.fault(s, refused)
	}
	path, _, _ := strings.Cut(target, "?")
	if req.Expect {
		// Envoy answers for the pod, before any policy.
		if _, err := x.st.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return false
		}
	}
	ruling := s.policies.WaypointEngine(x.last.gateway, x.last.service).Decide(&x.query)
	rec := x.record(s)
	rec.At, rec.Method, rec.Path, rec.TraceID = start, req.Method, path, traceID(req.Get("traceparent"))
	rec.Policy, rec.Rule, rec.Reason = ruling.Policy, ruling.Rule, string(ruling.Reason)
	if !ruling.Allowed {
		rec.Verdict, rec.Status, rec.DurationUS = decision.DeniedL7, http.StatusForbidden, time.Since(start).Microseconds()
		x.w.m.note(s, rec)
		return x.reply(http.StatusForbidden, "RBAC: access denied")
	}
	if req.Method == http.MethodConnect {
		rec.Verdict, rec.Status, rec.Reason = decision.Failed, http.StatusNotFound, "no route for CONNECT"
		x.w.m.note(s, rec)
		return x.reply(rec.Status, "")
	}
	return x.forward(s, target, rec)
}

// fault answers a request that no policy gets to see, and ends the connection.
func (x *httpConn) fault(s *state, refused *message.Refusal) bool {
	rec := x.record(s)
	rec.Layer, rec.Verdict, rec.Status, rec.Reason = 0, decision.Failed, refused.Status, "bad request: "+refused.Error()
	x.w.m.note(s, rec)
	x.closing = true
	x.request = message.Head{Minor: 1}
	return x.reply(refused.Status, refused.Body)
}

// reply is an answer of the waypoint's own. When the request has a body that has
// not come yet, the connection ends with it: nobody waits for it.
func (x *httpConn) reply(status int, body string) bool {
	if x.request.Body != message.NoBody || x.request.Close {
		x.closing = true
	}
	b := append(x.back[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
	b = append(strconv.AppendInt(append(b, "content-length: "...), int64(len(body)), 10), "\r\n"...)
	if body != "" {
		b = append(b, "content-type: text/plain\r\n"...)
	}
	b = append(b, "date: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nserver: istio-envoy\r\n"...)
	if x.closing {
		b = append(b, "connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	if x.request.Method != "HEAD" {
		b = append(b, body...)
	}
	x.back = b
	_, err := x.st.Write(b)
	return err == nil && !x.closing
}

// sight is what the waypoint's policies see by.
func (x *httpConn) sight() message.Waypoint {
	g := x.last.gateway
	return message.Waypoint{Identity: g.Pod.Identity, ClientIdentity: g.XFCC}
}

func traceID(traceparent string) string {
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' {
		return ""
	}
	return traceparent[3:35]
}

// forward passes an allowed request on and its answer back.
func (x *httpConn) forward(s *state, target string, rec decision.Record) bool {
	req := &x.request
	head := x.requestHead(target)
	up, err := x.upstream(s, false)
	if err != nil {
		return x.unavailable(s, rec, err)
	}
	whole := x.in.Ready(req)
	var sending sync.WaitGroup
	var sendErr error
	send := func() {
		sendErr = x.in.CopyBody(up, req, head, trailer)
		if sendErr != nil && req.Body != message.NoBody {
			abort(up.Conn) // the pod is not to take half a body for a whole one
		}
	}
	if whole {
		send()
	} else {
		x.out = nil
		sending.Go(send)
	}
	err = up.reader.ReadResponse(&x.response, req.Method)
	if err != nil && up.used && req.Body == message.NoBody && replayable(req.Method) {
		// The pod closed an idle connection as we picked it: take a fresh one, once.
		_ = up.Close()
		if up, err = x.upstream(s, true); err == nil {
			if _, err = up.Write(head); err == nil {
				err = up.reader.ReadResponse(&x.response, req.Method)
			}
		}
		if up == nil {
			return x.unavailable(s, rec, err)
		}
	}
	for err == nil && x.response.Status/100 == 1 && x.response.Status != http.StatusSwitchingProtocols {
		if x.response.Status != http.StatusContinue {
			if _, err = x.st.Write(x.responseHead()); err != nil {
				break
			}
		}
		err = up.reader.ReadResponse(&x.response, req.Method)
	}
	if err != nil {
		abort(up.Conn)
		sent := make(chan struct{})
		go func() { sending.Wait(); close(sent) }()
		x.closing = x.closing || !whole
		ok := x.unavailable(s, rec, err)
		if !whole {
			_ = x.st.Close()
		}
		<-sent
		return ok
	}
	rec.Verdict, rec.Status, rec.DurationUS = decision.Allowed, x.response.Status, time.Since(rec.At).Microseconds()
	x.w.m.note(s, rec)
	if x.switches() {
		sending.Wait()
		x.upgraded(s, up)
		return false
	}
	if req.Close || x.response.Body == message.UntilClose {
		x.closing = true
	}
	if err := up.reader.CopyBody(x.st, &x.response, x.responseHead(), trailer); err != nil {
		abort(up.Conn)
		_ = x.st.Reset()
		sending.Wait()
		return false
	}
	if !whole {
		// An answer may come before the request is through: then the rest of it is
		// of no interest, and where it ends is not known.
		done := make(chan struct{})
		go func() { sending.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Second):
			abort(up.Conn)
			_ = x.st.CloseWrite()
			_ = x.st.Close()
			<-done
			return false
		}
	}
	if sendErr != nil || x.response.Close || x.response.Status == http.StatusSwitchingProtocols {
		_ = up.Close()
	} else {
		x.w.up.put(up)
	}
	return !x.closing && sendErr == nil
}

// switches reports whether the answer changes the protocol. One that nobody asked
// for is an answer without a body to Envoy, and what follows is HTTP as before:
// otherwise a pod could take the next requests for its own, past all policies.
func (x *httpConn) switches() bool {
	return x.response.Status == http.StatusSwitchingProtocols && x.request.Upgrade != ""
}

func replayable(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// unavailable answers for a pod that cannot be reached or does not answer.
func (x *httpConn) unavailable(s *state, rec decision.Record, err error) bool {
	rec.Verdict, rec.Status, rec.DurationUS = decision.Failed, http.StatusServiceUnavailable, time.Since(rec.At).Microseconds()
	rec.Reason = "allowed, but the pod could not be reached: " + err.Error()
	x.w.m.note(s, rec)
	if errors.Is(err, errNoRoute) {
		return x.reply(http.StatusServiceUnavailable, "no healthy upstream")
	}
	return x.reply(http.StatusServiceUnavailable, "upstream connect error or disconnect/reset before headers. reset reason: connection termination")
}

// upstream returns a connection to a pod of the Service, a used one unless fresh
// is asked for.
func (x *httpConn) upstream(s *state, fresh bool) (*upstream, error) {
	if !fresh {
		if b := x.last.service.Backends(x.dst.Port()); len(b) == 1 && b[0].Pod.Meshed {
			if c := x.w.up.get(netip.AddrPortFrom(b[0].Pod.IP, b[0].Port)); c != nil {
				return c, nil
			}
		}
	}
	conn, r, err := x.connect(context.Background(), s)
	if err != nil {
		return nil, err
	}
	return &upstream{Conn: conn, reader: http1.NewReader(conn), to: r.Authority}, nil
}

// requestHead writes the request as the pod gets it: the normalised target, the
// caller's identity where the waypoint vouches for it, and never a claim of it.
func (x *httpConn) requestHead(target string) []byte {
	req := &x.request
	b := append(append(append(append(x.out[:0], req.Method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, req.Host...), "\r\n"...)
	for f := range req.Seen {
		if len(f.Name) == len(message.XFCC) && strings.EqualFold(f.Name, message.XFCC) {
			continue
		}
		b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	if req.Body == message.Chunked {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	if x.last.gateway.XFCC {
		b = append(append(b, "x-forwarded-client-cert: By="...), x.last.gateway.Pod.Identity...)
		b = append(append(append(b, ";URI="...), x.caller...), "\r\n"...)
	}
	if req.Upgrade != "" {
		b = append(append(append(b, "connection: Upgrade\r\nupgrade: "...), req.Upgrade...), "\r\n"...)
	}
	b = append(b, "\r\n"...)
	x.out = b
	return b
}

// responseHead writes the answer as the caller gets it.
func (x *httpConn) responseHead() []byte {
	res := &x.response
	b := append(x.back[:0], "HTTP/1.1 "...)
	b = append(append(append(strconv.AppendInt(b, int64(res.Status), 10), ' '), res.Reason...), "\r\n"...)
	for f := range res.Kept {
		if len(f.Name) == len("server") && strings.EqualFold(f.Name, "server") {
			continue
		}
		b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	b = append(b, "server: istio-envoy\r\n"...)
	switch {
	case x.switches():
		b = append(append(append(b, "connection: Upgrade\r\nupgrade: "...), res.Upgrade...), "\r\n"...)
	case x.closing:
		b = append(b, "connection: close\r\n"...)
	case x.request.Minor == 0:
		b = append(b, "connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	x.back = b
	return b
}

// trailer says which trailer fields are passed on: none that a reader might
// take for the identity or the framing of the message.
func trailer(name string) bool {
	switch strings.ToLower(name) {
	case message.XFCC, "content-length", "transfer-encoding", "host", "connection", "authorization", "trailer", "content-encoding", "content-type", "content-range":
		return false
	}
	return true
}

// upgraded carries bytes after a change of protocol, until either side ends or a
// policy forbids what began it.
func (x *httpConn) upgraded(s *state, up *upstream) {
	if _, err := x.st.Write(append(x.responseHead(), up.reader.Take()...)); err != nil {
		_ = up.Close()
		return
	}
	if rest := x.in.Take(); len(rest) > 0 {
		if _, err := up.Write(rest); err != nil {
			_ = up.Close()
			return
		}
	}
	query := x.query
	l := x.w.m.track(s, nil, func(now *state) disposition {
		if _, ok := x.w.find(now, x.dst); !ok {
			return drain
		}
		if !now.policies.WaypointEngine(x.last.gateway, x.last.service).Decide(&query).Allowed {
			return closeNow
		}
		return keep
	}, func() { abort(x.st); abort(up.Conn) })
	defer l.done()
	l.carry(x.st, up.Conn)
}
