// Package explain says beforehand what the mesh would decide about one call, and
// why: every layer that the call would pass, in order, the policy and rule that
// decide, and for a refusal what comes closest to allowing it. It works on the
// manifests alone, with the evaluators of the data path; nothing has to run.
package explain

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/message"
	"artemis.example/policy/netpol"
	"artemis.example/policy/peerauth"
	"artemis.example/policy/topology"
)

// Question is one call.
type Question struct {
	// From is who calls: CELL/COMPONENT, NAMESPACE/DEPLOYMENT, ingress, or a
	// SPIFFE ID, which need not belong to a pod.
	From string
	// To is what is called: CELL/COMPONENT or NAMESPACE/SERVICE; with pod: in
	// front, the pod's own address.
	To           string
	Port         uint16 // of the Service or the pod; 0 is its first
	Method, Path string
	Header       http.Header
}

// Step is what one layer says.
type Step struct {
	Layer int          `json:"layer"` // 1 L3/L4 perimeter, 2 identity, 3 L7 authorization; 0 where nothing is decided
	Hop   decision.Hop `json:"hop"`
	// What is the step in words: which connection, or which check.
	What    string `json:"what"`
	Allowed bool   `json:"allowed"`
	Policy  string `json:"policy,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Reason  string `json:"reason"`
}

// Answer is the decision about a Question. Its JSON names are those of the
// decision log where they mean the same.
type Answer struct {
	Stage   string           `json:"stage"`
	From    decision.Peer    `json:"from"`
	To      decision.Peer    `json:"to"`
	Method  string           `json:"method"`
	Path    string           `json:"path"` // as it is matched
	Verdict decision.Verdict `json:"verdict"`
	// The deciding step.
	Hop    decision.Hop `json:"hop"`
	Layer  int          `json:"layer"`
	Policy string       `json:"policy,omitempty"`
	Rule   string       `json:"rule,omitempty"`
	Reason string       `json:"reason"`
	// Looks is what the caller sees of a refusal.
	Looks string `json:"looks,omitempty"`
	Steps []Step `json:"steps"`
	// NearMisses are the rules that come closest, nearest first.
	NearMisses []NearMiss `json:"nearMisses,omitempty"`
	// Notes is what else there is to know.
	Notes []string `json:"notes,omitempty"`
}

// Explainer answers questions about one state of the manifests.
type Explainer struct {
	stage    string
	world    *topology.World
	waypoint *authz.Waypoint
	node     *authz.NodeProxy
	network  *netpol.Policies
	mtls     *peerauth.Policies
}

// New compiles the policies of a World. stage is the name that answers carry.
func New(stage string, w *topology.World) *Explainer {
	return &Explainer{
		stage: stage, world: w,
		waypoint: authz.NewWaypoint(authz.Config{}, w.Set.AuthorizationPolicies),
		node:     authz.NewNodeProxy(authz.Config{}, w.Set.AuthorizationPolicies),
		network:  netpol.New(w.Set.NetworkPolicies),
		mtls:     peerauth.New("", w.Set.PeerAuthentications),
	}
}

// Ask answers a question. It fails when the question names what is not there.
func (x *Explainer) Ask(q Question) (*Answer, error) {
	from, err := x.caller(q.From)
	if err != nil {
		return nil, err
	}
	to, err := x.target(q.To, q.Port)
	if err != nil {
		return nil, err
	}
	c := &call{Explainer: x, q: q, from: from, to: to, Answer: &Answer{
		Stage: x.stage, From: from.peer(), To: to.peer(), Method: q.Method, Path: q.Path, Verdict: decision.Allowed, Steps: []Step{},
	}}
	c.walk()
	return c.Answer, nil
}

// call is one question on its way.
type call struct {
	*Explainer
	*Answer
	q    Question
	from end
	to   aim
}

// pass adds a step that lets the call on.
func (c *call) pass(s Step) {
	s.Allowed = true
	c.Steps = append(c.Steps, s)
	if s.Layer >= c.Layer && s.Policy != "" {
		c.Hop, c.Layer, c.Policy, c.Rule, c.Reason = s.Hop, s.Layer, s.Policy, s.Rule, s.Reason
	}
}

// stop adds the step that refuses the call.
func (c *call) stop(v decision.Verdict, looks string, s Step) {
	c.Steps = append(c.Steps, s)
	c.Verdict, c.Looks = v, looks
	c.Hop, c.Layer, c.Policy, c.Rule, c.Reason = s.Hop, s.Layer, s.Policy, s.Rule, s.Reason
}

func (c *call) walk() {
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	gateway := c.from.pod != nil && c.from.pod.Kind == topology.Ingress
	waypoint := c.to.waypoint(gateway)
	if gateway && !c.routed() {
		return
	}
	if !c.from.meshed {
		waypoint = nil
		if c.to.service != nil && c.to.service.Waypoint != nil {
			c.Notes = append(c.Notes, "the caller is not in the mesh: its call goes to the pod, not to the waypoint")
		}
	}
	if gateway && waypoint == nil && c.to.service != nil && c.to.service.Waypoint != nil {
		c.Notes = append(c.Notes, "the Service has no label istio.io/ingress-use-waypoint: the gateway goes past the waypoint")
	}
	if waypoint == nil {
		c.arrive(c.from, "the caller")
		c.done()
		return
	}
	if !c.perimeter(c.from.endpoint, waypoint.Pod.Endpoint, topology.HBONEPort, "the caller to "+podName(waypoint.Pod)) ||
		!c.authorize(waypoint) {
		return
	}
	c.arrive(end{pod: waypoint.Pod, identity: waypoint.Pod.Identity, endpoint: waypoint.Pod.Endpoint, meshed: true}, "the waypoint")
	c.done()
}

// done says what let the call through where no policy did.
func (c *call) done() {
	if c.Verdict == decision.Allowed && c.Policy == "" {
		c.Hop, c.Layer, c.Reason = decision.HopNodeProxyInbound, 0, "nothing on the way has a policy for it"
		if n := len(c.Steps); n > 0 {
			c.Hop = c.Steps[n-1].Hop
		}
	}
}

// routed says whether a route of the gateway leads to the target.
func (c *call) routed() bool {
	for i := range c.world.Routes {
		if r := &c.world.Routes[i]; r.Service != nil && r.Service == c.to.service {
			c.pass(Step{Hop: decision.HopGateway, What: "the gateway's route", Reason: "HTTPRoute " + r.Ref.String() + " leads to the Service"})
			return true
		}
	}
	c.stop(decision.Failed, "404 from the gateway", Step{Hop: decision.HopGateway, What: "the gateway's route", Reason: "no HTTPRoute leads there"})
	return false
}

// perimeter asks the NetworkPolicies about one connection.
func (c *call) perimeter(src, dst netpol.Endpoint, port uint16, what string) bool {
	r := c.network.Decide(src, dst, port)
	s := Step{Layer: 1, Hop: decision.HopNetworkPolicy, What: fmt.Sprintf("%s, port %d", what, port), Policy: r.Policy}
	if !r.Allowed {
		s.Reason = fmt.Sprintf("the pod's %s is closed by a NetworkPolicy, and none admits this connection", r.Direction)
		looks := "connection refused"
		if c.from.meshed {
			looks = "connection reset"
		}
		c.stop(decision.DeniedNetwork, looks, s)
		return false
	}
	s.Reason = "a NetworkPolicy admits it"
	if r.Policy == "" {
		s.Reason = "no NetworkPolicy selects the destination"
	}
	if port == topology.HBONEPort && r.Policy != "" {
		s.Reason += "; everything of the mesh arrives on this port"
	}
	c.pass(s)
	return true
}

// authorize asks the waypoint.
func (c *call) authorize(w *topology.WaypointGateway) bool {
	svc := c.to.service
	what := podName(w.Pod) + " for Service " + svc.Name
	port, _ := svc.Port(c.to.port)
	req := &authz.Request{
		Principal: c.from.identity, SourceIP: c.from.endpoint.IP, DestIP: svc.VIP, DestPort: c.to.port,
		Header: http.Header{}, HTTP: port.Protocol != topology.TCP,
	}
	if req.HTTP {
		if !c.see(w, req, what) {
			return false
		}
	} else {
		req.RemoteIP = req.SourceIP
		c.Notes = append(c.Notes, "the port is no HTTP to the waypoint: methods and paths are not seen")
	}
	e := c.waypoint.ForService(svc.Namespace, w.Pod.Name, svc.Name)
	c.skipped("the waypoint", e.Skipped(req.HTTP))
	r := e.Decide(req)
	s := Step{Layer: 3, Hop: decision.HopWaypoint, What: what, Policy: r.Policy, Rule: r.Rule, Reason: string(r.Reason)}
	if r.Allowed {
		c.pass(s)
		return true
	}
	s.Reason = withPolicies(r, e)
	looks := "403 RBAC: access denied"
	if !req.HTTP {
		looks = "the connection is closed"
	}
	c.stop(decision.DeniedL7, looks, s)
	c.NearMisses = c.nearMisses(e.Trace(req))
	return false
}

// see reads the request as the waypoint does; false where it refuses it.
func (c *call) see(w *topology.WaypointGateway, req *authz.Request, what string) bool {
	head, refused := message.Ask(c.Method, c.q.Path, serviceHost(c.to.service, c.to.port), c.q.Header)
	var target string
	if refused == nil {
		target, refused = message.Waypoint{Identity: w.Pod.Identity, ClientIdentity: w.XFCC}.See(head, req)
	}
	if refused != nil {
		c.stop(decision.DeniedL7, strconv.Itoa(refused.Status), Step{Layer: 3, Hop: decision.HopWaypoint, What: what,
			Reason: "the waypoint refuses the request before any policy: " + refused.Error()})
		return false
	}
	if target != c.q.Path {
		c.Notes = append(c.Notes, fmt.Sprintf("the waypoint makes %s of the path %s, for the match and for the application", target, c.q.Path))
	}
	c.Path = target
	return true
}

// serviceHost is the Host of a client that calls a Service by its full name.
func serviceHost(s *topology.Service, port uint16) string {
	if port == 80 {
		return s.Host
	}
	return fmt.Sprintf("%s:%d", s.Host, port)
}

// arrive is the last connection, to the pod, by the caller or the waypoint.
func (c *call) arrive(from end, who string) {
	pod := c.to.pod
	if pod == nil {
		c.stop(decision.Failed, "503", Step{Hop: decision.HopNodeProxyOutbound, What: "an endpoint", Reason: "the Service selects no pod"})
		return
	}
	port, encrypted := c.to.target, from.meshed && pod.Meshed
	if encrypted {
		port = topology.HBONEPort
	}
	if !c.perimeter(from.endpoint, pod.Endpoint, port, who+" to the pod of "+podName(pod)) {
		return
	}
	if !pod.Meshed {
		c.pass(Step{Hop: decision.HopNodeProxyInbound, What: "the pod of " + podName(pod), Reason: "the pod is not in the mesh: nobody asks who calls, and nothing is encrypted"})
		return
	}
	identity := from.identity
	s := Step{Layer: 2, Hop: decision.HopNodeProxyInbound, What: "node proxy of " + podName(pod) + ", for " + identity}
	if !encrypted {
		identity = ""
		s.What = "node proxy of " + podName(pod) + ", for a caller without an identity"
		if mode := c.mtls.For(pod.Namespace, pod.Labels, c.to.target); mode.Mode == peerauth.Strict {
			s.Policy, s.Reason = mode.Policy, "PeerAuthentication STRICT: plaintext is refused"
			c.stop(decision.DeniedL4, "connection reset", s)
			return
		}
	}
	e := c.node.ForWorkload(pod.Namespace, pod.Labels)
	c.skipped("the node proxy", e.Skipped(false))
	req := &authz.Request{Principal: identity, SourceIP: from.endpoint.IP, RemoteIP: from.endpoint.IP, DestIP: pod.IP, DestPort: c.to.target}
	r := e.Decide(req)
	s.Policy, s.Rule, s.Reason = r.Policy, r.Rule, string(r.Reason)
	if r.Allowed {
		c.pass(s)
		return
	}
	s.Reason = withPolicies(r, e)
	looks := "connection reset"
	if who == "the waypoint" || (from.pod != nil && from.pod.Kind == topology.Ingress) {
		looks = "503"
	}
	c.stop(decision.DeniedL4, looks, s)
	c.NearMisses = c.nearMisses(e.Trace(req))
}

// skipped notes what of the policies that apply a proxy does not get.
func (c *call) skipped(proxy string, skips []authz.Skip) {
	for _, s := range skips {
		what := "leaves " + s.Field + " out of " + s.Rule
		if s.Whole {
			what = "leaves out " + s.Rule + " for its " + s.Field
		}
		c.Notes = append(c.Notes, proxy+" "+what+": "+s.Why)
	}
}

// withPolicies names the policies that together refuse, where no single one does.
func withPolicies(r authz.Result, e *authz.Engine) string {
	if r.Reason != authz.ReasonUnmatched {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + strings.Join(e.Policies(), ", ")
}

// addr is never the zero Addr where an address is printed.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
