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

// Run reads files and directories and reports on them.
func Run(paths ...string) (*Report, error) {
	in, err := manifest.ReadInput(manifest.Source{}, paths...)
	if err != nil {
		return nil, err
	}
	return Check(in)
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
		c.attachment(p)
		c.rules(p)
	}
	for _, svc := range in.Set.Services {
		c.service(svc)
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

	declared  map[string]bool // namespaces whose Namespace is among the files
	accounts  map[string]bool // "namespace/name" of every service account that exists
	populated map[string]bool // namespaces with a workload or a service account
	services  map[string]bool // namespaces with a Service
	fronts    map[string]bool // "namespace/name" of every ingress Gateway, also of those that only a route names
	sidecars  map[topology.Ref]bool
	workloads map[manifest.Key]manifest.Workload
	gateways  bool // some Gateway is among the files
	findings  []Finding
	report    *Report
}

func (c *checker) add(sev Severity, check string, at manifest.Key, message, fix string) {
	c.addAt(sev, check, at, "", message, fix)
}

// addAt adds a finding in the line of a field of the object.
func (c *checker) addAt(sev Severity, check string, at manifest.Key, path, message, fix string) {
	o := c.origin(at, path)
	c.findings = append(c.findings, Finding{
		Severity: sev, Check: check, File: o.File, Line: o.Line, Object: at.Kind + " " + at.String(), Message: message,
		Fix: fix,
	})
}

// notJudged adds something that the files leave open.
func (c *checker) notJudged(at manifest.Key, path, why string) {
	o := c.origin(at, path)
	c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, at.Kind + " " + at.String(), why})
}

// certain adds an error where the files prove it, and otherwise what is not known.
func (c *checker) certain(proven bool, check string, at manifest.Key, path, message, fix, unknown string) {
	if proven {
		c.addAt(Error, check, at, path, message, fix)
		return
	}
	c.notJudged(at, path, unknown)
}

func (c *checker) origin(at manifest.Key, path string) manifest.Origin {
	origin := c.set.Origins[at]
	if line, ok := c.in.Lines[at][path]; ok && path != "" {
		origin.Line = line
	}
	return origin
}

// problems passes on what the files themselves show to be wrong, and what the
// evaluators lack.
func (c *checker) problems() {
	for _, p := range c.in.Problems {
		object := ""
		if p.Object.Kind != "" {
			object = p.Object.Kind + " " + p.Object.String()
		}
		f := Finding{Severity: Error, Check: string(p.Code), File: p.File, Line: p.Line, Object: object,
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
			c.rejected(g.Object) {
			continue // said where it matters
		}
		what := g.Why
		if g.Field != "" {
			what = g.Field + ": " + g.Why
		}
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{g.File, g.Line, g.Object.Kind + " " +
			g.Object.String(), what})
	}
}

// rejected reports whether a finding says already what is wrong with an object.
func (c *checker) rejected(key manifest.Key) bool {
	return slices.ContainsFunc(c.in.Problems, func(p manifest.Problem) bool { return p.Object == key })
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

func key(kind, namespace, name string) manifest.Key {
	return manifest.Key{Kind: kind, Namespace: namespace, Name: name}
}

func defaultDeny(at topology.Ref) string {
	return fmt.Sprintf("an AuthorizationPolicy default-deny in namespace %s with targetRefs [{group: "+
		"gateway.networking.k8s.io, kind: Gateway, name: %s}] and no rules", at.Namespace, at.Name)
}

func viaWaypointOnly(namespace string, w topology.Ref) string {
	account := w.Name
	if w.Namespace != namespace {
		account = w.String()
	}
	return fmt.Sprintf("an AuthorizationPolicy via-waypoint-only in namespace %s without a target: ALLOW, rules "+
		"[{from: [{source: {serviceAccounts: [%s]}}]}]", namespace, account)
}

func list(names []string) string { return strings.Join(names, ", ") }
