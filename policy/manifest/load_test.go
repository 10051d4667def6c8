package manifest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

// fault is a problem without its file.
type fault struct {
	Line    int
	Code    manifest.Code
	Object  string
	Message string
}

func faults(t *testing.T, content string) []fault {
	t.Helper()
	_, err := manifest.Parse("x.yaml", content)
	var problems manifest.Problems
	if err == nil {
		return nil
	}
	if !errors.As(err, &problems) {
		t.Fatalf("%v is no list of problems", err)
	}
	var out []fault
	for _, p := range problems {
		if p.File != "x.yaml" || !strings.Contains(err.Error(), p.Error()) {
			t.Errorf("the error does not say %q with its file: %v", p.Error(), err)
		}
		object := ""
		if p.Object.Kind != "" {
			object = p.Object.Kind + " " + p.Object.String()
		}
		out = append(out, fault{p.Line, p.Code, object, p.Message})
	}
	return out
}

const policyHead = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: a}\n" +
	"spec:\n"

func policy(spec string) string {
	return policyHead + "  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

func deployment(edit ...string) string {
	return strings.NewReplacer(edit...).Replace(`apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: a}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
      - name: main
        image: i
`)
}

func TestWhatIsRefused(t *testing.T) {
	const (
		ap  = "AuthorizationPolicy a/p"
		svc = "Service a/s"
		dep = "Deployment a/d"
	)
	service := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: a}\nspec: {" + spec + "}\n"
	}
	route := func(rule string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: " +
			"a}\nspec:\n  rules:\n  - " + rule + "\n"
	}
	const backend = ", backendRefs: [{name: s, port: 80}]"
	for _, c := range []struct {
		name, in string
		want     fault
	}{
		// the YAML itself
		{"no YAML", "a: [", fault{1, manifest.CodeSyntax, "", "line 1: did not find expected node content"}},
		{"no object", "a: b\n", fault{1, manifest.CodeNoObject, "",
			"no Kubernetes object: apiVersion and kind are needed"}},
		{"an unknown kind", "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: a}\n",
			fault{1, manifest.CodeUnknownKind, "Secret a/s", "local mode does not implement Secret of v1"}},
		{"a known kind of another group", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: d, " +
			"namespace: a}\n", fault{1, manifest.CodeUnknownKind, dep,
			"local mode does not implement Deployment of extensions/v1beta1"}},
		{"a name that is missing", "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: a}\n",
			fault{1, manifest.CodeInvalid, "ConfigMap a/", "metadata.name is missing"}},
		{"a namespace that is missing", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
			fault{1, manifest.CodeNoNamespace, "ConfigMap c",
				"metadata.namespace is missing; without it the object lands wherever kubectl points"}},
		{"a namespace that YAML reads as false", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  " +
			"namespace: n\n", fault{5, manifest.CodeYAMLBoolean, "ConfigMap n/c",
			`metadata.namespace: n without quotes is the boolean false in YAML; write "n" if the word is meant, or false`}},
		{"a value that YAML reads as true", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: " +
			"a}\ndata:\n  X: on\n", fault{5, manifest.CodeYAMLBoolean, "ConfigMap a/c",
			`data.X: on without quotes is the boolean true in YAML; write "on" if the word is meant, or true`}},
		{"a boolean where a word belongs", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: " +
			"a}\ndata:\n  X: true\n", fault{5, manifest.CodeInvalid, "ConfigMap a/c",
			"data.X: a bool where a string is needed"}},
		{"a number where a word belongs",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\ndata: {X: 1}\n",
			fault{4, manifest.CodeInvalid, "ConfigMap a/c", "data.X: a number where a string is needed"}},
		{"a key given twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\ndata:\n  X: a\n  " +
			"Z: b\n  X: c\n", fault{7, manifest.CodeDuplicateKey, "ConfigMap a/c",
			"data.X is given twice, first in line 5"}},
		{"an object given twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: " +
			"a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\n",
			fault{5, manifest.CodeDuplicateObject, "ConfigMap a/c", "given twice, first in x.yaml:1"}},
		{"an unknown field", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\ndate: {}\n",
			fault{4, manifest.CodeUnknownField, "ConfigMap a/c", "unknown field date"}},
		{"a field in the wrong case", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\nData: {}\n",
			fault{4, manifest.CodeUnknownField, "ConfigMap a/c", "unknown field Data"}},
		{"an unknown field of a policy", policy("rules:\n- from:\n  - source: {principal: [x]}\n"),
			fault{7, manifest.CodeUnknownField, ap, `spec: unknown field "principal"`}},
		{"a field of a policy in snake case", policy("target_refs: []"), fault{5, manifest.CodeUnknownField, ap,
			`spec: unknown field "target_refs"`}},
		{"a port of a policy that is no string", policy("rules:\n- to:\n  - operation: {ports: [8080]}\n"),
			fault{7, manifest.CodeInvalid, ap, `spec: invalid value for string field ports: 8080`}},
		{"an unknown action", policy("action: PERMIT"), fault{5, manifest.CodeInvalid, ap,
			`spec: invalid value for enum field action: "PERMIT"`}},
		{"a merge key", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: a}\ndata:\n  <<: {X: a}\n",
			fault{5, manifest.CodeNotImplemented, "ConfigMap a/c",
				"data: the merge key << is not supported; write the fields out"}},
		{"a status", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nstatus: {phase: Active}\n",
			fault{4, manifest.CodeNotImplemented, "Namespace a", "local mode does not implement the field status"}},

		// the mesh's labels
		{"a label that changes a mesh", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    " +
			"istio.io/use-waypoint-namespace: b\n", fault{6, manifest.CodeNotImplemented, "Namespace a",
			"local mode does not implement the label or annotation istio.io/use-waypoint-namespace"}},
		{"a label's unknown value", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: " +
			"{istio.io/dataplane-mode: sidecar}}\n", fault{3, manifest.CodeNotImplemented, "Namespace a",
			`local mode does not implement istio.io/dataplane-mode: "sidecar", only ["ambient" "none"]`}},
		{"a waypoint for workloads", "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g, " +
			"namespace: a, labels: {istio.io/waypoint-for: all}}\nspec: {gatewayClassName: istio-waypoint}\n",
			fault{3, manifest.CodeNotImplemented, "Gateway a/g",
				`local mode does not implement istio.io/waypoint-for: "all", only ["service" "none"]`}},

		// workloads
		{"an init container", deployment("containers:", "initContainers: [{name: x, image: i}]\n      containers:"),
			fault{9, manifest.CodeNotImplemented, dep,
				"local mode does not implement the field spec.template.spec.initContainers"}},
		{"a volume", deployment("containers:", "volumes: [{name: v, emptyDir: {}}]\n      containers:", "image: i",
			"image: i\n        volumeMounts: [{name: v, mountPath: /data}]"), fault{13, manifest.CodeNotImplemented,
			dep, "spec.template.spec.containers[0].volumeMounts[0]: local mode mounts no volume but an emptyDir on " +
				"/tmp"}},
		{"a secret's variable", deployment("image: i", "image: i\n        env: [{name: X, valueFrom: {secretKeyRef: "+
			"{name: s, key: k}}}]"), fault{12, manifest.CodeNotImplemented, dep,
			"local mode does not implement the field spec.template.spec.containers[0].env[0].valueFrom"}},
		{"three replicas", deployment("selector:", "replicas: 3\n  selector:"), fault{5, manifest.CodeNotImplemented,
			dep, "spec.replicas: local mode runs one pod of a Deployment, or none, not 3"}},
		{"two containers", deployment("image: i", "image: i\n      - {name: b, image: i}"),
			fault{9, manifest.CodeNotImplemented, dep,
				"spec.template.spec.containers: local mode runs exactly one container of a pod, not 2"}},
		{"a selector that misses its pods", deployment("matchLabels: {app: d}", "matchLabels: {app: e}"),
			fault{5, manifest.CodeInvalid, dep, "spec.selector: does not match the labels of the pod template"}},
		{"an exec probe", deployment("image: i", "image: i\n        livenessProbe: {exec: {command: [a]}}"),
			fault{12, manifest.CodeNotImplemented, dep,
				"spec.template.spec.containers[0].livenessProbe: local mode implements httpGet probes only"}},

		// Services, gateways, routes
		{"a node port", service("type: NodePort, selector: {a: b}, ports: [{port: 80}]"), fault{4,
			manifest.CodeNotImplemented, svc, "spec.type: local mode implements ClusterIP only, not NodePort"}},
		{"a Service without a selector", service("ports: [{port: 80}]"), fault{4, manifest.CodeNotImplemented, svc,
			"spec: local mode implements no Service without a selector"}},
		{"a UDP port", service("selector: {a: b}, ports: [{port: 53, protocol: UDP}]"),
			fault{4, manifest.CodeNotImplemented, svc, "spec.ports[0].protocol: local mode carries TCP only, not UDP"}},
		{"session affinity", service("selector: {a: b}, ports: [{port: 80}], sessionAffinity: ClientIP"),
			fault{4, manifest.CodeNotImplemented, svc, "local mode does not implement the field spec.sessionAffinity"}},
		{"another gateway class", "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g, " +
			"namespace: a}\nspec: {gatewayClassName: nginx}\n", fault{4, manifest.CodeNotImplemented, "Gateway a/g",
			`spec.gatewayClassName: local mode knows istio-waypoint and istio, not "nginx"`}},
		{"a route by header", route("{matches: [{headers: [{name: x, value: z}]}]" + backend + "}"),
			fault{6, manifest.CodeNotImplemented, "HTTPRoute a/r",
				"local mode does not implement the field spec.rules[0].matches[0].headers"}},
		{"a route by expression", route("{matches: [{path: {type: RegularExpression, value: /}}]" + backend + "}"),
			fault{6, manifest.CodeNotImplemented, "HTTPRoute a/r",
				"spec.rules[0].matches[0].path.type: local mode knows PathPrefix and Exact, not RegularExpression"}},
		{"a redirect", route("{filters: [{type: RequestRedirect}]" + backend + "}"),
			fault{6, manifest.CodeNotImplemented, "HTTPRoute a/r", "spec.rules[0].filters[0].type: local mode " +
				"implements the filter URLRewrite only, not RequestRedirect"}},
		{"a prefix before everything", route("{filters: [{type: URLRewrite, urlRewrite: {path: " +
			"{type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]" + backend + "}"),
			fault{6, manifest.CodeNotImplemented, "HTTPRoute a/r", "spec.rules[0].filters[0]: Istio makes /bx of /x " +
				"there, the Gateway API /b/x"}},
		{"two backends", route("{backendRefs: [{name: s, port: 80}, {name: t, port: 80}]}"),
			fault{6, manifest.CodeNotImplemented, "HTTPRoute a/r",
				"spec.rules[0].backendRefs: local mode routes a rule to exactly one backend, not 2"}},

		// policies
		{"CUSTOM", policy("action: CUSTOM\nrules: [{}]"), fault{5, manifest.CodeNotImplemented, ap,
			"spec.action: local mode does not implement CUSTOM: it has no external authorizer to ask"}},
		{"DENY without rules", policy("action: DENY"), fault{4, manifest.CodeInvalid, ap,
			"spec: DENY without rules never denies; write rules: [{}] to deny everything"}},
		{"an empty from", policy("rules: [{from: []}]"), fault{5, manifest.CodeInvalid, ap,
			"spec.rules[0].from: must not be empty; leave it out for any source"}},
		{"an empty source", policy("rules: [{from: [{source: {}}]}]"), fault{5, manifest.CodeInvalid, ap,
			"spec.rules[0].from[0].source: must not be empty"}},
		{"an empty operation", policy("rules: [{to: [{operation: {}}]}]"), fault{5, manifest.CodeInvalid, ap,
			"spec.rules[0].to[0].operation: must not be empty"}},
		{"an empty value", policy("rules: [{to: [{operation: {paths: [\"\"]}}]}]"), fault{5, manifest.CodeInvalid, ap,
			"spec.rules[0].to[0].operation.paths[0]: a value must not be empty"}},
		{"a condition without values", policy("rules: [{when: [{key: source.ip}]}]"), fault{5, manifest.CodeInvalid, ap,
			"spec.rules[0].when[0]: source.ip needs values or notValues"}},
		{"an unknown condition", policy("rules: [{when: [{key: source.label, values: [x]}]}]"),
			fault{5, manifest.CodeInvalid, ap, `spec.rules[0].when[0].key: unknown attribute "source.label"`}},
		{"a token's claim", policy("rules: [{when: [{key: \"request.auth.claims[iss]\", values: [x]}]}]"),
			fault{5, manifest.CodeNotImplemented, ap, "spec.rules[0].when[0].key: local mode does not implement " +
				"request.auth.claims[iss]: nothing verifies tokens here"}},
		{"a selector together with a target", policy("selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, " +
			"name: s, group: \"\"}]"), fault{4, manifest.CodeInvalid, ap,
			"spec: only one of selector, targetRef and targetRefs can be set"}},
		{"a target in another namespace", policy("targetRefs: [{kind: Service, name: s, group: \"\", namespace: b}]"),
			fault{5, manifest.CodeInvalid, ap, "spec.targetRefs: a target must not name a namespace: a policy " +
				"attaches in its own"}},
		{"a target that is a pod", policy("targetRefs: [{kind: Pod, name: s, group: \"\"}]"),
			fault{5, manifest.CodeInvalid, ap,
				`spec.targetRefs: a policy attaches to a Service, Gateway or GatewayClass, not to Pod of group ""`}},
		{"a service account with a star", policy("rules: [{from: [{source: {serviceAccounts: [\"a/*\"]}}]}]"),
			fault{5, manifest.CodeInvalid, ap,
				`spec.rules[0].from[0].source.serviceAccounts[0]: "a/*": a service account takes no wildcard`}},
		{"service accounts with namespaces",
			policy("rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]"),
			fault{5, manifest.CodeInvalid, ap, "spec.rules[0].from[0].source: serviceAccounts cannot be set together " +
				"with namespaces or principals"}},
		{"a template with two {**}", policy("rules: [{to: [{operation: {paths: [\"/{**}/a/{*}\"]}}]}]"),
			fault{5, manifest.CodeInvalid, ap,
				`spec.rules[0].to[0].operation.paths[0]: "/{**}/a/{*}": {**} must be the last operator`}},
		{"a template with a star", policy("rules: [{to: [{operation: {paths: [\"/{*}/a*\"]}}]}]"),
			fault{5, manifest.CodeInvalid, ap,
				`spec.rules[0].to[0].operation.paths[0]: "/{*}/a*": "a*" cannot stand in a path template`}},
		{"a brace beside a template", policy("rules: [{to: [{operation: {paths: [\"/a{*}\"]}}]}]"),
			fault{5, manifest.CodeInvalid, ap,
				`spec.rules[0].to[0].operation.paths[0]: "/a{*}": a brace stands only in {*} and {**}`}},
		{"a port that is none", policy("rules: [{to: [{operation: {ports: [\"65536\"]}}]}]"),
			fault{5, manifest.CodeInvalid, ap, `spec.rules[0].to[0].operation.ports[0]: "65536" is no port`}},
		{"a network peer without a selector", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: " +
			"{name: np, namespace: a}\nspec:\n  podSelector: {}\n  ingress: [{from: [{}]}]\n",
			fault{6, manifest.CodeInvalid, "NetworkPolicy a/np",
				"spec.ingress[0].from[0]: a peer needs ipBlock, podSelector or namespaceSelector"}},
		{"an exception outside its block", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " +
			"np, namespace: a}\nspec:\n  podSelector: {}\n  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: " +
			"[11.0.0.0/16]}}]}]\n", fault{6, manifest.CodeInvalid, "NetworkPolicy a/np",
			"spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/16 is no part of 10.0.0.0/8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff([]fault{c.want}, faults(t, c.in)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	got := faults(t, policy("action: DENY")+"---\nkind: Nothing\n---\n"+deployment("selector:",
		"replicas: 3\n  selector:"))
	if len(got) != 3 {
		t.Errorf("%d problems, want 3: %+v", len(got), got)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func namespace(name, label string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + ", labels: {stage: " + label + "}}\n"
}

func TestLoadReadsDirectoriesAndRemembersWhere(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"b/two.yaml":  "# a comment\n" + namespace("a", "x") + "---\n" + policy("rules: [{}]"),
		"a.yml":       "---\n---\n" + deployment(),
		"notes.txt":   "not: yaml: at all",
		".git/x.yaml": "kind: Nothing",
		"c/list.yaml": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: " +
			"c, namespace: a}}\n",
		"c/beta.yaml":    strings.Replace(policy("rules: []"), "v1\n", "v1beta1\n", 1),
		"c/ignored.json": "{",
	})
	write(t, dir, map[string]string{"c/beta.yaml": strings.NewReplacer("security.istio.io/v1",
		"security.istio.io/v1beta1", "name: p", "name: q").Replace(policy("rules: []"))})
	set, err := manifest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[manifest.Key]manifest.Origin{
		{Kind: "Namespace", Name: "a"}:                           {File: filepath.Join(dir, "b/two.yaml"), Line: 2},
		{Kind: "AuthorizationPolicy", Namespace: "a", Name: "p"}: {File: filepath.Join(dir, "b/two.yaml"), Line: 6},
		{Kind: "AuthorizationPolicy", Namespace: "a", Name: "q"}: {File: filepath.Join(dir, "c/beta.yaml"), Line: 1},
		{Kind: "Deployment", Namespace: "a", Name: "d"}:          {File: filepath.Join(dir, "a.yml"), Line: 3},
		{Kind: "ConfigMap", Namespace: "a", Name: "c"}:           {File: filepath.Join(dir, "c/list.yaml"), Line: 4},
	}
	if diff := cmp.Diff(want, set.Origins); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	if got := set.Namespaces[0].Labels["kubernetes.io/metadata.name"]; got != "a" {
		t.Errorf("kubernetes.io/metadata.name is %q, want what an API server sets", got)
	}
}

func TestAPolicyForTheIngressGatewayIsRefused(t *testing.T) {
	const front = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: a}
spec:
  parentRefs: [{name: gateway-default, namespace: openchoreo-data-plane}]
  rules: [{backendRefs: [{name: s, port: 80}]}]
`
	in := func(namespace, spec string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: " +
			namespace + "}\nspec: {" + spec + "}\n"
	}
	const target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gateway-default}]"
	for _, c := range []struct {
		name, policy string
		refused      bool
	}{
		{"by its target", in("openchoreo-data-plane", target), true},
		{"by its namespace", in("openchoreo-data-plane", "rules: [{}]"), true},
		{"by the root namespace", in("istio-system", "rules: [{}]"), true},
		{"a Gateway of that name in another namespace", in("a", target), false},
		{"another namespace", in("a", "rules: [{}]"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.yaml")
			write(t, filepath.Dir(file), map[string]string{"x.yaml": c.policy + front})
			_, err := manifest.Load(file)
			if (err != nil) != c.refused || (err != nil && !strings.Contains(err.Error(),
				file+":1: AuthorizationPolicy")) {
				t.Errorf("error %v, want one: %t", err, c.refused)
			}
		})
	}
}

func TestThereIsOneIngressGateway(t *testing.T) {
	gateway := func(namespace, listener string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gateway-default, " +
			"namespace: " + namespace + "}\n" +
			"spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP" + listener + "}]}\n"
	}
	const all = ", allowedRoutes: {namespaces: {from: All}}"
	for _, c := range []struct {
		name, in string
		want     []fault
	}{
		{"OpenChoreo's", gateway("openchoreo-data-plane", all), nil},
		{"another", gateway("edge", all), []fault{{1, manifest.CodeNotImplemented, "Gateway edge/gateway-default",
			"local mode has one ingress gateway, openchoreo-data-plane/gateway-default"}}},
		{"for its own namespace only", gateway("openchoreo-data-plane", ""), []fault{{1, manifest.CodeNotImplemented,
			"Gateway openchoreo-data-plane/gateway-default",
			"local mode's gateway takes the routes of every namespace: write allowedRoutes.namespaces.from: All"}}},
		{"for one host", gateway("openchoreo-data-plane", all+", hostname: a.example"),
			[]fault{{1, manifest.CodeNotImplemented, "Gateway openchoreo-data-plane/gateway-default",
				"local mode's gateway knows no hostname of a listener, only those of routes"}}},
		{"a route for another", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, " +
			"namespace: a}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: s, port: 80}]}]}\n",
			[]fault{{1, manifest.CodeNotImplemented, "HTTPRoute a/r", "is for Gateway a/edge; local mode has only " +
				"openchoreo-data-plane/gateway-default"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, faults(t, c.in)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMissingFileIsAnError(t *testing.T) {
	if _, err := manifest.Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that says the file does not exist", err)
	}
}

func TestAStageReplacesWholeObjects(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"openchoreo/rendered/a/cell.yaml":  namespace("a", "zero-trust"),
		"istio/cells/a.yaml":               policy("rules: []"),
		"istio/stages/open/a.yaml":         namespace("a", "open") + "---\n" + policy("rules: [{}]"),
		"istio/stages/mtls/a.yaml":         namespace("b", "mtls"),
		"adversary/manifests/orion.yaml":   namespace("evil", "any"),
		"openchoreo/rendered/a/other.yaml": namespace("other", "same"),
	})
	names := func(set *manifest.Set) map[string]string {
		out := map[string]string{}
		for _, n := range set.Namespaces {
			out[n.Name] = n.Labels["stage"]
		}
		return out
	}
	open, err := manifest.LoadStage(root, "open", false)
	if err != nil {
		t.Fatal(err)
	}
	zero, err := manifest.LoadStage(root, "zero-trust", true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "open", "other": "same"}, names(open)); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "zero-trust", "other": "same", "evil": "any"}, names(zero)); diff != "" {
		t.Errorf("zero-trust (-want +got):\n%s", diff)
	}
	if got := len(open.AuthorizationPolicies[0].Spec.Rules); got != 1 {
		t.Errorf("the policy of the stage has %d rules, want the overlay's 1", got)
	}
	if _, err := manifest.LoadStage(root, "mtls", false); err == nil || !strings.Contains(err.Error(),
		"replaces nothing") {
		t.Errorf("a stage with an object of its own: error %v, want one that says so", err)
	}
	if _, err := manifest.LoadStage(root, "closed", false); err == nil {
		t.Error("stage closed: no error")
	}
}

// FuzzParse checks that whatever comes in, the loader answers: with objects that
// each have a place, or with problems that each have a line.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		policy("rules: [{from: [{source: {principals: [a]}}]}]"), deployment(), namespace("n", "on"),
		"a: &x [*x]", "a: &a {b: 1}\nc: *a\n", "{}", "---\n---\n", "? [a]\n: b",
		"apiVersion: v1\nkind: List\nitems: [1, {kind: x}]", "\x00", "a: !!binary x",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: 5\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [a]}\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		set, err := manifest.Parse("x.yaml", in)
		var problems manifest.Problems
		switch {
		case err == nil:
			for key, origin := range set.Origins {
				if key.Kind == "" || key.Name == "" || origin.Line < 1 {
					t.Fatalf("object %+v at %+v", key, origin)
				}
			}
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Fatalf("%v is no list of problems", err)
		default:
			for _, p := range problems {
				if p.Line < 1 || p.Message == "" {
					t.Fatalf("problem %+v", p)
				}
			}
		}
	})
}
