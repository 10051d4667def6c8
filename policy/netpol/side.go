package netpol

import (
	"slices"
	"strings"
)

// side is the policies of a namespace in one direction, in the order of their
// keys, and where to look for those that select a pod: a decision does not look
// at the others, however many there are.
type side struct {
	policies []policy
	byLabel  map[label][]int // what selects only pods with that label
	names    []string        // of the labels in byLabel
	rest     []int
}

type label struct{ name, value string }

// newSide puts every policy where it will be found: under the label that fewest of the
// namespace's policies ask for.
func newSide(policies []policy) *side {
	slices.SortStableFunc(policies, func(a, b policy) int { return strings.Compare(a.key, b.key) })
	s := &side{policies: policies, byLabel: map[label][]int{}}
	asked := map[label]int{}
	for i := range policies {
		for l := range policies[i].selector.equal {
			asked[l]++
		}
	}
	for i := range policies {
		best, fewest := label{}, 0
		for l := range policies[i].selector.equal {
			if n := asked[l]; fewest == 0 || n < fewest {
				best, fewest = l, n
			}
		}
		if fewest == 0 {
			s.rest = append(s.rest, i)
			continue
		}
		if s.byLabel[best] == nil && !slices.Contains(s.names, best.name) {
			s.names = append(s.names, best.name)
		}
		s.byLabel[best] = append(s.byLabel[best], i)
	}
	return s
}

// decide looks at one side: self is the pod that the policies select, other the
// opposite end, dst the end whose port it is. It returns whether self is closed in
// this direction, the policy that decided, and whether it admits.
func (s *side) decide(self, other, dst *Endpoint, port uint16) (closed bool, by string, ok bool) {
	if s == nil || self.Namespace == "" {
		return false, "", true
	}
	found := first{closed: len(s.policies), admitted: len(s.policies)}
	for _, name := range s.names {
		if value, has := self.PodLabels[name]; has {
			s.evaluate(s.byLabel[label{name, value}], self, other, dst, port, &found)
		}
	}
	s.evaluate(s.rest, self, other, dst, port, &found)
	switch {
	case found.admitted < len(s.policies):
		return true, s.policies[found.admitted].key, true
	case found.closed < len(s.policies):
		return true, s.policies[found.closed].key, false
	}
	return false, "", false
}

// first is the first policy that closes a pod and the first that admits, by their
// indices.
type first struct{ closed, admitted int }

// evaluate asks some policies, in order, and brings found up to date.
func (s *side) evaluate(indices []int, self, other, dst *Endpoint, port uint16, found *first) {
	for _, i := range indices {
		if i >= found.admitted {
			return
		}
		q := &s.policies[i]
		if !q.selector.matches(self.PodLabels) {
			continue
		}
		found.closed = min(found.closed, i)
		for j := range q.rules {
			if q.rules[j].admits(other, dst, port) {
				found.admitted = i
				return
			}
		}
	}
}
