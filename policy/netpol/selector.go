package netpol

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// selector is a compiled label selector; without requirements it matches
// everything.
type selector struct {
	requirements []requirement
	equal        map[label]bool // what a pod cannot be without
	never        bool
}

type requirement struct {
	key    string
	op     metav1.LabelSelectorOperator
	values []string
}

func newSelector(s *metav1.LabelSelector) selector {
	out := selector{equal: map[label]bool{}}
	for k, v := range s.MatchLabels {
		out.equal[label{k, v}] = true
		out.requirements = append(out.requirements, requirement{k, metav1.LabelSelectorOpIn, []string{v}})
	}
	slices.SortFunc(out.requirements, func(a, b requirement) int { return strings.Compare(a.key, b.key) })
	for _, e := range s.MatchExpressions {
		out.requirements = append(out.requirements, requirement{e.Key, e.Operator, slices.Clone(e.Values)})
	}
	_, err := metav1.LabelSelectorAsSelector(s)
	out.never = err != nil
	return out
}

func (s *selector) matches(labels map[string]string) bool {
	if s.never {
		return false
	}
	for i := range s.requirements {
		if !s.requirements[i].matches(labels) {
			return false
		}
	}
	return true
}

func (r *requirement) matches(labels map[string]string) bool {
	v, has := labels[r.key]
	switch r.op {
	case metav1.LabelSelectorOpIn:
		return has && slices.Contains(r.values, v)
	case metav1.LabelSelectorOpNotIn:
		return !has || !slices.Contains(r.values, v)
	case metav1.LabelSelectorOpExists:
		return has
	case metav1.LabelSelectorOpDoesNotExist:
		return !has
	}
	return false
}
