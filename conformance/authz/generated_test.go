package authz

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
)

var (
	seed     = flag.Uint64("seed", 20260401, "seed of the generated cases")
	policies = flag.Int("policies", 50_000, "how many policies to generate, at least")
	perSet   = flag.Int("requests-per-set", 36, "how many requests each set of policies judges")
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
	return &referee{bin: bin, envoy: e, clients: clients}
}

// TestGeneratedPolicies compares our evaluator with Envoy on policies and
// requests that are generated around each other's edges.
func TestGeneratedPolicies(t *testing.T) {
	r := startReferee(t, clients())
	seen := map[string]int{}
	var total tally
	for batch := uint64(0); total.policies < *policies; batch++ {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, batch)), clients: r.clients, seen: seen}
		var groups []group
		for range 400 {
			var base []enforcer.Request
			for range 3 {
				base = append(base, g.request())
			}
			set := group{target: target, policies: g.policies(base), requests: slices.Clone(base)}
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
			t.Fatalf("batch %d of seed %d: %d of %d requests are judged differently", batch, *seed, len(found),
				len(groups)**perSet)
		}
	}
	t.Logf("%+v", total)
	if share := total.allowed * 100 / total.requests; share < 15 || share > 85 {
		t.Errorf("%d%% of the requests are allowed: the cases are one-sided", share)
	}
	names := wanted
	for _, h := range headers {
		names = append(names, "header "+strings.ToLower(h), "when request.headers["+strings.ToLower(h)+"]")
	}
	for _, h := range pseudo {
		names = append(names, "when request.headers["+strings.ToLower(h)+"]")
	}
	for _, what := range names {
		if seen[what] < total.policies/10000 {
			t.Errorf("%q came up %d times only", what, seen[what])
		}
	}
	keep(t, r, figures.Figure{Order: 11, What: "generated AuthorizationPolicies", Comparisons: total.requests,
		Notes: fmt.Sprintf("%d policies, seed %d; %d allowed, %d denied, %d refused before any policy; %d times a "+
			"rule was named", total.policies, *seed, total.allowed, total.denied, total.refused, total.byRule)})
}

// wanted is what a run has to have come by.
var wanted = []string{
	"action ALLOW", "action DENY", "action AUDIT", "dry-run", "rules none",
	"targetRefs Service", "targetRef Service", "targetRefs Gateway", "targetRefs GatewayClass in the root namespace",
	"targetRefs GatewayClass elsewhere",
	"targetRefs another GatewayClass", "targetRefs another Service", "targetRefs another Gateway",
	"targetRefs Service of another namespace", "targetRefs several",
	"selector", "neither selector nor targetRefs", "neither selector nor targetRefs, in the root namespace",
	"principals exact", "principals prefix", "principals suffix", "principals present", "principals star inside",
	"notPrincipals exact", "notPrincipals present",
	"namespaces exact", "namespaces prefix", "namespaces suffix", "namespaces star inside", "namespaces several stars",
	"notNamespaces exact",
	"serviceAccounts bare", "serviceAccounts qualified", "notServiceAccounts bare", "notServiceAccounts qualified",
	"trustDomains exact", "trustDomains prefix", "trustDomains suffix", "trustDomains present", "notTrustDomains exact",
	"ipBlocks address", "ipBlocks block", "ipBlocks IPv6", "notIpBlocks block", "remoteIpBlocks address",
	"remoteIpBlocks IPv6", "notRemoteIpBlocks block",
	"paths exact", "paths prefix", "paths suffix", "paths present", "paths star inside", "paths template {*}",
	"paths template {**}", "notPaths template {**}",
	"methods exact", "methods prefix", "methods suffix", "methods present", "notMethods exact",
	"hosts exact", "hosts prefix", "hosts suffix", "hosts present", "hosts prefix with port", "notHosts exact",
	"ports its own", "ports another", "notPorts its own",
	"when source.ip values block", "when remote.ip values address", "when source.namespace values exact",
	"when source.principal values exact", "when source.serviceAccount values bare",
	"when source.trustDomain values exact", "when destination.ip values block", "when destination.port values its own",
	"when connection.sni values exact",
	"when request.headers values exact", "when request.headers values prefix", "when request.headers values suffix",
	"when request.headers values present",
	"when request.headers notValues exact",
}

// explain shrinks the first disagreements of a kind and prints them.
func (r *referee) explain(t *testing.T, found []disagreement) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	kinds := map[[2]int]int{}
	for _, d := range found {
		kind := [2]int{d.envoy.Status, d.local.Status}
		if kinds[kind]++; kinds[kind] > 2 {
			continue
		}
		small, err := r.shrink(ctx, d)
		if err != nil {
			t.Errorf("shrink: %v", err)
		}
		t.Errorf("Envoy: %v\nours:  %v\n%s", small.envoy, small.local, describe(small.policies,
			r.clients[small.request.Client], small.request))
	}
}
