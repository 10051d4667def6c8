// Package authz compares the project's evaluator of AuthorizationPolicies at
// waypoints (policy/authz) with a real Envoy that was configured by
// Istio's own translation, request by request.
package authz

import (
	"fmt"
	"net/netip"

	"artemis.example/conformance/enforcer"
)

// identities of the generated requests: neighbours in every field that a policy
// can name, a foreign trust domain, and two that no certificate authority of a
// mesh would issue but a matcher might take.
var identities = []string{
	"spiffe://cluster.local/ns/cell-a/sa/web",
	"spiffe://cluster.local/ns/cell-a/sa/web2",
	"spiffe://cluster.local/ns/cell-a/sa/api",
	"spiffe://cluster.local/ns/cell-b/sa/web",
	"spiffe://cluster.local/ns/cell-b/sa/api",
	"spiffe://cluster.local/ns/cell-bb/sa/web",
	"spiffe://cluster.local/ns/c-b/sa/w",
	"spiffe://cluster.local/ns/default/sa/default",
	"spiffe://cluster.local/ns/cell-a/sa/sa",
	"spiffe://cluster.local/ns/ns/sa/ns",
	"spiffe://cluster.local/ns/istio-system/sa/gateway",
	"spiffe://cluster.local.example/ns/cell-a/sa/web",
	"spiffe://partner.example/ns/cell-a/sa/web",
	"spiffe://partner.example/ns/cell-b/sa/api",
	"spiffe://cluster.local/ns/cell-a/sa/web/extra",
	"spiffe://cluster.local/ns/cell-a/x/y/sa/web",
	"spiffe://cluster.local/x/ns/cell-b/sa/web",
	"spiffe://cluster.local/ns/cell-a/xsa/web",
	"spiffe://cluster.local/ns/cell-a//sa/web",
	"spiffe://cluster.local/ns/cell-a/ns/cell-b/sa/web",
	"",
	"",
}

// clients returns every identity a tunnel with addresses of its own; those without an
// identity go through the silent waypoint, which has a listener for them.
func clients() []enforcer.Client {
	var out []enforcer.Client
	for i, id := range identities {
		out = append(out, enforcer.Client{
			Principal: id,
			Source:    netip.MustParseAddr(fmt.Sprintf("127.%d.%d.%d", i%3, i%5, 10+i)),
			Dest:      enforcer.Destinations[i%len(enforcer.Destinations)],
			Silent:    i%3 == 1 || id == "",
		})
	}
	return out
}
