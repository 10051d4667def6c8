package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/lint"
	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

// seen is a finding without its words.
type seen struct {
	Severity lint.Severity
	Check    string
	Object   string
	Line     int
}

func report(t *testing.T, manifests string) *lint.Report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	return lintFiles(t, file)
}

func lintFiles(t *testing.T, paths ...string) *lint.Report {
	t.Helper()
	in, err := manifest.ReadInput(manifest.Source{}, paths...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := lint.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cell is a Cell in which everything is as it should be.
func cell(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/cell.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestACellThatIsClosedHasNoFindings(t *testing.T) {
	r := report(t, cell(t))
	if diff := cmp.Diff([]lint.Finding{}, r.Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]lint.NotJudged{}, r.NotJudged); diff != "" {
		t.Errorf("not judged (-want +got):\n%s", diff)
	}
}

// without takes the object with that first line of a comment out of manifests.
func without(t *testing.T, manifests, comment string) string {
	t.Helper()
	docs := strings.Split(manifests, "---\n")
	out := docs[:0:0]
	for _, d := range docs {
		if !strings.HasPrefix(d, "# "+comment+"\n") {
			out = append(out, d)
		}
	}
	if len(out) != len(docs)-1 {
		t.Fatalf("%d objects %q in the fixture, want 1", len(docs)-len(out), comment)
	}
	return strings.Join(out, "---\n")
}

func replace(t *testing.T, manifests, old, new string) string {
	t.Helper()
	if strings.Count(manifests, old) != 1 {
		t.Fatalf("%q is %d times in the fixture, want once", old, strings.Count(manifests, old))
	}
	return strings.Replace(manifests, old, new, 1)
}

const (
	apCallers = "principals: [cluster.local/ns/houston/sa/capcom]"
	secondSvc = `---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: orion%LABELS%}
spec: {%SPEC%selector: {app: guidance-nav}, ports: [{name: http, port: 8080, targetPort: 8080}]}
`
)

func second(labels, spec string) string {
	return strings.NewReplacer("%LABELS%", labels, "%SPEC%", spec).Replace(secondSvc)
}

func pod(namespace, account string) string {
	return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: twin, namespace: " + namespace +
		"}\nspec: {serviceAccountName: " + account + ", containers: [{name: main, image: x}]}\n"
}

func policy(name, spec string) string {
	return "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name +
		", namespace: orion}\nspec: " + spec + "\n"
}

func TestFindings(t *testing.T) {
	const onSvc = `targetRefs: [{group: "", kind: Service, name: guidance-nav}]`
	for _, c := range []struct {
		name string
		edit func(t *testing.T, cell string) string
		want []seen // without the lines
	}{
		{"a policy for a Service that is not there", func(t *testing.T, s string) string {
			return s + policy("lost", `{targetRefs: [{group: "", kind: Service, name: nav}]}`)
		}, []seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/lost", 0}}},
		{"a policy for a Gateway that is not there", func(t *testing.T, s string) string {
			return s + policy("lost", `{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: other}]}`)
		}, []seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/lost", 0}}},
		{"a policy for the GatewayClass outside the root namespace", func(t *testing.T, s string) string {
			return s + policy("lost",
				`{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]}`)
		}, []seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/lost", 0}}},
		{"a selector that finds nothing", func(t *testing.T, s string) string {
			return s + policy("lost", `{selector: {matchLabels: {app: nav}}, rules: [{}]}`)
		}, []seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/lost", 0}}},
		{"an empty selector", func(t *testing.T, s string) string {
			return s + policy("lost", `{selector: {}, rules: [{from: [{source: {serviceAccounts: [waypoint]}}]}]}`)
		}, []seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/lost", 0}}},
		{"an ALLOW with methods for node proxies", func(t *testing.T, s string) string {
			return s + policy("l7",
				`{selector: {matchLabels: {app: guidance-nav}}, rules: [{to: [{operation: {methods: [GET]}}]}]}`)
		}, []seen{{lint.Error, "l7-in-selector-policy", "AuthorizationPolicy orion/l7", 0}}},
		{"a DENY with methods for node proxies", func(t *testing.T, s string) string {
			return s + policy("l7",
				`{action: DENY, rules: [{from: [{source: {namespaces: [houston]}}], to: [{operation: {methods: [POST]}}]}]}`)
		}, []seen{{lint.Error, "deny-no-op", "AuthorizationPolicy orion/l7", 0}}},
		{"a DENY that keeps a port at node proxies", func(t *testing.T, s string) string {
			return s + policy("l7", `{action: DENY, rules: [{to: [{operation: {methods: [POST], ports: ["9999"]}}]}]}`)
		}, []seen{{lint.Warning, "l7-in-selector-policy", "AuthorizationPolicy orion/l7", 0}}},
		{"trust domains for node proxies", func(t *testing.T, s string) string {
			return s + policy("td",
				`{rules: [{from: [{source: {trustDomains: [other], serviceAccounts: [waypoint]}}]}]}`)
		}, []seen{{lint.Error, "trust-domains-ignored", "AuthorizationPolicy orion/td", 0}}},
		{"an AUDIT for node proxies", func(t *testing.T, s string) string {
			return s + policy("a", `{action: AUDIT, rules: [{}]}`)
		}, []seen{{lint.Error, "not-enforced-by-node-proxy", "AuthorizationPolicy orion/a", 0}}},
		{"no waypoint label", func(t *testing.T, s string) string {
			return replace(t, s, ", istio.io/use-waypoint: waypoint", "")
		}, []seen{
			{lint.Warning, "service-without-waypoint", "Service orion/guidance-nav", 0},
			{lint.Error, "service-without-waypoint", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"the waypoint is missing", func(t *testing.T, s string) string { return without(t, s, "waypoint") }, []seen{
			{lint.Error, "waypoint-missing", "Service orion/guidance-nav", 0},
			{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/default-deny", 0},
			{lint.Error, "unknown-principal", "AuthorizationPolicy orion/via-waypoint-only", 0}}},
		{"the waypoint serves workloads only", func(t *testing.T, s string) string {
			return replace(t, s, "istio.io/waypoint-for: service", "istio.io/waypoint-for: workload")
		}, []seen{{lint.Error, "waypoint-does-not-cover", "Service orion/guidance-nav", 0}}},
		{"by pod IP", func(t *testing.T, s string) string { return without(t, s, "via-waypoint-only") }, []seen{
			{lint.Error, "bypass-pod-ip", "Deployment orion/guidance-nav", 0}}},
		{"by pod IP for one more account", func(t *testing.T, s string) string {
			return replace(t, s, "serviceAccounts: [waypoint]", "serviceAccounts: [waypoint, guidance-nav]")
		}, []seen{{lint.Error, "bypass-pod-ip", "Deployment orion/guidance-nav", 0}}},
		{"a headless Service, pods open", func(t *testing.T, s string) string {
			return without(t, s, "via-waypoint-only") + second("", "clusterIP: None, ")
		}, []seen{
			{lint.Error, "bypass-pod-ip", "Deployment orion/guidance-nav", 0},
			{lint.Error, "bypass-headless", "Service orion/second", 0}}},
		{"a shadow Service, pods open", func(t *testing.T, s string) string {
			return without(t, s, "via-waypoint-only") + second(", labels: {istio.io/use-waypoint: none}", "")
		}, []seen{
			{lint.Error, "bypass-pod-ip", "Deployment orion/guidance-nav", 0},
			{lint.Error, "bypass-shadow", "Service orion/second", 0}}},
		{"a shadow Service, pods closed", func(t *testing.T, s string) string {
			return s + second(", labels: {istio.io/use-waypoint: none}", "")
		}, []seen{{lint.Note, "refused-by-node-proxy", "Service orion/second", 0}}},
		{"no default-deny", func(t *testing.T, s string) string { return without(t, s, "default-deny") }, []seen{
			{lint.Error, "no-default-deny", "Gateway orion/waypoint", 0}}},
		{"a second Service and no default-deny", func(t *testing.T, s string) string {
			return without(t, s, "default-deny") + second("", "")
		}, []seen{
			{lint.Error, "no-default-deny", "Gateway orion/waypoint", 0},
			{lint.Error, "bypass-second-service", "Service orion/second", 0}}},
		{"a second Service under default-deny", func(t *testing.T, s string) string { return s + second("", "") }, nil},
		{"plaintext", func(t *testing.T, s string) string {
			s = replace(t, s, "mode: STRICT", "mode: PERMISSIVE")
			return replace(t, s, "rules: [{from: [{source: {serviceAccounts: [waypoint]}}]}]", "rules: [{}]")
		}, []seen{
			{lint.Error, "bypass-pod-ip", "Deployment orion/guidance-nav", 0},
			{lint.Error, "plaintext", "Deployment orion/guidance-nav", 0}}},
		{"ingress past the waypoint", func(t *testing.T, s string) string {
			return replace(t, s, `, labels: {istio.io/ingress-use-waypoint: "true"}`, "")
		}, []seen{{lint.Error, "ingress-not-through-waypoint", "Service orion/guidance-nav", 0}}},
		{"a principal that nobody has", func(t *testing.T, s string) string {
			return replace(t, s, apCallers, "principals: [cluster.local/ns/houston/sa/capcon]")
		}, []seen{{lint.Error, "unknown-principal", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a principal with its scheme", func(t *testing.T, s string) string {
			return replace(t, s, apCallers, "principals: [\"spiffe://cluster.local/ns/houston/sa/capcom\"]")
		}, []seen{{lint.Error, "unknown-principal", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a whole Cell", func(t *testing.T, s string) string {
			return replace(t, s, apCallers, "namespaces: [houston]")
		}, []seen{
			{lint.Warning, "whole-cell-callers", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a whole Cell by prefix", func(t *testing.T, s string) string {
			return replace(t, s, apCallers, "principals: [\"cluster.local/ns/houston/*\"]")
		}, []seen{{lint.Warning, "whole-cell-callers", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a rule without a caller", func(t *testing.T, s string) string {
			return s + policy("any", `{`+onSvc+`, rules: [{to: [{operation: {paths: [/public]}}]}]}`)
		}, []seen{{lint.Warning, "admits-anyone", "AuthorizationPolicy orion/any", 0}}},
		{"a port that is no HTTP", func(t *testing.T, s string) string {
			return replace(t, s, "ports: [{name: http, port: 8080", "ports: [{name: tcp-nav, port: 8080")
		}, []seen{{lint.Warning, "port-not-http", "Service orion/guidance-nav", 0}}},
		{"a port without a name", func(t *testing.T, s string) string {
			return replace(t, s, "ports: [{name: http, port: 8080", "ports: [{port: 8080")
		}, []seen{{lint.Warning, "port-not-http", "Service orion/guidance-nav", 0}}},
		{"a namespace that YAML reads as a boolean", func(t *testing.T, s string) string {
			return s + strings.Replace(policy("boole", "{rules: [{}]}"), "namespace: orion", "namespace: n", 1)
		}, []seen{
			{lint.Error, "yaml-boolean", "AuthorizationPolicy n/boole", 0}}},
		{"a path that an application which decodes would leave", func(t *testing.T, s string) string {
			return replace(t, s, "paths: [/position]", "paths: [/position, \"/log/*\"]")
		}, []seen{{lint.Note, "escape-by-decoding", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a path template that Envoy cannot load", func(t *testing.T, s string) string {
			return replace(t, s, "paths: [/position]", "paths: [/position, \"//{*}/log\"]")
		}, []seen{
			{lint.Error, "template-not-loadable", "AuthorizationPolicy orion/guidance-nav-authz", 0},
			{lint.Note, "escape-by-decoding", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"a DENY by path", func(t *testing.T, s string) string {
			return s + policy("d", `{`+onSvc+`, action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`)
		}, []seen{{lint.Warning, "deny-by-path", "AuthorizationPolicy orion/d", 0}}},
		{"pods outside the mesh", func(t *testing.T, s string) string {
			return replace(t, s, "istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint",
				"istio.io/use-waypoint: waypoint")
		}, []seen{
			{lint.Error, "not-in-the-mesh", "AuthorizationPolicy orion/via-waypoint-only", 0},
			{lint.Error, "not-in-the-mesh", "Deployment orion/guidance-nav", 0}}},
		{"a NetworkPolicy that keeps the mesh out", func(t *testing.T, s string) string {
			return replace(t, s, "ports: [{protocol: TCP, port: 15008}]", "ports: [{protocol: TCP, port: 8080}]")
		}, []seen{{lint.Error, "mesh-refused", "Deployment orion/guidance-nav", 0}}},
		{"a dry run", func(t *testing.T, s string) string {
			return s + strings.Replace(policy("dry", `{`+onSvc+
				`, rules: [{from: [{source: {principals: [cluster.local/ns/houston/sa/capcom]}}]}]}`),
				"namespace: orion}", "namespace: orion, annotations: {istio.io/dry-run: \"true\"}}", 1)
		}, []seen{{lint.Note, "dry-run", "AuthorizationPolicy orion/dry", 0}}},
		{"a StatefulSet's pods count", func(t *testing.T, s string) string {
			return without(t, replace(t, s, "kind: Deployment", "kind: StatefulSet"), "via-waypoint-only")
		}, []seen{{lint.Error, "bypass-pod-ip", "StatefulSet orion/guidance-nav", 0}}},
		{"a pod that runs as the waypoint", func(_ *testing.T, s string) string {
			return s + pod("orion", "waypoint")
		}, []seen{{lint.Error, "runs-as-gateway", "Pod orion/twin", 0}}},
		{"a pod that runs as an allowed caller", func(t *testing.T, s string) string {
			return s + strings.Replace(pod("houston", "capcom"), "name: twin", "name: capcom", 1) + pod("houston",
				"capcom")
		}, []seen{{lint.Warning, "shared-identity", "Pod houston/twin", 0}}},
		{"a star that is none", func(t *testing.T, s string) string {
			return replace(t, s, apCallers, "principals: [\"cluster.local/ns/houston/sa/capcom\", \"*/sa/capcom*\"]")
		}, []seen{
			{lint.Warning, "literal-star", "AuthorizationPolicy orion/guidance-nav-authz", 0},
			{lint.Warning, "whole-cell-callers", "AuthorizationPolicy orion/guidance-nav-authz", 0}}},
		{"no YAML", func(_ *testing.T, s string) string { return s + "---\na: [" },
			[]seen{{lint.Error, "syntax", "", 0}}},
		{"a key given twice", func(_ *testing.T, s string) string {
			return s + policy("k", `{`+onSvc+`, rules: [], rules: []}`)
		}, []seen{{lint.Error, "duplicate-key", "AuthorizationPolicy orion/k", 0}}},
		{"an object given twice", func(_ *testing.T, s string) string {
			return s + policy("default-deny", `{}`)
		}, []seen{{lint.Warning, "duplicate-object", "AuthorizationPolicy orion/default-deny", 0}}},
		{"a misspelt field", func(_ *testing.T, s string) string {
			return s + policy("f", `{rule: [{}]}`)
		}, []seen{{lint.Error, "unknown-field", "AuthorizationPolicy orion/f", 0}}},
		{"a value that admission refuses", func(_ *testing.T, s string) string {
			return s + policy("v", `{`+onSvc+`, action: DENY}`)
		}, []seen{{lint.Error, "invalid", "AuthorizationPolicy orion/v", 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.edit(t, cell(t)))
			var got []seen
			for _, f := range r.Findings {
				if f.Line < 1 || f.File == "" {
					t.Errorf("finding without a place: %+v", f)
				}
				if !slices.ContainsFunc(lint.Checks(), func(k lint.Class) bool { return k.Name == f.Check }) {
					t.Errorf("%q is none of the checks", f.Check)
				}
				got = append(got, seen{f.Severity, f.Check, f.Object, 0})
			}
			if diff := cmp.Diff(c.want, got, cmp.Transformer("set", func(s []seen) map[seen]int {
				m := map[seen]int{}
				for _, x := range s {
					m[x]++
				}
				return m
			})); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%+v", diff, r.Findings)
			}
		})
	}
}

func TestAFindingSaysWhereAndWhatToWrite(t *testing.T) {
	r := report(t, without(t, cell(t), "default-deny"))
	want := []lint.Finding{{
		Severity: lint.Error, Check: "no-default-deny", File: r.Findings[0].File, Line: 35,
		Object: "Gateway orion/waypoint",
		Message: "has no default-deny: a Service without an ALLOW policy of its own is open to everyone, also a " +
			"second Service that somebody puts over protected pods",
		Fix: "an AuthorizationPolicy default-deny in namespace orion with targetRefs [{group: " +
			"gateway.networking.k8s.io, kind: Gateway, name: waypoint}] and no rules",
	}}
	if diff := cmp.Diff(want, r.Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestAFindingAboutARuleIsInItsLine(t *testing.T) {
	r := report(t, cell(t)+policy("many", `
  rules:
  - from: [{source: {serviceAccounts: [waypoint]}}]
  - to: [{operation: {methods: [GET]}}]`))
	if len(r.Findings) != 1 || r.Findings[0].Line != 91 {
		t.Errorf("findings %+v, want one in line 91", r.Findings)
	}
}

func TestWhatLintDoesNotKnowIsListed(t *testing.T) {
	r := report(t, cell(t)+`---
services: {web: {image: x}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: surprise, namespace: orion}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: elsewhere, namespace: orion}
spec:
  targetRefs: [{group: "", kind: Service, name: guidance-nav}]
  rules: [{from: [{source: {principals: [cluster.local/ns/unknown/sa/x]}}]}]
`)
	var got []string
	for _, n := range r.NotJudged {
		got = append(got, n.Object+": "+n.Why)
	}
	want := []string{
		"EnvoyFilter orion/surprise: it can change what a waypoint or gateway does",
		"AuthorizationPolicy orion/elsewhere: rule 0: whether service account unknown/x exists; its namespace is not " +
			"among the files",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not judged (-want +got):\n%s", diff)
	}
	if len(r.Findings) != 0 {
		t.Errorf("findings: %+v, want none", r.Findings)
	}
	got = nil
	for _, l := range r.LeftOut {
		got = append(got, l.What)
	}
	if diff := cmp.Diff([]string{"EnvoyFilter of networking.istio.io", "files without a Kubernetes object"},
		got); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

// Not every Istio is an ambient one, and not every policy is for pods.
func TestWhatOtherProxiesEnforceIsNotJudged(t *testing.T) {
	const l7 = "spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}\n"
	const head = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: "
	for _, c := range []struct{ name, manifests, why string }{
		{"sidecars", "apiVersion: v1\nkind: Namespace\nmetadata: {name: old, labels: {istio-injection: enabled}}\n" +
			head + "old}\n" + l7,
			"its namespace has sidecars, and lint judges ambient meshes"},
		{"an ingress gateway's namespace", "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: " +
			"{name: front, namespace: edge}\nspec: {gatewayClassName: istio}\n" + head + "edge}\n" + l7,
			"it is for an ingress gateway"},
		{"an ingress gateway's label", head[len("---\n"):] + "edge}\nspec: {selector: {matchLabels: " +
			"{gateway.networking.k8s.io/gateway-name: front}}, rules: [{to: [{operation: {methods: [GET]}}]}]}\n",
			"it is for an ingress gateway"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.manifests)
			if len(r.Findings) != 0 {
				t.Errorf("findings %+v, want none", r.Findings)
			}
			if len(r.NotJudged) == 0 || r.NotJudged[len(r.NotJudged)-1].Why != c.why {
				t.Errorf("not judged %+v, want %q", r.NotJudged, c.why)
			}
		})
	}
}

// The API server's Service is in every dump of a cluster, without a selector: of what stands
// behind it only somebody says something who protects it.
func TestAServiceWithoutASelectorIsNotJudgedWhereItIsProtected(t *testing.T) {
	const apiServer = `---
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default, labels: {component: apiserver, provider: kubernetes}}
spec: {type: ClusterIP, clusterIP: 10.43.0.1, ports: [{name: https, port: 443, targetPort: 6443}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: kubernetes, namespace: default}
subsets: [{addresses: [{ip: 172.18.0.2}], ports: [{name: https, port: 6443}]}]
`
	const ours = `---
apiVersion: v1
kind: Namespace
metadata: {name: default}
`
	for _, c := range []struct {
		name, manifests string
		judged          bool
	}{
		{"in no mesh", apiServer + ours, true},
		{"in the mesh", apiServer + strings.Replace(ours, "default}", "default, labels: {istio.io/dataplane-mode: "+
			"ambient}}", 1), true},
		{"behind a waypoint", apiServer + strings.Replace(ours, "default}", "default, labels: "+
			"{istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}", 1), false},
		{"with a policy of its own", apiServer + ours + strings.Replace(policy("api", `{targetRefs: [{group: "", `+
			`kind: Service, name: kubernetes}], rules: [{}]}`), "orion", "default", 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, cell(t)+c.manifests)
			named := slices.ContainsFunc(r.NotJudged, func(n lint.NotJudged) bool {
				return n == lint.NotJudged{File: n.File, Line: n.Line, Object: "Service default/kubernetes",
					Why: "spec: has no selector: somebody else says what its endpoints are"}
			})
			if named == c.judged {
				t.Errorf("not judged: %+v; want the Service in it: %t", r.NotJudged, !c.judged)
			}
		})
	}
}

func TestATemplateIsNotJudged(t *testing.T) {
	r := report(t, "{{- range .Values.cells }}\napiVersion: v1\n{{- end }}\n")
	if len(r.Findings) != 0 || len(r.LeftOut) != 1 || r.LeftOut[0].What != "templates" {
		t.Errorf("report %+v, want a template that was not judged", r)
	}
}

func TestTheSuiteIsClosed(t *testing.T) {
	r := lintFiles(t, "../../openchoreo/rendered", "../../istio/cells")
	for _, f := range r.Findings {
		if f.Severity != lint.Note {
			t.Errorf("%s:%d: %s %s: %s", f.File, f.Line, f.Check, f.Object, f.Message)
		}
	}
	if diff := cmp.Diff([]lint.NotJudged{}, r.NotJudged); diff != "" {
		t.Errorf("not judged (-want +got):\n%s", diff)
	}
}

// At mtls everything is meant to be open; lint has to see it.
func TestTheStageBeforeIsNot(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{}, "../../openchoreo/rendered", "../../istio/cells")
	if err != nil {
		t.Fatal(err)
	}
	over, err := manifest.Load("../../istio/stages/mtls")
	if err != nil {
		t.Fatal(err)
	}
	in.Set = in.Set.Overlay(over)
	r, err := lint.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range r.Findings {
		if f.Severity != lint.Note {
			got[f.Check]++
		}
	}
	// Services without a waypoint, policies for them, and components whose
	// NetworkPolicies the mesh goes around: one of each for every service.
	n := len(catalog.Services())
	if diff := cmp.Diff(map[string]int{"service-without-waypoint": 2 * n, "hbone-opens-perimeter": n},
		got); diff != "" {
		t.Errorf("findings by check (-want +got):\n%s", diff)
	}
}

// What kubectl gives is linted as it is.
func TestAClustersOwnListIsLinted(t *testing.T) {
	r := lintFiles(t, "testdata/cluster.yaml")
	var got []seen
	for _, f := range r.Findings {
		got = append(got, seen{f.Severity, f.Check, f.Object, f.Line})
	}
	want := []seen{
		{lint.Warning, "probes-refused", "Deployment shop/web", 594},
		{lint.Error, "ingress-not-through-waypoint", "Service shop/web", 942},
		{lint.Note, "refused-by-node-proxy", "Service shop/cart-pods", 1028},
		{lint.Warning, "service-without-waypoint", "Service data/db", 1199},
		{lint.Note, "escape-by-decoding", "AuthorizationPolicy shop/cart", 1819},
		{lint.Error, "l7-in-selector-policy", "AuthorizationPolicy data/db-readers", 1986},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	left := []string{}
	for _, l := range r.LeftOut {
		left = append(left, fmt.Sprintf("%d %s: %s", len(l.Places), l.What, l.Why))
	}
	if diff := cmp.Diff([]string{"6 Pod: made by a workload that is among the files, and judged with it"},
		left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if r.Objects != 40 || r.Assumed != 0 || len(r.NotJudged) != 1 {
		t.Errorf("%d objects, %d without a namespace, not judged %+v; want 40, 0 and one", r.Objects, r.Assumed,
			r.NotJudged)
	}
}

// A file of silences is judged as a comment is: what it silences is taken out with the
// reason, and what silences nothing is found in its own line.
func TestAFileOfSilences(t *testing.T) {
	dir := t.TempDir()
	manifests, file := filepath.Join(dir, "deny.yaml"), filepath.Join(dir, "silences.yaml")
	const deny = `{targetRefs: [{group: "", kind: Service, name: guidance-nav}], action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`
	if err := os.WriteFile(manifests, []byte(cell(t)+policy("d", deny)+policy("e", deny)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, silences string
		want           []string // what is found, and what is silenced
		err            string
	}{
		{"by the object", "- {check: deny-by-path, object: AuthorizationPolicy orion/d, reason: raw paths}",
			[]string{"found deny-by-path AuthorizationPolicy orion/e",
				"silenced deny-by-path AuthorizationPolicy orion/d: raw paths, silences.yaml:2"}, ""},
		{"by a pattern", "- {check: deny-by-path, object: \"* orion/*\", reason: raw paths}",
			[]string{"silenced deny-by-path AuthorizationPolicy orion/d: raw paths, silences.yaml:2",
				"silenced deny-by-path AuthorizationPolicy orion/e: raw paths, silences.yaml:2"}, ""},
		{"by the file", "- {check: deny-by-path, file: \"*/deny.yaml\", object: \"*/e\", reason: raw paths}",
			[]string{"found deny-by-path AuthorizationPolicy orion/d",
				"silenced deny-by-path AuthorizationPolicy orion/e: raw paths, silences.yaml:2"}, ""},
		{"what silences nothing", "- {check: deny-by-path, object: AuthorizationPolicy orion/f, reason: gone}\n" +
			"- {check: deny-by-pth, object: \"*\", reason: raw paths}\n- {check: deny-by-path, object: \"*\"}",
			[]string{"found deny-by-path AuthorizationPolicy orion/d", "found deny-by-path AuthorizationPolicy orion/e",
				"silences.yaml:2 silences deny-by-path, which finds nothing in AuthorizationPolicy orion/f",
				`silences.yaml:3 "deny-by-pth" is none of the checks`,
				"silences.yaml:4 gives no reason: nothing is silenced"}, ""},
		{"about nothing", "- {check: deny-by-path, reason: raw paths}", nil, "say what it is about"},
		{"a misspelt key", "- {check: deny-by-path, objekt: x, reason: raw paths}", nil, "objekt: a silence has"},
		{"no list", "deny-by-path", nil, "write silences:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte("silences:\n"+c.silences+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			silences, err := manifest.ReadSilences(file)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), file) {
					t.Fatalf("%v, want an error about %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			in, err := manifest.ReadInput(manifest.Source{}, manifests)
			if err != nil {
				t.Fatal(err)
			}
			in.Silences = silences
			r, err := lint.Check(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				if f.Check == "silence" {
					got = append(got, fmt.Sprintf("%s:%d %s", filepath.Base(f.File), f.Line, f.Message))
				} else {
					got = append(got, fmt.Sprintf("found %s %s", f.Check, f.Object))
				}
			}
			for _, f := range r.Silenced {
				got = append(got, fmt.Sprintf("silenced %s %s: %s, %s", f.Check, f.Object, f.Reason,
					filepath.Base(f.SilencedAt)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestASilenceNeedsAReasonAndAFinding(t *testing.T) {
	const deny = `{targetRefs: [{group: "", kind: Service, name: guidance-nav}], action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`
	annotated := strings.Replace(policy("d", deny), "namespace: orion}", "namespace: orion, annotations: "+
		"{artemis.example/lint-ignore: 'deny-by-path raw paths; port-not-http no reason to'}}", 1)
	for _, c := range []struct {
		name, object     string
		findings, silent []string
	}{
		{"a comment with a reason", strings.Replace(policy("d", deny), "kind:",
			"# artemis-lint: ignore deny-by-path raw paths\nkind:", 1), nil, []string{"deny-by-path: raw paths"}},
		{"a comment above", "---\n# artemis-lint: ignore deny-by-path raw paths\n" + policy("d", deny)[len("---\n"):],
			nil, []string{"deny-by-path: raw paths"}},
		{"without a reason", "---\n# artemis-lint: ignore deny-by-path\n" + policy("d", deny)[len("---\n"):],
			[]string{"deny-by-path", "silence: gives no reason: nothing is silenced"}, nil},
		{"an annotation, one of two for nothing", annotated,
			[]string{"silence: silences port-not-http, which finds nothing here"}, []string{"deny-by-path: raw paths"}},
		{"no such check", "---\n# artemis-lint: ignore deny-by-pth raw paths\n" + policy("d", deny)[len("---\n"):],
			[]string{"deny-by-path", `silence: "deny-by-pth" is none of the checks`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, cell(t)+c.object)
			var findings, silent []string
			for _, f := range r.Findings {
				if f.Check == "silence" {
					f.Check += ": " + f.Message
				}
				findings = append(findings, f.Check)
			}
			for _, f := range r.Silenced {
				silent = append(silent, f.Check+": "+f.Reason)
			}
			slices.Sort(findings)
			if diff := cmp.Diff([][]string{c.findings, c.silent}, [][]string{findings, silent}); diff != "" {
				t.Errorf("findings and silenced (-want +got):\n%s", diff)
			}
		})
	}
}

// Files of which the input is not the whole prove nothing about what is missing.
func TestWhatIsMissingIsNotJudgedWhereTheFilesAreNotTheWhole(t *testing.T) {
	const lone = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: " +
		"shop}\nspec:\n"
	const ns = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: " +
		"ambient}}\n"
	const web = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: " +
		"web}, ports: [{name: http, port: 80}]}\n"
	const account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n"
	for _, c := range []struct {
		name, manifests string
		errors          int
	}{
		{"a selector, policies alone", lone + "  selector: {matchLabels: {app: web}}\n", 0},
		{"a target, policies alone", lone + "  targetRefs: [{group: '', kind: Service, name: web}]\n", 0},
		{"a principal, policies alone", lone + "  rules: [{from: [{source: {principals: " +
			"[cluster.local/ns/shop/sa/cart]}}]}]\n", 0},
		{"a target, and the namespace with its Services",
			lone + "  targetRefs: [{group: '', kind: Service, name: cart}]\n" + ns + web, 1},
		{"a principal, and the namespace with its accounts",
			lone + "  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]\n" + ns + account, 1},
		{"a target, and files of two clusters", lone + "  targetRefs: [{group: '', kind: Service, name: cart}]\n" + ns +
			web + strings.Replace(web, "port: 80", "port: 81", 1), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, c.manifests)
			if r.Count(lint.Error) != c.errors || (c.errors == 0 && len(r.NotJudged) == 0) {
				t.Errorf("findings %+v, not judged %+v; want %d errors, and what is not judged named", r.Findings,
					r.NotJudged, c.errors)
			}
		})
	}
}

// In the mesh everything arrives on one port: a NetworkPolicy that does not say so
// refuses it, and one that says so to everybody lets everybody in.
func TestNetworkPoliciesAndTheMeshsPort(t *testing.T) {
	const shop = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x, ports: [{containerPort: 8080}]}]}}}
`
	network := func(ingress string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: " +
			"shop}\nspec: {podSelector: {matchLabels: {app: web}}, ingress: [" + ingress + "]}\n"
	}
	const friends = "from: [{podSelector: {matchLabels: {app: front}}}], "
	for _, c := range []struct {
		name, manifests string
		want            []seen
	}{
		{"the application's port only", network("{ports: [{port: 8080}]}"),
			[]seen{{lint.Error, "mesh-refused", "Deployment shop/web", 0}}},
		{"the application's port from friends only", network("{" + friends + "ports: [{port: 8080}]}"),
			[]seen{{lint.Error, "mesh-refused", "Deployment shop/web", 0}}},
		{"both ports from friends", network("{" + friends + "ports: [{port: 8080}, {port: 15008}]}"), nil},
		{"everything from friends", network("{" + friends + "}"), nil},
		{"the mesh's port from everybody", network("{" + friends + "ports: [{port: 8080}]}, {ports: [{port: 15008}]}"),
			[]seen{{lint.Warning, "hbone-opens-perimeter", "Deployment shop/web", 0}}},
		{"and an identity that has to be shown",
			network("{"+friends+"ports: [{port: 8080}]}, {ports: [{port: 15008}]}") +
				"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: web, namespace: " +
				"shop}\nspec: {rules: [{from: [{source: {serviceAccounts: [front]}}]}]}\n" +
				"---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: front, namespace: shop}\n", nil},
		{"nothing at all, as is meant", network(""), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []seen
			for _, f := range report(t, shop+c.manifests).Findings {
				got = append(got, seen{f.Severity, f.Check, f.Object, 0})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
