// Package enforcer has a real Envoy judge requests by many sets of RBAC filters
// at once. It sends raw HTTP/1.1 request lines over mTLS, each from a client
// with an identity and an address of its own, and reads Envoy's verdict, the
// rule that decided and the path that it saw. What the verdict should be is not
// its business.
package enforcer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"artemis.example/conformance/envoy"
)

// Client is where requests come from: one keep-alive connection.
type Client struct {
	// Principal is the only URI in the client's certificate. Empty: it presents
	// none and the proxy knows of none.
	Principal string
	// Source is the address it connects from, Dest the one it connects to, both
	// within 127/8.
	Source, Dest netip.Addr
	// Port is the index of the listener it connects to, below Listeners.
	Port int
}

// Listeners is how many ports there are.
const Listeners = 3

// Request is one request, sent exactly as it stands.
type Request struct {
	Client         int
	Method, Target string
	Host           string
	Header         [][2]string
}

// Verdict is what Envoy made of a request.
type Verdict struct {
	// Status is 200 (allowed), 403 (denied) or 400 (refused before any policy).
	Status int
	// Details is %RESPONSE_CODE_DETAILS%, empty on a 400.
	Details string
	// Rule is the rule that the last RBAC filter which had one named.
	Rule string
	// Path is :path as Envoy has it after normalisation, with the query.
	Path string
	// Body is the answer where there are no details.
	Body string
}

// Envoy is a running Envoy with its clients.
type Envoy struct {
	process    *envoy.Process
	routesPath string
	version    int
	clients    []*client
}

// Start runs the Envoy at bin, its files in dir, and prepares the clients.
func Start(ctx context.Context, bin, dir string, clients []Client) (*Envoy, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	e := &Envoy{routesPath: filepath.Join(dir, "routes.pb")}
	var listeners []*listener.Listener
	for i := range Listeners {
		for _, identity := range []bool{true, false} {
			l, err := ca.listener(listenerName(i, identity), identity, e.routesPath)
			if err != nil {
				return nil, err
			}
			listeners = append(listeners, l)
		}
	}
	if err := writeRoutes(e.routesPath, "0", routes(map[string][]*rbac.RBAC{"none": nil})); err != nil {
		return nil, err
	}
	conf, err := config(listeners)
	if err != nil {
		return nil, err
	}
	b, err := protojson.Marshal(conf)
	if err != nil {
		return nil, fmt.Errorf("make the bootstrap: %w", err)
	}
	if !json.Valid(b) {
		return nil, errors.New("make the bootstrap: no valid JSON")
	}
	if e.process, err = envoy.Start(ctx, bin, dir, b, 2); err != nil {
		return nil, err
	}
	ports, err := e.process.Ports(ctx)
	if err != nil {
		e.Close()
		return nil, err
	}
	for _, c := range clients {
		conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		if c.Principal != "" {
			cert, err := ca.issue(c.Principal)
			if err != nil {
				e.Close()
				return nil, err
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		port := ports[listenerName(c.Port, c.Principal != "")]
		e.clients = append(e.clients, &client{
			source: c.Source, dest: netip.AddrPortFrom(c.Dest, port), conf: conf,
		})
	}
	return e, nil
}

func listenerName(i int, identity bool) string {
	if identity {
		return "identity-" + strconv.Itoa(i)
	}
	return "nobody-" + strconv.Itoa(i)
}

// Port is the destination port of a client's connection.
func (e *Envoy) Port(client int) uint16 { return e.clients[client].dest.Port() }

// Close ends the connections and Envoy.
func (e *Envoy) Close() {
	for _, c := range e.clients {
		c.close()
	}
	e.process.Stop()
}

// Judged is a request together with the set that it is judged by.
type Judged struct {
	Set string
	Request
}

// Decide replaces the policy sets and sends all requests; the verdicts are in
// the order of the requests.
func (e *Envoy) Decide(ctx context.Context, sets map[string][]*rbac.RBAC, requests []Judged) ([]Verdict, error) {
	e.version++
	version := "probe-" + strconv.Itoa(e.version)
	with := make(map[string][]*rbac.RBAC, len(sets)+1)
	for name, filters := range sets {
		with[name] = enforced(filters)
	}
	with[version] = nil
	refused := e.refusals()
	if err := writeRoutes(e.routesPath, version, routes(with)); err != nil {
		return nil, err
	}
	byClient := make([][]int, len(e.clients))
	for i, r := range requests {
		byClient[r.Client] = append(byClient[r.Client], i)
	}
	verdicts := make([]Verdict, len(requests))
	g, ctx := errgroup.WithContext(ctx)
	for c, mine := range byClient {
		if len(mine) == 0 {
			continue
		}
		g.Go(func() error {
			// Each of Envoy's threads takes the new routes in its own time.
			if err := e.clients[c].await(ctx, version, refused); err != nil {
				return fmt.Errorf("wait for the policies: %w", err)
			}
			if err := e.clients[c].send(ctx, requests, mine, verdicts); err != nil {
				return fmt.Errorf("send requests: %w\n%s", err, e.process.Log())
			}
			return nil
		})
	}
	return verdicts, g.Wait()
}

// ErrRefused is returned when Envoy takes the policies for invalid, although
// Istio does not.
var ErrRefused = errors.New("Envoy refuses the policies")

// refusals returns a function that reports whether Envoy has refused a
// configuration since.
func (e *Envoy) refusals() func() error {
	before := len(e.process.Log())
	return func() error {
		log := e.process.Log()
		if len(log) == before {
			return nil
		}
		since := log[min(before, len(log)):]
		if strings.Contains(since, "rejected") || strings.Contains(since, "threw exception") {
			return fmt.Errorf("%w: %s", ErrRefused, since)
		}
		return nil
	}
}

// enforced leaves out filters that only watch (dry run).
func enforced(filters []*rbac.RBAC) []*rbac.RBAC {
	var out []*rbac.RBAC
	for _, f := range filters {
		if f.Rules != nil {
			out = append(out, f)
		}
	}
	return out
}
