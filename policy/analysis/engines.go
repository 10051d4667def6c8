package analysis

import "artemis.example/policy/authz"

// Difference is one class of requests that two sets of rules decide differently, by one
// of it.
type Difference struct {
	Request       *authz.Request
	Before, After bool
}

// Differences compares what two targets' rules say to every HTTP request of one caller.
// call is what is known of it: the connection, and the headers of which the client
// has no say. It is the part of Diff that knows no topology.
func Differences(old, now *authz.Engine, call authz.Request, certain func(header string) bool) ([]Difference, error) {
	call.HTTP = true
	known := func(a authz.Attribute) bool {
		switch a {
		case authz.AttributePrincipal, authz.AttributeSourceIP, authz.AttributeDestIP, authz.AttributePort,
			authz.AttributeSNI:
			return true
		}
		name, ok := a.Header()
		return ok && certain(name)
	}
	var ds []decider
	for _, e := range []*authz.Engine{old, now} {
		ds = append(ds, decider{rest: e.Rest(true).Given(&call, known),
			decide: func(r *authz.Request) bool { return e.Decide(r).Allowed }})
	}
	b := builder{hosts: []string{"localhost"}}
	n, err := b.build(ds, call, nil)
	if err != nil {
		return nil, err
	}
	var out []Difference
	n.regions(func(m uint) bool { return m == 1 || m == 2 }, region{}, func(r region) {
		out = append(out, Difference{r.leaf.example, r.leaf.mask == 1, r.leaf.mask == 2})
	})
	return out, nil
}
