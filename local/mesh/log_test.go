package mesh

import (
	"fmt"
	"slices"
	"testing"

	"artemis.example/policy/decision"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func call(from, to string, v decision.Verdict) decision.Record {
	return decision.Record{
		From: decision.Peer{Namespace: "orion", Component: from}, To: decision.Peer{Namespace: "orion", Component: to},
		Verdict: v,
	}
}

func TestEvidenceIsNotFlushedByNoise(t *testing.T) {
	attack := call("adversary", "guidance-nav", decision.DeniedL7)
	for _, c := range []struct {
		name  string
		noise func(i int) decision.Record
	}{
		{"another pod's calls", func(int) decision.Record {
			return call("comms-system", "guidance-nav", decision.Allowed)
		}},
		{"another pod's refusals", func(int) decision.Record {
			return call("intruder", "guidance-nav", decision.DeniedL7)
		}},
		{"the attacker's calls that are allowed", func(int) decision.Record {
			return call("adversary", "guidance-nav", decision.Allowed)
		}},
		{"the attacker's refusals elsewhere", func(int) decision.Record {
			return call("adversary", "life-support", decision.DeniedL7)
		}},
		{"all of them, from ports, to paths and with traces of their own", func(i int) decision.Record {
			r := call([]string{"intruder", "adversary"}[i%2], fmt.Sprint("to", i%7), decision.DeniedL4)
			r.From.Address, r.Path, r.TraceID, r.Reason = fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i)
			return r
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := NewDecisionLog(64)
			seq := log.Append(attack)
			for i := range 10_000 {
				log.Append(c.noise(i))
			}
			kept, _ := log.Since(0, 0)
			if want := attack; len(kept) != 64 || kept[0].Seq != seq {
				t.Errorf("of the attack %+v nothing is left; the first of %d records is %+v", want, len(kept), kept[0])
			}
		})
	}
}

// naive is a DecisionLog that anybody can see to be right.
type naive struct {
	records []decision.Record
	size    int
}

func (n *naive) append(r decision.Record) {
	if len(n.records) == n.size {
		count := map[kind]int{}
		most := 0
		of := func(r decision.Record) kind {
			return kind{party{r.From.Namespace, r.From.Component}, party{r.To.Namespace, r.To.Component}, r.Verdict}
		}
		for _, r := range n.records {
			count[of(r)]++
			most = max(most, count[of(r)])
		}
		i := slices.IndexFunc(n.records, func(r decision.Record) bool { return count[of(r)] == most })
		n.records = slices.Delete(n.records, i, i+1)
	}
	n.records = append(n.records, r)
}

// TestADecisionLogKeepsWhatItSays compares it with one that anybody can see to be
// right. Where several kinds have the most records, either may give up its oldest:
// so one caller has far more than the others.
func TestADecisionLogKeepsWhatItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(4, 12).Draw(t, "size")
		log, model := NewDecisionLog(size), &naive{size: size}
		froms := rapid.SliceOfN(rapid.SampledFrom([]string{"loud", "loud", "loud", "loud", "loud", "quiet"}), 0,
			60).Draw(t, "callers")
		quiet := 0
		for _, from := range froms {
			if from == "quiet" {
				if quiet++; quiet > size/3 {
					continue
				}
			}
			r := call(from, "guidance-nav", decision.Allowed)
			r.Seq = log.Append(r)
			model.append(r)
		}
		since := uint64(rapid.IntRange(0, 60).Draw(t, "since"))
		limit := rapid.IntRange(0, 5).Draw(t, "limit")
		var want []decision.Record
		for _, r := range model.records {
			if r.Seq > since && (limit == 0 || len(want) < limit) {
				want = append(want, r)
			}
		}
		got, next := log.Since(since, limit)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b decision.Record) bool {
			return a.Seq == b.Seq && a.From == b.From
		})); diff != "" && len(want)+len(got) > 0 {
			t.Fatalf("after %v (-want +got):\n%s", froms, diff)
		}
		last := log.Last()
		if len(want) > 0 {
			last = want[len(want)-1].Seq
		}
		if next != last {
			t.Fatalf("next is %d, want %d", next, last)
		}
	})
}

func BenchmarkDecisionLog(b *testing.B) {
	log := NewDecisionLog(20_000)
	for i := 0; b.Loop(); i++ {
		log.Append(call(fmt.Sprint("pod", i%28), "guidance-nav", decision.Allowed))
	}
}
