package mesh

import (
	"cmp"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// Where a waypoint decides each request, the decision log has it; elsewhere the
// mesh counts, so that nothing is seen twice and nothing is missed.
func TestCallsAreCountedWhereNoWaypointRecordsThem(t *testing.T) {
	from, to := app("orion", "comms-system"), app("orion", "guidance-nav")
	for stage, want := range map[string][]Calls{
		"open":       {{From: from, To: to, Answered: 3}},
		"mtls":       {{From: from, To: to, Encrypted: true, Answered: 3}},
		"zero-trust": nil,
	} {
		t.Run(stage, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: stage}))
			for range 3 {
				if got := r.call(from, "GET", endpoint(orion, "guidance-nav", "/position")); got != "200" {
					t.Fatalf("the call got %s", got)
				}
			}
			var got []Calls
			eventually(t, "three answers", func() bool {
				got = nil
				n := uint64(0)
				for _, c := range r.mesh.Calls() {
					if c.From == from {
						got = append(got, c)
						n += c.Answered
					}
				}
				return stage == "zero-trust" || n == 3
			})
			slices.SortFunc(got, func(a, b Calls) int { return cmp.Compare(a.To.String(), b.To.String()) })
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
