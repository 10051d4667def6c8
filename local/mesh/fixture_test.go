package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

const (
	gatewayHost  = "development-default.openchoreoapis.localhost"
	orion        = "dp-default-orion-development-1bced798"
	houston      = "dp-default-houston-development-8d981cd8"
	gatewayAgent = "cluster.local/ns/openchoreo-data-plane/sa/gateway-default-istio"
)

// namespaces are the Cells' namespaces as OpenChoreo names them.
func namespaceOf(cell string) string {
	return map[string]string{
		"houston":            houston,
		"kennedy":            "dp-default-kennedy-development-01c3c19a",
		"orion":              orion,
		"deep-space-network": "dp-default-deep-space-ne-development-c83079e6",
		"esa-ops":            "dp-default-esa-ops-development-6a03a646",
	}[cell]
}

// options are what the tables of facts vary.
type options struct {
	stage         string // open, mtls, zero-trust
	noL4          bool   // without via-waypoint-only
	noDefaultDeny bool
	noNetwork     bool // without NetworkPolicies
	noIngress     bool // without istio.io/ingress-use-waypoint
	noGateway     bool // without the waypoint Gateways
	extra         string
}

// parsed holds what parse has read, by its text: the tests share it, and change none
// of it.
var parsed sync.Map

func parse(t testing.TB, parts ...string) *manifest.Set {
	t.Helper()
	text := strings.Join(parts, "\n---\n")
	if set, ok := parsed.Load(text); ok {
		return set.(*manifest.Set)
	}
	set, err := manifest.Parse("fixture.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Store(text, set)
	return set
}

// suite is the whole mission in the shape in which OpenChoreo renders it, with
// the adversary: one in Orion, one in Houston, one in an unrelated meshed
// namespace and one in an unmeshed one.
func suite(t testing.TB, o options) *manifest.Set {
	t.Helper()
	var parts []string
	for _, cell := range catalog.Cells() {
		parts = append(parts, cellYAML(cell, o))
	}
	for _, s := range catalog.Services() {
		parts = append(parts, componentYAML(s, o))
	}
	parts = append(parts,
		namespaceYAML("openchoreo-data-plane", nil),
		namespaceYAML("intruder", map[string]string{"istio.io/dataplane-mode": "ambient"}),
		namespaceYAML("dark-side", nil),
		rogueYAML(orion, "adversary", ""), rogueYAML(houston, "adversary", ""),
		rogueYAML("intruder", "adversary", ""), rogueYAML("intruder", "waypoint", ""), rogueYAML("dark-side",
			"adversary", ""),
		rogueYAML(orion, "impostor", "waypoint"),
	)
	if o.extra != "" {
		parts = append(parts, o.extra)
	}
	return parse(t, parts...)
}

func namespaceYAML(name string, labels map[string]string) string {
	b := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + name + "\n  labels:\n    example: \"1\"\n"
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b += fmt.Sprintf("    %s: %q\n", k, labels[k])
	}
	return b
}

func cellYAML(cell string, o options) string {
	ns := namespaceOf(cell)
	labels := map[string]string{"openchoreo.dev/project": cell, "openchoreo.dev/environment": "development",
		"openchoreo.dev/namespace": "default"}
	mode, l4 := "STRICT", "  - {}"
	switch o.stage {
	case "open":
		mode = "PERMISSIVE"
	case "mtls":
		labels["istio.io/dataplane-mode"] = "ambient"
	default:
		labels["istio.io/dataplane-mode"], labels["istio.io/use-waypoint"] = "ambient", "waypoint"
		if !o.noL4 {
			l4 = "  - from: [{source: {serviceAccounts: [waypoint]}}]"
		} else {
			mode = "PERMISSIVE"
		}
	}
	out := []string{
		namespaceYAML(ns, labels),
		fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, "+
			"namespace: %s}\nspec: {mtls: {mode: %s}}", ns, mode),
		fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: "+
			"via-waypoint-only, namespace: %s}\nspec:\n  action: ALLOW\n  rules:\n%s", ns, l4),
	}
	if !o.noGateway {
		out = append(out, fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: %s, labels: {istio.io/waypoint-for: service, openchoreo.dev/environment: development}}
spec:
  gatewayClassName: istio-waypoint
  infrastructure: {annotations: {ambient.istio.io/xfcc-include-client-identity: "true"}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]`, ns))
	}
	if !o.noDefaultDeny {
		out = append(out, fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: "+
			"default-deny, namespace: %s}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, "+
			"name: waypoint}]", ns))
	}
	if !o.noNetwork {
		out = append(out, fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-istio-hbone, namespace: %s}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {openchoreo.dev/namespace: default, openchoreo.dev/environment: development}}
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openchoreo-data-plane}}
    ports: [{protocol: TCP, port: 15008}]
  - from: [{ipBlock: {cidr: 169.254.7.127/32}}]
    ports: [{protocol: TCP, port: 9090}]`, ns))
	}
	return strings.Join(out, "\n---\n")
}

func componentYAML(s catalog.Service, o options) string {
	ns := namespaceOf(s.Cell)
	var rules []string
	for _, r := range s.Rules {
		var from []string
		for _, c := range r.Callers {
			who := gatewayAgent
			if c != catalog.Ingress {
				who = "cluster.local/ns/" + namespaceOf(c.Cell) + "/sa/" + c.Component
			}
			from = append(from, who)
		}
		rules = append(rules, fmt.Sprintf("  - from: [{source: {principals: [%s]}}]\n    to: [{operation: {methods: "+
			"[%s], paths: [%q]}}]",
			strings.Join(from, ", "), r.Method, strings.Join(r.Paths, `", "`)))
		rules[len(rules)-1] = strings.ReplaceAll(rules[len(rules)-1], `\"`, `"`)
	}
	ingress := "true"
	if o.noIngress {
		ingress = "false"
	}
	out := []string{
		workloadYAML(ns, s.Name+"-development-0a1b2c3d", s.Name, map[string]string{
			"openchoreo.dev/project": s.Cell, "openchoreo.dev/component": s.Name,
			"openchoreo.dev/environment": "development",
		}),
		fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s, labels: {istio.io/ingress-use-waypoint: "%s"}}
spec:
  selector: {openchoreo.dev/component: %s}
  ports: [{name: http, port: 8080, targetPort: 8080}]`, s.Name, ns, ingress, s.Name),
		fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s-authz, "+
			"namespace: %s}\nspec:\n  action: ALLOW\n  targetRefs: [{group: \"\", kind: Service, name: %s}]\n  "+
			"rules:\n%s",
			s.Name, ns, s.Name, strings.Join(rules, "\n")),
	}
	if s.External {
		out = append(out, fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s-http-0a1b2c3d, namespace: %[2]s}
spec:
  hostnames: [%[3]s]
  parentRefs: [{name: gateway-default, namespace: openchoreo-data-plane}]
  rules:
  - backendRefs: [{name: %[1]s, port: 8080}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    matches: [{path: {type: PathPrefix, value: /%[1]s-http}}]`, s.Name, ns, gatewayHost))
	}
	if !o.noNetwork {
		peers := []string{"{podSelector: {}}"}
		if s.Namespaced {
			peers = append(peers, "{namespaceSelector: {matchLabels: {openchoreo.dev/environment: development, "+
				"openchoreo.dev/namespace: default}}}")
		}
		if s.External {
			peers = append(peers, "{namespaceSelector: {}, podSelector: {matchExpressions: [{key: "+
				"openchoreo.dev/system-component, operator: Exists}]}}")
		}
		out = append(out, fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: openchoreo-%[1]s, namespace: %[2]s}
spec:
  podSelector: {matchLabels: {openchoreo.dev/component: %[1]s}}
  policyTypes: [Ingress]
  ingress:
  - from: [%[3]s]
    ports: [{protocol: TCP, port: 8080}]`, s.Name, ns, strings.Join(peers, ", ")))
	}
	return strings.Join(out, "\n---\n")
}

func workloadYAML(ns, name, account string, labels map[string]string) string {
	var l []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		l = append(l, fmt.Sprintf("%s: %s", k, labels[k]))
	}
	set := "{" + strings.Join(l, ", ") + "}"
	return fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: %[3]s-account, namespace: %[1]s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {matchLabels: %[4]s}
  template:
    metadata: {labels: %[4]s}
    spec:
      serviceAccountName: %[3]s
      containers: [{name: main, image: "artemis.local/service:dev", ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9090}]}]`, ns, name, account, set)
}

// rogueYAML is a pod outside of the Components, with an account of its own name
// or another one.
func rogueYAML(ns, name, account string) string {
	if account == "" {
		account = name
	}
	out := workloadYAML(ns, name, account, map[string]string{"app": name})
	if account != name {
		out = out[strings.Index(out, "---\n")+4:]
	}
	return out
}

// app returns the pod of a Component.
func app(cell, name string) topology.Ref {
	return topology.Ref{Namespace: namespaceOf(cell), Name: name + "-development-0a1b2c3d"}
}

func rogue(ns string) topology.Ref { return topology.Ref{Namespace: ns, Name: "adversary"} }

// endpoint names an endpoint of a Service.
func endpoint(ns, service, path string) string {
	return "http://" + service + "." + ns + ".svc.cluster.local:8080" + path
}
