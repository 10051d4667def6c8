package analysis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
)

// Verdict is what became of a claim, from a closed set.
type Verdict string

// The verdicts.
const (
	Proven    Verdict = "proven"     // for every request
	Broken    Verdict = "broken"     // here is one that breaks it
	NotJudged Verdict = "not-judged" // something on the way cannot be judged
)

// Break is some requests that break a claim.
type Break struct {
	Caller   string   `json:"caller"`
	Kind     Kind     `json:"kind"`
	Identity string   `json:"identity,omitempty"`
	Way      string   `json:"way"`
	Requests Requests `json:"requests"`
	found    *finding
}

// Judged is one claim and what became of it.
type Judged struct {
	To        string   `json:"to"`
	Claim     string   `json:"claim"` // "only", "never" or "always"
	Words     string   `json:"words"`
	Verdict   Verdict  `json:"verdict"`
	Breaks    []Break  `json:"breaks,omitempty"`
	NotJudged []string `json:"notJudged,omitempty"`
}

// Proof is what became of all claims.
type Proof struct {
	Stage        string   `json:"stage,omitempty"`
	Verdict      Verdict  `json:"verdict"`
	Claims       []Judged `json:"claims"`
	Workloads    int      `json:"workloads"`
	Extent       Extent   `json:"extent"`
	Milliseconds float64  `json:"milliseconds"`
	Not          []string `json:"not"` // what no proof covers
}

// Count returns how many claims came out so.
func (p *Proof) Count(v Verdict) int {
	n := 0
	for i := range p.Claims {
		if p.Claims[i].Verdict == v {
			n++
		}
	}
	return n
}

func (a *Analysis) prove(claims []Claim) (*Proof, error) {
	began := time.Now()
	out := &Proof{Not: NotCovered()}
	asked := map[workload]bool{}
	for i := range claims {
		c := &claims[i]
		of, err := a.target(c.To)
		if err != nil {
			return nil, fmt.Errorf("claim %d: %w", i+1, err)
		}
		asked[workloadOf(of)] = true
		out.Claims = append(out.Claims, a.judge(c, of))
	}
	out.Workloads, out.Extent = len(asked), a.count
	out.Milliseconds = float64(time.Since(began).Microseconds()) / 1000
	return out, nil
}

func (a *Analysis) judge(c *Claim, of *topology.Pod) Judged {
	j := Judged{To: Name(of), Claim: c.Kind(), Words: c.words(), Verdict: Proven}
	var interest func(mask uint) bool
	entries := c.allows()
	switch c.Kind() {
	case "only":
		interest = func(mask uint) bool { return mask == 1 }
	case "never":
		interest = func(mask uint) bool { return mask == 3 }
	default:
		j.Breaks, j.NotJudged = a.always(of, entries)
	}
	if interest != nil {
		j.NotJudged = a.sweep(workloadOf(of), c, interest, func(f *finding) {
			for _, b := range a.breaks(f, interest) {
				j.Breaks = append(j.Breaks, a.telling(b, entries))
			}
		})
		slices.SortStableFunc(j.Breaks, func(x, y Break) int { return x.surprise() - y.surprise() })
	}
	switch {
	case len(j.Breaks) > 0:
		j.Verdict = Broken
	case len(j.NotJudged) > 0:
		j.Verdict = NotJudged
	}
	return j
}

// surprise is the order in which breaks are told: first those that can be seen here
// and now, and of them whom nobody wrote.
func (b *Break) surprise() int {
	n := slices.Index([]Kind{Account, Unmeshed, Outside, Ingress, Workload}, b.Kind)
	if strings.HasPrefix(b.Requests.Example.Command, "kubectl") || b.Kind == Outside {
		n += 10
	}
	return n
}

// telling makes the example of somebody who may ask for everything one of what the
// claim is about, a write where there is one.
func (a *Analysis) telling(b Break, entries []Allow) Break {
	if b.Requests.Words != "every request" {
		return b
	}
	for _, method := range []string{"POST", "GET"} {
		for _, e := range entries {
			if slices.Contains(e.Methods, method) && len(e.Paths) > 0 && !strings.Contains(e.Paths[0], "*") {
				b.Requests.Example.Method, b.Requests.Example.Path = method, e.Paths[0]
				b.Requests.Example.Command = a.command(&b.Requests.Example, b.found, a.sides[len(a.sides)-1])
				return b
			}
		}
	}
	return b
}

func (a *Analysis) breaks(f *finding, interest func(uint) bool) []Break {
	var out []Break
	for _, r := range f.requests(a, interest, a.sides[len(a.sides)-1]) {
		out = append(out, Break{Caller: f.caller.name, Kind: f.caller.kind, Identity: f.caller.identity, Way: f.to.name,
			Requests: r, found: f})
	}
	return out
}

// always looks for requests that an entry claims and that no written way admits. It
// returns what could not be judged beside them.
func (a *Analysis) always(of *topology.Pod, entries []Allow) (breaks []Break, notJudged []string) {
	w := &sweep{Analysis: a, of: workloadOf(of), reasons: map[string][]string{}}
	w.stops = w.hops()
	w.blocks()
	// Of several gateways those count that lead to it.
	to := a.sides[len(a.sides)-1].destinations(w.of)
	a.walked(w.of, len(to))
	leads := func(c *caller) bool {
		return slices.ContainsFunc(to, func(d *destination) bool { return d.gatewayName == c.name })
	}
	led := slices.ContainsFunc(a.gateways, leads)
	for _, entry := range entries {
		meant := false
		for _, c := range slices.Concat(a.gateways, a.pods) {
			if !entry.means(c) || c.kind == Workload && workloadOf(c.pod) == w.of && (entry.Anyone || entry.WholeCell) {
				continue
			}
			meant = true
			switch {
			case c.kind == Ingress && led && !leads(c):
				continue
			case w.sidecars[c.account] != nil:
				notJudged = append(notJudged, c.name+" has a sidecar, and only ambient meshes are judged")
				continue
			}
			for _, one := range w.addressed(c) {
				breaks = append(breaks, w.refused(entry, one)...)
			}
		}
		if !meant {
			notJudged = append(notJudged, entry.who()+" is not among the manifests")
		}
	}
	return breaks, append(notJudged, w.notJudged()...)
}

// maxWays bounds the ways that are looked at together: each has a bit in a mask.
const maxWays = 60

// refused returns what an entry claims of a caller and no written way admits.
func (w *sweep) refused(entry Allow, c *caller) []Break {
	if w.exhausted != "" {
		return nil
	}
	s := w.sides[len(w.sides)-1]
	// served are the hosts that are meant: of those who come through a gateway, the ones for
	// which a route leads to the workload.
	served := everything
	var passages []*passage
	if c.kind == Ingress {
		served.decide = func(r *authz.Request) bool {
			return slices.ContainsFunc(passages, func(p *passage) bool { return p.serves(r.Host) })
		}
	}
	deciders := []decider{*said([]Allow{entry}, c, false), served}
	var conditions []condition
	var to *destination
	why := "there is no Service over it"
	known := map[string]bool{}
	for _, d := range s.destinations(w.of) {
		if d.gateway() != (c.kind == Ingress) || d.to.Pod != nil || d.gateway() && d.gatewayName != c.name {
			continue
		}
		x := s.decider(question{from: c.in[0], to: d, blocks: w.podBlocks})
		if x.err != nil {
			w.fail(d, x.err)
			return nil
		}
		if to == nil {
			to, why = d, x.why
		}
		key := x.key()
		if d.gateway() {
			passages = append(passages, newPassage(d.routes, d.to.Route))
		}
		if d.gateway() && !x.closed {
			p := passages[len(passages)-1]
			x, conditions = p.decider(x), append(conditions, p.conditions...)
			key += d.key
		}
		if !x.closed && !known[key] {
			known[key] = true
			deciders = append(deciders, x)
		}
	}
	if to == nil {
		nothing := Requests{Words: entry.words()}
		return []Break{{Caller: c.name, Kind: c.kind, Identity: c.identity, Way: why, Requests: nothing}}
	}
	if len(deciders) > maxWays {
		w.fail(to, fmt.Errorf("%w: more than %d ways that differ", errTooMany, maxWays))
		return nil
	}
	n, err := w.diagram(deciders, to, c, false, conditions)
	if err != nil {
		w.fail(to, err)
		return nil
	}
	missing := func(mask uint) bool { return mask == 1|2 }
	if !n.any(missing) {
		return nil
	}
	return w.breaks(&finding{of: w.of, caller: c, to: to, said: n}, missing)
}

func (a *Allow) words() string {
	r := Requests{Methods: a.Methods, Paths: a.Paths}
	if len(r.Methods) == 0 {
		r.Methods = []string{anything}
	}
	if len(r.Paths) == 0 {
		r.Paths = []string{anything}
	}
	return r.words()
}

// words say a claim.
func (c *Claim) words() string {
	var parts []string
	for _, a := range c.allows() {
		parts = append(parts, a.who()+" "+a.words())
	}
	parts = slices.Compact(parts)
	if len(parts) == 0 {
		return c.Kind() + " nobody"
	}
	return c.Kind() + " " + strings.Join(parts, "; ")
}
