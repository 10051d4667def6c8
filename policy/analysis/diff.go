package analysis

import (
	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Change is calls that a change of the manifests opens or closes: the same requests
// of the same callers, by one way or several.
type Change struct {
	Opens    bool     `json:"opens"` // otherwise it closes them
	To       string   `json:"to"`
	Callers  []string `json:"callers"`
	Kinds    []Kind   `json:"kinds"`
	Requests Requests `json:"requests"`
	// Probes are requests that are decided otherwise now, one for each caller, way and
	// class of requests, ready to be sent.
	Probes []Probe `json:"-"`
}

// Probe is one request with who sends it and where to.
type Probe struct {
	From *topology.Pod // nil for one whom the manifests do not name; the gateway for its callers
	// To is what is addressed: in the state that admits the request.
	To        topology.Destination
	Unwritten bool // it is a Service that nobody has written
	Bytes     bool // it is no HTTP
	// Host and Path are what the client asks for.
	Host, Path string
	Request    *authz.Request // as the waypoint's policies see it
}

func (f *finding) probe(r *authz.Request) Probe {
	p := Probe{From: f.caller.pod, To: f.to.to, Unwritten: f.to.unwritten != nil, Bytes: f.bytes, Host: r.Host,
		Path: r.Path, Request: r}
	if f.to.gateway() {
		way := passage{world: f.to.routes, route: f.to.to.Route}
		p.Path, _ = way.client(r.Host, r.Path)
	}
	return p
}

// Comparison is what a change of the manifests changes, and nothing else.
type Comparison struct {
	Verdict      string   `json:"verdict"` // "same", "different" or "not-judged"
	Opens        int      `json:"opens"`   // groups of calls
	Closes       int      `json:"closes"`
	Changes      []Change `json:"changes"`
	NotJudged    []string `json:"notJudged,omitempty"`
	Workloads    int      `json:"workloads"`
	Extent       Extent   `json:"extent"`
	Milliseconds float64  `json:"milliseconds"`
}

// Diff returns the calls that the second state of the manifests admits and the first
// does not, and the other way round. What may be one or the other, for something in
// between cannot be judged, is in neither: its reason is told.
func Diff(old, now Input, o Options) *Comparison {
	began := time.Now()
	a := o.analysis(old.Most, old.Least, now.Most, now.Least)
	if old.exact() && now.exact() {
		a = o.analysis(old.Most, now.Most)
	}
	out := &Comparison{Verdict: "same", Changes: []Change{}}
	opened, shut, unsure := a.interests()
	all := map[workload]string{}
	for _, s := range a.sides {
		for w, pods := range s.byWorkload() {
			all[w] = Name(pods[0])
		}
	}
	order := slices.SortedFunc(maps.Keys(all), func(x, y workload) int {
		return cmp.Or(strings.Compare(all[x], all[y]), strings.Compare(x.namespace, y.namespace))
	})
	out.Workloads = len(order)
	for _, w := range order {
		var reasons, bounded []string
		for i, in := range []*Input{&old, &now} {
			u, b := in.touching(a.sides[i*len(a.sides)/2], w)
			reasons, bounded = append(reasons, u...), append(bounded, b...)
		}
		if len(reasons) == 0 {
			doubt, notJudged := a.compare(w, all[w], opened, shut, unsure, out)
			if reasons = notJudged; doubt {
				reasons = append(reasons, bounded...)
			}
		}
		slices.Sort(reasons)
		for _, r := range slices.Compact(reasons) {
			out.NotJudged = append(out.NotJudged, all[w]+": "+r)
		}
	}
	out.Changes = grouped(out.Changes)
	for _, c := range out.Changes {
		if c.Opens {
			out.Opens++
		} else {
			out.Closes++
		}
	}
	switch {
	case len(out.Changes) > 0:
		out.Verdict = "different"
	case len(out.NotJudged) > 0:
		out.Verdict = string(NotJudged)
	}
	out.Extent = a.count
	out.Milliseconds = float64(time.Since(began).Microseconds()) / 1000
	return out
}

// interests say by the masks of two or four sides what is certainly opened, certainly
// closed, and may be either.
func (a *Analysis) interests() (opened, shut, unsure func(uint) bool) {
	if len(a.sides) == 2 {
		return func(m uint) bool { return m == 2 }, func(m uint) bool { return m == 1 },
			func(uint) bool { return false }
	}
	const oldMost, oldLeast, nowMost, nowLeast = 1, 2, 4, 8
	opened = func(m uint) bool { return m&nowLeast != 0 && m&oldMost == 0 }
	shut = func(m uint) bool { return m&oldLeast != 0 && m&nowMost == 0 }
	unsure = func(m uint) bool {
		return !opened(m) && !shut(m) && (m&nowMost != 0 && m&oldLeast == 0 || m&oldMost != 0 && m&nowLeast == 0)
	}
	return opened, shut, unsure
}

// compare adds the changes of one workload, and reports whether there may be others.
func (a *Analysis) compare(w workload, name string, opened, shut, unsure func(uint) bool, out *Comparison) (doubt bool,
	notJudged []string) {
	at := map[string]int{}
	all := func(m uint) bool { return opened(m) || shut(m) || unsure(m) }
	notJudged = a.sweep(w, nil, all, func(f *finding) {
		doubt = doubt || f.said.any(unsure)
		for i, interest := range []func(uint) bool{opened, shut} {
			if !f.said.any(interest) {
				continue
			}
			opens, s := i == 0, a.sides[0]
			if opens {
				s = a.sides[len(a.sides)-1]
			}
			for _, r := range f.requests(a, interest, s) {
				key := fmt.Sprint(opens, f.caller.name, r.Words)
				if i, ok := at[key]; ok {
					out.Changes[i].Requests.Ways = merged(out.Changes[i].Requests.Ways, r.Ways)
					out.Changes[i].Probes = append(out.Changes[i].Probes, f.probe(r.Example.request))
					continue
				}
				at[key] = len(out.Changes)
				out.Changes = append(out.Changes, Change{
					Opens: opens, To: name, Callers: []string{f.caller.name}, Kinds: []Kind{f.caller.kind}, Requests: r,
					Probes: []Probe{f.probe(r.Example.request)},
				})
			}
		}
	})
	return doubt, notJudged
}

// grouped puts callers together who gain or lose the same, what opens first.
func grouped(changes []Change) []Change {
	var out []Change
	at := map[string]int{}
	for _, c := range changes {
		key := fmt.Sprint(c.Opens, c.To, c.Requests.Words, c.Requests.Ways)
		if i, ok := at[key]; ok {
			out[i].Callers, out[i].Kinds = append(out[i].Callers, c.Callers...), append(out[i].Kinds, c.Kinds...)
			out[i].Probes = append(out[i].Probes, c.Probes...)
			continue
		}
		at[key] = len(out)
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(x, y Change) int { return btoi(y.Opens) - btoi(x.Opens) })
	return out
}
