package authz

import (
	"context"
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
)

// shrink makes a disagreement smaller as long as the two sides still differ.
func (r *referee) shrink(ctx context.Context, d disagreement) (disagreement, error) {
	for {
		var candidates []group
		for _, s := range smaller(d.policies) {
			if !slices.ContainsFunc(s, invalid) {
				candidates = append(candidates, group{d.target, s, []enforcer.Request{d.request}})
			}
		}
		for _, q := range simpler(d.request) {
			candidates = append(candidates, group{d.target, d.policies, []enforcer.Request{q}})
		}
		var t tally
		still, err := r.compare(ctx, candidates, &t)
		if err != nil || len(still) == 0 {
			return d, err
		}
		d = still[0]
	}
}

// smaller returns the sets with one thing less.
func smaller(set policySet) []policySet {
	var out []policySet
	for i := range set {
		if len(set) > 1 {
			out = append(out, slices.Delete(slices.Clone(set), i, i+1))
		}
	}
	for i, p := range set {
		change := func(edit func(*securityv1beta1.AuthorizationPolicy)) {
			c := p.DeepCopy()
			edit(&c.Spec)
			s := slices.Clone(set)
			s[i] = c
			out = append(out, s)
		}
		if len(p.Annotations) > 0 {
			c := p.DeepCopy()
			c.Annotations = nil
			s := slices.Clone(set)
			s[i] = c
			out = append(out, s)
		}
		for j, rule := range p.Spec.Rules {
			if len(p.Spec.Rules) > 1 {
				change(func(s *securityv1beta1.AuthorizationPolicy) { s.Rules = slices.Delete(s.Rules, j, j+1) })
			}
			for k := range rule.From {
				change(func(s *securityv1beta1.AuthorizationPolicy) {
					s.Rules[j].From = orNone(slices.Delete(s.Rules[j].From, k, k+1))
				})
			}
			for k := range rule.To {
				change(func(s *securityv1beta1.AuthorizationPolicy) {
					s.Rules[j].To = orNone(slices.Delete(s.Rules[j].To, k, k+1))
				})
			}
			for k := range rule.When {
				change(func(s *securityv1beta1.AuthorizationPolicy) {
					s.Rules[j].When = orNone(slices.Delete(s.Rules[j].When, k, k+1))
				})
			}
			for n, values := range lists(rule) {
				for v := range *values {
					change(func(s *securityv1beta1.AuthorizationPolicy) {
						l := lists(s.Rules[j])[n]
						*l = orNone(slices.Delete(*l, v, v+1))
					})
				}
			}
		}
	}
	return out
}

func orNone[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// lists returns every list of values in a rule.
func lists(rule *securityv1beta1.Rule) []*[]string {
	var out []*[]string
	for _, f := range rule.From {
		s := f.Source
		out = append(out, &s.Principals, &s.NotPrincipals, &s.Namespaces, &s.NotNamespaces, &s.ServiceAccounts,
			&s.NotServiceAccounts,
			&s.TrustDomains, &s.NotTrustDomains, &s.IpBlocks, &s.NotIpBlocks, &s.RemoteIpBlocks, &s.NotRemoteIpBlocks)
	}
	for _, t := range rule.To {
		o := t.Operation
		out = append(out, &o.Hosts, &o.NotHosts, &o.Methods, &o.NotMethods, &o.Paths, &o.NotPaths, &o.Ports,
			&o.NotPorts)
	}
	for _, w := range rule.When {
		out = append(out, &w.Values, &w.NotValues)
	}
	return out
}

// simpler returns the requests with one thing less.
func simpler(q enforcer.Request) []enforcer.Request {
	var out []enforcer.Request
	for i := range q.Header {
		c := q
		c.Header = slices.Delete(slices.Clone(q.Header), i, i+1)
		out = append(out, c)
	}
	for i := 1; i < len(q.Target); i++ {
		c := q
		c.Target = q.Target[:i] + q.Target[i+1:]
		out = append(out, c)
	}
	return out
}

func invalid(p *securityv1.AuthorizationPolicy) bool { return translate.Validate(p) != nil }
