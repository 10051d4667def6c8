package mesh

import (
	"net/http"
	"net/netip"
	"strings"

	"artemis.example/local/http1"
	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/message"
)

// waypointHTTP is the waypoint's role for the requests of one tunnel.
type waypointHTTP struct {
	*tunnelConn
	query  authz.Request
	header http.Header
}

// http serves HTTP on the tunnel. first is what was read off it already.
func (t *tunnelConn) http(first []byte) {
	t.w.m.serveHTTP(t.st, first, func() httpRole {
		tunnel := *t // the streams of HTTP/2 are served side by side
		return &waypointHTTP{tunnelConn: &tunnel, query: authz.Request{
			HTTP: true, Principal: t.caller, SourceIP: t.remote.Addr(), DestIP: t.dst.Addr(), DestPort: t.dst.Port(),
		}}
	})
}

func (h *waypointHTTP) begin() *state {
	s := h.w.m.state.Load()
	h.last = h.chainUnder(s)
	return s
}

func (h *waypointHTTP) idle() *upstreams { return &h.w.up }

func (h *waypointHTTP) decide(s *state, req *message.Head, rec *decision.Record) (string, *localReply) {
	h.query.Header = nil
	if s.policies.Headers {
		if h.header == nil {
			h.header = http.Header{}
		}
		h.query.Header = h.header
	}
	target, refused := evaluate.View(h.last.gateway).See(req, &h.query)
	if refused != nil {
		return "", refusal(refused, rec)
	}
	rec.Path, _, _ = strings.Cut(target, "?")
	engine := s.policies.WaypointEngine(h.last.gateway, h.last.service)
	ruling := engine.Decide(&h.query)
	rec.Policy, rec.Rule, rec.Reason = evaluate.Deciders(ruling, engine), ruling.Rule, string(ruling.Reason)
	switch {
	case !ruling.Allowed:
		rec.Verdict = decision.DeniedL7
		return "", reply(http.StatusForbidden, "RBAC: access denied")
	case !req.Routed():
		rec.Verdict, rec.Reason = decision.Failed, "allowed, but there is no route for CONNECT, nor for an empty "+
			"x-forwarded-proto"
		return "", reply(http.StatusNotFound, "")
	}
	return target, nil
}

// upstream returns a connection to a pod of the Service.
func (h *waypointHTTP) upstream(s *state, fresh bool) (*upstream, error) {
	if !fresh {
		if b := h.last.service.Backends(h.dst.Port()); len(b) == 1 {
			at := backend{pod: netip.AddrPortFrom(b[0].Pod.IP, b[0].Port)}
			if c := h.w.m.reuse(&h.w.up, s, at, h.route); c != nil {
				return c, nil
			}
		}
	}
	s, r, conn, err := h.connect(s)
	if err != nil {
		return nil, err
	}
	if h.last.port.HTTP2 {
		conn = overHTTP2(conn)
	}
	return &upstream{Conn: conn, reader: http1.NewReader(conn), to: backend{pod: r.Authority}, judged: s, way: r}, nil
}

// requestHead writes the request as the pod gets it: the normalised target, the
// caller's identity where the waypoint vouches for it, and never a claim of it.
func (h *waypointHTTP) requestHead(b []byte, req *message.Head, target string) []byte {
	b = requestLine(b, req, target)
	for f := range req.Seen {
		if !isXFCC(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	if h.last.gateway.XFCC {
		b = append(append(b, "x-forwarded-client-cert: By="...), h.last.gateway.Pod.Identity...)
		b = append(append(append(b, ";URI="...), h.caller...), "\r\n"...)
	}
	return endOfHead(appendTE(b, req), req)
}

// appendTE appends what is left of te: without it a backend that speaks gRPC sends
// no trailers.
func appendTE(b []byte, req *message.Head) []byte {
	if te, stays := req.TE(); stays {
		return appendField(b, "te", te)
	}
	return b
}

func isXFCC(name string) bool {
	return len(name) == len(message.XFCC) && strings.EqualFold(name, message.XFCC)
}

// requestLine appends the lines that every request begins with.
func requestLine(b []byte, req *message.Head, target string) []byte {
	b = append(append(append(append(b, req.Method...), ' '), target...), " HTTP/1.1\r\n"...)
	return appendField(b, "Host", req.Host)
}

// endOfHead appends what concerns the connection to the backend alone, and the
// empty line.
func endOfHead(b []byte, req *message.Head) []byte {
	switch {
	case req.Body == message.Chunked:
		b = append(b, "transfer-encoding: chunked\r\n"...)
	case req.Body == message.NoBody && mayHaveBody(req.Method) && req.Get("content-length") == "":
		b = append(b, "content-length: 0\r\n"...)
	}
	if req.Upgrade != "" {
		b = appendField(append(b, "connection: Upgrade\r\n"...), "upgrade", req.Upgrade)
	}
	return append(b, "\r\n"...)
}

// mayHaveBody reports whether a request of that method says when it has none.
func mayHaveBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return false
	}
	return true
}

// changed holds a connection to the request that changed its protocol.
func (h *waypointHTTP) changed() func(now *state) disposition {
	query := h.query
	return func(now *state) disposition {
		if _, ok := h.w.find(now, h.dst); !ok {
			return drain
		}
		if !now.policies.WaypointEngine(h.last.gateway, h.last.service).Decide(&query).Allowed {
			return closeNow
		}
		return keep
	}
}
