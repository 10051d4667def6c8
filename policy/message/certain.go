package message

import (
	"net/http"
	"strings"

	"artemis.example/policy/authz"
)

// Certain reports whether a client has no say of a header: the waypoint writes it,
// or takes it off before any policy looks.
func Certain(header string) bool {
	switch strings.ToLower(header) {
	case XFCC, "keep-alive", "proxy-connection", "transfer-encoding":
		return true
	}
	return isInternal(header)
}

// Certain returns what policies see of the headers that are certain, for every
// request of a caller.
func (w Waypoint) Certain(caller string) http.Header {
	q := authz.Request{Principal: caller, Header: http.Header{}}
	w.identify(&q)
	return q.Header
}
