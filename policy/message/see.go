package message

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
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
		return &Refusal{http.StatusRequestHeaderFieldsTooLarge, "", err}
	case errors.Is(err, ErrTransfer):
		return &Refusal{http.StatusNotImplemented, "Not Implemented", err}
	case errors.Is(err, ErrMalformed):
		return &Refusal{http.StatusBadRequest, "Bad Request", err}
	}
	return nil
}

// See writes into q what the waypoint's policies see of a request: method, host,
// normalised path, the client that x-forwarded-for names, and, where q has a Header,
// each header line that is left or added by then. What q says of the connection, the
// caller's identity and the addresses, has to be there and stays. See returns the
// path and query to pass on, or a Refusal.
func (w Waypoint) See(h *Head, q *authz.Request) (target string, refused *Refusal) {
	target, err := h.Path()
	if err != nil {
		return "", &Refusal{http.StatusBadRequest, "Bad Request", err}
	}
	if h.Method != http.MethodConnect && target != "*" {
		if target, err = authz.NormalizePath(target); err != nil {
			return "", &Refusal{http.StatusBadRequest, "", err}
		}
	}
	q.Method, q.Host = h.Method, h.Host
	q.Path, _, _ = strings.Cut(target, "?")
	q.RemoteIP = h.Client(q.SourceIP)
	if q.Header != nil {
		clear(q.Header)
		h.Lines(q.Header)
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

// Path returns the path and query that a request's target names, not yet
// normalised. The host of an absolute-form target replaces Host. Envoy has no
// use for the asterisk form: with normalize_path it is no path.
func (h *Head) Path() (string, error) {
	t := h.Target
	switch {
	case h.Method == "CONNECT":
		return t, nil
	case strings.HasPrefix(t, "/"):
		return t, nil
	}
	scheme, rest, ok := strings.Cut(t, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", errors.New("request target is no path")
	}
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = "/" + path
		}
	}
	if !isAuthority(host) {
		return "", errors.New("request target has no host")
	}
	h.Host = host
	return path, nil
}

func isAuthority(host string) bool {
	for i := range len(host) {
		c := host[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-.:[]", c) >= 0 {
			continue
		}
		return false
	}
	return host != ""
}

// Client returns the client that the last x-forwarded-for entry names: a waypoint
// trusts it, as nobody tells it otherwise (Envoy use_remote_address false,
// Utility::getLastAddressFromXFF).
func (h *Head) Client(peer netip.Addr) netip.Addr {
	last := ""
	for _, f := range h.Fields {
		if len(f.Name) == len("x-forwarded-for") && strings.EqualFold(f.Name, "x-forwarded-for") {
			if last != "" && f.Value != "" {
				last += "," // Envoy joins no empty line
			}
			last += f.Value
		}
	}
	if i := strings.LastIndexByte(last, ','); i >= 0 && i+1 < len(last) {
		last = last[i+1:]
	}
	if ip, err := netip.ParseAddr(strings.TrimSpace(last)); err == nil {
		return ip
	}
	return peer
}

// Lines puts the header as policies match it into lines, under canonical names:
// with the two fields that Envoy adds before any policy where they are missing.
// What it makes up for x-request-id nobody can know beforehand.
func (h *Head) Lines(lines http.Header) {
	for f := range h.Kept {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		lines[name] = append(lines[name], f.Value)
	}
	h.transferEncodings(lines)
	// Envoy drops a referer that is no URL (ConnectionManagerUtility::mutateRequestHeaders).
	if r := lines["Referer"]; len(r) > 0 && !isReferer(strings.Join(r, ",")) {
		delete(lines, "Referer")
	}
	for name, value := range map[string]string{"X-Forwarded-Proto": "http", "X-Request-Id": "generated"} {
		if len(lines[name]) == 0 {
			lines[name] = append(lines[name], value)
		}
	}
}

// isReferer reports whether Envoy 1.40.0 was seen to keep a value.
func isReferer(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>", c) >= 0 {
			return false
		}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		first, _, _ := strings.Cut(s, "/")
		return !strings.Contains(first, ":")
	}
	host, _, _ := strings.Cut(rest, "/")
	return scheme != "" && host != "" && !strings.ContainsAny(scheme, ",/:@") && !strings.ContainsAny(host, "@_,")
}

// transferEncodings keeps of te what Envoy keeps: trailers, and an empty value.
func (h *Head) transferEncodings(lines http.Header) {
	all, given := "", false
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, "te") {
			all, given = all+f.Value, true
		}
	}
	switch {
	case strings.Contains(strings.ToLower(all), "trailers"):
		lines["Te"] = []string{"trailers"}
	case given && all == "":
		lines["Te"] = []string{""}
	}
}
