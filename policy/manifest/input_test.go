package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

// tree writes files below a new directory and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func input(t *testing.T, content string) *manifest.Input {
	t.Helper()
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(content)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// gaps are the gaps in words.
func gaps(list []manifest.Gap) []string {
	var out []string
	for _, g := range list {
		out = append(out, g.String()+": "+g.Why)
	}
	return out
}

// leftOut is what was left out, with the number of places.
func leftOut(in *manifest.Input) map[string]int {
	out := map[string]int{}
	for _, l := range in.LeftOut {
		out[l.What+": "+l.Why] += len(l.Places)
	}
	return out
}

func TestInputTakesWhatAClusterGives(t *testing.T) {
	in := input(t, `apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop, uid: 1-2, resourceVersion: "7", generation: 2, managedFields: [{manager: kubectl}]}
  spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x}, {name: d, image: y}], hostAliases: []}}}
  status: {readyReplicas: 3}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-5b9-x7, namespace: shop, labels: {app: web, pod-template-hash: 5b9}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5b9, uid: 1}]}
  spec: {containers: [{name: c, image: x}]}
  status: {phase: Running}
- apiVersion: v1
  kind: Pod
  metadata: {name: lone, namespace: shop, labels: {app: lone}}
  spec: {serviceAccountName: lone, containers: [{name: c, image: x}]}
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: db, namespace: shop}
  spec: {template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: x}]}}}
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: night, namespace: shop}
  spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: night}}, spec: {containers: [{name: c, image: x}]}}}}}
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: strict, namespace: shop}
  spec: {mtls: {mode: STRICT}}
  status: {}
- apiVersion: argoproj.io/v1alpha1
  kind: Rollout
  metadata: {name: slow, namespace: shop}
  spec: {template: {metadata: {labels: {app: slow}}, spec: {containers: [{name: c, image: x}]}}}
- apiVersion: v1
  kind: Secret
  metadata: {name: s, namespace: shop}
`)
	var names []string
	for _, w := range in.Set.AllWorkloads() {
		names = append(names, w.Kind+" "+w.Key.String())
	}
	want := []string{"Deployment shop/web", "Pod shop/lone", "StatefulSet shop/db", "CronJob shop/night",
		"Rollout.argoproj.io shop/slow"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	if len(in.Problems) > 0 || len(in.Gaps) > 0 {
		t.Errorf("problems %v, gaps %v; want none", in.Problems, gaps(in.Gaps))
	}
	left := map[string]int{"Secret: nothing that is judged depends on it": 1,
		"Pod: made by a workload that is among the files, and judged with it": 1}
	if diff := cmp.Diff(left, leftOut(in)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

func TestInputGivesANamespaceOnceAndToEverything(t *testing.T) {
	in := input(t, "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: "+
		"[{port: 80}]}\n")
	if s := in.Set.Services[0]; s.Namespace != "default" || in.Assumed != 1 || len(in.Problems) > 0 {
		t.Errorf("namespace %q, assumed %d, problems %v; want default, 1 and none", s.Namespace, in.Assumed,
			in.Problems)
	}
	if o := in.Set.Origins[manifest.Key{Kind: "Service", Namespace: "default", Name: "web"}]; o.Line != 1 {
		t.Errorf("it is at %v, want line 1 of standard input", o)
	}
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader("kind: ServiceAccount\napiVersion: " +
		"v1\nmetadata: {name: a}\n"), Namespace: "shop"}, "-")
	if err != nil || in.Set.ServiceAccounts[0].Namespace != "shop" {
		t.Errorf("with --namespace shop: %v, %v", in.Set.ServiceAccounts, err)
	}
}

func TestInputNamesWhatHasToBeRendered(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {selector: {app: web}, ports: " +
		"[{port: 80}]}\n"
	named := func(name string) string { return strings.Replace(service, "NAME", name, 1) }
	root := tree(t, map[string]string{
		"chart/Chart.yaml":            "name: c\n",
		"chart/values.yaml":           "a: 1\n",
		"chart/templates/s.yaml":      named("from-a-chart"),
		"loose/parses.yaml":           named("'{{ .Values.name }}'"),
		"loose/does-not.yaml":         "{{- if .Values.x }}\n" + named("x"),
		"loose/shell.yaml":            named("'${NAME}'"),
		"loose/blank.yaml":            named("s") + "status: {user}/name\n",
		"over/kustomization.yaml":     "resources: [../base]\nnamePrefix: a-\npatches: [{path: p.yaml}]\n",
		"over/p.yaml":                 "apiVersion: v1\nkind: Service\nmetadata: {name: base}\n",
		"base/kustomization.yaml":     "resources: [s.yaml]\n",
		"base/s.yaml":                 named("base"),
		"moved/kustomization.yaml":    "namespace: shop\nresources: [s.yaml]\n",
		"moved/s.yaml":                named("moved"),
		"workflow/ci.yaml":            "on: push\njobs: {}\n",
		"plain/deep/down/service.yml": named("plain"),
		"plain/.hidden/not-read.yaml": named("hidden"),
		"plain/only-a-comment.yaml":   "# nothing\n",
		"plain/crds/customkind.yaml":  "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n",
		"plain/config/alertrules.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: 'x {{ " +
			"$labels.pod }}'}\n",
	})
	in, err := manifest.ReadInput(manifest.Source{}, root)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range in.Set.Services {
		got[s.Name] = s.Namespace
	}
	if diff := cmp.Diff(map[string]string{"plain": "default", "moved": "shop"}, got); diff != "" {
		t.Errorf("Services (-want +got):\n%s", diff)
	}
	want := map[string]int{
		"files of a Helm chart: render it first: helm template CHART | artemis lint -":    3,
		"sources of kustomize: render them first: kubectl kustomize DIR | artemis lint -": 3,
		"kustomizations: they change nothing that is judged":                              2,
		"templates: render them first":                                                    4,
		"files without a Kubernetes object: there is nothing in them to judge":            2,
		"Thing of example.com: nothing that is judged depends on it":                      1,
	}
	if diff := cmp.Diff(want, leftOut(in)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if len(in.Problems) > 0 {
		t.Errorf("problems: %v", in.Problems)
	}
}

func TestInputNamesWhatAnAnswerCannotTake(t *testing.T) {
	const at = "<stdin>"
	for _, c := range []struct {
		name, content string
		want          []string
		touches       manifest.Target // is touched by all of it
		not           manifest.Target // by none
	}{
		{"a VirtualService of the mesh", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " +
			"v, namespace: shop}\nspec: {hosts: [web]}\n",
			[]string{"VirtualService shop/v in " + at +
				":1: it can send requests elsewhere, or change them, at a waypoint"},
			manifest.Target{Namespace: "shop", Service: "web", Gateways: []string{"shop/waypoint"}},
			manifest.Target{Namespace: "shop", Service: "web"}},
		{"a VirtualService of a gateway", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: " +
			"{name: v, namespace: shop}\nspec: {hosts: [web], gateways: [front]}\n", nil, manifest.Target{},
			manifest.Target{}},
		{"a VirtualService of hosts of which a ServiceEntry's is one", "apiVersion: networking.istio.io/v1\nkind: " +
			"VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [\"*.example.org\"]}\n---\n" +
			"apiVersion: networking.istio.io/v1\n" +
			"kind: ServiceEntry\nmetadata: {name: e, namespace: shop}\nspec: {hosts: " +
			"[api.example.org], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n",
			[]string{"VirtualService shop/v in " + at +
				":1: it can send requests elsewhere, or change them, at a waypoint"},
			manifest.Target{Namespace: "shop", ServiceEntry: "e", Gateways: []string{"shop/waypoint"}},
			manifest.Target{Namespace: "shop", ServiceEntry: "e"}},
		{"Cilium's policies", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: c, namespace: " +
			"shop}\nspec: {}\n",
			[]string{"CiliumNetworkPolicy shop/c in " + at + ":1: it can open and close connections beside the " +
				"NetworkPolicies"},
			manifest.Target{Caller: "shop", Namespace: "bank"}, manifest.Target{Caller: "bank", Namespace: "bank"}},
		{"the administrator's policies", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: " +
			"AdminNetworkPolicy\nmetadata: {name: c}\nspec: {}\n",
			[]string{"AdminNetworkPolicy c in " + at + ":1: it can open and close connections beside the " +
				"NetworkPolicies"},
			manifest.Target{Caller: "shop", Namespace: "bank"}, manifest.Target{}},
		{"a Service without selector", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: " +
			"{ports: [{port: 80}]}\n",
			[]string{"spec in " + at + ":4: has no selector: somebody else says what its endpoints are"},
			manifest.Target{Namespace: "shop", Service: "web"}, manifest.Target{Namespace: "shop"}},
		{"an ExternalName", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  type: " +
			"ExternalName\n  externalName: example.org\n",
			[]string{"spec.externalName in " + at + ":6: it is another name for example.org"},
			manifest.Target{Namespace: "shop", Service: "web"}, manifest.Target{Namespace: "shop"}},
		{"a gateway of another class", "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " +
			"gw, namespace: shop}\nspec:\n  gatewayClassName: nginx\n  listeners: []\n",
			[]string{"spec.gatewayClassName in " + at + ":5: nothing is known of gateways of class nginx"},
			manifest.Target{Gateways: []string{"shop/gw"}}, manifest.Target{Namespace: "shop"}},
		{"an invalid policy", policyHead + "  action: DENY\n",
			[]string{"AuthorizationPolicy a/p in " + at + ":4: admission refuses it: spec: DENY without rules never " +
				"denies; write rules: [{}] to deny everything"},
			manifest.Target{Namespace: "a"}, manifest.Target{Namespace: "b"}},
		{"a policy given twice", policyHead + "  rules: [{}]\n---\n" + policyHead + "  rules: []\n",
			[]string{"AuthorizationPolicy a/p in " + at + ":7: given twice, first in <stdin>:1, with other content"},
			manifest.Target{Namespace: "a"}, manifest.Target{Namespace: "b"}},
		{"a policy repeated", policyHead + "  rules: [{}]\n---\n" + policyHead + "  rules: [{}]\n", nil,
			manifest.Target{}, manifest.Target{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(t, c.content)
			if diff := cmp.Diff(c.want, gaps(in.Gaps)); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if got := manifest.Touching(in.Gaps, c.touches); len(got) != len(in.Gaps) {
				t.Errorf("%+v is touched by %v only", c.touches, gaps(got))
			}
			if got := manifest.Touching(in.Gaps, c.not); c.want != nil && c.name != "the administrator's policies" &&
				len(got) > 0 {
				t.Errorf("%+v is touched by %v", c.not, gaps(got))
			}
		})
	}
}

// TestMostAndLeastHoldTheTruthBetweenThem compares what a rule with tokens
// becomes at its widest and its narrowest.
func TestMostAndLeastHoldTheTruthBetweenThem(t *testing.T) {
	const head = "  targetRefs: [{group: \"\", kind: Service, name: web}]\n"
	rule := func(set *manifest.Set) string {
		if len(set.AuthorizationPolicies) == 0 {
			return "no policy"
		}
		p := set.AuthorizationPolicies[0]
		out := p.Spec.Action.String()
		for _, r := range p.Spec.Rules {
			out += " " + strings.ReplaceAll(r.String(), "  ", " ")
		}
		return out
	}
	const never = `from:{source:{principals:"(not judged)"}}`
	for _, c := range []struct{ name, spec, most, least string }{
		{"ALLOW", "  rules: [{from: [{source: {namespaces: [a], requestPrincipals: ['*']}}]}]\n",
			`ALLOW from:{source:{namespaces:"a"}}`, "ALLOW " + never},
		{"DENY", "  action: DENY\n  rules: [{from: [{source: {namespaces: [a], notRequestPrincipals: ['*']}}]}]\n",
			"DENY " + never, `DENY from:{source:{namespaces:"a"}}`},
		{"a source of nothing else", "  rules: [{from: [{source: {requestPrincipals: ['*']}}], to: [{operation: " +
			"{methods: [GET]}}]}]\n", `ALLOW to:{operation:{methods:"GET"}}`, "ALLOW " + never},
		{"a condition", "  rules: [{when: [{key: 'request.auth.claims[a]', values: [b]}, {key: source.namespace, " +
			"values: [c]}]}]\n", `ALLOW when:{key:"source.namespace" values:"c"}`, "ALLOW " + never},
		{"CUSTOM", "  action: CUSTOM\n  provider: {name: x}\n  rules: [{to: [{operation: {paths: [/a]}}]}]\n",
			"no policy", `DENY to:{operation:{paths:"/a"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(t, policyHead+head+c.spec)
			got := [2]string{rule(in.Most), rule(in.Least)}
			for i := range got { // protobuf varies its spaces on purpose
				got[i] = strings.ReplaceAll(got[i], ": ", ":")
			}
			if diff := cmp.Diff([2]string{c.most, c.least}, got); diff != "" {
				t.Errorf("most and least (-want +got):\n%s", diff)
			}
			if len(in.Gaps) != 1 || !in.Gaps[0].Bounded {
				t.Errorf("gaps: %v", gaps(in.Gaps))
			}
		})
	}
	in := input(t, policyHead+"  rules: [{from: [{source: {requestPrincipals: ['*']}}]}]\n")
	if in.Most != in.Set || in.Least != in.Set || len(in.Gaps) > 0 {
		t.Errorf("a policy for node proxies, which leave such rules out themselves, has gaps %v", gaps(in.Gaps))
	}
}

// Aliases that lead to one node again and again cost no more than the node: the file is
// named, and nothing hangs on it.
// An API server knows a field by its JSON name only; what it does not know it leaves out.
func TestFieldsAreThoseOfTheCRDs(t *testing.T) {
	in := input(t, `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
  selector: {matchLabels: {not_a: field}}
  rules:
  - from:
    - source: {namespaces: [shop], not_principals: [x]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  port_level_mtls: {8080: {mode: STRICT}}
`)
	var problems []string
	for _, p := range in.Problems {
		problems = append(problems, fmt.Sprintf("%d %s %s", p.Line, p.Code, p.Message))
	}
	if diff := cmp.Diff([]string{`8 unknown-field spec: unknown field "not_principals": write notPrincipals`,
		`15 unknown-field spec: unknown field "port_level_mtls": write portLevelMtls`}, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	policy := in.Set.AuthorizationPolicies[0]
	if s := policy.Spec.Rules[0].From[0].Source; len(s.NotPrincipals) > 0 || len(s.Namespaces) != 1 ||
		policy.Spec.Selector.MatchLabels["not_a"] != "field" {
		t.Errorf("the policy is %v, want the field left out and the rest kept", &policy.Spec)
	}
	if ports := in.Set.PeerAuthentications[0].Spec.PortLevelMtls; len(ports) > 0 {
		t.Errorf("the ports are %v, want none", ports)
	}
}

func TestABombOfAliasesIsNamed(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%[1]d: &a%[1]d [*a%[2]d%[3]s]\n", i, i-1, strings.Repeat(fmt.Sprintf(", *a%d", i-1), 9))
	}
	b.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\nspec: {ports: *a11}\n")
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(b.String())}, "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Problems) != 1 || in.Problems[0].Code != manifest.CodeSyntax || len(in.Set.Services) != 0 {
		t.Errorf("%v, %d Services; want one that is too large", in.Problems, len(in.Set.Services))
	}
}

// An object that no API server would take for its name stops no answer about others: it
// is a problem where it is a matter of policies, or left out, or still to be rendered.
func TestWhatHasNoNameIsNamed(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(`
{apiVersion: v1, kind: Service, metadata: {name: under_score, namespace: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: __NAMESPACE__}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: SERVICE, namespace: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a b}, spec: {containers: [{name: c, image: x}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {serviceAccountName: s s, containers: [{name: c, image: x}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: good, namespace: a}, spec: {ports: [{port: 80}]}}
`)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range in.Problems {
		got = append(got, fmt.Sprintf("%d %s", p.Line, p.Message))
	}
	for _, l := range in.LeftOut {
		got = append(got, fmt.Sprintf("%d %s: %s", len(l.Places), l.What, l.Why))
	}
	for _, s := range in.Set.Services {
		got = append(got, s.Name)
	}
	want := []string{`2 "under_score" is no name`,
		`1 Deployment: no API server takes it: "s s" is no name`,
		`1 Pod: no API server takes it: "a b" is no namespace's name`,
		"2 templates: render them first", "good"}
	if diff := cmp.Diff(want, got); diff != "" || len(in.Set.AllWorkloads()) != 0 {
		t.Errorf("(-want +got)\n%s%v", diff, in.Set.AllWorkloads())
	}
}

// JSON documents stand one behind the other where several commands wrote them.
func TestJSONDocumentsOneBehindTheOther(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(`{"apiVersion": "v1", "kind": "Namespace",
	"metadata": {"name": "a"}}
{"apiVersion": "v1", "kind": "List", "items": [
	{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "a"},
		"spec": {"action": "DENY"}}]}
`)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Set.Namespaces) != 1 || len(in.Set.AuthorizationPolicies) != 1 || len(in.Problems) != 1 ||
		in.Problems[0].Line != 5 || in.Problems[0].Code != manifest.CodeInvalid {
		t.Errorf("%d Namespaces, %d policies, %+v; want one each, and the policy refused for its line 5",
			len(in.Set.Namespaces), len(in.Set.AuthorizationPolicies), in.Problems)
	}
	in, err = manifest.ReadInput(manifest.Source{Stdin: strings.NewReader("{\"a\": 1}\n{\"b\": ")}, "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Problems) != 1 || in.Problems[0].Code != manifest.CodeSyntax {
		t.Errorf("cut off: %+v, want one about the syntax", in.Problems)
	}
}
