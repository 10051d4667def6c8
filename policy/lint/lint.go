// Package lint reads anybody's manifests and says what their mesh policies do not
// do: policies that attach to nothing, that the proxy which gets them cannot
// enforce, and ways around them, with the object that closes each. It asks the
// evaluators where it can, rather than look for words; it changes nothing and
// needs no cluster. An error is what the files prove; what they leave open is not
// judged, and named.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// Severity is how bad a finding is.
type Severity string

// The severities. An Error is a hole or a policy without effect; a Warning is
// weaker than it looks; a Note is for the reader to judge.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that is not as it looks.
type Finding struct {
	Severity Severity `json:"severity"`
	// Check is the finding's class: the name of one of Checks.
	Check  string `json:"check"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Object string `json:"object,omitempty"` // "Kind namespace/name"
	// Message says what is the case, Fix what to write.
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	// Reason is why it was silenced, SilencedAt the "FILE:LINE" that says so.
	Reason     string `json:"reason,omitempty"`
	SilencedAt string `json:"silencedAt,omitempty"`
}

// NotJudged is something that a finding would depend on and the files, or the
// evaluators, do not know.
type NotJudged struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Object string `json:"object"`
	Why    string `json:"why"`
}

// Report is everything that lint has to say about some files.
type Report struct {
	Files    int       `json:"files"`
	Objects  int       `json:"objects"`
	Findings []Finding `json:"findings"`
	// Silenced are findings that somebody silences, with the reason.
	Silenced  []Finding   `json:"silenced"`
	NotJudged []NotJudged `json:"notJudged"`
	// LeftOut is what was read and no finding depends on.
	LeftOut []manifest.LeftOut `json:"leftOut"`
	// Assumed objects name no namespace and were taken for Namespace's.
	Assumed   int    `json:"assumed,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Count returns the number of findings of a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Check reports on manifests that were read.
func Check(in *manifest.Input) (*Report, error) {
	w, err := topology.Build(in.Set, topology.NewAllocator())
	if err != nil {
		return nil, err
	}
	c := &checker{
		in: in, set: in.Set, world: w, policies: evaluate.New(w), meshes: in.Meshes(),
		report: &Report{
			Files: len(in.Files), Objects: in.Objects(), Findings: []Finding{}, Silenced: []Finding{},
			NotJudged: []NotJudged{},
			LeftOut:   in.LeftOut, Assumed: in.Assumed, Namespace: in.Namespace,
		},
	}
	c.survey()
	c.problems()
	for _, p := range in.Set.AuthorizationPolicies {
		c.policy(p)
	}
	for _, s := range w.Services {
		if !s.Entry {
			c.service(s)
		}
	}
	for _, e := range in.Set.ServiceEntries {
		c.entry(e)
	}
	c.mixed()
	c.waypoints()
	c.bypasses()
	c.ingress()
	c.perimeter()
	c.conversions()
	c.identities()
	c.silence()
	c.report.sort()
	return c.report, nil
}

func (r *Report) sort() {
	for _, list := range []*[]Finding{&r.Findings, &r.Silenced} {
		slices.SortStableFunc(*list, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Check, b.Check),
				cmp.Compare(a.Message, b.Message))
		})
		*list = slices.Compact(*list)
	}
	slices.SortStableFunc(r.NotJudged, func(a, b NotJudged) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Why, b.Why))
	})
	r.NotJudged = slices.Compact(r.NotJudged)
}

// checker collects findings.
type checker struct {
	in       *manifest.Input
	set      *manifest.Set
	world    *topology.World
	policies *evaluate.Policies
	meshes   bool // something of the input is in an ambient mesh

	declared  map[string]map[string]string // the labels of namespaces whose Namespace is among the files
	accounts  map[string]bool              // "namespace/name" of every service account that exists
	populated map[string]bool              // namespaces with a workload or a service account
	services  map[string]bool              // namespaces with a Service
	entries   map[string]bool              // namespaces with a ServiceEntry
	fronts    map[string]bool              // "namespace/name" of ingress Gateways, also of those that only routes name
	sidecars  map[topology.Ref]bool
	workloads map[manifest.Key]manifest.Workload
	gateways  bool // some Gateway is among the files
	findings  []Finding
	report    *Report
}

// place is what something is said of: an object, or a field of it.
type place struct {
	manifest.Key
	path string
}

func on(object manifest.Key) place { return place{Key: object} }

func (p place) field(path string) place { return place{p.Key, path} }

// add adds a finding in the line of a place. What to write against it is the caller's to
// add.
func (c *checker) add(sev Severity, check string, at place, format string, args ...any) *Finding {
	o := c.origin(at)
	c.findings = append(c.findings, Finding{Severity: sev, Check: check, File: o.File, Line: o.Line,
		Object: at.WithKind(), Message: fmt.Sprintf(format, args...)})
	return &c.findings[len(c.findings)-1]
}

// notJudged adds something that the files leave open.
func (c *checker) notJudged(at place, format string, args ...any) {
	o := c.origin(at)
	c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, at.WithKind(),
		fmt.Sprintf(format, args...)})
}

// missing adds that what an object names is not there, and what follows, where the files
// prove it, and else that it is not known.
func (c *checker) missing(at place, names string, to manifest.Key, then string) *Finding {
	kind := map[string]bool{"Service": c.services[to.Namespace], "ServiceEntry": c.entries[to.Namespace],
		"Gateway": c.gateways}
	if !c.whole(to.Namespace) || !kind[to.Kind] {
		c.notJudged(at, "%s %s %s, which is not among the files, and neither is all of its namespace", names, to.Kind,
			to)
		return &Finding{}
	}
	return c.add(Error, "attached-to-nothing", at, "%s %s %s, which is not among the files%s", names, to.Kind, to,
		then)
}

func (c *checker) origin(at place) manifest.Origin {
	origin := c.set.Origins[at.Key]
	if line, ok := c.in.Lines[at.Key][at.path]; ok && at.path != "" {
		origin.Line = line
	}
	return origin
}

// problems passes on what the files themselves show to be wrong, and what the
// evaluators lack.
func (c *checker) problems() {
	for _, p := range c.in.Problems {
		f := Finding{Severity: Error, Check: string(p.Code), File: p.File, Line: p.Line, Object: p.Object.WithKind(),
			Message: p.Message}
		switch p.Code {
		case manifest.CodeYAMLBoolean:
			f.Fix = "put the word in quotes"
			if p.Object.Kind != "AuthorizationPolicy" && p.Object.Kind != "Namespace" {
				f.Severity = Warning
			}
		case manifest.CodeDuplicateObject:
			f.Severity = Warning
			f.Fix = "lint what goes to one cluster at a time; the first was judged"
		}
		c.findings = append(c.findings, f)
	}
	for _, g := range c.in.Gaps {
		if g.Object.Kind == "Namespace" || g.Object.Kind == "AuthorizationPolicy" && g.Field == "spec" ||
			g.Object.Kind == "Service" && g.Field == "spec" && !c.guarded(g.Object) || c.rejected(g.Object) {
			continue // said where it matters
		}
		what := g.Why
		if g.Field != "" {
			what = g.Field + ": " + g.Why
		}
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{g.File, g.Line, g.Object.WithKind(), what})
	}
}

// rejected reports whether a finding says already what is wrong with an object.
func (c *checker) rejected(key manifest.Key) bool {
	return slices.ContainsFunc(c.in.Problems, func(p manifest.Problem) bool { return p.Object == key })
}

// guarded reports whether a Service, whatever its endpoints are, is somebody's to protect:
// a waypoint is before it, or a policy targets it. The API server's own, which is in every
// cluster, is not.
func (c *checker) guarded(key manifest.Key) bool {
	s := c.world.Service(topology.Ref{Namespace: key.Namespace, Name: key.Name})
	return s == nil || c.binding(s).at.Name != "" || c.ownPolicy(s)
}

// silence takes the findings out that somebody silences, and says which silences are
// none.
func (c *checker) silence() {
	used := make([]bool, len(c.in.Silences))
	for _, f := range c.findings {
		out := &c.report.Findings
		for i := range c.in.Silences {
			if s := &c.in.Silences[i]; s.Reason != "" && s.Covers(f.Check, f.File, f.Object) {
				used[i], out = true, &c.report.Silenced
				f.Reason, f.SilencedAt = s.Reason, fmt.Sprintf("%s:%d", s.File, s.Line)
			}
		}
		*out = append(*out, f)
	}
	for i, s := range c.in.Silences {
		f := Finding{Severity: Warning, Check: "silence", File: s.File, Line: s.Line}
		here := "here"
		if s.On == s.File { // its own object's
			f.Object = s.Object
		} else {
			here = "in " + cmp.Or(s.Object, s.On)
		}
		switch {
		case !slices.ContainsFunc(Checks(), func(k Class) bool { return k.Name == s.Check }):
			f.Message, f.Fix = fmt.Sprintf("%q is none of the checks", s.Check), "artemis lint --checks lists them"
		case s.Reason == "":
			f.Message, f.Fix = "gives no reason: nothing is silenced", "say why"
		case !used[i]:
			f.Message, f.Fix = "silences "+s.Check+", which finds nothing "+here, "take it out"
		default:
			continue
		}
		c.report.Findings = append(c.report.Findings, f)
	}
}

func defaultDeny(at topology.Ref) string {
	return fmt.Sprintf("an AuthorizationPolicy default-deny in namespace %s with targetRefs [{group: "+
		"gateway.networking.k8s.io, kind: Gateway, name: %s}] and no rules", at.Namespace, at.Name)
}

func list(names []string) string { return strings.Join(names, ", ") }
