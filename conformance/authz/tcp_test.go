package authz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"golang.org/x/sync/errgroup"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
	"artemis.example/policy/authz"
)

// TestTCPChains compares who may open connections to ports that are no HTTP to a waypoint,
// by generated policies: HTTP attributes come to nothing there, in ALLOW and DENY alike.
func TestTCPChains(t *testing.T) {
	translate.Quiet()
	bin, err := envoy.Path(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	const batches, perBatch = 6, 150
	total, passed, wrong, policies, skipped := 0, 0, 0, 0, 0
	for batch := range batches {
		who := clients()
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, uint64(2_000_000+batch))), seen: map[string]int{}}
		var sets []policySet
		var filters [][]*listener.Filter
		for i := range perBatch {
			g.clients = clients()
			for c := range g.clients {
				g.clients[c].Dest = enforcer.TCPDestination(i)
			}
			set := g.policies([]enforcer.Request{g.request(), g.request()})
			if g.chance(60) { // leave what bytes can be judged by
				for _, p := range set {
					for _, r := range p.Spec.Rules {
						l4(r)
					}
				}
			}
			sets, filters = append(sets, set), append(filters, translate.WaypointTCP(set, target))
			policies += len(set)
		}
		e, err := enforcer.Start(t.Context(), bin, t.TempDir(), who, filters...)
		if err != nil {
			t.Fatal(err)
		}
		passes := make([][]bool, len(who)) // by client, then set
		group, ctx := errgroup.WithContext(t.Context())
		for c := range who {
			passes[c] = make([]bool, len(sets))
			group.Go(func() error { return allPasses(ctx, e, c, passes[c]) })
		}
		err = group.Wait()
		e.Close()
		if err != nil {
			t.Fatal(err)
		}
		for i, set := range sets {
			engine := localEngine(set, target)
			skipped += len(engine.Skipped(false))
			for c, client := range who {
				want := passes[c][i]
				got := engine.Decide(&authz.Request{Principal: client.Principal, SourceIP: client.Source,
					RemoteIP: client.Source,
					DestIP:   enforcer.TCPDestination(i).Addr(), DestPort: enforcer.TCPDestination(i).Port()}).Allowed
				if total++; want {
					passed++
				}
				if got != want {
					if wrong++; wrong < 4 {
						t.Errorf("batch %d of seed %d: ours %v, Envoy %v\n%s", batch, *seed, got, want,
							describe(set, client, enforcer.Request{}))
					}
				}
			}
		}
	}
	if passed < total/10 || passed > total*9/10 || skipped == 0 {
		t.Errorf("%d of %d connections pass, %d fields came to nothing: the cases are one-sided", passed, total,
			skipped)
	}
	keep(t, &referee{bin: bin}, figures.Figure{Order: 12, What: "generated policies on TCP chains", Comparisons: total,
		Disagreements: wrong,
		Notes:         fmt.Sprintf("%d policies, seed %d; %d connections passed", policies, *seed, passed)})
}

func allPasses(ctx context.Context, e *enforcer.Envoy, client int, into []bool) error {
	for set := range into {
		var err error
		if into[set], err = e.Passes(ctx, client, set); err != nil {
			return fmt.Errorf("client %d, set %d: %w", client, set, err)
		}
	}
	return nil
}
