package netpol

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// selector is a compiled label selector; without requirements it matches
// everything. One that the API server would refuse matches nothing.
type selector struct {
	labels.Selector
	equal map[label]bool // what a pod cannot be without
}

func newSelector(s *metav1.LabelSelector) selector {
	out := selector{labels.Nothing(), map[label]bool{}}
	for k, v := range s.MatchLabels {
		out.equal[label{k, v}] = true
	}
	if compiled, err := metav1.LabelSelectorAsSelector(s); err == nil {
		out.Selector = compiled
	}
	return out
}

func (s *selector) matches(of map[string]string) bool { return s.Matches(labels.Set(of)) }
