package authz

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/envoy"
	"artemis.example/conformance/translate"
)

var (
	seed     = flag.Uint64("seed", 20260401, "seed of the generated cases")
	policies = flag.Int("policies", 25_000, "how many policies to generate, at least")
	perSet   = flag.Int("requests-per-set", 42, "how many requests each set of policies judges")
)

const root = "../.."

func startReferee(t *testing.T, clients []enforcer.Client) *referee {
	t.Helper()
	translate.Quiet()
	bin, err := envoy.Path(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	e, err := enforcer.Start(t.Context(), bin, t.TempDir(), clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return &referee{envoy: e, clients: clients, target: target}
}

// TestGeneratedPolicies compares our evaluator with Envoy on policies and
// requests that are generated around each other's edges.
func TestGeneratedPolicies(t *testing.T) {
	r := startReferee(t, clients())
	seen := map[string]int{}
	var total tally
	for batch := uint64(0); total.policies < *policies; batch++ {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, batch)), clients: r.clients, port: r.envoy.Port, seen: seen}
		var groups []group
		for range 400 {
			var base []enforcer.Request
			for range 3 {
				base = append(base, g.request())
			}
			set := group{policies: g.policies(base), requests: slices.Clone(base)}
			for len(set.requests) < *perSet {
				set.requests = append(set.requests, g.vary(base[g.IntN(len(base))]))
			}
			groups = append(groups, set)
		}
		found, err := r.compare(t.Context(), groups, &total)
		if err != nil {
			t.Fatalf("batch %d of seed %d: %v", batch, *seed, err)
		}
		if len(found) > 0 {
			r.explain(t, found)
			t.Fatalf("batch %d of seed %d: %d of %d requests are judged differently", batch, *seed, len(found), len(groups)**perSet)
		}
	}
	t.Logf("%+v", total)
}

// explain shrinks the first disagreements of a kind and prints them.
func (r *referee) explain(t *testing.T, found []disagreement) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	kinds := map[[2]int]int{}
	for _, d := range found {
		kind := [2]int{d.envoy.Status, d.local.Status}
		if kinds[kind]++; kinds[kind] > 4 {
			continue
		}
		small, err := r.shrink(ctx, d)
		if err != nil {
			t.Errorf("shrink: %v", err)
		}
		t.Errorf("Envoy: %v\nours:  %v\n%s", small.envoy, small.local, describe(small.policies, r.clients[small.request.Client], small.request))
	}
}
