package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"

	"artemis.example/local/http1"
	"artemis.example/policy/message"
)

// serve answers a program that uses the listener as its HTTP proxy (RFC 9112,
// 3.2.2 and 3.2.3). A request's head goes on as it came but for its first line,
// whose target becomes the origin form with the path's bytes untouched, and the
// fields that were meant for a proxy.
func (p *Pod) serve(client *net.TCPConn) {
	defer client.Close()
	s := session{pod: p, client: client, in: http1.NewReader(client)}
	defer s.hangUp()
	for s.exchange() {
	}
}

// session is one connection of a program to the listener.
type session struct {
	pod    *Pod
	client *net.TCPConn
	in     *http1.Reader
	// The connection to the node proxy that the last request took, kept for the
	// next to the same destination.
	server *wire
	out    *http1.Reader
	dst    string

	request, response message.Head
}

func (s *session) hangUp() {
	if s.server != nil {
		_ = s.server.Close()
		s.server = nil
	}
}

// exchange passes one request and its response. It returns false when the
// client's connection is over.
func (s *session) exchange() bool {
	head, err := s.in.RawHead()
	if err != nil {
		if errors.Is(err, message.ErrTooLarge) {
			s.refuse(http.StatusRequestHeaderFieldsTooLarge, "request header too large")
		}
		return false
	}
	line, fields, _ := strings.Cut(head, "\n")
	method, rest, ok := strings.Cut(strings.TrimRight(line, "\r"), " ")
	target, version, ok2 := lastCut(rest)
	if !ok || !ok2 || !strings.HasPrefix(version, "HTTP/") {
		s.refuse(http.StatusBadRequest, "this is an HTTP proxy")
		return false
	}
	if method == http.MethodConnect {
		s.tunnel(target)
		return false
	}
	authority, path, ok := splitAbsolute(target)
	if !ok {
		s.refuse(http.StatusBadRequest, "the request target has to be http://...: this is the pod's outbound proxy")
		return false
	}
	if err := s.reach(withPort(authority, "80")); err != nil {
		s.refuse(http.StatusBadGateway, err.Error())
		return false
	}
	return s.relay(method + " " + path + " " + version + "\r\n" + withoutProxyFields(fields))
}

// relay sends a head and what follows it, and passes the answer back.
func (s *session) relay(head string) bool {
	if _, err := io.WriteString(s.server, head+"\r\n"); err != nil {
		s.cut()
		return false
	}
	if err := s.request.ParseRequest(http1.Straighten(head)); err != nil || s.request.Upgrade != "" {
		s.splice() // not for us to judge: what is behind shall see the bytes
		return false
	}
	// The body goes its way while the answer comes: it may come early.
	sent := make(chan error, 1)
	if s.in.Ready(&s.request) {
		sent <- s.in.CopyBody(s.server, &s.request, nil, everyField)
	} else {
		server := s.server // relay may be over before the copying is
		go func() { sent <- s.in.CopyBody(server, &s.request, nil, everyField) }()
	}
	if !s.answer() {
		return false
	}
	select {
	case err := <-sent:
		if err != nil {
			return false
		}
	default: // answered before the body was read: the rest is not ours to guess
		return false
	}
	if s.response.Close {
		s.hangUp()
	}
	return !s.request.Close && !s.response.Close
}

// answer passes the answer back, with what comes before it. It returns false when
// that ends the client's connection.
func (s *session) answer() bool {
	for {
		head, err := s.out.RawHead()
		if err != nil {
			s.cut()
			return false
		}
		if _, err := io.WriteString(s.client, head+"\r\n"); err != nil {
			return false
		}
		switch err := s.response.ParseResponse(http1.Straighten(head), s.request.Method); {
		case err != nil || s.response.Status == http.StatusSwitchingProtocols:
			s.splice()
			return false
		case s.response.Status < 200:
			continue
		}
		if err := s.out.CopyBody(s.client, &s.response, nil, everyField); err != nil {
			s.cut()
			return false
		}
		return true
	}
}

func everyField(string) bool { return true }

// splice has both sides see each other's bytes as they are.
func (s *session) splice() {
	splice(bufferedConn{s.client, s.in}, bufferedConn{s.server, s.out})
}

// cut ends the client's connection as the server's ended: by a reset, or in the
// middle.
func (s *session) cut() {
	if s.server.wasReset() {
		_ = s.client.SetLinger(0)
	}
}

// reach connects to HOST:PORT through the node proxy, or keeps the connection
// that leads there already.
func (s *session) reach(hostport string) error {
	if s.server != nil && s.dst == hostport {
		return nil
	}
	s.hangUp()
	dst, err := s.pod.resolve(hostport)
	if err != nil {
		return err
	}
	ours, theirs, err := newWire(s.pod.spec.IP, dst)
	if err != nil {
		return err
	}
	if err := s.pod.captured.Hand(context.Background(), theirs); err != nil {
		return err
	}
	s.server, s.out, s.dst = ours, http1.NewReader(ours), hostport
	return nil
}

func (s *session) tunnel(target string) {
	if err := s.reach(target); err != nil {
		s.refuse(http.StatusBadGateway, err.Error())
		return
	}
	if _, err := io.WriteString(s.client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	s.splice()
	s.cut()
}

func (s *session) refuse(status int, why string) {
	// The client may be gone.
	_, _ = fmt.Fprintf(s.client, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: "+
		"close\r\n\r\n%s\n",
		status, http.StatusText(status), len(why)+1, why)
}

// resolve returns the address of HOST:PORT as the pod knows it.
func (p *Pod) resolve(hostport string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("malformed destination %q", hostport)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("malformed port in %q", hostport)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
	}
	if p.spec.Resolve != nil {
		if addrs, ok := p.spec.Resolve(strings.ToLower(strings.TrimSuffix(host, "."))); ok && len(addrs) > 0 {
			return netip.AddrPortFrom(addrs[0], uint16(port)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("no such host: %s", host)
}

func lastCut(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// splitAbsolute takes http://AUTHORITY/PATH apart and changes no byte of it.
func splitAbsolute(target string) (authority, path string, ok bool) {
	if len(target) < 7 || !strings.EqualFold(target[:7], "http://") {
		return "", "", false
	}
	rest := target[7:]
	i := strings.IndexAny(rest, "/?#\\")
	if i < 0 {
		return rest, "/", rest != ""
	}
	authority, path = rest[:i], rest[i:]
	if path[0] == '?' || path[0] == '#' {
		path = "/" + path
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	}
	return authority, path, authority != ""
}

func withPort(authority, port string) string {
	if _, _, err := net.SplitHostPort(authority); err == nil {
		return authority
	}
	return net.JoinHostPort(strings.Trim(authority, "[]"), port)
}

// withoutProxyFields leaves out what is for the proxy alone.
func withoutProxyFields(fields string) string {
	var out strings.Builder
	for line := range strings.SplitAfterSeq(fields, "\n") {
		name, _, _ := strings.Cut(line, ":")
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Proxy-Connection", "Proxy-Authorization":
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}
