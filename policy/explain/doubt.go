package explain

import (
	"fmt"
	"slices"

	"artemis.example/policy/decision"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// NotJudged is the verdict about a call that depends on something in the
// manifests which the evaluators lack. It is explain's alone: a mesh that runs
// has nothing of the kind.
const NotJudged decision.Verdict = "not-judged"

// Open compiles anybody's manifests.
func Open(stage string, in *manifest.Input) (*Explainer, error) {
	alloc := topology.NewAllocator()
	build := func(set *manifest.Set) (*Explainer, error) {
		w, err := topology.Build(set, alloc)
		if err != nil {
			return nil, err
		}
		return New(stage, w), nil
	}
	x, err := build(in.Most)
	if err != nil {
		return nil, err
	}
	x.gaps = in.Gaps
	if in.Least != in.Most {
		if x.least, err = build(in.Least); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// unknown names what only DNS knows of a call to somebody outside of the cluster.
func (x *Explainer) unknown(way *topology.Way) []string {
	var out []string
	for i := range way.Legs {
		if l := &way.Legs[i]; x.policies.Unsure(l) {
			out = append(out, fmt.Sprintf("the address of %s, which DNS knows, and NetworkPolicies of namespace %s "+
				"ask for", l.Pod.Host, l.From.Endpoint.Namespace))
		}
	}
	if s := way.To.Service; s != nil && s.Entry && !way.From.Meshed {
		out = append(out, way.Failure)
	}
	return out
}

// doubt takes an answer back where it depends on what the evaluators lack.
func (x *Explainer) doubt(q Question, a *Answer, ways []topology.Way) error {
	differs := false
	if x.least != nil {
		least, err := x.least.Ask(q)
		if err != nil {
			return fmt.Errorf("ask what is allowed at least: %w", err)
		}
		differs = least.Verdict != a.Verdict
	}
	for i := range ways {
		a.NotJudged = append(a.NotJudged, x.unknown(&ways[i])...)
		for _, g := range manifest.Touching(x.gaps, ways[i].Target()) {
			if text := g.String() + ": " + g.Why; (differs || !g.Bounded) && !slices.Contains(a.NotJudged, text) {
				a.NotJudged = append(a.NotJudged, text)
			}
		}
	}
	if len(a.NotJudged) == 0 {
		return nil
	}
	a.Notes = append(a.Notes, fmt.Sprintf("without that it would be %s", a.Verdict))
	a.Verdict, a.Looks = NotJudged, ""
	return nil
}
