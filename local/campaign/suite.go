// Package campaign plays the campaign against a running suite, on this machine or on
// a cluster: it orders attacks at the attacker's console, makes the live
// controls as an operator would, reads the decision log where there is one, and
// has every attack judged. It comes through the gateway like everybody else.
package campaign

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/control"
)

// Suite is a running suite as it looks through its gateway.
type Suite struct {
	host string // the Host header, with the port
	here bool   // its gateway is on this machine
	dial Dial
	http *http.Client
	// Tap listens on the wire between the pods, as capture.Node does; nil where
	// nobody can.
	Tap func(ctx context.Context, see func(capture.Segment)) (wait func() error, err error)
}

// Dial opens a connection to a gateway.
type Dial func(ctx context.Context) (net.Conn, error)

// NewSuite returns the suite behind a gateway such as http://127.0.0.1:19080. The
// host of the URL is where to connect; the name asked for is control.GatewayHost.
func NewSuite(gateway string) (*Suite, error) {
	u, err := url.Parse(gateway)
	if err != nil || u.Scheme != "http" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("gateway %q: want http://HOST:PORT", gateway)
	}
	port := cmp.Or(u.Port(), "80")
	name := u.Hostname()
	if name == control.GatewayHost || name == "localhost" {
		name = "127.0.0.1"
	}
	address := net.JoinHostPort(name, port)
	s := SuiteBehind(net.JoinHostPort(control.GatewayHost, port), func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, "tcp", address)
	})
	ip, err := netip.ParseAddr(name)
	s.here = err == nil && ip.IsLoopback()
	return s, nil
}

// At reports whether the suite is the one behind a gateway's address on this
// machine, HOST:PORT.
func (s *Suite) At(gateway string) bool {
	_, own, err := net.SplitHostPort(s.host)
	_, port, err2 := net.SplitHostPort(gateway)
	return err == nil && err2 == nil && s.here && own == port
}

// SuiteBehind returns the suite behind the gateway that dial connects to; host
// is what its requests ask for, control.GatewayHost with the port.
func SuiteBehind(host string, dial Dial) *Suite {
	return &Suite{host: host, dial: dial, http: &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
			error) {
			return dial(ctx)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is what came back through the gateway.
type answer struct {
	status int
	body   []byte
}

// ask calls through the gateway; a body makes it a POST.
func (s *Suite) ask(ctx context.Context, path string, body any) (answer, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := control.NewRequest(ctx, method, "http://"+s.host+path, body)
	if err != nil {
		return answer{}, fmt.Errorf("call %s: %w", path, err)
	}
	response, err := s.http.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("the gateway: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return answer{}, fmt.Errorf("the gateway's answer to %s: %w", path, err)
	}
	return answer{response.StatusCode, data}, nil
}
