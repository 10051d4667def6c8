package decision

import (
	"net/netip"
	"time"
)

// Access is one request, or one connection of bytes, that a waypoint has dealt
// with.
type Access struct {
	At       time.Time
	Caller   string         // SPIFFE ID that the caller has proven, empty where there is none
	Remote   netip.AddrPort // of the caller
	To       netip.AddrPort // that was asked for
	Method   string         // empty for bytes
	Path     string         // as matched, without the query
	Trace    string         // the traceparent header
	Status   int
	Denied   bool   // by authorization
	Details  string // why, in Envoy's words
	Duration time.Duration
}
