package message

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"artemis.example/policy/authz"
)

// XFCC is the header in which a waypoint says who calls.
const XFCC = "x-forwarded-client-cert"

// Waypoint is what of a waypoint's own settings its policies' view of a request
// depends on.
type Waypoint struct {
	// Identity is the SPIFFE ID of the waypoint itself.
	Identity string
	// ClientIdentity is set when it writes the caller's identity into
	// x-forwarded-client-cert, by the annotation
	// ambient.istio.io/xfcc-include-client-identity. It removes what a client
	// wrote there in any case.
	ClientIdentity bool
}

// Refusal is what a waypoint answers to a request that no policy gets to see.
type Refusal struct {
	Status int
	Body   string
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

// Refuse returns the answer to a request whose head cannot be read, nil for an
// error that is no fault of the message.
func Refuse(err error) *Refusal {
	switch {
	case errors.Is(err, ErrTooLarge):
		return &Refusal{http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large", err}
	case errors.Is(err, ErrTransfer):
		return &Refusal{http.StatusNotImplemented, "Not Implemented", err}
	case errors.Is(err, ErrVersion):
		return &Refusal{http.StatusUpgradeRequired, "Upgrade Required", err}
	case errors.Is(err, ErrHost):
		return &Refusal{http.StatusBadRequest, "", err}
	case errors.Is(err, ErrMalformed):
		return &Refusal{http.StatusBadRequest, "Bad Request", err}
	}
	return nil
}

// Routed reports whether Envoy finds a route for a request that policies allow: none for
// CONNECT, and none where x-forwarded-proto is empty (source/common/router/config_impl.cc,
// VirtualHostImpl and RouteMatcher). It answers 404 then.
func (h *Head) Routed() bool {
	proto, given := h.Joined("x-forwarded-proto")
	return h.Method != http.MethodConnect && (!given || proto != "")
}

// See writes into q what the waypoint's policies see of a request: method, scheme,
// host, normalised path and query, the client that x-forwarded-for names, and, where
// q has a Header, each header line that is left or added by then. What q says of the
// connection, the caller's identity and the addresses, has to be there and stays.
// See returns the path and query to pass on, or a Refusal. The rules are what Envoy
// 1.40.0 was seen to do with a waypoint's configuration as istiod writes it.
func (w Waypoint) See(h *Head, q *authz.Request) (target string, refused *Refusal) {
	target, scheme, refused := h.path()
	switch {
	case refused != nil && refused.Body != "":
		return "", refused
	case !validAuthority(h.Host):
		return "", Refuse(Malformed("host %.60q", h.Host))
	case refused != nil:
		return "", refused
	}
	if !each(target, isVisible) {
		return "", Refuse(Malformed("request target"))
	}
	if h.Method != http.MethodConnect {
		normal, err := authz.NormalizePath(target)
		if err != nil {
			return "", &Refusal{http.StatusBadRequest, "", err}
		}
		target = normal
	}
	if h.upgrading && !strings.EqualFold(h.Upgrade, "websocket") {
		return "", &Refusal{http.StatusForbidden, "", Malformed("upgrade to %.60q", h.Upgrade)}
	}
	q.Method, q.Host, q.Path, q.Scheme = h.Method, h.Host, target, scheme
	q.RemoteIP = h.Client(q.SourceIP)
	if q.Header != nil {
		clear(q.Header)
		h.lines(q.Header)
		w.identify(q)
	}
	return target, nil
}

// Ask returns the head of a request as a client would send it: with the header's
// lines as they are, and with host as its Host where the header has none. It fails
// with a Refusal where the waypoint would refuse the head.
func Ask(method, target, host string, header http.Header) (*Head, *Refusal) {
	if strings.ContainsAny(method+target, "\r\n") {
		return nil, Refuse(Malformed("request line"))
	}
	var b strings.Builder
	b.WriteString(method + " " + target + " HTTP/1.1\r\n")
	if len(header.Values("Host")) == 0 {
		b.WriteString("Host: " + host + "\r\n")
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, v := range header[name] {
			if strings.ContainsAny(name+v, "\r\n") {
				return nil, Refuse(Malformed("a line end within header %q", name))
			}
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	if b.Len() > MaxHead {
		return nil, Refuse(ErrTooLarge)
	}
	h := &Head{}
	if err := h.ParseRequest(b.String()); err != nil {
		return nil, Refuse(err)
	}
	return h, nil
}

// identify puts what the waypoint says of the caller in place of what the request
// says (WaypointXFCCClientIdentityFilter of istio.io/istio pilot/pkg/xds/filters;
// without the annotation Envoy's own SANITIZE).
func (w Waypoint) identify(q *authz.Request) {
	delete(q.Header, "X-Forwarded-Client-Cert")
	if w.ClientIdentity {
		q.Header["X-Forwarded-Client-Cert"] = []string{w.ClientCert(q.Principal)}
	}
}

// ClientCert returns the x-forwarded-client-cert that the waypoint writes for a
// caller.
func (w Waypoint) ClientCert(caller string) string { return "By=" + w.Identity + ";URI=" + caller }

// path returns the path and query that a request's target names, not yet normalised,
// and the scheme. The host of an absolute-form target replaces Host. Envoy has no use
// for the asterisk form: with normalize_path it is no path.
func (h *Head) path() (path, scheme string, refused *Refusal) {
	t := h.Target
	switch {
	case h.Method == http.MethodConnect:
		if _, port, _ := cutPort(t); port == "" || !isHostPort(t) {
			return "", "", Refuse(Malformed("request target of CONNECT"))
		}
		h.Host = t
		return "", h.scheme(), nil
	case strings.HasPrefix(t, "/"):
		return t, h.scheme(), nil
	case strings.HasPrefix(t, "*") && h.Method == http.MethodOptions:
		return "", "", &Refusal{http.StatusNotFound, "", Malformed("request target is no path")}
	}
	u, ok := parseURL(t)
	if !ok || u.scheme != "http" && u.scheme != "https" {
		return "", "", Refuse(Malformed("request target is no path"))
	}
	h.Host = u.host
	switch {
	case u.rest == "":
		return "/", u.scheme, nil
	case u.rest[0] == '?':
		return "", "", &Refusal{http.StatusNotFound, "", Malformed("request target has no path")}
	case u.rest[0] == '#':
		return "", "", Refuse(Malformed("request target has no path"))
	}
	return u.rest, u.scheme, nil
}

// scheme is what x-forwarded-proto says, where it is a scheme.
func (h *Head) scheme() string {
	said, _ := h.Joined("x-forwarded-proto")
	if strings.EqualFold(said, "https") {
		return "https"
	}
	return "http"
}

// link is an absolute URL as Envoy takes it apart (source/common/http/utility.cc,
// Url::initialize): the scheme in lower case, the host with its port.
type link struct {
	scheme, host, rest string
	user               bool
}

func parseURL(s string) (link, bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !isScheme(scheme) {
		return link{}, false
	}
	u := link{scheme: strings.ToLower(scheme), host: rest}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		u.host, u.rest = rest[:i], rest[i:]
	}
	if user, host, ok := strings.Cut(u.host, "@"); ok {
		if !each(user, isUserInfo) {
			return link{}, false
		}
		u.user, u.host = true, host
	}
	return u, isHostPort(u.host)
}

func isScheme(s string) bool {
	return s != "" && isLetter(s[0]) && each(s, func(c byte) bool {
		return isLetter(c) || isDigit(c) || strings.IndexByte("+-.", c) >= 0
	})
}

func isUserInfo(c byte) bool {
	return isLetter(c) || isDigit(c) || strings.IndexByte("-_.!~*'()%;:&=+$,", c) >= 0
}

// cutPort cuts the port off an authority.
func cutPort(authority string) (host, port string, given bool) {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i], authority[i+1:], true
	}
	return authority, "", false
}

// isHostPort reports whether s is a name or an address in brackets, with a port or
// without one.
func isHostPort(s string) bool {
	host, port, given := cutPort(s)
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !ok || err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
	} else if host == "" || !each(host, func(c byte) bool {
		return isLetter(c) || isDigit(c) || c == '-' || c == '.'
	}) {
		return false
	}
	if !given {
		return true
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// validAuthority reports whether Envoy takes a value for an authority.
func validAuthority(s string) bool {
	return each(s, func(c byte) bool { return isVisible(c) && strings.IndexByte("\"#/<>?\\^`{|}", c) < 0 })
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// isVisible reports whether a byte is of ASCII and can be seen.
func isVisible(c byte) bool { return c > ' ' && c < 0x7f }

func each(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

// Client returns the client that the last x-forwarded-for entry names: a waypoint
// trusts it, as nobody tells it otherwise (Envoy use_remote_address false,
// Utility::getLastAddressFromXFF).
func (h *Head) Client(peer netip.Addr) netip.Addr {
	last, _ := h.Joined("x-forwarded-for")
	if i := strings.LastIndexByte(last, ','); i >= 0 && i+1 < len(last) {
		last = last[i+1:]
	}
	if ip, err := netip.ParseAddr(strings.TrimSpace(last)); err == nil {
		return ip
	}
	return peer
}

// Joined returns the lines of a field as Envoy joins those of the headers that it
// keeps in one: by commas, empty lines left out; and whether there is any.
func (h *Head) Joined(name string) (value string, given bool) {
	for _, f := range h.Fields {
		if len(f.Name) != len(name) || !strings.EqualFold(f.Name, name) {
			continue
		}
		given, value = true, join(value, f.Value)
	}
	return value, given
}

func join(a, b string) string {
	if a != "" && b != "" {
		return a + "," + b
	}
	return a + b
}

// joined are the headers whose lines Envoy joins with a comma before any filter sees
// them (envoy/http/header_map.h, and the headers that extensions register); the lines of
// every other header stay as they are. The list is what Envoy 1.40.0 was seen to join.
var joined = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Access-Control-Request-Headers": true,
	"Access-Control-Request-Method": true, "Access-Control-Request-Private-Network": true, "Authorization": true,
	"Cache-Control": true, "Connection": true, "Content-Encoding": true, "Content-Type": true, "Expect": true,
	"Grpc-Accept-Encoding": true, "Grpc-Timeout": true, "If-Match": true, "If-Modified-Since": true,
	"If-None-Match": true, "If-Range": true, "If-Unmodified-Since": true, "Origin": true, "Pragma": true,
	"Proxy-Status": true, "Referer": true, "Upgrade": true, "User-Agent": true, "Via": true,
	"X-Client-Trace-Id": true, "X-Envoy-Attempt-Count": true, "X-Envoy-Decorator-Operation": true,
	"X-Envoy-Downstream-Service-Cluster": true, "X-Envoy-Downstream-Service-Node": true,
	"X-Envoy-External-Address": true, "X-Envoy-Is-Timeout-Retry": true, "X-Envoy-Original-Host": true,
	"X-Envoy-Original-Path": true, "X-Forwarded-Client-Cert": true, "X-Forwarded-For": true,
	"X-Forwarded-Host": true, "X-Forwarded-Port": true, "X-Forwarded-Proto": true, "X-Request-Id": true,
}

// Joined reports whether Envoy joins the lines of a header.
func Joined(header string) bool { return joined[textproto.CanonicalMIMEHeaderKey(header)] }

// internal are the headers that tell an Envoy how to handle a request. From outside
// of the mesh's own networks, and istiod names no such network, they count for
// nothing, and are gone before any filter
// (source/common/http/conn_manager_utility.cc, cleanInternalHeaders).
var internal = map[string]bool{
	"x-envoy-expected-rq-timeout-ms": true, "x-envoy-force-trace": true, "x-envoy-hedge-on-per-try-timeout": true,
	"x-envoy-internal": true, "x-envoy-ip-tags": true, "x-envoy-max-retries": true, "x-envoy-original-url": true,
	"x-envoy-retriable-header-names": true, "x-envoy-retriable-status-codes": true, "x-envoy-retry-grpc-on": true,
	"x-envoy-retry-on": true, "x-envoy-upstream-alt-stat-name": true, "x-envoy-upstream-rq-per-try-timeout-ms": true,
	"x-envoy-upstream-rq-timeout-alt-response": true, "x-envoy-upstream-rq-timeout-ms": true,
	"x-envoy-upstream-stream-duration-ms": true,
}

// decorator is taken off where requests are traced, as istiod configures waypoints
// whether or not there is a tracer (ConnectionManagerImpl, traceRequest).
const decorator = "x-envoy-decorator-operation"

// isInternal reports whether a field is one of them.
func isInternal(name string) bool {
	const prefix = "x-envoy-"
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && internal[strings.ToLower(name)]
}

// Seen calls yield for each field of a request that is left when its policies see
// it, as the client wrote it: what concerns the connection alone is gone, what a
// Connection field names, and what Envoy takes off. It is also what is passed on.
func (h *Head) Seen(yield func(Field) bool) {
	for f := range h.Kept {
		switch n := len(f.Name); {
		case n == len("host") && strings.EqualFold(f.Name, "host"):
			continue
		case n == len(decorator) && strings.EqualFold(f.Name, decorator):
			continue
		case n == len("referer") && strings.EqualFold(f.Name, "referer") && !h.refererStays():
			continue
		case isInternal(f.Name):
			continue
		case n == len("transfer-encoding") && strings.EqualFold(f.Name, "transfer-encoding"):
			continue
		}
		if !yield(f) {
			return
		}
	}
}

// lines puts the header as policies match it into lines, under canonical names: with
// the fields that Envoy adds before any policy where they are missing.
func (h *Head) lines(lines http.Header) {
	for f := range h.Seen {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if held := lines[name]; len(held) > 0 && joined[name] {
			held[0] = join(held[0], f.Value)
			continue
		}
		lines[name] = append(lines[name], f.Value)
	}
	if te, stays := h.TE(); stays {
		lines["Te"] = []string{te}
	}
	if h.upgrading {
		lines["Upgrade"] = []string{h.Upgrade}
		lines["Connection"] = []string{h.connection}
	}
	if len(lines["X-Forwarded-Proto"]) == 0 {
		lines["X-Forwarded-Proto"] = []string{"http"}
	}
	if lines.Get("X-Request-Id") == "" {
		lines["X-Request-Id"] = []string{requestID()}
	}
}

// refererStays reports whether the referer, if there is one, is a URL without a name and
// a fragment, or a relative one, to Envoy (source/common/http/utility.cc,
// isValidRefererValue).
func (h *Head) refererStays() bool {
	s, _ := h.Joined("referer")
	if u, ok := parseURL(s); ok && each(s, isVisible) {
		return !u.user && !strings.Contains(u.rest, "#")
	}
	first, _, _ := strings.Cut(s, "/")
	return !strings.Contains(first, ":") && each(s, func(c byte) bool {
		return isLetter(c) || isDigit(c) || strings.IndexByte("-._~%!$&'()*+,;=:@/?", c) >= 0
	})
}

// trailers, and an empty value.
func (h *Head) TE() (value string, stays bool) {
	all, given := h.Joined("te")
	if !given {
		return "", false
	}
	if h.upgrading {
		return all, true
	}
	nominated := containsFold(h.nominated, "te")
	for coding := range strings.SplitSeq(all, ",") {
		coding = strings.Trim(coding, " \t")
		if coding == "trailers" || nominated && strings.EqualFold(coding, "trailers") {
			return "trailers", true
		}
	}
	return "", all == "" && !nominated
}

// requestID returns an x-request-id as Envoy makes one up where none is sent: a UUID,
// version 4.
func requestID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
