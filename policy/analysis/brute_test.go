package analysis

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/topology"
)

// How much the long runs take; `make test` takes less. A failure names the pair, which
// -seed and -first with -pairs 1 repeat.
var (
	pairs    = flag.Int("pairs", 12, "generated pairs of policy sets that diff is held against brute force for")
	first    = flag.Int("first", 0, "the first pair")
	seed     = flag.Uint64("seed", 26, "of what is generated")
	requests = flag.Int("requests", 20_000, "random requests that are held against a proof")
)

// generated returns the generator of one pair or question of a test.
func generated(test uint64, n int) *generator {
	return &generator{rand.New(rand.NewPCG(*seed, test<<32|uint64(n)))}
}

// stranger makes the callers that nobody wrote and that brute force tries.
func strangersOf(w *topology.World) map[string]topology.Caller {
	s := newSide(w)
	out := map[string]topology.Caller{}
	for _, ns := range []string{"one", "two", "three", "elsewhere"} {
		for _, account := range []string{"x", "b", "zz"} {
			for _, label := range []string{"", "a", "b", "q"} {
				for _, team := range []string{"", "red", "blue"} {
					if team != "" && (ns == "one" || ns == "two") {
						continue
					}
					labels, of := map[string]string{}, map[string]string{}
					if label != "" {
						labels["app"] = label
					}
					if team != "" {
						of["team"] = team
					}
					for _, meshed := range []bool{true, false} {
						out[fmt.Sprint(ns, "/", account, " ", label, " ", team, " ", meshed)] = s.stranger(ns, account,
							labels, meshed, of)
					}
				}
			}
		}
	}
	return out
}

// TestDiffIsWhatBruteForceFinds compares, over generated pairs of worlds and for every
// request of a small alphabet, what diff says of each request with what the
// evaluators say of it before and after; and each request that diff shows is one
// that is decided otherwise.
func TestDiffIsWhatBruteForceFinds(t *testing.T) {
	small := smallAlphabet()
	all := small.requests()
	b := &bruteForce{}
	for n := *first; n < *first+*pairs; n++ {
		g := generated(20, n)
		old := g.world()
		texts := []string{old, g.world()}
		if n%2 == 0 { // one more policy is the usual change
			texts[1] = old + g.policy("more", g.IntN(4) > 0)
		}
		b.pair(t, n, texts, []*topology.World{build(t, texts[0]), build(t, texts[1])}, all)
	}
	b.tell(t)
}

// TestDiffOfEverythingIsWhatASampleFinds does the same with worlds of everything that the
// evaluators know, for a sample of requests.
func TestDiffOfEverythingIsWhatASampleFinds(t *testing.T) {
	b := &bruteForce{}
	for n := *first; n < *first+*pairs; n++ {
		g := generated(21, n)
		old := g.wideWorld()
		texts := []string{old, g.wideWorld()}
		if n%2 == 0 {
			texts[1] = old + g.widePolicy("more")
		}
		worlds := []*topology.World{readInput(t, texts[0]).Most, readInput(t, texts[1]).Most}
		b.pair(t, n, texts, worlds, g.wideRequests(150))
	}
	b.tell(t)
}

// bruteForce holds diff against the evaluators, and counts.
type bruteForce struct{ pairs, compared, differ, findings, shown, notJudged int }

func (b *bruteForce) tell(t *testing.T) {
	if b.differ == 0 || b.shown == 0 || b.notJudged > b.pairs/2 {
		t.Errorf("the pairs are too alike: %d requests differ, %d were shown, %d of %d pairs are not judged",
			b.differ, b.shown, b.notJudged, b.pairs)
	}
	t.Logf("seed %d: %d pairs (%d not judged), %d requests compared, %d differ; %d findings, %d examples decided",
		*seed, b.pairs, b.notJudged, b.compared, b.differ, b.findings, b.shown)
}

func (b *bruteForce) pair(t *testing.T, n int, texts []string, worlds []*topology.World, all []*authz.Request) {
	t.Helper()
	policies := []*evaluate.Policies{evaluate.New(worlds[0]), evaluate.New(worlds[1])}
	a := newAnalysis(worlds...)
	of := workload{"one", "t"}
	differ := func(m uint) bool { return m == 1 || m == 2 }
	b.pairs++
	// found is what diff says, by destination and caller.
	found := map[string]*finding{}
	if unknown := a.sweep(of, nil, differ, func(f *finding) {
		found[fmt.Sprint(f.to.key, f.caller.name, f.bytes)] = f
		b.findings++
		b.shown += f.holds(t, policies, differ, n, texts)
	}); len(unknown) > 0 {
		b.notJudged++
		return
	}
	// Every caller of the manifests, every way, every request.
	for _, key := range keys(a.sides, of) {
		if key.bytes || key.to[0] == nil || key.to[1] == nil || key.to[0].unwritten != nil || key.to[0].gateway() {
			continue
		}
		for _, c := range a.pods {
			f := found[fmt.Sprint(key.to[0].key, c.name, false)]
			was := opinionOn(policies[0], key.to[0].ways(worlds[0], c.in[0])[0])
			is := opinionOn(policies[1], key.to[1].ways(worlds[1], c.in[1])[0])
			b.compared += len(all)
			if f == nil && !was.open && !is.open {
				continue
			}
			for _, r := range all {
				before, after := was.admits(r, false), is.admits(r, false)
				said := f != nil && differ(f.said.says(t, r))
				if before != after {
					b.differ++
				}
				if said != (before != after) {
					t.Fatalf("seed %d, pair %d: %s to %s: %s %s host %s from %s %v: before %t, after %t, "+
						"diff says that they differ: %t\n%s\n=====\n%s", *seed, n, c.name, key.to[0].name,
						r.Method, r.Path, r.Host, r.RemoteIP, r.Header, before, after, said, texts[0], texts[1])
				}
			}
		}
	}
	// Whoever nobody wrote: if anybody's call differs, diff tells of someone.
	a.strangersAgree(t, policies, found, n, texts)
}

type keyed struct {
	to    [2]*destination
	bytes bool
}

func keys(sides []*side, of workload) map[string]keyed {
	out := map[string]keyed{}
	for i, s := range sides {
		for _, d := range s.destinations(of) {
			k := out[d.key]
			k.to[i] = d
			out[d.key] = k
		}
	}
	return out
}

// holds decides the example of every leaf that is of interest again, and returns how
// many there are.
func (f *finding) holds(t *testing.T, policies []*evaluate.Policies, differ func(uint) bool, n int,
	texts []string) int {
	count := 0
	f.said.regions(differ, region{}, func(r region) {
		count++
		var got uint
		for i := range policies {
			q := f.ask[i]
			if q.to == nil {
				continue
			}
			if q.to.anyPort {
				return // a Service that nobody wrote has no port of its own
			}
			if opinionOn(policies[i], q.to.ways(policies[i].World, q.from)[0]).admits(r.leaf.example, f.bytes) {
				got |= 1 << i
			}
		}
		if got != r.leaf.mask {
			e := r.leaf.example
			t.Fatalf("pair %d: %s to %s: %s %s host %s %v: diff says %b, the evaluators %b\n%s\n=====\n%s",
				n, f.caller.name, f.to.name, e.Method, e.Path, e.Host, e.Header, r.leaf.mask, got, texts[0], texts[1])
		}
	})
	return count
}

// strangersAgree asks as pods that nobody wrote, of every kind that the generator's
// rules can tell apart: a call that is decided otherwise has to be told of by someone
// of its kind.
func (a *Analysis) strangersAgree(t *testing.T, policies []*evaluate.Policies, found map[string]*finding, n int,
	texts []string) {
	olds, news := strangersOf(policies[0].World), strangersOf(policies[1].World)
	told := map[string]bool{}
	for _, f := range found {
		if f.caller.kind == Account || f.caller.kind == Unmeshed {
			told[f.to.key] = true
		}
	}
	requests := []*authz.Request{
		{Method: "GET", Path: "/a", Host: "s:80", HTTP: true}, {Method: "PUT", Path: "/ab/b", Host: "other", HTTP: true,
			Header: map[string][]string{"X-R": {"a"}}},
		{Method: "POST", Path: "/", Host: "s:80", HTTP: true, Header: map[string][]string{"X-R": {"xb"}}},
	}
	for key, k := range keys(a.sides, workload{"one", "t"}) {
		if k.to[0] == nil || k.to[1] == nil || k.to[0].unwritten != nil {
			continue
		}
		for name, old := range olds {
			if a.taken[old.Endpoint.Namespace+"/"+accountOf(old)] {
				continue // the manifests name that one
			}
			was, is := opinionOn(policies[0], k.to[0].ways(policies[0].World, old)[0]), opinionOn(policies[1],
				k.to[1].ways(policies[1].World, news[name])[0])
			for _, r := range requests {
				if before, after := was.admits(r, false), is.admits(r, false); before != after && !told[key] {
					t.Fatalf("pair %d: stranger %s to %s: %s %s: before %t, after %t, and diff tells of no "+
						"stranger\n%s\n=====\n%s", n, name, k.to[0].name, r.Method, r.Path, before, after, texts[0],
						texts[1])
				}
			}
		}
	}
}

func accountOf(c topology.Caller) string {
	for i := len(c.Identity) - 1; i >= 0; i-- {
		if c.Identity[i] == '/' {
			return c.Identity[i+1:]
		}
	}
	return ""
}
