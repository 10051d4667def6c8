package manifest

import (
	"fmt"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// bound makes Most and Least: what the evaluators lack of a policy at a waypoint
// is taken to match whatever the rest of its rule matches in the one, and
// nothing in the other, so that the truth lies between them. Policies without a
// target go to node proxies, which leave the same fields out themselves.
func (in *Input) bound() {
	most, least := *in.Set, *in.Set
	most.AuthorizationPolicies, least.AuthorizationPolicies = nil, nil
	changed := false
	for _, p := range in.Set.AuthorizationPolicies {
		wide, narrow, fields := bounds(p)
		if len(fields) == 0 {
			most.AuthorizationPolicies = append(most.AuthorizationPolicies, p)
			least.AuthorizationPolicies = append(least.AuthorizationPolicies, p)
			continue
		}
		changed = true
		for _, f := range fields {
			gap := in.lack(KeyOf(p), f.path, f.why)
			gap.Bounded = true
			in.gap(gap, scopesOf(p)...)
		}
		if wide != nil {
			most.AuthorizationPolicies = append(most.AuthorizationPolicies, wide)
		}
		if narrow != nil {
			least.AuthorizationPolicies = append(least.AuthorizationPolicies, narrow)
		}
	}
	for _, p := range in.tokenChecks() {
		changed = true
		least.AuthorizationPolicies = append(least.AuthorizationPolicies, p)
	}
	in.Most, in.Least = in.Set, in.Set
	if changed {
		in.Most, in.Least = &most, &least
	}
}

// left is a field that was left out.
type left struct{ path, why string }

// bounds returns a policy at its widest and at its narrowest, and the fields that
// make the difference; both are nil-able.
func bounds(p *securityv1.AuthorizationPolicy) (most, least *securityv1.AuthorizationPolicy, fields []left) {
	if len(TargetRefs(p)) == 0 {
		return p, p, nil
	}
	// loose has the rules without what is not understood, tight with such rules as
	// rules that match nothing: their numbers stay.
	loose, tight := p.DeepCopy(), p.DeepCopy()
	for i, r := range p.Spec.Rules {
		stripped, lost := strip(r, fmt.Sprintf("spec.rules[%d]", i))
		if len(lost) == 0 {
			continue
		}
		fields = append(fields, lost...)
		loose.Spec.Rules[i] = stripped
		tight.Spec.Rules[i] = never()
	}
	switch p.Spec.Action {
	case securityv1beta1.AuthorizationPolicy_ALLOW:
		return loose, tight, fields
	case securityv1beta1.AuthorizationPolicy_DENY:
		return tight, loose, fields
	case securityv1beta1.AuthorizationPolicy_CUSTOM:
		// The external authorizer may refuse whatever the rules match.
		loose.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY
		loose.Spec.ActionDetail = nil
		return nil, loose, []left{{"spec.action", "CUSTOM asks an external authorizer"}}
	}
	return p, p, nil
}

// never is a rule that no request matches.
func never() *securityv1beta1.Rule {
	return &securityv1beta1.Rule{From: []*securityv1beta1.Rule_From{
		{Source: &securityv1beta1.Source{Principals: []string{"(not judged)"}}}}}
}

// strip takes out of a rule what depends on tokens or on Envoy's own filters.
func strip(r *securityv1beta1.Rule, at string) (*securityv1beta1.Rule, []left) {
	if r == nil {
		return nil, nil
	}
	const token = "nothing verifies tokens here"
	var lost []left
	out := r.DeepCopy()
	anySource := false
	for i, f := range out.From {
		s, path, before := f.GetSource(), fmt.Sprintf("%s.from[%d].source.", at, i), len(lost)
		if len(s.GetRequestPrincipals()) > 0 {
			lost = append(lost, left{path + "requestPrincipals", token})
		}
		if len(s.GetNotRequestPrincipals()) > 0 {
			lost = append(lost, left{path + "notRequestPrincipals", token})
		}
		if len(lost) > before {
			s.RequestPrincipals, s.NotRequestPrincipals = nil, nil
			anySource = anySource || emptySource(s)
		}
	}
	if anySource {
		out.From = nil
	}
	conditions := out.When
	out.When = nil
	for i, c := range conditions {
		why := ""
		switch {
		case strings.HasPrefix(c.GetKey(), "request.auth."):
			why = token
		case strings.HasPrefix(c.GetKey(), "experimental.envoy.filters."):
			why = "there is no Envoy filter here"
		}
		if why == "" {
			out.When = append(out.When, c)
			continue
		}
		lost = append(lost, left{fmt.Sprintf("%s.when[%d]", at, i), c.GetKey() + ": " + why})
	}
	return out, lost
}

func emptySource(s *securityv1beta1.Source) bool {
	return len(slices.Concat(s.Principals, s.NotPrincipals, s.Namespaces, s.NotNamespaces, s.ServiceAccounts,
		s.NotServiceAccounts, s.TrustDomains, s.NotTrustDomains, s.IpBlocks, s.NotIpBlocks, s.RemoteIpBlocks,
		s.NotRemoteIpBlocks)) == 0
}

// tokenChecks returns what a RequestAuthentication at a waypoint can refuse, at
// the most, as DENY policies: requests that carry a token.
func (in *Input) tokenChecks() []*securityv1.AuthorizationPolicy {
	var out []*securityv1.AuthorizationPolicy
	for _, o := range in.Other {
		if o.Kind != "RequestAuthentication" || !strings.HasPrefix(o.APIVersion, "security.istio.io/") {
			continue
		}
		p := o.asPolicy()
		if len(TargetRefs(p)) == 0 {
			continue // node proxies ignore it
		}
		p.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY
		for _, name := range tokenHeaders(o) {
			p.Spec.Rules = append(p.Spec.Rules, &securityv1beta1.Rule{When: []*securityv1beta1.Condition{
				{Key: "request.headers[" + name + "]", Values: []string{"*"}}}})
		}
		in.gap(Gap{Origin: o.Origin, Object: o.Key, Why: "refuses requests with a bad token", Bounded: true},
			scopesOf(p)...)
		out = append(out, p)
	}
	return out
}

// tokenHeaders returns the headers in which a RequestAuthentication looks for
// tokens.
func tokenHeaders(o Object) []string {
	out := []string{"authorization"}
	for _, rule := range o.content.Spec.JWTRules {
		for _, header := range rule.FromHeaders {
			if header.Name != "" && !strings.EqualFold(header.Name, "authorization") {
				out = append(out, header.Name)
			}
		}
	}
	return out
}
