package mesh

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"artemis.example/local/hbone"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
)

// httpCall is one request on its way to a backend, and the answer on its way back.
type httpCall struct {
	*httpConn
	state *state
	rec   decision.Record
	head  []byte
	up    *upstream
	// sent is closed when the request is through, or will never be: sendErr says
	// which. It is nil when it was through at once.
	sent    chan struct{}
	sendErr error
	// left is set when the caller was seen to go away.
	left bool
}

var (
	errCallerBroken = errors.New("the caller's request is broken")
	errCallerGone   = errors.New("the caller went away before it was answered")
)

// forward passes an admitted request on and its answer back; false ends the
// caller's connection.
func (x *httpConn) forward(s *state, target string, rec decision.Record) bool {
	x.call = httpCall{httpConn: x, state: s, rec: rec}
	c := &x.call
	err := c.send(target)
	if err == nil {
		err = c.answer()
	}
	if err != nil {
		return c.failed(err)
	}
	c.rec.Verdict, c.rec.Status, c.rec.DurationUS = decision.Allowed, x.response.Status,
		time.Since(rec.At).Microseconds()
	x.note(s, c.rec)
	if x.switches() {
		c.wait()
		c.changeProtocol()
		return false
	}
	return c.relay()
}

// send connects to the backend and sends the request, as far as it is there.
func (c *httpCall) send(target string) error {
	x := c.httpConn
	c.head = x.role.requestHead(x.out[:0], &x.request, target)
	x.out = c.head
	var err error
	if c.up, err = x.role.upstream(c.state, false); err != nil {
		return err
	}
	if x.in.Ready(&x.request) {
		c.sendErr = x.in.CopyBody(c.up, &x.request, c.head, trailer)
		return nil
	}
	x.out = nil
	up, sent := c.up, make(chan struct{})
	c.sent = sent
	go func() {
		err := x.in.CopyBody(up, &x.request, c.head, trailer)
		c.sendErr = err
		close(sent) // from here on c may be the next request's
		if err != nil {
			abort(up.Conn) // the backend is not to take half a body for a whole one
		}
	}()
	return nil
}

// wait returns when nothing is sent any more.
func (c *httpCall) wait() {
	if c.sent != nil {
		<-c.sent
	}
}

// answer reads the answer's head, and passes on what comes before it.
func (c *httpCall) answer() error {
	x := c.httpConn
	req, res := &x.request, &x.response
	stop := c.watch()
	err := c.up.reader.ReadResponse(res, req.Method)
	stop()
	if c.left {
		return errCallerGone
	}
	if err != nil && c.up.used && req.Body == message.NoBody && replayable(req.Method) {
		// The backend closed an idle connection as we picked it: take a fresh one, once.
		_ = c.up.Close()
		if c.up, err = x.role.upstream(x.m.state.Load(), true); err != nil {
			return err
		}
		if _, err = c.up.Write(c.head); err == nil {
			err = c.up.reader.ReadResponse(res, req.Method)
		}
	}
	for err == nil && res.Status/100 == 1 && res.Status != http.StatusSwitchingProtocols {
		// 100 Continue too: istiod sets proxy_100_continue.
		if _, err := x.conn.Write(x.responseHead()); err != nil {
			return fmt.Errorf("%w: %w", errCallerGone, err)
		}
		err = c.up.reader.ReadResponse(res, req.Method)
	}
	if err == nil || c.sent == nil {
		return err
	}
	select {
	case <-c.sent:
		// What ended the sending ended the answer too. Whose fault is it?
		switch {
		case errors.Is(c.sendErr, message.ErrMalformed):
			return fmt.Errorf("%w: %w", errCallerBroken, c.sendErr)
		case x.in.Err() != nil:
			return fmt.Errorf("%w: %w", errCallerGone, x.in.Err())
		}
	default:
	}
	return err
}

// failed answers for a backend that cannot be reached or does not answer, or says
// what was wrong with the caller.
func (c *httpCall) failed(err error) bool {
	x := c.httpConn
	if c.up != nil {
		abort(c.up.Conn)
	}
	c.rec.Verdict = decision.Failed
	x.closing = x.closing || c.sent != nil
	ok := false
	switch {
	case errors.Is(err, errCallerBroken):
		c.rec.Layer, c.rec.Reason = 0, "bad request: "+err.Error()
		ok = x.refuse(c.state, c.rec, reply(http.StatusBadRequest, "Bad Request"))
	case errors.Is(err, errCallerGone):
		c.rec.Layer, c.rec.Reason, c.rec.DurationUS = 0, err.Error(), time.Since(c.rec.At).Microseconds()
		x.note(c.state, c.rec)
		abort(x.conn)
	default:
		c.rec.Reason = "allowed, but the backend could not be reached: " + err.Error()
		ok = x.refuse(c.state, c.rec, errorReply(err))
	}
	if c.sent != nil { // it still reads from the caller
		x.end()
		<-c.sent
	}
	return ok
}

// relay passes the answer on; false ends the caller's connection.
func (c *httpCall) relay() bool {
	x := c.httpConn
	x.closing = x.closing || x.request.Close
	stop := c.watch()
	err := c.copyAnswer()
	stop()
	if err != nil {
		abort(c.up.Conn)
		abort(x.conn) // the caller is not to take half an answer for a whole one
		c.wait()
		return false
	}
	if c.sent != nil {
		// An answer may come before the request is through: then the rest of it is
		// of no interest, and where it ends is not known.
		select {
		case <-c.sent:
		case <-time.After(lingerFor):
			abort(c.up.Conn)
			x.closing = true
			x.end()
			<-c.sent
			return false
		}
	}
	if c.sendErr != nil || x.response.Close || x.response.Status == http.StatusSwitchingProtocols {
		_ = c.up.Close()
	} else {
		x.role.idle().put(c.up)
	}
	if c.sendErr != nil {
		x.closing = true
	}
	return !x.closing
}

// copyAnswer writes the answer. One that the backend ends with its connection is sent
// in chunks: so a broken one does not look whole, and the caller's connection stays.
func (c *httpCall) copyAnswer() error {
	x := c.httpConn
	if x.response.Body != message.UntilClose {
		return c.up.reader.CopyBody(x.conn, &x.response, x.responseHead(), trailer)
	}
	if _, err := x.conn.Write(x.responseHead()); err != nil {
		return err
	}
	chunks := httputil.NewChunkedWriter(x.conn)
	if err := c.up.reader.CopyBody(chunks, &x.response, nil, nil); err != nil {
		return err
	}
	_, err := io.WriteString(x.conn, "0\r\n\r\n")
	return err
}

// watchAfter is how long an answer may take before anybody looks whether its
// caller is still there.
const watchAfter = time.Second

// watch ends an answer that takes its time when its caller goes away. The function
// that it returns ends the watch.
func (c *httpCall) watch() (stop func()) {
	x, up := c.httpConn, c.up
	if st, ok := x.conn.(*hbone.Stream); ok {
		st.OnBreak(func() {
			c.left = true
			abort(up.Conn)
		})
		return func() { st.OnBreak(nil) }
	}
	if c.sent != nil || x.in.Buffered() > 0 {
		return func() {} // whoever reads sees it
	}
	over := make(chan struct{})
	timer := time.AfterFunc(watchAfter, func() {
		defer close(over)
		if err := x.in.Await(); errors.Is(err, io.EOF) || isReset(err) {
			c.left = true
			abort(up.Conn)
		}
	})
	return func() {
		if !timer.Stop() {
			_ = x.conn.SetReadDeadline(time.Unix(1, 0))
			<-over
			_ = x.conn.SetReadDeadline(time.Time{})
		}
	}
}

// switches reports whether the answer changes the protocol. One that nobody asked
// for is an answer without a body to Envoy, and what follows is HTTP as before:
// otherwise a pod could take the next requests for its own, past all policies.
func (x *httpConn) switches() bool {
	return x.response.Status == http.StatusSwitchingProtocols && x.request.Upgrade != ""
}

func replayable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
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
		b = appendField(b, f.Name, f.Value)
	}
	b = append(b, "server: istio-envoy\r\n"...)
	if res.Body == message.UntilClose {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	switch {
	case x.switches():
		b = appendField(append(b, "connection: Upgrade\r\n"...), "upgrade", res.Upgrade)
	case x.closing:
		b = append(b, "connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	x.back = b
	return b
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

// trailer says which trailer fields are passed on: none that a reader might
// take for the identity or the framing of the message.
func trailer(name string) bool {
	switch strings.ToLower(name) {
	case message.XFCC, "content-length", "transfer-encoding", "host", "connection", "authorization", "trailer",
		"content-encoding", "content-type", "content-range":
		return false
	}
	return true
}

// changeProtocol carries bytes after a change of protocol, until either side ends
// or a policy forbids what began it.
func (c *httpCall) changeProtocol() {
	x, up := c.httpConn, c.up
	if _, err := x.conn.Write(append(x.responseHead(), up.reader.Take()...)); err != nil {
		_ = up.Close()
		return
	}
	if rest := x.in.Take(); len(rest) > 0 {
		if _, err := up.Write(rest); err != nil {
			_ = up.Close()
			return
		}
	}
	x.m.carry(c.state, nil, x.conn, up.Conn, x.role.changed())
}
