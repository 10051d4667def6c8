package http1

import (
	"errors"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
)

// Path gives the path and query that a request's target names, not yet
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
	if host == "" || strings.Contains(host, "@") {
		return "", errors.New("request target has no host")
	}
	h.Host = host
	return path, nil
}

// Client gives the client that the last x-forwarded-for entry names: a waypoint
// trusts it, as nobody tells it otherwise (Envoy use_remote_address false,
// Utility::getLastAddressFromXFF).
func (h *Head) Client(peer netip.Addr) netip.Addr {
	last, given := "", false
	for _, f := range h.Fields {
		if len(f.Name) == len("x-forwarded-for") && strings.EqualFold(f.Name, "x-forwarded-for") {
			if given {
				last += ","
			}
			last, given = last+f.Value, true
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

// Lines puts the header as policies match it into lines, under canonical names.
func (h *Head) Lines(lines http.Header) {
	for f := range h.Kept {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		lines[name] = append(lines[name], f.Value)
	}
}
