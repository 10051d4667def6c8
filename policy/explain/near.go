package explain

import (
	"cmp"
	"fmt"
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
	parts := make([]string, len(misses))
	for i, m := range misses {
		got := m.Got
		if m.OfCaller() {
			got = c.name(m.Got)
		}
		verb := "you ask " + m.Got
		if m.OfCaller() {
			verb = "you are " + cmp.Or(got, "nobody")
		}
		if len(m.Values) > 0 {
			values := make([]string, len(m.Values))
			for j, v := range m.Values {
				values[j] = v
				if m.OfCaller() {
					values[j] = c.name(v)
				}
			}
			parts[i] = fmt.Sprintf("allowed for %s; %s", strings.Join(values, ", "), verb)
		} else {
			parts[i] = fmt.Sprintf("not allowed for %s %s; %s", m.Field, strings.Join(m.NotValues, ", "), verb)
		}
	}
	return strings.Join(parts, "; and ")
}

// name returns CELL/COMPONENT of a principal that somebody has, else what it was.
func (c *call) name(principal string) string {
	if p := c.world.PodOf("spiffe://" + principal); p != nil {
		return podName(p)
	}
	return principal
}
