// Package wire sends attacks: requests written by hand to connections of their
// own, so that nothing between the campaign and the network repairs, escapes or
// pools them. It reports what came back and judges nothing. It is no client for
// anything but what a campaign says.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"artemis.example/adversary"
)

// Bounds of one exchange.
const (
	Patience  = 4 * time.Second // how long an attacker waits for one answer
	maxAnswer = 4 << 20         // bytes of a body that are looked at
	parallel  = 8               // connections of a request that is sent many times
)

// Sender sends from one place in the network.
type Sender struct {
	// Gateway opens a connection to where requests without an address go, and
	// GatewayHost is their Host header.
	Gateway     func(ctx context.Context) (net.Conn, error)
	GatewayHost string
	// Proxy is HOST:PORT of a pod's outbound listener where traffic is not
	// captured but has to be sent there (capture "proxy"); empty for none.
	Proxy string
	// Loot delivers what was stolen to the attacker's console; may be nil.
	Loot func(ctx context.Context, body []byte) error
}

// ProxyFrom returns the Proxy of an environment's HTTP_PROXY.
func ProxyFrom(value string) string {
	u, err := url.Parse(value)
	if err != nil {
		return ""
	}
	return u.Host
}

// Send plays an attack and returns what was seen. What belongs to somebody on the
// wire, not in a pod, is not sent here.
func (s Sender) Send(ctx context.Context, a adversary.Attack) *adversary.Evidence {
	began := time.Now()
	var e *adversary.Evidence
	switch a.Means {
	case adversary.HTTP:
		e = s.http(ctx, a)
	case adversary.ForeignCA:
		e = s.foreignCA(ctx, a.Send[0])
	case adversary.Datagram:
		e = datagram(a.Send[0])
	case adversary.RawSocket:
		e = rawSocket(a.Send[0])
	default:
		e = &adversary.Evidence{Error: fmt.Sprintf("nobody here knows how to send by %s", a.Means)}
	}
	e.DurationMs = float64(time.Since(began).Microseconds()) / 1000
	return e
}

// http sends all requests, and reports the last answer, or the first failure.
func (s Sender) http(ctx context.Context, a adversary.Attack) *adversary.Evidence {
	var last *adversary.Evidence
	attempts, answered := 0, 0
	for _, r := range a.Send {
		for _, e := range s.times(ctx, a, r) {
			attempts++
			if e.Effect || (e.Service == a.Target && e.Status/100 == 2) {
				answered++
			}
			if last == nil || last.Fault == adversary.NoFault {
				last = e
			}
		}
	}
	if attempts > 1 {
		last.Attempts, last.Answered = attempts, answered
		if a.Effect == (adversary.Effect{}) {
			last.Effect = answered == attempts
		}
	}
	return last
}

// times sends a request as often as it says: few in turn, many at once.
func (s Sender) times(ctx context.Context, a adversary.Attack, r adversary.Request) []*adversary.Evidence {
	all := make([]*adversary.Evidence, max(1, r.Times))
	at := 1
	if len(all) > parallel {
		at = parallel
	}
	var senders sync.WaitGroup
	free := make(chan struct{}, at)
	for i := range all {
		free <- struct{}{}
		senders.Go(func() {
			all[i] = s.once(ctx, a, r)
			<-free
		})
	}
	senders.Wait()
	return all
}

func (s Sender) once(ctx context.Context, a adversary.Attack, r adversary.Request) *adversary.Evidence {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	e := &adversary.Evidence{}
	conn, err := s.dial(ctx, r)
	if err != nil {
		return failed(e, err)
	}
	defer conn.Close()
	e.Remote = conn.RemoteAddr().String()
	e.Sent = s.head(r)
	if _, err := io.WriteString(conn, e.Sent+"\r\n"+r.Body); err != nil {
		// What was answered before the cut counts more than the cut.
		if read(conn, e, a, r) != nil {
			return failed(e, err)
		}
	} else if err := read(conn, e, a, r); err != nil {
		return failed(e, err)
	}
	if r.Loot && e.Effect && s.Loot != nil {
		if err := s.Loot(ctx, []byte(e.Body)); err != nil {
			e.Effect, e.Note = false, "the loot did not arrive: "+err.Error()
		} else {
			e.Note = fmt.Sprintf("%d bytes of loot arrived at the console", len(e.Body))
		}
	}
	return e
}

// head is everything before the empty line, as it goes over the wire.
func (s Sender) head(r adversary.Request) string {
	host := r.Host
	if host == "" {
		host = r.To
	}
	if host == "" {
		host = s.GatewayHost
	}
	lines := []string{r.Line + " HTTP/1.1", "Host: " + host}
	lines = append(lines, r.Headers...)
	if r.Body != "" {
		lines = append(lines, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(r.Body)))
	}
	return strings.Join(append(lines, "Connection: close", ""), "\r\n")
}

// read takes one answer in.
func read(conn net.Conn, e *adversary.Evidence, a adversary.Attack, r adversary.Request) error {
	method, _, _ := strings.Cut(r.Line, " ")
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		return err
	}
	answer, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	e.Status = answer.StatusCode
	e.Headers = map[string]string{}
	for name, values := range answer.Header {
		if len(e.Headers) < 16 {
			e.Headers[name] = strings.Join(values, ", ")
		}
	}
	e.Read(body)
	// Without something to look for, only the target itself counts.
	e.Effect = a.Effect.Matches(e.Status, body) && (a.Effect.Contains != "" || e.Service == a.Target)
	return nil
}

// dial opens the connection that a request goes over, for as long as ctx has time.
func (s Sender) dial(ctx context.Context, r adversary.Request) (net.Conn, error) {
	conn, err := s.connect(ctx, r)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s Sender) connect(ctx context.Context, r adversary.Request) (net.Conn, error) {
	var d net.Dialer
	if r.To == "" {
		return s.Gateway(ctx)
	}
	if s.Proxy != "" {
		return tunnel(ctx, s.Proxy, r.To)
	}
	if !r.PodIP {
		return d.DialContext(ctx, "tcp", r.To)
	}
	host, port, err := net.SplitHostPort(r.To)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, &net.DNSError{Err: "no pod behind it", Name: host, IsNotFound: true}
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(ips[0].Unmap().String(), port))
}

// tunnel asks a pod's outbound listener for a connection that carries bytes as
// they are.
func tunnel(ctx context.Context, proxy, to string) (_ net.Conn, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", proxy)
	if err != nil {
		return nil, fmt.Errorf("the pod's own proxy: %w", err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to); err != nil {
		return nil, err
	}
	// One byte at a time: what follows the answer belongs to the connection.
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if len(head) > 8<<10 {
			return nil, errNonsense
		}
		if _, err := conn.Read(one); err != nil {
			return nil, err
		}
		head = append(head, one...)
	}
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errNonsense
	}
	if answer.StatusCode != http.StatusOK {
		return nil, &proxyError{answer.StatusCode}
	}
	return conn, nil
}
