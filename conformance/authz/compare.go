package authz

import (
	"context"
	"fmt"
	"strings"

	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	"sigs.k8s.io/yaml"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
	"artemis.example/policy/authz"
)

// group is a policy set with the requests that it judges.
type group struct {
	target   translate.Target
	policies policySet
	requests []enforcer.Request
}

// disagreement is one request that the two sides judge differently.
type disagreement struct {
	target       translate.Target
	policies     policySet
	request      enforcer.Request
	envoy, local outcome
}

// tally counts comparisons.
type tally struct {
	policies, requests       int
	allowed, denied, refused int
	byRule                   int // a rule was named and compared
}

func (t *tally) add(o outcome) {
	t.requests++
	switch {
	case o.refused():
		t.refused++
	case o.Status == 200:
		t.allowed++
	default:
		t.denied++
	}
	if o.Rule != "" {
		t.byRule++
	}
}

// referee asks both sides.
type referee struct {
	bin     string
	envoy   *enforcer.Envoy
	clients []enforcer.Client
}

// compare has both sides judge all requests and returns those on which they
// differ.
func (r *referee) compare(ctx context.Context, groups []group, t *tally) ([]disagreement, error) {
	sets := make(map[string][]*rbac.RBAC, len(groups))
	var requests []enforcer.Judged
	for i, g := range groups {
		name := fmt.Sprint("set-", i)
		filters, err := translate.Waypoint(g.policies, g.target)
		if err != nil {
			return nil, err
		}
		sets[name] = filters
		for _, req := range g.requests {
			requests = append(requests, enforcer.Judged{Set: name, Request: req})
		}
		t.policies += len(g.policies)
	}
	verdicts, err := r.envoy.Decide(ctx, sets, requests)
	if err != nil {
		return nil, err
	}
	var out []disagreement
	n := 0
	for _, g := range groups {
		engine := localEngine(g.policies, g.target)
		for _, req := range g.requests {
			theirs, err := envoyOutcome(verdicts[n], g.policies.allows)
			if err != nil {
				return nil, fmt.Errorf("%w\n%s", err, describe(g.policies, r.clients[req.Client], req))
			}
			n++
			t.add(theirs)
			if ours := r.local(engine, req); ours != theirs {
				out = append(out, disagreement{g.target, g.policies, req, theirs, ours})
			}
		}
	}
	return out, nil
}

func (r *referee) local(engine *authz.Engine, req enforcer.Request) outcome {
	return localOutcome(engine, r.clients[req.Client], req)
}

// allows reports whether a rule belongs to an ALLOW policy of the set.
func (s policySet) allows(rule string) bool {
	for _, p := range s {
		if p.Spec.Action == securityv1beta1.AuthorizationPolicy_ALLOW && strings.HasPrefix(rule, "ns["+p.Namespace+
			"]-policy["+p.Name+"]-") {
			return true
		}
	}
	return false
}

func describe(set policySet, c enforcer.Client, r enforcer.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "request: %q\nclient:  %+v\n", r.Bytes(), c)
	for _, p := range set {
		y, err := yaml.Marshal(p)
		if err != nil {
			y = []byte(err.Error())
		}
		fmt.Fprintf(&b, "---\n%s", y)
	}
	return b.String()
}
