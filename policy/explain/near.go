package explain

import (
	"cmp"
	"slices"
	"strings"

	"artemis.example/policy/authz"
)

// NearMiss is a rule that would have allowed the call, had something been
// otherwise.
type NearMiss struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	// Message says it in one sentence.
	Message string       `json:"message"`
	Misses  []authz.Miss `json:"misses"`
}

// maxNearMisses bounds how many are shown.
const maxNearMisses = 5

// nearMisses picks the ALLOW rules that miss least. Rules that differ in the
// caller alone come first: that is what people look for.
func (c *call) nearMisses(traces []authz.Trace) []NearMiss {
	var out []NearMiss
	for _, t := range traces {
		if t.Deny || t.Matches || t.Never || len(t.Misses) == 0 {
			continue
		}
		out = append(out, NearMiss{Policy: t.Policy, Rule: t.Rule, Message: c.sentence(t.Misses), Misses: t.Misses})
	}
	slices.SortStableFunc(out, func(a, b NearMiss) int {
		return cmp.Or(cmp.Compare(len(a.Misses), len(b.Misses)), cmp.Compare(callers(b.Misses), callers(a.Misses)))
	})
	if len(out) > 0 {
		fewest := len(out[0].Misses)
		out = slices.DeleteFunc(out, func(n NearMiss) bool { return len(n.Misses) > fewest })
	}
	return out[:min(len(out), maxNearMisses)]
}

func callers(ms []authz.Miss) int {
	n := 0
	for _, m := range ms {
		if m.OfCaller() {
			n++
		}
	}
	return n
}

func (c *call) sentence(misses []authz.Miss) string {
	var parts []string
	for _, m := range misses {
		values, verb := slices.Clone(m.Values), "you ask "+m.Got
		if m.OfCaller() {
			verb = "you are " + cmp.Or(c.name(m.Got), "nobody")
			for j, v := range values {
				values[j] = c.name(v)
			}
		}
		what := "allowed for " + list(values)
		if len(values) == 0 {
			what = "not allowed for " + m.Field + " " + list(m.NotValues)
		}
		parts = append(parts, what+"; "+verb)
	}
	return strings.Join(parts, "; and ")
}

func list(values []string) string { return strings.Join(values, ", ") }

// name returns CELL/COMPONENT of a principal that somebody has, else what it was.
func (c *call) name(principal string) string {
	if p := c.world.PodOf("spiffe://" + principal); p != nil {
		return podName(p)
	}
	return principal
}
