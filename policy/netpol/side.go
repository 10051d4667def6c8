package netpol

import (
	"iter"
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

// selecting yields the policies that select a pod, with their indices: ascending among
// those that are found in one place.
func (s *side) selecting(labels map[string]string) iter.Seq2[int, *policy] {
	return func(yield func(int, *policy) bool) {
		at := func(indices []int) bool {
			for _, i := range indices {
				if q := &s.policies[i]; q.selector.matches(labels) && !yield(i, q) {
					return false
				}
			}
			return true
		}
		for _, name := range s.names {
			if value, has := labels[name]; has && !at(s.byLabel[label{name, value}]) {
				return
			}
		}
		at(s.rest)
	}
}

// decide looks at one side: self is the pod that the policies select, other the
// opposite end, dst the end whose port it is. It returns whether self is closed in
// this direction, the policy that decided, and whether it admits: the first that does,
// or else the first that closes it.
func (s *side) decide(self, other, dst *Endpoint, port uint16) (closed bool, by string, ok bool) {
	if s == nil || self.Namespace == "" {
		return false, "", true
	}
	first := len(s.policies)
	for i, q := range s.selecting(self.PodLabels) {
		switch admits := q.admits(other, dst, port); {
		case admits && (!ok || i < first):
			first, ok = i, true
		case !ok:
			first = min(first, i)
		}
	}
	if first == len(s.policies) {
		return false, "", false
	}
	return true, s.policies[first].key, ok
}
