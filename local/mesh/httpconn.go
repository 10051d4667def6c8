package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"artemis.example/local/hbone"
	"artemis.example/local/http1"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	headTimeout = 10 * time.Second // from a request's first byte to the end of its head
	keepAlive   = 5 * time.Minute  // between requests
	bodyTimeout = 5 * time.Minute  // between two pieces of a request's body
	// lingerFor is how long a connection that ends with an answer is still read, so
	// that what its caller has sent meanwhile does not reset it over the answer.
	lingerFor = time.Second
)

// httpRole is who serves the requests of an HTTP connection: a waypoint or the
// gateway. One serves one connection, whose requests come one after the other.
type httpRole interface {
	// begin returns the state in force, under which a request is decided.
	begin() *state
	// record begins the record of a request. One without a hop is not kept.
	record(s *state) decision.Record
	// decide completes the record, and returns as what path and query the request
	// goes on, or what answers it here.
	decide(s *state, req *message.Head, rec *decision.Record) (target string, refused *localReply)
	// requestHead appends the head with which the request goes on.
	requestHead(b []byte, req *message.Head, target string) []byte
	// upstream connects to where it goes, by a connection that has served before
	// unless fresh is asked for.
	upstream(s *state, fresh bool) (*upstream, error)
	// idle is where the connection goes when it is free.
	idle() *upstreams
	// changed returns what a new state makes of a connection whose protocol the
	// request has changed.
	changed() func(now *state) disposition
}

// localReply is an answer of the proxy's own.
type localReply struct {
	status            int
	contentType, body string
	closes            bool // the connection
}

func reply(status int, body string) *localReply {
	return &localReply{status: status, contentType: "text/plain", body: body}
}

// refusal is the answer to a request that no policy gets to see.
func refusal(r *message.Refusal, rec *decision.Record) *localReply {
	rec.Layer, rec.Verdict, rec.Reason = 0, decision.Failed, "bad request: "+r.Error()
	answer := reply(r.Status, r.Body)
	// What is wrong with a request may be so with what follows; a target that leads
	// nowhere is no such thing.
	answer.closes = r.Status != http.StatusNotFound && r.Status != http.StatusExpectationFailed
	return answer
}

// httpConn is one HTTP/1.1 connection of a caller: requests and answers, one after
// the other.
type httpConn struct {
	m        *Mesh
	conn     net.Conn
	role     httpRole
	in       *http1.Reader
	request  message.Head
	response message.Head
	call     httpCall
	out      []byte // the request's head; a request that is still being sent owns it
	back     []byte // the answer's
	closing  bool
}

// serveHTTP serves HTTP on a caller's connection until it ends. first is what was
// read off it already. newRole makes who answers: one for all requests of HTTP/1,
// one for each of HTTP/2.
func (m *Mesh) serveHTTP(conn net.Conn, first []byte, newRole func() httpRole) {
	x := newHTTPConn(m, conn)
	if len(first) > 0 {
		x.in = http1.NewReader(io.MultiReader(strings.NewReader(string(first)), conn))
		_ = x.in.Await()
	}
	if x.await() {
		if x.speaksHTTP2() {
			m.http2.serve(conn, x.in.Take(), newRole)
			return
		}
		x.role = newRole()
		x.serve()
	}
	x.end()
}

func newHTTPConn(m *Mesh, conn net.Conn) *httpConn {
	return &httpConn{m: m, conn: conn, in: http1.NewReader(conn)}
}

// serve serves the requests of HTTP/1.1.
func (x *httpConn) serve() {
	for !x.closing && x.await() && x.one() {
	}
}

// await waits for the next request to begin.
func (x *httpConn) await() bool {
	if x.in.Buffered() > 0 {
		return true
	}
	x.in.Release()
	_ = x.conn.SetReadDeadline(time.Now().Add(keepAlive))
	var err error
	if st, ok := x.conn.(*hbone.Stream); ok {
		err = st.Await() // holds no buffer meanwhile
	} else {
		err = x.in.Await()
	}
	_ = x.conn.SetReadDeadline(time.Time{})
	return err == nil
}

// end ends the connection: in order, so that the last answer arrives.
func (x *httpConn) end() {
	if half, ok := x.conn.(halfCloser); ok && half.CloseWrite() == nil {
		if _, tunnel := x.conn.(*hbone.Stream); !tunnel && x.closing {
			_ = x.conn.SetReadDeadline(time.Now().Add(lingerFor))
			_, _ = io.Copy(io.Discard, x.conn)
		}
	}
	_ = x.conn.Close()
}

// one serves one request; false ends the connection.
func (x *httpConn) one() bool {
	slow := false
	err := x.in.ReadRequest(&x.request, func() {
		slow = true
		_ = x.conn.SetReadDeadline(time.Now().Add(headTimeout))
	})
	if slow {
		_ = x.conn.SetReadDeadline(time.Time{})
	}
	start := time.Now()
	s := x.role.begin()
	unreadable := message.Refuse(err)
	if err != nil && unreadable == nil {
		if !slow {
			return false
		}
		unreadable = &message.Refusal{Status: http.StatusRequestTimeout, Err: err}
	}
	rec := x.role.record(s)
	rec.At = start
	req := &x.request
	if unreadable != nil {
		x.request = message.Head{Minor: 1, Close: true}
		return x.refuse(s, rec, refusal(unreadable, &rec))
	}
	rec.Method, rec.TraceID = req.Method, traceID(req.Get("traceparent"))
	target, refused := x.role.decide(s, req, &rec)
	if refused != nil {
		return x.refuse(s, rec, refused)
	}
	return x.forward(s, target, rec)
}

// refuse records and sends an answer of the proxy's own.
func (x *httpConn) refuse(s *state, rec decision.Record, r *localReply) bool {
	rec.Status, rec.DurationUS = r.status, time.Since(rec.At).Microseconds()
	x.note(s, rec)
	return x.reply(r)
}

func (x *httpConn) note(s *state, rec decision.Record) {
	if s != nil && rec.Hop != "" {
		x.m.note(s, rec)
	}
}

// reply sends an answer of the proxy's own. When the request has a body that has
// not come yet, the connection ends with it: nobody waits for it.
func (x *httpConn) reply(r *localReply) bool {
	if x.request.Body != message.NoBody || x.request.Close || r.closes || x.request.Method == http.MethodConnect {
		x.closing = true
	}
	b := x.back[:0]
	if status, ok := grpcStatus(&x.request, r.status); ok {
		b = fmt.Appendf(b, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: application/grpc\r\n"+
			"grpc-status: %d\r\n", status)
		if r.body != "" {
			b = appendField(b, "grpc-message", grpcMessage(r.body))
		}
		r = &localReply{}
	} else {
		b = fmt.Appendf(b, "HTTP/1.1 %d %s\r\ncontent-length: %d\r\n", r.status, http.StatusText(r.status), len(r.body))
		if r.body != "" {
			b = appendField(b, "content-type", r.contentType)
		}
	}
	b = appendField(b, "date", time.Now().UTC().Format(http.TimeFormat))
	b = append(b, "server: istio-envoy\r\n"...)
	if x.closing {
		b = append(b, "connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	if x.request.Method != http.MethodHead {
		b = append(b, r.body...)
	}
	x.back = b
	_, err := x.conn.Write(b)
	return err == nil && !x.closing
}

// grpcStatus returns the status that a caller who speaks gRPC gets in place of an
// HTTP status (Envoy, source/common/grpc/status.cc, httpToGrpcStatus).
func grpcStatus(req *message.Head, status int) (int, bool) {
	kind := req.Get("content-type")
	if rest, ok := strings.CutPrefix(kind, "application/grpc"); !ok || rest != "" && rest[0] != '+' {
		return 0, false
	}
	return cmp.Or(grpcStatuses[status], 2), true // else UNKNOWN
}

var grpcStatuses = map[int]int{
	http.StatusBadRequest:         13, // INTERNAL
	http.StatusUnauthorized:       16, // UNAUTHENTICATED
	http.StatusForbidden:          7,  // PERMISSION_DENIED
	http.StatusNotFound:           12, // UNIMPLEMENTED
	http.StatusTooManyRequests:    14, // UNAVAILABLE
	http.StatusBadGateway:         14,
	http.StatusServiceUnavailable: 14,
	http.StatusGatewayTimeout:     14,
}

// grpcMessage escapes as gRPC does (its protocol over HTTP/2, Percent-Encoded).
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// traceID returns the trace of a traceparent, nothing where it is not what W3C's
// Trace Context calls one.
func traceID(traceparent string) string {
	ctx := propagation.TraceContext{}.Extract(context.Background(),
		propagation.MapCarrier{"traceparent": traceparent})
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		return span.TraceID().String()
	}
	return ""
}

// errorReply is the answer for a backend that cannot be reached or does not answer.
func errorReply(err error) *localReply {
	if errors.Is(err, errNoRoute) {
		return reply(http.StatusServiceUnavailable, "no healthy upstream")
	}
	return reply(http.StatusServiceUnavailable,
		"upstream connect error or disconnect/reset before headers. reset reason: connection termination")
}
