// Package enforcer has a real Envoy, configured by istiod's code as two waypoints,
// judge requests by many sets of RBAC filters at once. It sends raw HTTP/1.1 requests
// through HBONE tunnels, each from a client with an identity and an address of its
// own, and reads Envoy's answer, the rule that decided and every header that the
// policies saw. What the answer should be is not its business.
package enforcer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"golang.org/x/sync/errgroup"

	"artemis.example/conformance/envoy"
	"artemis.example/conformance/waypoint"
)

// Client is where requests come from: one tunnel.
type Client struct {
	// Principal is the only URI in the client's certificate. Empty: it presents
	// none and the waypoint, the silent one, knows of none.
	Principal string
	// Source is the address it connects from, within 127/8.
	Source netip.Addr
	// Dest is the Service that its tunnel leads to, one of Destinations.
	Dest netip.AddrPort
	// Silent has it go through the waypoint that does not say who calls.
	Silent bool
}

// Request is one request, sent exactly as it stands.
type Request struct {
	Client         int
	Method, Target string
	// Host is its Host; with NoHost there is none.
	Host   string
	NoHost bool
	Header [][2]string
	// Version is HTTP/1.1 where it is empty.
	Version string
}

// Verdict is what Envoy made of a request.
type Verdict struct {
	Status int
	// Details is %RESPONSE_CODE_DETAILS%, empty where the codec refused the request.
	Details string
	// Rule is the rule that the last RBAC filter which had one named.
	Rule string
	// Seen are the headers that the policies saw, pseudo-headers included, sorted, as
	// "name=value" with all that is no printable ASCII escaped. Empty where none did.
	Seen []string
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

// Start runs the Envoy at bin, its files in dir, and prepares the clients. Each further
// set of filters has a port of bytes, at TCPDestination: what passes the filters comes
// back.
func Start(ctx context.Context, bin, dir string, clients []Client, tcp ...[]*listener.Filter) (*Envoy, error) {
	var chains []chain
	for i, set := range tcp {
		c := chain{port: TCPDestination(i).Port()}
		for _, f := range set {
			o, err := waypoint.ToObject(f)
			if err != nil {
				return nil, err
			}
			c.filters = append(c.filters, o)
		}
		c.filters = append(c.filters, object{"name": "echo",
			"typedConfig": object{"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}})
		chains = append(chains, c)
	}
	return start(ctx, bin, dir, clients, chains)
}

// firstTCPPort is the port of the first set of filters of bytes.
const firstTCPPort = 20_000

// TCPDestination is where the set of that index judges.
func TCPDestination(set int) netip.AddrPort {
	return netip.AddrPortFrom(Destinations[0].Addr(), firstTCPPort+uint16(set))
}

// Passes reports whether bytes of a client pass the filters of a set: whether the first one
// comes back.
func (e *Envoy) Passes(ctx context.Context, client, set int) (bool, error) {
	c := *e.clients[client]
	c.out, c.dest = nil, TCPDestination(set)
	if err := c.open(ctx); err != nil {
		return false, err
	}
	e.clients[client].hbone = c.hbone
	defer c.end()
	defer c.within(5 * time.Second)()
	if _, err := c.out.Write([]byte("x")); err != nil {
		return false, nil
	}
	b, err := c.in.ReadByte()
	return err == nil && b == 'x', nil
}

func start(ctx context.Context, bin, dir string, clients []Client, chains []chain) (*Envoy, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	e := &Envoy{routesPath: filepath.Join(dir, "routes.pb")}
	for _, cell := range []string{vouching, silent} {
		if err := ca.writeSecrets(dir, cell); err != nil {
			return nil, err
		}
	}
	if err := writeRoutes(e.routesPath, "0", routes(map[string][]*rbac.RBAC{"none": nil})); err != nil {
		return nil, err
	}
	listeners, clusters, err := resources(dir, e.routesPath, chains)
	if err != nil {
		return nil, err
	}
	b, err := bootstrap(listeners, clusters)
	if err != nil {
		return nil, err
	}
	if e.process, err = envoy.Start(ctx, bin, dir, b, 2); err != nil {
		return nil, err
	}
	if err := e.prepare(ctx, ca, clients); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// prepare makes the clients.
func (e *Envoy) prepare(ctx context.Context, ca authority, clients []Client) error {
	ports, err := e.process.Ports(ctx)
	if err != nil {
		return err
	}
	for _, c := range clients {
		conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
		role := "nobody"
		if c.Principal != "" {
			cert, err := ca.issue(c.Principal)
			if err != nil {
				return err
			}
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &cert.Certificate, nil
			}
			role = "connect_terminate-" + c.cell()
		}
		port, ok := ports[role]
		if !ok {
			return fmt.Errorf("Envoy has no listener %s, only %v", role, ports)
		}
		e.clients = append(e.clients, &client{
			source: c.Source, waypoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), dest: c.Dest,
			conf: conf,
		})
	}
	return nil
}

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
				return fmt.Errorf("send requests: %w", err)
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
