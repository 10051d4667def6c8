// Package explain says beforehand what the mesh would decide about one call, and
// why: every layer that the call would pass, in order, the policy and rule that
// decide, and for a refusal what comes closest to allowing it. It works on the
// manifests alone, with the evaluators of the data path; nothing has to run.
package explain

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strconv"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
)

// Question is one call.
type Question struct {
	// From is who calls, in any form of topology's FindCaller.
	From string
	// To is what is called, in any form of its FindDestination.
	To   string
	Port uint16 // of the Service or the pod; 0 is its first
	// Path is, when empty, that of a URL in To, or /.
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
	Stage   string           `json:"stage,omitempty"` // of this project's manifests
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
	// NotJudged names what the answer depends on and the evaluators lack, as
	// "FIELD in FILE:LINE: why". With any, the verdict is not-judged.
	NotJudged []string `json:"notJudged,omitempty"`
}

// Explainer answers questions about one state of the manifests.
type Explainer struct {
	stage    string
	world    *topology.World
	policies *evaluate.Policies
	// least is set where the manifests have what the evaluators lack: world holds
	// the most that they can allow then, and least the least.
	least *Explainer
	gaps  []manifest.Gap
}

// New compiles the policies of a World. stage is the name that answers carry.
func New(stage string, w *topology.World) *Explainer {
	return &Explainer{stage: stage, world: w, policies: evaluate.New(w)}
}

// Ask answers a question. It fails when the question names what is not there.
func (x *Explainer) Ask(q Question) (*Answer, error) {
	from, err := x.world.FindCaller(q.From)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, path, err := x.world.FindDestination(q.To, q.Port)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	q.Method, q.Path = cmp.Or(q.Method, http.MethodGet), cmp.Or(q.Path, path, "/")
	ways := x.world.Ways(from, to)
	c := x.narrate(q, &ways[0])
	c.otherPods(ways[1:])
	if err := x.doubt(q, c.Answer, ways); err != nil {
		return nil, err
	}
	return c.Answer, nil
}

// call is one question on its way.
type call struct {
	*Explainer
	*Answer
	q    Question
	from topology.Caller
	to   topology.Destination
}

// narrate goes one way with a call and says what happens.
func (x *Explainer) narrate(q Question, way *topology.Way) *call {
	c := &call{Explainer: x, q: q, from: way.From, to: way.To, Answer: &Answer{
		Stage: x.stage, From: callerPeer(way.From), To: destinationPeer(way), Method: q.Method, Path: q.Path,
		Verdict: decision.Allowed, Steps: []Step{},
	}}
	if c.gateway() && !c.routed() {
		return c
	}
	c.around(way)
	for i := range way.Legs {
		if l := &way.Legs[i]; !c.perimeter(l) || !c.received(l) {
			return c
		}
	}
	if way.Failure != "" {
		looks := "connection reset"
		if len(way.Legs) > 0 || c.gateway() {
			looks = "503"
		}
		c.stop(decision.Failed, looks, Step{Hop: decision.HopNodeProxyOutbound, What: "an endpoint",
			Reason: way.Failure})
		return c
	}
	c.done()
	return c
}

// gateway reports whether the call comes through the north/south gateway.
func (c *call) gateway() bool { return c.from.Pod != nil && c.from.Pod.Kind == topology.Ingress }

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

// around notes why a call goes past the waypoint of its Service.
func (c *call) around(way *topology.Way) {
	s := c.to.Service
	if s == nil || s.Waypoint == nil || len(way.Legs) > 0 && way.Legs[0].Waypoint != nil {
		return
	}
	switch {
	case !c.from.Meshed:
		c.Notes = append(c.Notes, "the caller is not in the mesh: its call goes to the pod, not to the waypoint")
	case c.gateway():
		c.Notes = append(c.Notes,
			"the Service has no label istio.io/ingress-use-waypoint: the gateway goes past the waypoint")
	}
}

// otherPods notes that pods behind the same Service answer otherwise.
func (c *call) otherPods(ways []topology.Way) {
	for i := range ways {
		other := c.narrate(c.q, &ways[i])
		if other.Verdict != c.Verdict {
			pod := ways[i].Legs[len(ways[i].Legs)-1].Pod
			c.Notes = append(c.Notes, fmt.Sprintf("the Service has several pods, and calls that come to %s end "+
				"otherwise: %s", podName(pod), other.Verdict))
		}
	}
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

// routed reports whether a route of the gateway leads to the target.
func (c *call) routed() bool {
	for _, g := range c.world.Gateways {
		for i := range g.Routes {
			if r := &g.Routes[i]; g.Pod == c.from.Pod && r.Service != nil && r.Service == c.to.Service {
				c.pass(Step{Hop: decision.HopGateway, What: "the gateway's route", Reason: "HTTPRoute " +
					r.Ref.String() + " leads to the Service"})
				return true
			}
		}
	}
	c.stop(decision.Failed, "404 from the gateway", Step{Hop: decision.HopGateway, What: "the gateway's route",
		Reason: "no HTTPRoute leads there"})
	return false
}

// perimeter asks the NetworkPolicies about a leg.
func (c *call) perimeter(l *topology.Leg) bool {
	r := c.policies.Perimeter(l)
	from, to := "the caller", "the pod of "+podName(l.Pod)
	if c.behindWaypoint(l) {
		from = "the waypoint"
	}
	switch {
	case l.Waypoint != nil:
		to = podName(l.Pod)
	case l.Pod.Kind == topology.External:
		to = l.Pod.Host
	}
	s := Step{Layer: r.Layer, Hop: r.Hop, What: fmt.Sprintf("%s to %s, port %d", from, to, l.Port), Policy: r.Policy}
	if !r.Allowed {
		s.Reason = fmt.Sprintf("the pod's %s is closed by a NetworkPolicy, and none admits this connection",
			r.Direction)
		looks := c.broken(l)
		if !c.from.Meshed {
			looks = "connection refused"
		}
		c.stop(decision.DeniedNetwork, looks, s)
		return false
	}
	s.Reason = "a NetworkPolicy admits it"
	switch {
	case l.Pod.Kind == topology.External:
		s.Reason = "no NetworkPolicy of the caller's refuses it"
	case r.Policy == "":
		s.Reason = "no NetworkPolicy selects the destination"
	}
	if l.Port == topology.HBONEPort && r.Policy != "" {
		s.Reason += "; everything of the mesh arrives on this port"
	}
	c.pass(s)
	return true
}

// behindWaypoint reports whether a waypoint opens the leg.
func (c *call) behindWaypoint(l *topology.Leg) bool {
	return l.From.Pod != nil && l.From.Pod.Kind == topology.Waypoint && c.from.Pod != l.From.Pod
}

// broken is what the caller sees of a connection that breaks.
func (c *call) broken(l *topology.Leg) string {
	if c.behindWaypoint(l) || c.gateway() {
		return "503"
	}
	return "connection reset"
}

// received asks whoever takes the connection of a leg.
func (c *call) received(l *topology.Leg) bool {
	if l.Waypoint != nil {
		return c.atWaypoint(l)
	}
	return c.atPod(l)
}

func (c *call) atWaypoint(l *topology.Leg) bool {
	what := podName(l.Pod)
	if l.Service != nil {
		what += fmt.Sprintf(" for %s %s", l.Service.Kind(), l.Service.Name)
	}
	sent := &evaluate.Call{}
	if l.Protocol == topology.TCP {
		c.Notes = append(c.Notes, "the port is no HTTP to the waypoint: methods and paths are not seen")
		sent.Bytes = true
	} else {
		header := c.q.Header
		if scheme := c.world.SchemeOf(&c.from); scheme != "" { // whatever the client says
			header = maps.Clone(header)
			if header == nil {
				header = http.Header{}
			}
			header.Set("X-Forwarded-Proto", scheme)
		}
		head, refused := message.Ask(c.Method, c.q.Path, host(l), header)
		if refused != nil {
			return c.refused(what, refused)
		}
		sent.Head = head
	}
	r := c.policies.AtWaypoint(l, sent)
	if r.Refused != nil {
		return c.refused(what, r.Refused)
	}
	if !sent.Bytes {
		if r.Target != c.q.Path {
			c.Notes = append(c.Notes,
				fmt.Sprintf("the waypoint makes %s of the path %s, for the match and for the application", r.Target,
					c.q.Path))
		}
		c.Path = r.Target
	}
	looks := "403 RBAC: access denied"
	if sent.Bytes {
		looks = "the connection is closed"
	}
	if !c.authorized(&r, decision.DeniedL7, looks, what) {
		return false
	}
	if sent.Head != nil && !sent.Head.Routed() {
		c.stop(decision.Failed, "404", Step{Layer: 3, Hop: decision.HopWaypoint, What: what, Reason: "allowed, but " +
			"there is no route for CONNECT, nor for an empty x-forwarded-proto"})
		return false
	}
	return true
}

// refused is the answer of a waypoint to what no policy gets to see.
func (c *call) refused(what string, r *message.Refusal) bool {
	c.stop(decision.DeniedL7, strconv.Itoa(r.Status), Step{Layer: 3, Hop: decision.HopWaypoint, What: what,
		Reason: "the waypoint refuses the request before any policy: " + r.Error()})
	return false
}

// host is what a client sends as Host that calls by the full name, or by address.
func host(l *topology.Leg) string {
	port, host := l.Authority.Port(), l.Pod.Host
	switch {
	case l.Service != nil && port == 80:
		return l.Service.Host
	case l.Service != nil:
		host = l.Service.Host
	case l.Pod.Kind != topology.External || l.Pod.IP.IsValid():
		return l.Authority.String()
	}
	return fmt.Sprintf("%s:%d", host, port)
}

func (c *call) atPod(l *topology.Leg) bool {
	r := c.policies.AtPod(l)
	name := podName(l.Pod)
	if l.Pod.Kind == topology.External {
		c.pass(Step{Hop: decision.HopNodeProxyOutbound, What: l.Pod.Host,
			Reason: "it is outside of the cluster: nobody there asks which workload calls"})
		return true
	}
	if r.Layer == 0 {
		c.pass(Step{Hop: r.Hop, What: "the pod of " + name, Reason: "the pod is not in the mesh: nobody asks who " +
			"calls, and nothing is encrypted"})
		return true
	}
	what := "node proxy of " + name + ", for " + cmp.Or(l.Identity(), "a caller without an identity")
	return c.authorized(&r, decision.DeniedL4, c.broken(l), what)
}

// authorized passes on or stops at a ruling about who calls, and what.
func (c *call) authorized(r *evaluate.Ruling, denied decision.Verdict, looks, what string) bool {
	s := Step{Layer: r.Layer, Hop: r.Hop, What: what, Policy: r.Policy, Rule: r.Rule, Reason: r.Reason}
	if r.Request != nil {
		c.skipped(r)
	}
	if r.Allowed {
		c.pass(s)
		return true
	}
	if r.Reason == string(authz.ReasonUnmatched) {
		// No single policy refuses: those that would have to allow it do together.
		s.Reason += ": " + list(r.Engine.Policies())
	}
	c.stop(denied, looks, s)
	if r.Request != nil {
		c.NearMisses = c.nearMisses(r.Engine.Trace(r.Request))
	}
	return false
}

// skipped notes what of the policies that apply a proxy does not get.
func (c *call) skipped(r *evaluate.Ruling) {
	proxy := "the node proxy"
	if r.Hop == decision.HopWaypoint {
		proxy = "the waypoint"
	}
	for _, s := range r.Engine.Skipped(r.Request.HTTP) {
		what := "leaves " + s.Field + " out of " + s.Rule
		if s.Whole {
			what = "leaves out " + s.Rule + " for its " + s.Field
		}
		c.Notes = append(c.Notes, proxy+" "+what+": "+s.Why)
	}
}

// addr is never the zero Addr where an address is printed.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
