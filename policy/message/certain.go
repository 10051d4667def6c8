package message

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"artemis.example/policy/authz"
)

// Certain reports whether a client has no say of a header: the waypoint writes it,
// or takes it off before any policy looks, or nobody can send it.
func Certain(header string) bool {
	switch strings.ToLower(header) {
	case XFCC, "keep-alive", "proxy-connection", "transfer-encoding":
		return true
	}
	return !ValidName(header) || isInternal(header) || strings.EqualFold(header, decorator)
}

// Certain returns what policies see of the headers that are certain, for every
// request of a caller.
func (w Waypoint) Certain(caller string) http.Header {
	q := authz.Request{Principal: caller, Header: http.Header{}}
	w.identify(&q)
	return q.Header
}

// Passes reports whether policies see the lines of a header as a client sends them.
func Passes(header string, lines []string) bool {
	h, refused := Ask(http.MethodGet, "/", "localhost", http.Header{header: lines})
	if refused != nil {
		return false
	}
	q := authz.Request{Header: http.Header{}}
	if _, refused := (Waypoint{}).See(h, &q); refused != nil {
		return false
	}
	return slices.Equal(q.Header[textproto.CanonicalMIMEHeaderKey(header)], lines)
}
