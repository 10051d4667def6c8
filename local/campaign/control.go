package campaign

import (
	"context"

	"artemis.example/adversary"
)

// probe makes the live control of a target.
func (s *Suite) probe(ctx context.Context, target string) *adversary.Probe {
	call, ok := adversary.ControlFor(target)
	if !ok {
		return &adversary.Probe{Call: "none", Detail: "no operator's call reaches " + target}
	}
	var body any
	if call.Body != nil {
		body = call.Body
	}
	a, err := s.ask(ctx, call.Path, body)
	if err != nil {
		return &adversary.Probe{Call: call.String(), Detail: err.Error()}
	}
	return adversary.ReadProbe(target, call, a.status, a.body)
}
