// Package authz decides what AuthorizationPolicies allow, twice: as Envoy does
// with Istio's translation of them (a waypoint, Waypoint) and as ztunnel does
// (a node proxy, NodeProxy), each with its own divergences. Policies are
// compiled once and indexed by what they attach to; a decision allocates
// nothing. It holds no topology: who attaches to what beyond the policies'
// own words is the caller's knowledge.
package authz

import (
	"net/http"
	"net/netip"
	"strconv"

	"artemis.example/catalog"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Config is what of the mesh's own configuration a decision depends on.
type Config struct {
	// TrustDomain of the mesh. Principals that policies write with
	// cluster.local mean this one. Default cluster.local.
	TrustDomain string
	// RootNamespace is where mesh-wide policies live. Default istio-system.
	RootNamespace string
}

func (c Config) withDefaults() Config {
	if c.TrustDomain == "" {
		c.TrustDomain = catalog.TrustDomain
	}
	if c.RootNamespace == "" {
		c.RootNamespace = catalog.RootNamespace
	}
	return c
}

// Request is what a decision is about: an HTTP request at a waypoint, or a
// connection at a node proxy or on a waypoint's TCP chain.
type Request struct {
	// Principal is the caller's SPIFFE ID as in its certificate, spiffe://
	// included; empty when it has proven none.
	Principal string
	// SourceIP is the peer of the connection: node proxies know it, waypoints do not.
	// RemoteIP is the client that x-forwarded-for names where that is trusted,
	// otherwise the same.
	SourceIP, RemoteIP netip.Addr
	// DestIP and DestPort are the Service's address and port at a waypoint, the
	// pod's at a node proxy.
	DestIP   netip.Addr
	DestPort uint16
	// Method, Host and Path are the request's, the path after NormalizePath, with
	// the query: request.headers[:path] is compared with both, all else with the
	// path alone.
	Method, Host, Path string
	// Scheme is https where an absolute target or x-forwarded-proto says so, http
	// otherwise, and when empty.
	Scheme string
	// Header has the lines of each header under its canonical name, as the proxy holds
	// them: those that it joins are one line.
	Header http.Header
	// SNI is the server name that the client asked for.
	SNI string
	// HTTP is false where the proxy sees bytes only.
	HTTP bool
}

// Reason is why a decision fell as it did, from a closed set.
type Reason string

// The reasons, in the order in which a proxy looks.
const (
	ReasonDenied    Reason = "a DENY rule matches"
	ReasonNoPolicy  Reason = "no ALLOW policy applies"
	ReasonAllowed   Reason = "an ALLOW rule matches"
	ReasonUnmatched Reason = "ALLOW policies apply, but none of their rules matches"
)

// Result is one decision.
type Result struct {
	Allowed bool
	// Policy is "namespace/name" of the policy that decided, empty where none
	// did by itself.
	Policy string
	// Rule names the rule in Istio's form, ns[..]-policy[..]-rule[..], as it
	// stands in Envoy's response code details.
	Rule   string
	Reason Reason
}

// Engine decides for one target. A nil Engine has no policies.
type Engine struct {
	http, tcp ruleSet
}

// ruleSet is the enforced rules of one target, by action.
type ruleSet struct {
	deny, allow []rule
	// closed is set when an ALLOW policy is attached, even one without rules.
	closed bool
	// closers names the attached ALLOW policies.
	closers []string
	// skips are what the proxy does not get of the attached policies.
	skips []Skip
}

// Skip is a part of a policy that a proxy does not get, because the field does not
// exist there or has a value that cannot be read, or that comes to nothing there.
// istiod says so in its log, if at all.
type Skip struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	Field  string `json:"field"`
	Why    string `json:"why"`
	// Whole is set where the rule is left out as a whole, as in an ALLOW policy: it
	// allows less than it says. In a DENY policy the field alone is left out: it
	// denies more, or at a node proxy, where nothing else is said, nothing.
	Whole bool `json:"whole,omitempty"`
}

// Skipped lists what of the policies that apply the proxy does not get, on its HTTP
// chains or on those that carry bytes.
func (e *Engine) Skipped(http bool) []Skip {
	return e.rules(http).skips
}

// rules returns those for HTTP chains, or for those that carry bytes.
func (e *Engine) rules(http bool) *ruleSet {
	switch {
	case e == nil:
		return &ruleSet{}
	case http:
		return &e.http
	}
	return &e.tcp
}

// Decide returns the decision for a request. It allocates nothing and may be
// called from many goroutines.
func (e *Engine) Decide(r *Request) Result {
	set := e.rules(r.HTTP)
	for i := range set.deny {
		if d := &set.deny[i]; d.matches(r) {
			return Result{Policy: d.policy, Rule: d.name, Reason: ReasonDenied}
		}
	}
	if !set.closed {
		return Result{Allowed: true, Reason: ReasonNoPolicy}
	}
	for i := range set.allow {
		if a := &set.allow[i]; a.matches(r) {
			return Result{Allowed: true, Policy: a.policy, Rule: a.name, Reason: ReasonAllowed}
		}
	}
	return Result{Reason: ReasonUnmatched}
}

// Policies lists "namespace/name" of the ALLOW policies that apply, in order;
// with at least one, everything that they do not allow is denied.
func (e *Engine) Policies() []string {
	return e.rules(true).closers
}

// RuleID returns the name of a rule in Istio's form
// (istio.io/istio pilot/pkg/security/authz/builder, policyName).
func RuleID(namespace, policy string, rule int) string {
	return "ns[" + namespace + "]-policy[" + policy + "]-rule[" + strconv.Itoa(rule) + "]"
}

// dryRun reports whether a policy is only to be watched, not enforced.
func dryRun(p *securityv1.AuthorizationPolicy) bool {
	on, err := strconv.ParseBool(p.Annotations["istio.io/dry-run"])
	return err == nil && on
}

// targets returns the targetRefs, the older singular form included.
func targets(p *securityv1.AuthorizationPolicy) []target {
	refs := p.Spec.GetTargetRefs()
	if len(refs) == 0 && p.Spec.GetTargetRef() != nil {
		return []target{{p.Spec.TargetRef.GetGroup(), p.Spec.TargetRef.GetKind(), p.Spec.TargetRef.GetName(),
			p.Spec.TargetRef.GetNamespace()}}
	}
	out := make([]target, len(refs))
	for i, r := range refs {
		out[i] = target{r.GetGroup(), r.GetKind(), r.GetName(), r.GetNamespace()}
	}
	return out
}

type target struct{ group, kind, name, namespace string }

func isAllow(p *securityv1.AuthorizationPolicy) bool {
	return p.Spec.Action == securityv1beta1.AuthorizationPolicy_ALLOW
}

func isDeny(p *securityv1.AuthorizationPolicy) bool {
	return p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY
}
