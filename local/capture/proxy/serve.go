package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
)

// maxHead bounds the head of a request or a response.
const maxHead = 64 << 10

var errHeadTooLarge = errors.New("the head is too large")

// serve answers a program that uses the listener as its HTTP proxy (RFC 9112,
// 3.2.2 and 3.2.3). A request's head goes on as it came but for its first line,
// whose target becomes the origin form with the path's bytes untouched, and the
// fields that were meant for a proxy.
func (p *Pod) serve(client *net.TCPConn) {
	defer client.Close()
	s := session{pod: p, client: client, in: bufio.NewReaderSize(client, 8<<10)}
	defer s.hangUp()
	for s.exchange() {
	}
}

type session struct {
	pod    *Pod
	client *net.TCPConn
	in     *bufio.Reader
	// The connection to the node proxy that the last request took, kept for the
	// next to the same destination.
	server *wire
	out    *bufio.Reader
	dst    string
}

func (s *session) hangUp() {
	if s.server != nil {
		_ = s.server.Close()
		s.server = nil
	}
}

// exchange passes one request and its response. It gives false when the
// client's connection is over.
func (s *session) exchange() bool {
	head, err := readHead(s.in)
	if err != nil {
		if errors.Is(err, errHeadTooLarge) {
			s.refuse(http.StatusRequestHeaderFieldsTooLarge, "request header too large")
		}
		return false
	}
	line, fields, _ := bytes.Cut(head, []byte("\n"))
	method, rest, ok := strings.Cut(strings.TrimRight(string(line), "\r"), " ")
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
	out := append([]byte(method+" "+path+" "+version+"\r\n"), withoutProxyFields(fields)...)
	return s.relay(method, out)
}

// relay sends a head and what follows it, and passes the answer back.
func (s *session) relay(method string, head []byte) bool {
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if _, werr := s.server.Write(head); werr != nil {
		s.cut()
		return false
	}
	if err != nil || request.Header.Get("Upgrade") != "" {
		// Not for us to judge: what is behind shall see the bytes.
		splice(bufferedConn{s.client, s.in}, bufferedConn{s.server, s.out})
		return false
	}
	// The body goes its way while the answer comes: it may come early.
	sent := make(chan error, 1)
	if request.ContentLength == 0 && len(request.TransferEncoding) == 0 {
		sent <- nil
	} else {
		server := s.server // relay may be over before the copying is
		go func() { sent <- copyBody(server, s.in, request.ContentLength) }()
	}
	for {
		answer, err := readHead(s.out)
		if err != nil {
			s.cut()
			return false
		}
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), &http.Request{Method: method})
		if _, werr := s.client.Write(answer); werr != nil {
			return false
		}
		switch {
		case err != nil || response.StatusCode == http.StatusSwitchingProtocols:
			splice(bufferedConn{s.client, s.in}, bufferedConn{s.server, s.out})
			return false
		case response.StatusCode < 200:
			continue
		}
		length := response.ContentLength
		if method == http.MethodHead || response.StatusCode == http.StatusNoContent || response.StatusCode == http.StatusNotModified {
			length = 0
		}
		untilEnd := length < 0 && len(response.TransferEncoding) == 0
		if untilEnd {
			_, err = io.Copy(s.client, s.out)
		} else {
			err = copyBody(s.client, s.out, length)
		}
		if err != nil {
			s.cut()
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
		if response.Close || untilEnd {
			s.hangUp()
		}
		return !untilEnd && !request.Close && !response.Close
	}
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
	if !s.pod.offer(theirs, dst) {
		return net.ErrClosed
	}
	s.server, s.out, s.dst = ours, bufio.NewReaderSize(ours, 8<<10), hostport
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
	splice(bufferedConn{s.client, s.in}, bufferedConn{s.server, s.out})
	s.cut()
}

func (s *session) refuse(status int, why string) {
	// The client may be gone.
	_, _ = fmt.Fprintf(s.client, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
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

// readHead reads up to and with the empty line.
func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := r.ReadSlice('\n')
		head = append(head, line...)
		if errors.Is(err, bufio.ErrBufferFull) && len(head) < maxHead {
			continue
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(head) >= maxHead {
			return nil, errHeadTooLarge
		}
		if bytes.HasSuffix(head, []byte("\n\r\n")) || bytes.HasSuffix(head, []byte("\n\n")) {
			return head, nil
		}
		if len(bytes.TrimRight(head, "\r\n")) == 0 { // empty lines before a request are skipped
			head = head[:0]
		}
	}
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
func withoutProxyFields(fields []byte) []byte {
	out := make([]byte, 0, len(fields))
	for line := range bytes.SplitAfterSeq(fields, []byte("\n")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch textproto.CanonicalMIMEHeaderKey(string(name)) {
		case "Proxy-Connection", "Proxy-Authorization":
			continue
		}
		out = append(out, line...)
	}
	return out
}

// copyBody passes a body of that length, or a chunked one for a length below 0,
// byte for byte.
func copyBody(dst io.Writer, src *bufio.Reader, length int64) error {
	if length >= 0 {
		_, err := io.CopyN(dst, src, length)
		return err
	}
	for {
		line, err := src.ReadSlice('\n')
		if err != nil {
			return err
		}
		sizeText, _, _ := strings.Cut(strings.TrimSpace(string(line)), ";")
		size, err := strconv.ParseUint(strings.TrimSpace(sizeText), 16, 62)
		if err != nil {
			return fmt.Errorf("chunk size: %w", err)
		}
		if _, err := dst.Write(line); err != nil {
			return err
		}
		if size > 0 {
			if _, err := io.CopyN(dst, src, int64(size)+2); err != nil {
				return err
			}
			continue
		}
		for { // trailers, up to the empty line
			line, err := src.ReadSlice('\n')
			if err != nil {
				return err
			}
			if _, err := dst.Write(line); err != nil {
				return err
			}
			if len(bytes.TrimRight(line, "\r\n")) == 0 {
				return nil
			}
		}
	}
}
