package authz

import (
	"slices"
	"strconv"
	"strings"
)

// Miss is a field of a rule that a request does not satisfy.
type Miss struct {
	Field     string   `json:"field"`
	Values    []string `json:"values,omitempty"`
	NotValues []string `json:"notValues,omitempty"`
	Got       string   `json:"got"`
}

// OfCaller reports whether the field is about who calls.
func (m Miss) OfCaller() bool {
	switch m.Field {
	case "principals", "serviceAccounts", "namespaces", "source.principal", "source.namespace", "source.serviceAccount":
		return true
	}
	return false
}

// Trace is how one rule looks at a request.
type Trace struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	Deny   bool   `json:"deny,omitempty"`
	// Matches reports whether the whole rule does.
	Matches bool `json:"matches"`
	// Misses are the fields that keep it from matching, by the clauses that come
	// closest. Empty in a rule that can never match.
	Misses []Miss `json:"misses,omitempty"`
	// Never is set where nothing could satisfy the rule here.
	Never bool `json:"never,omitempty"`
}

// Trace says how every rule that applies looks at a request: what matches, and
// for the others what is missing. It is for people, not for the data path.
func (e *Engine) Trace(r *Request) []Trace {
	set := e.rules(r.HTTP)
	var out []Trace
	for i := range set.deny {
		out = append(out, set.deny[i].trace(r, true))
	}
	for i := range set.allow {
		out = append(out, set.allow[i].trace(r, false))
	}
	return out
}

func (r *rule) trace(req *Request, deny bool) Trace {
	t := Trace{Policy: r.policy, Rule: r.name, Deny: deny, Matches: r.matches(req)}
	for _, g := range r.groups {
		t.Never = t.Never || g.never()
		var best []Miss
		for i, c := range slices.DeleteFunc(slices.Clone(g), func(c clause) bool { return c.never }) {
			if misses := c.misses(req); i == 0 || len(misses) < len(best) {
				best = misses
			}
		}
		t.Misses = append(t.Misses, best...)
	}
	return t
}

func (c *clause) misses(req *Request) []Miss {
	var out []Miss
	for i := range c.fields {
		if f := &c.fields[i]; !f.matches(req) {
			out = append(out, Miss{Field: f.name, Values: f.values, NotValues: f.notValues, Got: f.got(req)})
		}
	}
	return out
}

func (f *field) got(req *Request) string {
	switch f.attr {
	case attrPrincipal, attrIdentity, attrNamespace, attrAccount:
		return strings.TrimPrefix(req.Principal, spiffePrefix)
	case attrSourceIP:
		return req.SourceIP.String()
	case attrTunnelIP:
		return "no address: at a waypoint the connection comes out of the tunnel"
	case attrRemoteIP:
		return req.RemoteIP.String()
	case attrDestIP:
		return req.DestIP.String()
	case attrDestPort:
		return strconv.Itoa(int(req.DestPort))
	case attrHeader:
		return strings.Join(req.Header[f.header], ",")
	}
	v, _ := f.attr.text(req)
	return v
}
