package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// foreignWorld builds the world of manifests that nobody here wrote.
func foreignWorld(t *testing.T, manifests string) *topology.World {
	t.Helper()
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(manifests)}, "-")
	if err != nil || len(in.Problems) > 0 {
		t.Fatal(err, in.Problems)
	}
	w, err := topology.Build(in.Set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The pods of a Gateway are as istiod's controller makes them.
func TestGatewaysPodsAreAsIstiodMakesThem(t *testing.T) {
	const gateway = `
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: %s, namespace: a, %s}, spec: {gatewayClassName: %s%s}}
---`
	const annotated = `labels: {team: red}, annotations: {ambient.istio.io/xfcc-include-client-identity: "true"}`
	w := foreignWorld(t, fmt.Sprintf(gateway, "own", annotated, "istio-waypoint", "")+
		fmt.Sprintf(gateway, "infra", annotated, "istio-waypoint",
			", infrastructure: {labels: {team: blue}, annotations: {x: z}}")+
		fmt.Sprintf(gateway, "half", annotated, "istio-waypoint", ", infrastructure: {annotations: {x: z}}")+
		fmt.Sprintf(
			gateway,
			"named",
			`annotations: {gateway.istio.io/service-account: acc, gateway.istio.io/name-override: other}`,
			"istio-waypoint",
			"",
		)+
		fmt.Sprintf(gateway, "front", "labels: {}", "istio", "")+
		fmt.Sprintf(gateway, "edge", "annotations: {gateway.istio.io/service-account: acc}", "istio", ""))
	type made struct {
		Account, Team, Canonical, Class, Managed string
		ClientIdentity                           bool
	}
	got := map[string]made{}
	for _, p := range w.Pods {
		got[p.Name] = made{p.ServiceAccount, p.Labels["team"], p.Labels["service.istio.io/canonical-name"],
			p.Labels["gateway.networking.k8s.io/gateway-class-name"], p.Labels["gateway.istio.io/managed"], false}
	}
	for _, g := range w.Waypoints {
		m := got[g.Pod.Name]
		m.ClientIdentity = g.XFCC
		got[g.Pod.Name] = m
	}
	const mesh, edge = "istio.io-mesh-controller", "istio.io-gateway-controller"
	want := map[string]made{
		"own":   {"own", "red", "own", "istio-waypoint", mesh, true},
		"infra": {"infra", "blue", "infra", "istio-waypoint", mesh, false},
		"half":  {"half", "red", "half", "istio-waypoint", mesh, false},
		"named": {"acc", "", "other", "istio-waypoint", mesh, false},
		"front": {"front-istio", "", "front-istio", "istio", edge, false},
		"edge":  {"acc", "", "edge-istio", "istio", edge, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

// An HTTPRoute is attached to the listeners that it names and that carry HTTP, and a
// gateway says of its requests how they came.
func TestRoutesAreOfListenersThatTakeThem(t *testing.T) {
	for _, c := range []struct {
		name, listeners, parent string
		attached                bool
		scheme                  string
	}{
		{"one of HTTP", "{name: l, port: 80, protocol: HTTP}", "", true, "http"},
		{"one of HTTPS", "{name: l, port: 443, protocol: HTTPS}", "", true, "https"},
		{"one of each", "{name: l, port: 80, protocol: HTTP}, {name: s, port: 443, protocol: HTTPS}", "", true, ""},
		{"its name", "{name: l, port: 80, protocol: HTTP}", ", sectionName: l", true, "http"},
		{"another name", "{name: l, port: 80, protocol: HTTP}", ", sectionName: k", false, "http"},
		{"its port", "{name: l, port: 80, protocol: HTTP}", ", port: 80", true, "http"},
		{"another port", "{name: l, port: 80, protocol: HTTP}", ", port: 8443", false, "http"},
		{"one that passes TLS on", "{name: l, port: 443, protocol: TLS}", "", false, ""},
		{"one for gRPC", "{name: l, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}", "", false,
			"http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := foreignWorld(t, fmt.Sprintf(`
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: a}, spec: {gatewayClassName: istio, listeners: [%s]}}
---
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: a}, spec: {selector: {app: s}, ports: [{port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: a}, spec: {parentRefs: [{name: g%s}], rules: [{backendRefs: [{name: s, port: 80}]}]}}
`, c.listeners, c.parent))
			caller := w.Gateways[0].Pod.Caller()
			if got := len(w.Gateways[0].Routes) > 0; got != c.attached || w.SchemeOf(&caller) != c.scheme {
				t.Errorf("attached: %t, want %t; scheme %q, want %q", got, c.attached, w.SchemeOf(&caller), c.scheme)
			}
		})
	}
}
