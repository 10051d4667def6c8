package mesh

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"artemis.example/local/capture"
	"golang.org/x/net/http/httpguts"
)

// preface is how a caller begins that knows beforehand that HTTP/2 is spoken
// (RFC 9113, 3.4), as far as Envoy looks at it before it decides
// (source/common/http/http2/codec_impl.cc, Http2::CLIENT_MAGIC_PREFIX).
const preface = "PRI * HTTP/2"

// speaksHTTP2 reports whether the connection begins with HTTP/2's preface.
func (x *httpConn) speaksHTTP2() bool {
	_ = x.conn.SetReadDeadline(time.Now().Add(headTimeout))
	defer func() { _ = x.conn.SetReadDeadline(time.Time{}) }()
	for {
		b := x.in.Peek()
		if len(b) >= len(preface) {
			return string(b[:len(preface)]) == preface
		}
		if !strings.HasPrefix(preface, string(b)) || x.in.More() != nil {
			return false
		}
	}
}

// http2Server serves callers that speak HTTP/2 without TLS. Each request of theirs
// is written as one of HTTP/1.1 to an httpConn of its own: so there is one reader
// of requests, and one way on, for both.
type http2Server struct {
	m      *Mesh
	conns  *capture.Handed
	server *http.Server
}

type newRoleKey struct{}

func newHTTP2Server(m *Mesh) *http2Server {
	s := &http2Server{m: m, conns: capture.NewHanded(&net.TCPAddr{})}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{
		Handler: s, Protocols: protocols, IdleTimeout: keepAlive, ReadHeaderTimeout: headTimeout,
		MaxHeaderBytes: 60 << 10, ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100, PermitProhibitedCipherSuites: true},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, newRoleKey{}, c.(*http2Conn).newRole)
		},
	}
	go func() { _ = s.server.Serve(s.conns) }()
	return s
}

func (s *http2Server) close() { _ = s.server.Close() }

// http2Conn is a caller's connection with what was read off it already.
type http2Conn struct {
	net.Conn
	first   io.Reader
	newRole func() httpRole
	once    sync.Once
	closed  chan struct{}
}

func (c *http2Conn) Read(p []byte) (int, error) { return c.first.Read(p) }

// Close ends the connection.
func (c *http2Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// serve serves a connection until it ends.
func (s *http2Server) serve(conn net.Conn, first []byte, newRole func() httpRole) {
	c := &http2Conn{Conn: conn, newRole: newRole, closed: make(chan struct{})}
	c.first = io.MultiReader(bytes.NewReader(bytes.Clone(first)), conn)
	if s.conns.Hand(context.Background(), c) != nil {
		_ = conn.Close()
		return
	}
	<-c.closed
}

// ServeHTTP serves one request.
func (s *http2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	newRole := r.Context().Value(newRoleKey{}).(func() httpRole)
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer context.AfterFunc(r.Context(), func() { _ = ours.Close() })()
	go func() {
		defer s.m.containPanic(theirs)
		x := newHTTPConn(s.m, theirs)
		x.role = newRole()
		x.serve()
		x.end()
	}()
	head, ok := requestText(r)
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	go func() {
		if writeRequest(ours, head, r) != nil {
			_ = ours.Close()
		}
	}()
	if err := copyResponse(w, bufio.NewReader(ours), r); err != nil {
		panic(http.ErrAbortHandler) // resets the stream
	}
}

// requestText writes the head of a request of HTTP/2 as one of HTTP/1.1; false when
// it says something that cannot be said there.
func requestText(r *http.Request) (string, bool) {
	target := r.RequestURI
	if r.Method == http.MethodConnect {
		target = r.Host
	}
	if strings.ContainsFunc(r.Method+target+r.Host, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, r.Host)
	for name, values := range r.Header {
		if name == "Content-Length" {
			continue // said below
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				return "", false
			}
			fmt.Fprintf(&b, "%s: %s\r\n", strings.ToLower(name), v)
		}
	}
	switch {
	case r.ContentLength > 0:
		b.WriteString("content-length: " + strconv.FormatInt(r.ContentLength, 10) + "\r\n")
	case r.ContentLength < 0:
		b.WriteString("transfer-encoding: chunked\r\n")
	}
	for name := range r.Trailer {
		b.WriteString("trailer: " + strings.ToLower(name) + "\r\n")
	}
	b.WriteString("connection: close\r\n\r\n")
	return b.String(), true
}

// writeRequest writes a request with its body and trailer.
func writeRequest(to io.Writer, head string, r *http.Request) error {
	if _, err := io.WriteString(to, head); err != nil || r.ContentLength == 0 {
		return err
	}
	if r.ContentLength > 0 {
		_, err := io.Copy(to, r.Body)
		return err
	}
	chunks := httputil.NewChunkedWriter(to)
	if _, err := io.Copy(chunks, r.Body); err != nil {
		return err
	}
	if err := chunks.Close(); err != nil {
		return err
	}
	if err := r.Trailer.Write(to); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\r\n")
	return err
}

// copyResponse passes an answer of HTTP/1.1 on.
func copyResponse(w http.ResponseWriter, from *bufio.Reader, r *http.Request) error {
	var res *http.Response
	for {
		var err error
		if res, err = http.ReadResponse(from, r); err != nil {
			return err
		}
		if res.StatusCode/100 != 1 {
			break
		}
		if res.StatusCode == http.StatusEarlyHints {
			setHeader(w.Header(), res.Header)
			w.WriteHeader(res.StatusCode)
		}
	}
	return passAnswer(w, res)
}

// passAnswer passes an answer on as it arrives.
func passAnswer(w http.ResponseWriter, res *http.Response) error {
	clear(w.Header())
	setHeader(w.Header(), res.Header)
	if _, given := res.Header["Content-Type"]; !given {
		w.Header()["Content-Type"] = nil // nobody is to guess one
	}
	w.WriteHeader(res.StatusCode)
	flush := http.NewResponseController(w)
	if res.ContentLength != 0 { // else the head is also the end, as gRPC wants it
		if err := flush.Flush(); err != nil {
			return err
		}
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := res.Body.Read(*buf)
		if n > 0 {
			if _, err := w.Write((*buf)[:n]); err != nil {
				return err
			}
			if err := flush.Flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	for name, values := range res.Trailer {
		w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

func setHeader(to, from http.Header) {
	for name, values := range from {
		if name != "Connection" {
			to[name] = values
		}
	}
}

// http2Backend is a backend that speaks HTTP/2, for those who speak HTTP/1.1 to it.
type http2Backend struct{ transport *http.Transport }

// overHTTP2 returns a connection on which HTTP/1.1 is spoken, one request after the
// other, and which passes that on to conn as HTTP/2.
func overHTTP2(conn net.Conn) net.Conn {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	var once sync.Once
	b := &http2Backend{transport: &http.Transport{
		Protocols: protocols, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			err := net.ErrClosed
			once.Do(func() { err = nil })
			return conn, err
		},
	}}
	ours, theirs := net.Pipe()
	ln := capture.NewHanded(conn.LocalAddr())
	server := &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0), ConnState: func(_ net.Conn,
		to http.ConnState) {
		if to == http.StateClosed {
			_ = ln.Close()
			b.transport.CloseIdleConnections()
			_ = conn.Close()
		}
	}}
	go func() { _ = server.Serve(ln) }()
	if ln.Hand(context.Background(), theirs) != nil {
		_ = theirs.Close()
	}
	return ours
}

// ServeHTTP passes one request on.
func (b *http2Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	out := &http.Request{
		Method: r.Method, Host: r.Host, Header: r.Header.Clone(), ContentLength: r.ContentLength, Trailer: r.Trailer,
		// As it stands: the transport takes scheme and host off again.
		URL: &url.URL{Scheme: "http", Host: r.Host, Opaque: "//" + r.Host + r.RequestURI},
	}
	if r.ContentLength != 0 {
		out.Body = r.Body
	}
	if _, given := out.Header["User-Agent"]; !given {
		out.Header["User-Agent"] = nil // nobody is to make one up
	}
	res, err := b.transport.RoundTrip(out.WithContext(r.Context()))
	if err != nil {
		panic(http.ErrAbortHandler) // the one who asked says what that means
	}
	defer res.Body.Close()
	if passAnswer(w, res) != nil {
		panic(http.ErrAbortHandler)
	}
}
