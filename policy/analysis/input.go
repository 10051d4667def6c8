package analysis

import (
	"fmt"
	"slices"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// Input is one state of somebody's manifests: the most and the least that they can
// allow, given what was left out of them, and what that is.
type Input struct {
	Most, Least *topology.World
	Gaps        []manifest.Gap
}

// Exactly returns the Input of manifests of which nothing was left out.
func Exactly(w *topology.World) Input { return Input{Most: w, Least: w} }

// Of returns the Input of what was read.
func Of(in *manifest.Input) (Input, error) {
	alloc := topology.NewAllocator()
	most, err := topology.Build(in.Most, alloc)
	if err != nil {
		return Input{}, err
	}
	out := Input{Most: most, Least: most, Gaps: in.Gaps}
	if in.Least != in.Most {
		out.Least, err = topology.Build(in.Least, alloc)
	}
	return out, err
}

// exact reports whether nothing that matters was left out within bounds.
func (in *Input) exact() bool { return in.Most == in.Least }

// touching names the gaps on any way to a workload: those that make every answer
// about it uncertain, and those that Most and Least are the bounds of.
func (in *Input) touching(s *side, of workload) (unbounded, bounded []string) {
	var targets []manifest.Target
	for _, d := range s.destinations(of) {
		t := manifest.Target{Namespace: of.namespace, Labels: d.pod.Labels, Around: true}
		for _, g := range []*topology.WaypointGateway{d.unwritten, d.waypoint(), d.pod.Waypoint} {
			if g != nil {
				t.Gateways = append(t.Gateways, g.Pod.Ref.String())
			}
		}
		if v := d.to.Service; v != nil && v.Entry {
			t.ServiceEntry = v.Name
		} else if v != nil {
			t.Service = v.Name
		}
		if r := d.to.Route; r != nil {
			t.Service = r.Service.Name
			if g := r.Service.IngressWaypoint; g != nil {
				t.Gateways = append(t.Gateways, g.Pod.Ref.String())
			}
			for _, g := range s.world.Gateways {
				if s.gatewayName(g) == d.gatewayName {
					t.Gateways = append(t.Gateways, g.Pod.Ref.String())
				}
			}
		}
		targets = append(targets, t)
	}
	for _, g := range in.Gaps {
		touches := slices.ContainsFunc(targets, func(t manifest.Target) bool {
			if g.Scope.Callers {
				t.Caller = g.Scope.Namespace
			}
			return g.Scope.Touches(t)
		})
		switch text := g.String() + ": " + g.Why; {
		case !touches:
		case g.Bounded:
			bounded = append(bounded, text)
		default:
			unbounded = append(unbounded, text)
		}
	}
	return unbounded, bounded
}

// Options are what answers are written for.
type Options struct {
	Stage string // the name that answers carry
	// Running are the names of the pods that run here, as CELL/COMPONENT.
	Running map[string]bool
	// StandIns are pods that run here besides those that are asked about: the lines
	// that send a request use them where they come to the same.
	StandIns []*topology.Pod
	// Exec is how `artemis exec` is called here, and GatewayPort where the gateway
	// listens; empty for what is usual.
	Exec, GatewayPort string
}

func (o *Options) analysis(worlds ...*topology.World) *Analysis {
	a := newAnalysis(worlds...)
	a.options = *o
	return a
}

// Workloads returns the names of those that can be asked about, in order.
func Workloads(in Input) []string { return newAnalysis(in.Most).workloads() }

// Questions answers many questions about one state of the manifests, whose policies are
// compiled once.
type Questions struct {
	in          Input
	options     Options
	most, least *Analysis
}

// Ask makes Questions.
func Ask(in Input, o Options) *Questions {
	return &Questions{in: in, options: o, most: o.analysis(in.Most)}
}

// WhoCan is the one question that is asked alone.
func WhoCan(in Input, to, from string, o Options) (*Answer, error) {
	return Ask(in, o).WhoCan(to, from)
}

// WhoCan returns who can call a workload, by name; with from, it tells of that caller
// only.
func (q *Questions) WhoCan(to, from string) (*Answer, error) {
	a, in := q.most, &q.in
	of, err := a.target(to)
	if err != nil {
		return nil, err
	}
	if from != "" {
		if from, err = a.callerNamed(from); err != nil {
			return nil, err
		}
	}
	out := a.whoCan(of, from)
	out.Stage = q.options.Stage
	unbounded, bounded := in.touching(a.sides[0], workloadOf(of))
	out.NotJudged = append(out.NotJudged, unbounded...)
	if !in.exact() {
		if q.least == nil {
			q.least = q.options.analysis(in.Least)
		}
		if least, err := q.least.target(to); err == nil {
			if out.mark(q.least.whoCan(least, from)) {
				out.NotJudged = append(out.NotJudged, bounded...)
			}
		}
	}
	if len(out.NotJudged) > 0 {
		out.Verdict, out.NobodyElse = string(NotJudged), out.NobodyElse && len(unbounded) == 0
	}
	out.Sentence = out.sentence()
	return out, nil
}

// mark marks what of an answer is not in another, and reports whether there is any.
func (a *Answer) mark(sure *Answer) bool {
	found := false
	for i := range a.Callers {
		c := &a.Callers[i]
		j := slices.IndexFunc(sure.Callers, func(o Admitted) bool { return o.Caller == c.Caller })
		for k := range c.Requests {
			r := &c.Requests[k]
			r.Uncertain = j < 0 || !slices.ContainsFunc(sure.Callers[j].Requests, func(o Requests) bool {
				return o.Words == r.Words && slices.Equal(o.Ways, r.Ways)
			})
			found = found || r.Uncertain
		}
	}
	return found
}

// callerNamed returns the name under which answers tell of a caller.
func (a *Analysis) callerNamed(name string) (string, error) {
	from, err := a.sides[0].world.FindCaller(name)
	if err != nil {
		return "", fmt.Errorf("--from: %w", err)
	}
	for _, c := range slices.Concat(a.gateways, a.pods) {
		if from.Pod != nil && from.Pod == c.in[0].Pod {
			return c.name, nil
		}
	}
	return "", fmt.Errorf(
		"--from %s: no pod among the manifests is that; without --from, answers tell of all others, too", name)
}

// Prove judges claims for every request. It fails where a claim is about nobody.
func Prove(in Input, claims []Claim, o Options) (*Proof, error) {
	most := o.analysis(in.Most)
	out, err := most.prove(claims)
	if err != nil {
		return nil, err
	}
	out.Stage = o.Stage
	var least *Analysis
	for i := range out.Claims {
		j := &out.Claims[i]
		of, err := most.target(claims[i].To)
		if err != nil {
			return nil, err
		}
		unbounded, bounded := in.touching(most.sides[0], workloadOf(of))
		if len(unbounded) > 0 {
			j.Verdict, j.NotJudged, j.Breaks = NotJudged, append(j.NotJudged, unbounded...), nil
			continue
		}
		if in.exact() || len(bounded) == 0 {
			continue
		}
		if least == nil {
			least = o.analysis(in.Least)
		}
		pod, err := least.target(claims[i].To)
		if err != nil {
			return nil, err
		}
		other := least.judge(&claims[i], pod)
		if other.Verdict == j.Verdict {
			if c := claims[i].Kind(); c != "always" {
				j.Breaks = other.Breaks // of which it is certain that they are admitted
			}
			continue
		}
		// "only" and "never" hold where the most that may be allowed holds them,
		// "always" where the least does. What differs is not known.
		*j = Judged{To: j.To, Claim: j.Claim, Words: j.Words, Verdict: NotJudged, NotJudged: bounded}
	}
	out.Verdict = Proven
	for i := range out.Claims {
		switch v := out.Claims[i].Verdict; {
		case v == Broken:
			out.Verdict = Broken
		case v == NotJudged && out.Verdict == Proven:
			out.Verdict = NotJudged
		}
	}
	return out, nil
}
