package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"artemis.example/policy/topology"
)

// Admitted is one class of callers and what it may ask of a workload.
type Admitted struct {
	Caller   string     `json:"caller"`
	Kind     Kind       `json:"kind"`
	Identity string     `json:"identity,omitempty"`
	Requests []Requests `json:"requests"`
}

// Answer is who can call one workload: exactly those, by any way.
type Answer struct {
	Stage   string     `json:"stage,omitempty"`
	To      string     `json:"to"`
	Verdict string     `json:"verdict"` // "proven" or "not-judged"
	Callers []Admitted `json:"callers"`
	// NobodyElse reports whether that is all.
	NobodyElse bool     `json:"nobodyElse"`
	Sentence   string   `json:"sentence"`
	NotJudged  []string `json:"notJudged,omitempty"`
	Extent     Scope    `json:"extent"`
}

// Scope is what an answer covers.
type Scope struct {
	Ways         []string `json:"ways"`
	Callers      int      `json:"callers"`
	Classes      int      `json:"classes"`
	Decisions    int      `json:"decisions"`
	Milliseconds float64  `json:"milliseconds"`
	Not          []string `json:"not"`
}

// NotCovered is what no answer covers.
func NotCovered() []string {
	return []string{
		"what a caller who may call does with it",
		"egress",
		"whoever may create pods that run as somebody else's account",
		"ports that a pod does not name, where it names others",
	}
}

func (a *Analysis) workloads() []string {
	var out []string
	for _, s := range a.sides {
		for _, pods := range s.byWorkload() {
			out = append(out, Name(pods[0]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// whoCan returns who can call the workload of a pod. With from, only that caller is
// told of.
func (a *Analysis) whoCan(of *topology.Pod, from string) *Answer {
	began, before := time.Now(), a.count
	out := &Answer{To: Name(of), Verdict: "proven", Callers: []Admitted{}}
	allowed := func(mask uint) bool { return mask&1 != 0 }
	at := map[string]int{}
	s := a.sides[len(a.sides)-1]
	out.NotJudged = a.sweep(workloadOf(of), nil, allowed, func(f *finding) {
		if from != "" && f.caller.name != from {
			return
		}
		i, ok := at[f.caller.name]
		if !ok {
			i = len(out.Callers)
			at[f.caller.name] = i
			out.Callers = append(out.Callers, Admitted{Caller: f.caller.name, Kind: f.caller.kind,
				Identity: f.caller.identity})
		}
		c := &out.Callers[i]
		for _, r := range f.requests(a, allowed, s) {
			if j := slices.IndexFunc(c.Requests, func(o Requests) bool { return o.Words == r.Words }); j >= 0 {
				c.Requests[j].Ways = merged(c.Requests[j].Ways, r.Ways)
			} else {
				c.Requests = append(c.Requests, r)
			}
		}
	})
	out.NobodyElse = len(out.NotJudged) == 0
	slices.SortStableFunc(out.Callers, func(x, y Admitted) int {
		return cmp.Or(cmp.Compare(rank(x.Kind), rank(y.Kind)), cmp.Compare(x.Caller, y.Caller))
	})
	for _, d := range s.destinations(workloadOf(of)) {
		out.Extent.Ways = append(out.Extent.Ways, d.name)
	}
	out.Extent.Callers, out.Extent.Classes, out.Extent.Decisions = a.count.Callers-before.Callers,
		a.count.Classes-before.Classes, a.count.Decisions-before.Decisions
	out.Extent.Milliseconds = float64(time.Since(began).Microseconds()) / 1000
	out.Extent.Not = NotCovered()
	return out
}

func rank(k Kind) int { return slices.Index([]Kind{Ingress, Workload, Account, Unmeshed, Outside}, k) }

func (a *Answer) sentence() string {
	var names []string
	for _, c := range a.Callers {
		names = append(names, c.Caller)
	}
	who := "nobody"
	switch {
	case len(names) == 0:
	case len(names) <= 4:
		who = strings.Join(names, ", ") + ", and nobody else"
	default:
		who = fmt.Sprintf("%d classes of callers, and nobody else", len(names))
	}
	if !a.NobodyElse {
		who = strings.TrimSuffix(who, ", and nobody else") + "; who else is not judged"
	}
	return who
}
