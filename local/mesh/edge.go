package mesh

import (
	"net/http"

	"artemis.example/policy/topology"
)

// Edge is what stands at a listener of the gateway besides the HTTPRoutes. The
// zero Edge takes every request that has a route.
type Edge struct {
	// Own reports whether a request for that host is Handler's, whatever the
	// HTTPRoutes say.
	Own func(host string) bool
	// Handler answers those, and what no HTTPRoute matches; without one that is 404.
	Handler http.Handler
	// Admit returns why a request that has a route is not passed on, nil when it is.
	Admit func(method, host string, header http.Header, to *topology.Service) *Refusal
}

// Refusal is why the gateway answers a request 403 before any policy saw it.
type Refusal struct {
	Code   string // for programs, from a closed set
	Detail string // one sentence for people
}
