package authz

import (
	"strings"

	"artemis.example/policy/automaton"
)

// template is a path template of Istio, {*} and {**}, as Envoy's uri_template
// matcher takes it (source/extensions/path/uri_template_lib): {*} is one or
// more characters of a segment, {**} any characters of any segments.
type template struct {
	// segments are what stands in front of {**}, or the whole; a "" between two
	// literals is a {*}.
	head []string
	// rest reports that there is a {**}, and tail what must stand behind it.
	rest bool
	tail string
}

func isTemplate(path string) bool {
	return strings.Contains(path, "{*}") || strings.Contains(path, "{**}")
}

func newTemplate(path string) *template {
	t := &template{}
	head, tail, rest := strings.Cut(path, "{**}")
	t.rest, t.tail = rest, tail
	t.head = strings.Split(head, "{*}")
	return t
}

func (t *template) matches(v string) bool {
	for i, literal := range t.head {
		if i > 0 {
			n := 0
			for n < len(v) && automaton.Segment.Contains(v[n]) {
				n++
			}
			if n == 0 {
				return false
			}
			v = v[n:]
		}
		if !strings.HasPrefix(v, literal) {
			return false
		}
		v = v[len(literal):]
	}
	if !t.rest {
		return v == ""
	}
	if !strings.HasSuffix(v, t.tail) {
		return false
	}
	v = v[:len(v)-len(t.tail)]
	for i := range len(v) {
		if !automaton.Segments.Contains(v[i]) {
			return false
		}
	}
	return true
}
