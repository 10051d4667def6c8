package http1

import (
	"errors"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
)

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
