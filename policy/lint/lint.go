// Package lint reads any directory of manifests and says what its mesh policies
// do not do: policies that attach to nothing, that the proxy which gets them
// cannot enforce, and ways around them, with the object that closes each. It
// asks the evaluators where it can, rather than look for words; it changes
// nothing and needs no cluster.
package lint

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"

	"artemis.example/policy/manifest"
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
	// Check is the finding's class: a key of Checks.
	Check  string `json:"check"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Object string `json:"object,omitempty"` // "Kind namespace/name"
	// Message says what is the case, Fix what to write.
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// Checks returns every class of finding with what it means, in one sentence.
func Checks() map[string]string {
	return map[string]string{
		"attached-to-nothing":          "a policy or route names something that is not there",
		"service-without-waypoint":     "nothing judges methods and paths for this Service",
		"waypoint-missing":             "a Service is to use a waypoint that does not exist: calls go past it",
		"waypoint-does-not-cover":      "the waypoint that a Service is to use does not serve Services",
		"not-in-the-mesh":              "pods that a policy is for are not enrolled: nothing enforces it",
		"l7-in-selector-policy":        "a policy without a target says something about HTTP, which node proxies do not see",
		"deny-no-op":                   "a DENY that denies nothing at node proxies",
		"not-enforced-by-node-proxy":   "an action that node proxies do not know",
		"trust-domains-ignored":        "trustDomains in a policy for node proxies",
		"literal-star":                 "a star that is taken literally",
		"dry-run":                      "a policy that is only watched",
		"bypass-pod-ip":                "pods behind a waypoint take connections from others than the waypoint",
		"bypass-headless":              "a headless Service leads past the waypoint",
		"bypass-shadow":                "a Service without the waypoint leads past it",
		"bypass-second-service":        "a second Service over protected pods has no policy",
		"refused-by-node-proxy":        "a Service leads past the waypoint and is refused at the pods",
		"plaintext":                    "pods take connections without an identity",
		"no-default-deny":              "a waypoint lets everyone through to Services without a policy",
		"ingress-not-through-waypoint": "the gateway goes past the waypoint",
		"unknown-principal":            "a policy names an identity that nobody has",
		"whole-cell-callers":           "a rule admits everybody of a namespace",
		"admits-anyone":                "a rule for a Service names no caller",
		"port-not-http":                "a port behind a waypoint is no HTTP to it",
		"escape-by-decoding":           "a path rule that an application which decodes %2f would let escape",
		"template-not-loadable":        "a path template that Istio takes and Envoy cannot load",
		"deny-by-path":                 "a DENY that another spelling of the path passes",
		"runs-as-gateway":              "a workload has the identity of a waypoint or gateway",
		"shared-identity":              "two workloads have an identity that a policy trusts",
		"mesh-refused":                 "a NetworkPolicy keeps the mesh's own port closed",

		string(manifest.CodeSyntax):          "no YAML",
		string(manifest.CodeNoNamespace):     "an object that does not say where it belongs",
		string(manifest.CodeYAMLBoolean):     "an unquoted word that YAML reads as a boolean",
		string(manifest.CodeDuplicateKey):    "a key given twice",
		string(manifest.CodeDuplicateObject): "an object given twice",
		string(manifest.CodeUnknownField):    "a field that the kind does not have",
		string(manifest.CodeInvalid):         "a value that admission refuses",
	}
}

// NotJudged is something that lint has read and does not understand.
type NotJudged struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Object string `json:"object"`
	Why    string `json:"why"`
}

// Report is everything that lint has to say about some files.
type Report struct {
	Files     int         `json:"files"`
	Findings  []Finding   `json:"findings"`
	NotJudged []NotJudged `json:"notJudged"`
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
	s, err := manifest.Read(paths...)
	if err != nil {
		return nil, err
	}
	return Check(s), nil
}

// Check reports on manifests that were read.
func Check(s *manifest.Survey) *Report {
	c := &checker{mesh: newMesh(s), report: &Report{Files: len(s.Files), Findings: []Finding{}, NotJudged: []NotJudged{}}}
	c.problems(s)
	for _, p := range c.mesh.set.AuthorizationPolicies {
		c.attachment(p)
		c.rules(p)
	}
	for _, svc := range c.mesh.set.Services {
		c.service(svc)
	}
	c.waypoints()
	c.bypasses()
	c.ingress()
	c.perimeter()
	c.identities()
	c.report.sort()
	return c.report
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Check, b.Check), cmp.Compare(a.Message, b.Message))
	})
	slices.SortStableFunc(r.NotJudged, func(a, b NotJudged) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Why, b.Why))
	})
	r.Findings = slices.Compact(r.Findings)
	r.NotJudged = slices.Compact(r.NotJudged)
}

// checker collects findings.
type checker struct {
	mesh   *mesh
	report *Report
}

func (c *checker) add(sev Severity, check string, at manifest.Key, message, fix string) {
	c.addAt(sev, check, at, "", message, fix)
}

// addAt adds a finding in the line of a field of the object.
func (c *checker) addAt(sev Severity, check string, at manifest.Key, path, message, fix string) {
	origin := c.mesh.set.Origins[at]
	if origin.File == "" {
		origin = c.mesh.origins[at]
	}
	if line, ok := c.mesh.lines[at][path]; ok && path != "" {
		origin.Line = line
	}
	c.report.Findings = append(c.report.Findings, Finding{
		Severity: sev, Check: check, File: origin.File, Line: origin.Line,
		Object: at.Kind + " " + at.String(), Message: message, Fix: fix,
	})
}

// problems passes on what the files themselves show to be wrong, and lists what
// lint does not understand.
func (c *checker) problems(s *manifest.Survey) {
	for _, p := range s.Problems {
		object := ""
		if p.Object.Kind != "" {
			object = p.Object.Kind + " " + p.Object.String()
		}
		f := Finding{Severity: Error, Check: string(p.Code), File: p.File, Line: p.Line, Object: object, Message: p.Message}
		switch p.Code {
		case manifest.CodeYAMLBoolean:
			f.Fix = "put the word in quotes"
			if p.Object.Kind != "AuthorizationPolicy" && p.Object.Kind != "Namespace" {
				f.Severity = Warning
			}
		case manifest.CodeSyntax:
			if template(p.File) {
				c.report.NotJudged = append(c.report.NotJudged, NotJudged{p.File, p.Line, object, "a template; render it first"})
				continue
			}
		case manifest.CodeDuplicateObject:
			f.Severity = Warning
			f.Fix = "lint what goes to one cluster at a time; the first was judged"
		case manifest.CodeNoNamespace:
			f.Severity = Warning
			f.Message = "names no namespace: judged as one of namespace default"
			f.Fix = "write metadata.namespace"
		case manifest.CodeNoObject:
			c.report.NotJudged = append(c.report.NotJudged, NotJudged{p.File, p.Line, object, "no Kubernetes object"})
			continue
		case manifest.CodeUnknownKind:
			if _, ok := podTemplates[p.Object.Kind]; ok {
				continue // its pods are judged
			}
			c.report.NotJudged = append(c.report.NotJudged, NotJudged{p.File, p.Line, object, "lint does not know this kind"})
			continue
		case manifest.CodeNotImplemented:
			if p.Object.Kind == "Deployment" || p.Object.Kind == "ConfigMap" || p.Object.Kind == "ServiceAccount" {
				continue // nothing that a policy depends on
			}
			c.report.NotJudged = append(c.report.NotJudged, NotJudged{p.File, p.Line, object, p.Message})
			continue
		}
		c.report.Findings = append(c.report.Findings, f)
	}
}

// template reports whether a file is one to be rendered, as a chart's are.
func template(file string) bool {
	data, err := os.ReadFile(file)
	return err == nil && bytes.Contains(data, []byte("{{"))
}

func key(kind, namespace, name string) manifest.Key {
	return manifest.Key{Kind: kind, Namespace: namespace, Name: name}
}

func defaultDeny(namespace, gateway string) string {
	return fmt.Sprintf("an AuthorizationPolicy default-deny in namespace %s with targetRefs [{group: gateway.networking.k8s.io, kind: Gateway, name: %s}] and no rules", namespace, gateway)
}

func viaWaypointOnly(namespace, gateway string) string {
	return fmt.Sprintf("an AuthorizationPolicy via-waypoint-only in namespace %s without a target: ALLOW, rules [{from: [{source: {serviceAccounts: [%s]}}]}]", namespace, gateway)
}
