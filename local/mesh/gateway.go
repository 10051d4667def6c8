package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
)

// gateway is the north/south gateway: HTTPRoutes on a plain HTTP listener, and
// the mesh behind it.
type gateway struct {
	m         *Mesh
	transport *http.Transport
	proxy     *httputil.ReverseProxy

	mu     sync.Mutex
	server []*http.Server
	closed bool
}

// gatewayRequest is one request on its way through the gateway.
type gatewayRequest struct {
	state   *state
	route   *topology.Route
	target  *url.URL
	start   time.Time
	request decision.Record
}

type gatewayRequestKey struct{}

func newGateway(m *Mesh) *gateway {
	g := &gateway{m: m}
	g.transport = &http.Transport{
		DialContext:           g.dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       60 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       g.rewrite,
		Transport:     g.transport,
		FlushInterval: -1,
		ErrorHandler:  g.failed,
		ErrorLog:      log.New(io.Discard, "", 0),
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusSwitchingProtocols && r.Request.Header.Get("Upgrade") == "" {
				return errors.New("the protocol was changed, and nobody asked for that")
			}
			g.note(r.Request.Context(), r.StatusCode, decision.Allowed, "")
			r.Header.Set("server", "istio-envoy")
			return nil
		},
	}
	return g
}

// applied ends the unused connections of the state before.
func (g *gateway) applied() { g.transport.CloseIdleConnections() }

func (g *gateway) serve(ln net.Listener, edge Edge) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.route(w, r, edge) })
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    60 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errors.Join(http.ErrServerClosed, ln.Close())
	}
	g.server = append(g.server, srv)
	g.mu.Unlock()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the gateway: %w", err)
	}
	return nil
}

func (g *gateway) close() error {
	g.mu.Lock()
	g.closed = true
	servers := g.server
	g.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	g.transport.CloseIdleConnections()
	return errors.Join(errs...)
}

// route routes one request.
func (g *gateway) route(w http.ResponseWriter, r *http.Request, edge Edge) {
	if edge.Own != nil && edge.Own(r.Host) {
		edge.Handler.ServeHTTP(w, r)
		return
	}
	s := g.m.state.Load()
	if s == nil {
		http.Error(w, "no healthy upstream", http.StatusServiceUnavailable)
		return
	}
	p := &gatewayRequest{state: s, start: time.Now()}
	p.request = decision.Record{
		From: peerOf(s.world.Gateway), Hop: decision.HopGateway, At: p.start, Method: r.Method,
		TraceID: traceID(r.Header.Get("traceparent")),
	}
	p.request.From.Address = r.RemoteAddr
	ctx := context.WithValue(r.Context(), gatewayRequestKey{}, p)
	w.Header().Set("server", "istio-envoy")
	raw, err := gatewayTarget(r)
	if err != nil {
		g.note(ctx, http.StatusBadRequest, decision.Failed, "bad request: "+err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	path, query, _ := strings.Cut(raw, "?")
	p.request.Path = path
	route, rewritten := s.world.Route(r.Host, path)
	if route == nil {
		g.note(ctx, http.StatusNotFound, decision.Failed, "no HTTPRoute for "+r.Host+path)
		if edge.Handler != nil {
			edge.Handler.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		return
	}
	p.route = route
	if route.Service == nil {
		g.note(ctx, http.StatusInternalServerError, decision.Failed, "the HTTPRoute names a Service that does not exist")
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	p.request.To = g.to(route)
	if edge.Admit != nil {
		if refusal := edge.Admit(r.Method, r.Host, r.Header, route.Service); refusal != nil {
			g.note(ctx, http.StatusForbidden, decision.Failed, "refused at the gateway: "+refusal.Detail)
			refusal.write(w)
			return
		}
	}
	p.target = requestURL(backendHost(route), rewritten, query)
	g.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// gatewayTarget returns the normalised path and query of a request.
func gatewayTarget(r *http.Request) (string, error) {
	for i := range len(r.Method) {
		if c := r.Method[i]; 'a' <= c && c <= 'z' {
			return "", errors.New("unknown method")
		}
	}
	raw := r.RequestURI
	if raw == "" || r.URL.IsAbs() { // absolute form, or a request that no listener made
		raw = r.URL.RequestURI()
	}
	return authz.NormalizePath(raw)
}

func (g *gateway) to(r *topology.Route) decision.Peer {
	var to decision.Peer
	if b := r.Service.Backends(r.Port); len(b) > 0 {
		to = peerOf(b[0].Pod)
	}
	to.Namespace, to.Service = r.Service.Namespace, r.Service.Name
	return to
}

// backendHost names the backend for the transport, which keeps its connections
// by this name.
func backendHost(r *topology.Route) string {
	return fmt.Sprintf("%s:%d", r.Service.Host, r.Port)
}

// requestURL puts a path that is escaped already into a URL that is written as
// it stands.
func requestURL(host, path, query string) *url.URL {
	u := &url.URL{Scheme: "http", Host: host, RawQuery: query}
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = decoded, path
		if u.EscapedPath() == path {
			return u
		}
	}
	u.Path, u.RawPath = "", ""
	u.Opaque = path
	return u
}

func (g *gateway) rewrite(r *httputil.ProxyRequest) {
	p := r.In.Context().Value(gatewayRequestKey{}).(*gatewayRequest)
	r.Out.URL = p.target
	r.Out.Host = r.In.Host
	r.Out.Header.Del(message.XFCC)
	if prior := r.In.Header.Values("X-Forwarded-For"); len(prior) > 0 {
		r.Out.Header["X-Forwarded-For"] = prior
	}
	r.SetXForwarded()
}

func (g *gateway) note(ctx context.Context, status int, verdict decision.Verdict, reason string) {
	p, ok := ctx.Value(gatewayRequestKey{}).(*gatewayRequest)
	if !ok {
		return
	}
	rec := p.request
	rec.Status, rec.Verdict, rec.Reason, rec.DurationUS = status, verdict, reason, time.Since(p.start).Microseconds()
	if verdict == decision.Allowed {
		rec.Reason = "routed by HTTPRoute " + p.route.String()
	}
	g.m.note(p.state, rec)
}

func (g *gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		w.WriteHeader(499)
		return
	}
	g.note(r.Context(), http.StatusServiceUnavailable, decision.Failed, "the backend could not be reached: "+err.Error())
	w.Header().Set("content-type", "text/plain")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "upstream connect error or disconnect/reset before headers. reset reason: connection termination")
}

// dial opens a connection to a backend for the transport: through the Service's
// waypoint where the label says so, otherwise to a pod.
func (g *gateway) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m := g.m
	s := m.state.Load()
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := netip.ParseAddrPort("0.0.0.0:" + portText)
	if err != nil {
		return nil, err
	}
	r := m.routeIngress(s, host, port.Port())
	src := s.world.Gateway
	conn, err := m.dial(ctx, s, r)
	if err != nil {
		m.noteFailure(s, src, r, err)
		return nil, err
	}
	return &gatewayConn{Conn: conn, link: m.track(s, nil, func(now *state) disposition {
		return m.reevaluateRoute(now, r, m.routeIngress(now, host, port.Port()))
	}, func() { abort(conn) })}, nil
}

// routeIngress finds the gateway's next leg to a Service.
func (m *Mesh) routeIngress(s *state, host string, port uint16) route {
	name, rest, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	svc := s.world.Service(topology.Ref{Namespace: namespace, Name: name})
	if svc == nil {
		return route{failure: "no Service " + host}
	}
	return m.route(s, s.world.Gateway, topology.Destination{Service: svc, Port: port})
}

// gatewayConn notes on its link what moves.
type gatewayConn struct {
	net.Conn
	link *link
}

func (c *gatewayConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.link.answered.Store(true)
		c.link.moved.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *gatewayConn) Write(p []byte) (int, error) {
	c.link.answered.Store(false)
	c.link.moved.Store(time.Now().UnixNano())
	return c.Conn.Write(p)
}

// Close ends the connection.
func (c *gatewayConn) Close() error {
	c.link.done()
	return c.Conn.Close()
}
