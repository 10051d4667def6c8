package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"artemis.example/local/capture"
	"artemis.example/local/http1"
	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
)

// gateway is the north/south gateway: HTTPRoutes on a plain HTTP listener, and
// the mesh behind it.
type gateway struct {
	m  *Mesh
	up upstreams

	mu     sync.Mutex
	open   map[io.Closer]struct{} // listeners, connections, and the servers of Edges
	closed bool
}

func newGateway(m *Mesh) *gateway { return &gateway{m: m, open: map[io.Closer]struct{}{}} }

// keep reports whether the gateway is still open; if so, c ends with it.
func (g *gateway) keep(c io.Closer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.open[c] = struct{}{}
	}
	return !g.closed
}

func (g *gateway) forget(c io.Closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

func (g *gateway) serve(ln net.Listener, edge Edge) error {
	if !g.keep(ln) {
		return errors.Join(http.ErrServerClosed, ln.Close())
	}
	defer g.forget(ln)
	at := &gatewayListener{gateway: g, edge: edge}
	if edge.Handler != nil {
		at.own = capture.NewHanded(ln.Addr())
		server := &http.Server{Handler: edge.Handler, ReadHeaderTimeout: headTimeout, ErrorLog: log.New(io.Discard, "",
			0)}
		if !g.keep(server) {
			return errors.Join(http.ErrServerClosed, ln.Close())
		}
		defer g.forget(server)
		defer server.Close()
		go func() { _ = server.Serve(at.own) }()
	}
	for {
		conn, err := (patient{ln}).Accept()
		if err != nil {
			return nil // closed
		}
		go at.take(conn)
	}
}

// take serves one client.
func (l *gatewayListener) take(conn net.Conn) {
	defer conn.Close()
	defer l.m.containPanic(conn)
	if !l.keep(conn) {
		return
	}
	defer l.forget(conn)
	l.m.serveHTTP(conn, nil, func() httpRole { return &gatewayHTTP{gatewayListener: l, client: conn.RemoteAddr()} })
}

func (g *gateway) close() error {
	g.mu.Lock()
	g.closed = true
	open := g.open
	g.open = map[io.Closer]struct{}{}
	g.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
	g.up.close()
	return nil
}

// gatewayListener is the gateway at one listener.
type gatewayListener struct {
	*gateway
	edge Edge
	own  *capture.Handed // reaches the Edge's Handler; nil without one
}

// gatewayHTTP is the gateway's role for the requests of one client.
type gatewayHTTP struct {
	*gatewayListener
	client net.Addr
	// Of the present request.
	state *state
	toOwn bool // it is the Edge's
	route *topology.Route
	query authz.Request
}

func (h *gatewayHTTP) begin() *state {
	h.state, h.toOwn, h.route = h.m.state.Load(), false, nil
	return h.state
}

func (h *gatewayHTTP) record(s *state) decision.Record {
	if s == nil {
		return decision.Record{}
	}
	rec := decision.Record{From: peerOf(s.world.Gateway), Hop: decision.HopGateway}
	rec.From.Address = h.client.String()
	return rec
}

func (h *gatewayHTTP) idle() *upstreams { return &h.up }

func (h *gatewayHTTP) decide(s *state, req *message.Head, rec *decision.Record) (string, *localReply) {
	h.query = authz.Request{}
	target, refused := message.Waypoint{}.See(req, &h.query)
	if refused != nil {
		return "", refusal(refused, rec)
	}
	if strings.HasPrefix(strings.ToLower(req.Target), "https://") {
		rec.Verdict, rec.Reason = decision.Failed, "https is asked for where there is no TLS"
		return "", &localReply{status: http.StatusForbidden, contentType: "text/plain", body: "Forbidden", closes: true}
	}
	if h.edge.Own != nil && h.edge.Own(req.Host) {
		return h.handOver(rec, target)
	}
	if s == nil {
		return "", reply(http.StatusServiceUnavailable, "no healthy upstream")
	}
	path, query, asked := strings.Cut(target, "?")
	rec.Path, rec.Verdict = path, decision.Failed
	var rewritten string
	h.route, rewritten = s.world.Route(req.Host, path)
	switch {
	case h.route == nil && h.own != nil:
		rec.Status, rec.Reason = http.StatusNotFound, "no HTTPRoute for "+req.Host+path
		h.m.note(s, *rec)
		return h.handOver(rec, target)
	case h.route == nil || req.Method == http.MethodConnect:
		rec.Reason = "no HTTPRoute for " + req.Host + path
		return "", reply(http.StatusNotFound, "")
	case h.route.Service == nil:
		rec.Reason = "the HTTPRoute names a Service that does not exist"
		return "", reply(http.StatusInternalServerError, "")
	}
	rec.To = h.to()
	if refused := h.admit(req); refused != nil {
		rec.Reason = "refused at the gateway: " + refused.Detail
		return "", refused.reply()
	}
	rec.Reason = "routed by HTTPRoute " + h.route.String()
	if asked {
		rewritten += "?" + query
	}
	return rewritten, nil
}

// handOver passes a request to the Edge's Handler as it is. That keeps records of
// its own.
func (h *gatewayHTTP) handOver(rec *decision.Record, target string) (string, *localReply) {
	if h.own == nil {
		return "", reply(http.StatusNotFound, "")
	}
	h.toOwn = true
	rec.Hop = ""
	return target, nil
}

func (h *gatewayHTTP) admit(req *message.Head) *Refusal {
	if h.edge.Admit == nil {
		return nil
	}
	header := http.Header{}
	for _, f := range req.Fields {
		header.Add(f.Name, f.Value)
	}
	return h.edge.Admit(req.Method, req.Host, header, h.route.Service)
}

func (h *gatewayHTTP) to() decision.Peer {
	var to decision.Peer
	if b := h.route.Service.Backends(h.route.Port); len(b) > 0 {
		to = peerOf(b[0].Pod)
	}
	to.Namespace, to.Service = h.route.Service.Namespace, h.route.Service.Name
	return to
}

// reply is an RFC 9457 problem document.
func (f *Refusal) reply() *localReply {
	b, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(http.StatusForbidden), "status": http.StatusForbidden,
		"code": f.Code, "detail": f.Detail,
	})
	if err != nil {
		return reply(http.StatusForbidden, f.Code)
	}
	return &localReply{status: http.StatusForbidden, contentType: "application/problem+json", body: string(b) + "\n"}
}

// requestHead writes the request as the backend gets it: with the client's
// address, and without a claim of an identity that nobody has proven here.
func (h *gatewayHTTP) requestHead(b []byte, req *message.Head, target string) []byte {
	b = requestLine(b, req, target)
	for f := range req.Seen {
		switch {
		case h.toOwn:
		case isXFCC(f.Name), strings.EqualFold(f.Name, "x-forwarded-for"), strings.EqualFold(f.Name,
			"x-forwarded-proto"):
			continue
		}
		b = appendField(b, f.Name, f.Value)
	}
	if !h.toOwn {
		client := addrPort(h.client).Addr().String()
		if said, _ := req.Joined("x-forwarded-for"); said != "" {
			client = said + "," + client
		}
		b = appendField(appendField(b, "x-forwarded-for", client), "x-forwarded-proto", "http")
	}
	b = appendTE(b, req)
	return endOfHead(b, req)
}

func (h *gatewayHTTP) upstream(s *state, fresh bool) (*upstream, error) {
	if h.toOwn {
		conn, err := h.own.Dial(context.Background(), h.client)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoRoute, err)
		}
		return &upstream{Conn: conn, reader: http1.NewReader(conn)}, nil
	}
	to := backend{service: h.route.Service.Ref, port: h.route.Port}
	find := func(s *state) route { return h.m.routeIngress(s, to) }
	if !fresh {
		if c := h.m.reuse(&h.up, s, to, find); c != nil {
			return c, nil
		}
	}
	s, r, conn, err := h.m.connect(s, find)
	if err != nil {
		h.m.noteFailure(s, r, err)
		return nil, err
	}
	return h.newUpstream(s, to, r, conn), nil
}

// changed has the connection end as that to the backend does, which is judged by
// its own way.
func (h *gatewayHTTP) changed() func(*state) disposition {
	return func(*state) disposition { return keep }
}

// newUpstream makes a connection to a backend one that ends when its way is barred.
// When that only changes, the gateway leaves it with its next request.
func (g *gateway) newUpstream(s *state, to backend, r route, conn net.Conn) *upstream {
	c := &gatewayConn{Conn: conn, link: g.m.track(s, nil, func(now *state) disposition {
		d := g.m.reevaluateRoute(now, r, g.m.routeIngress(now, to))
		if d == drain {
			d = leave
		}
		return d
	}, func() { abort(conn) })}
	var up net.Conn = c
	if svc := r.dst.Service; svc != nil && r.Waypoint == nil { // a waypoint speaks to its pods itself
		if port, ok := svc.Port(to.port); ok && port.HTTP2 {
			up = overHTTP2(c)
		}
	}
	return &upstream{Conn: up, reader: http1.NewReader(up), to: to, judged: s, way: r}
}

// routeIngress finds the gateway's next leg to a Service.
func (m *Mesh) routeIngress(s *state, to backend) route {
	svc := s.world.Service(to.service)
	if svc == nil {
		return route{self: s.world.Gateway, failure: "no Service " + to.service.String()}
	}
	return m.route(s, s.world.Gateway, topology.Destination{Service: svc, Port: to.port})
}

// gatewayConn notes on its link what moves.
type gatewayConn struct {
	net.Conn
	link *link
}

func (c *gatewayConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.link.note(true)
	}
	return n, err
}

func (c *gatewayConn) Write(p []byte) (int, error) {
	c.link.note(false)
	return c.Conn.Write(p)
}

// Alive reports whether nothing has ended or arrived on the connection.
func (c *gatewayConn) Alive() bool { return alive(c.Conn) }

// Reset ends the connection as one that breaks.
func (c *gatewayConn) Reset() error {
	c.link.done()
	abort(c.Conn)
	return nil
}

// Close ends the connection.
func (c *gatewayConn) Close() error {
	c.link.done()
	return c.Conn.Close()
}

// backend is where connections that may be used again lead: a pod's port, or at
// the gateway a Service's.
type backend struct {
	pod     netip.AddrPort
	service topology.Ref
	port    uint16
}
