// Package decision is the record of one decision of the mesh: who called whom,
// what was decided, by which layer, policy and rule. The data path writes it;
// the decision log, the dashboard and the attack campaign read it. The JSON
// names are part of the product's interface.
package decision

import "time"

// Verdict is the outcome, from a closed set.
type Verdict string

// The verdicts that the mesh itself can reach.
const (
	Allowed       Verdict = "allowed"
	DeniedL7      Verdict = "denied-l7"      // a waypoint answered 403
	DeniedL4      Verdict = "denied-l4"      // a node proxy refused the connection: identity, mTLS mode or L4 policy
	DeniedNetwork Verdict = "denied-network" // a NetworkPolicy refused the connection
	Failed        Verdict = "failed"         // allowed so far, but the connection could not be made
)

// Hop is where the decision fell.
type Hop string

// The hops of a request's way, in order.
const (
	HopNetworkPolicy     Hop = "network-policy"      // layer 1
	HopNodeProxyOutbound Hop = "node-proxy-outbound" // the caller's node proxy
	HopWaypoint          Hop = "waypoint"            // layer 3
	HopNodeProxyInbound  Hop = "node-proxy-inbound"  // layer 2
	HopGateway           Hop = "gateway"             // north/south
)

// Peer is one end of a call. Identity is a SPIFFE ID, empty when the peer has
// proven none.
type Peer struct {
	Identity  string `json:"identity,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Cell      string `json:"cell,omitempty"` // the OpenChoreo Project, empty outside the Cells
	// the Component, or the Deployment's name outside the Cells; "ingress" for the gateway
	Component string `json:"component,omitempty"`
	Service   string `json:"service,omitempty"` // the Service that was addressed, where there was one
	Address   string `json:"address,omitempty"` // IP:port
}

// Record is one decision.
type Record struct {
	Seq       uint64    `json:"seq"`
	At        time.Time `json:"at"`
	Stage     string    `json:"stage"`
	Capture   string    `json:"capture"` // "netns" or "proxy"
	From      Peer      `json:"from"`
	To        Peer      `json:"to"`
	Hop       Hop       `json:"hop"`
	Layer     int       `json:"layer"` // 1 L3/L4 perimeter, 2 identity, 3 L7 authorization; 0 where no layer decided
	Verdict   Verdict   `json:"verdict"`
	Encrypted bool      `json:"encrypted"` // the hop that was decided on arrived over mTLS
	Method    string    `json:"method,omitempty"`
	Path      string    `json:"path,omitempty"` // as matched, without the query
	Status    int       `json:"status,omitempty"`
	// "namespace/name" of the deciding policy; of all that apply, with ", " between, where none of
	// their rules matches
	Policy     string `json:"policy,omitempty"`
	Rule       string `json:"rule,omitempty"`   // Istio's form: ns[..]-policy[..]-rule[..]
	Reason     string `json:"reason,omitempty"` // one sentence for people
	TraceID    string `json:"traceId,omitempty"`
	DurationUS int64  `json:"durationUs,omitempty"`
}
