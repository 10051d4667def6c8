package topology_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// roads is a Cell in the mesh with a waypoint, a namespace in the mesh without one,
// and one outside of it.
var roads = `
apiVersion: v1
kind: Namespace
metadata: {name: cell, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: v1
kind: Namespace
metadata: {name: meshed, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: plain}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: cell, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---` + deployment("cell", "ship", 8080) + deployment("cell", "probe", 8080) + deployment("meshed", "tower", 8080) +
	deployment("plain", "ground", 8080) +
	service("cell", "ship", "ship", "", "{name: http, port: 80, targetPort: 8080}, {name: tcp-raw, port: 81, "+
		"targetPort: 8080}, {name: any, port: 82, targetPort: 8080}") +
	service("cell", "ship-open", "ship", "istio.io/use-waypoint: none", "{name: http, port: 80, targetPort: 8080}") +
	service("cell", "ship-ingress", "ship", `istio.io/ingress-use-waypoint: "true"`,
		"{name: http, port: 80, targetPort: 8080}") +
	service("cell", "ship-lost", "ship", "istio.io/use-waypoint: nowhere", "{name: http, port: 80, targetPort: 8080}") +
	service("cell", "nobody", "nobody", "", "{name: http, port: 80}") +
	service("meshed", "tower", "tower", "", "{name: grpc, port: 80, targetPort: 8080}") +
	service("plain", "ground", "ground", "", "{name: http, port: 80, targetPort: 8080}") + `
apiVersion: v1
kind: Service
metadata: {name: ship-headless, namespace: cell}
spec:
  clusterIP: None
  selector: {app: ship}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: to-ship, namespace: cell}
spec:
  parentRefs: [{name: gateway-default, namespace: openchoreo-data-plane}]
  rules:
  - backendRefs: [{name: ship, port: 80}]
    matches: [{path: {type: PathPrefix, value: /ship}}]
  - backendRefs: [{name: ship-ingress, port: 80}]
    matches: [{path: {type: PathPrefix, value: /ingress}}]
  - backendRefs: [{name: ship-headless, port: 80}]
    matches: [{path: {type: PathPrefix, value: /headless}}]
`

func deployment(ns, name string, port int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      serviceAccountName: %[2]s
      containers: [{name: main, image: "artemis.local/service:dev", ports: [{containerPort: %[3]d}]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[2]s, namespace: %[1]s}
---`, ns, name, port)
}

func service(ns, name, app, label, ports string) string {
	return fmt.Sprintf("\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s, labels: {%s}}\nspec:\n  "+
		"selector: {app: %s}\n  ports: [%s]\n---", name, ns, label, app, ports)
}

func build(t *testing.T, text string) *topology.World {
	t.Helper()
	set, err := manifest.Parse("world.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// told is a way in words: a line for each leg, and for the failure.
func told(w *topology.World, way *topology.Way) []string {
	names := map[netip.Addr]string{}
	for _, p := range w.Pods {
		names[p.IP] = "pod " + p.Name
	}
	for _, s := range w.Services {
		if s.VIP.IsValid() {
			names[s.VIP] = "Service " + s.Name
		}
	}
	var out []string
	for i := range way.Legs {
		l := &way.Legs[i]
		line := "stranger"
		if l.From.Pod != nil {
			line = l.From.Pod.Name
		}
		if l.HBONE {
			_, account, _ := strings.Cut(l.Identity(), "/sa/")
			line += fmt.Sprintf(" as %s, tunnel to %s:%d for %s:%d", account, l.Pod.Name, l.Port,
				names[l.Authority.Addr()], l.Authority.Port())
		} else {
			line += fmt.Sprintf("%s, plaintext to %s:%d", l.Identity(), l.Pod.Name, l.Port)
		}
		switch {
		case l.Waypoint != nil:
			line += "; the waypoint judges " + []string{"HTTP", "TCP", "what it sniffs"}[l.Protocol]
			if l.Service != nil {
				line += " for " + l.Service.Name
			}
		case l.Pod.Meshed:
			line += "; the node proxy judges"
		default:
			line += "; nobody judges"
		}
		out = append(out, line)
	}
	if way.Failure != "" {
		out = append(out, way.Failure)
	}
	return out
}

// TestTheOneWayOfACall is a table of who calls what, and how that goes.
func TestTheOneWayOfACall(t *testing.T) {
	w := build(t, roads)
	pod := func(ns, name string) topology.Caller { return w.Pod(topology.Ref{Namespace: ns, Name: name}).Caller() }
	to := func(ns, name string, port uint16) topology.Destination {
		return topology.Destination{Service: w.Service(topology.Ref{Namespace: ns, Name: name}), Port: port}
	}
	address := func(ns, name string, port uint16) topology.Destination {
		return topology.Destination{Pod: w.Pod(topology.Ref{Namespace: ns, Name: name}), Port: port}
	}
	route := func(prefix string) topology.Destination {
		for i := range w.Routes {
			if w.Routes[i].Path == prefix {
				return topology.Destination{Route: &w.Routes[i]}
			}
		}
		t.Fatalf("no route %s", prefix)
		return topology.Destination{}
	}
	identity := func(id string) topology.Caller {
		c, err := w.Identity(id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	neverReady := topology.Live{Ready: func(*topology.WaypointGateway) bool { return false }}
	const (
		probeToWaypoint = "probe as probe, tunnel to waypoint:15008 for Service ship:%d; the waypoint judges %s for " +
			"ship"
		waypointToShip = "waypoint as waypoint, tunnel to ship:15008 for pod ship:8080; the node proxy judges"
	)
	for _, c := range []struct {
		name string
		from topology.Caller
		to   topology.Destination
		live topology.Live
		want []string
	}{
		{"a Service behind a waypoint, HTTP", pod("cell", "probe"), to("cell", "ship", 80), topology.Live{},
			[]string{fmt.Sprintf(probeToWaypoint, 80, "HTTP"), waypointToShip}},
		{"the same, a port for bytes", pod("cell", "probe"), to("cell", "ship", 81), topology.Live{},
			[]string{fmt.Sprintf(probeToWaypoint, 81, "TCP"), waypointToShip}},
		{"the same, a port whose name says no protocol", pod("cell", "probe"), to("cell", "ship", 82), topology.Live{},
			[]string{fmt.Sprintf(probeToWaypoint, 82, "what it sniffs"), waypointToShip}},
		{"a port that the Service has not", pod("cell", "probe"), to("cell", "ship", 8080), topology.Live{},
			[]string{"Service cell/ship has no port 8080"}},
		{"a caller of another namespace of the mesh", pod("meshed", "tower"), to("cell", "ship", 80), topology.Live{},
			[]string{"tower as tower, tunnel to waypoint:15008 for Service ship:80; the waypoint judges HTTP for ship",
				waypointToShip}},
		{"the pod calls itself by its Service", pod("cell", "ship"), to("cell", "ship", 80), topology.Live{},
			[]string{"ship as ship, tunnel to waypoint:15008 for Service ship:80; the waypoint judges HTTP for ship",
				waypointToShip}},
		{"a caller outside of the mesh", pod("plain", "ground"), to("cell", "ship", 80), topology.Live{},
			[]string{"ground, plaintext to ship:8080; the node proxy judges"}},
		{"a caller outside of the cluster", topology.Outside(netip.MustParseAddr("192.0.2.1")), to("cell", "ship", 80),
			topology.Live{},
			[]string{"stranger, plaintext to ship:8080; the node proxy judges"}},
		{"an account without a pod, in the mesh", identity("spiffe://cluster.local/ns/meshed/sa/new"),
			to("cell", "ship", 80), topology.Live{},
			[]string{"stranger as new, tunnel to waypoint:15008 for Service ship:80; the waypoint judges HTTP for ship",
				waypointToShip}},
		{"an account without a pod, outside of it", identity("spiffe://cluster.local/ns/plain/sa/new"),
			to("cell", "ship", 80), topology.Live{},
			[]string{"stranger, plaintext to ship:8080; the node proxy judges"}},
		{"an account of another trust domain", identity("spiffe://elsewhere/ns/plain/sa/new"), to("cell", "ship", 80),
			topology.Live{},
			[]string{"stranger as new, tunnel to waypoint:15008 for Service ship:80; the waypoint judges HTTP for ship",
				waypointToShip}},
		{"a Service that opts out of the waypoint", pod("cell", "probe"), to("cell", "ship-open", 80), topology.Live{},
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:8080; the node proxy judges"}},
		{"a Service whose waypoint does not exist", pod("cell", "probe"), to("cell", "ship-lost", 80), topology.Live{},
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:8080; the node proxy judges"}},
		{"a waypoint that was never ready", pod("cell", "probe"), to("cell", "ship", 80), neverReady,
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:8080; the node proxy judges"}},
		{"a headless Service: its pods, at the port that the caller dials", pod("cell", "probe"),
			to("cell", "ship-headless", 80), topology.Live{},
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:80; the node proxy judges"}},
		{"the pod's own address", pod("cell", "probe"), address("cell", "ship", 8080), topology.Live{},
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:8080; the node proxy judges"}},
		{"the pod's own address, a port that nobody names", pod("cell", "probe"), address("cell", "ship", 6060),
			topology.Live{},
			[]string{"probe as probe, tunnel to ship:15008 for pod ship:6060; the node proxy judges"}},
		{"the pod's own address, from outside of the mesh", pod("plain", "ground"), address("cell", "ship", 8080),
			topology.Live{},
			[]string{"ground, plaintext to ship:8080; the node proxy judges"}},
		{"a Service without pods, behind a waypoint", pod("cell", "probe"), to("cell", "nobody", 80), topology.Live{},
			[]string{"probe as probe, tunnel to waypoint:15008 for Service nobody:80; the waypoint judges HTTP for " +
				"nobody", "Service cell/nobody has no endpoint for port 80"}},
		{"a Service without pods, from outside of the mesh", pod("plain", "ground"), to("cell", "nobody", 80),
			topology.Live{},
			[]string{"Service cell/nobody has no endpoint for port 80"}},
		{"a Service without a waypoint", pod("cell", "probe"), to("meshed", "tower", 80), topology.Live{},
			[]string{"probe as probe, tunnel to tower:15008 for pod tower:8080; the node proxy judges"}},
		{"out of the mesh", pod("cell", "probe"), to("plain", "ground", 80), topology.Live{},
			[]string{"probe, plaintext to ground:8080; nobody judges"}},
		{"neither end in the mesh", pod("plain", "ground"), to("plain", "ground", 80), topology.Live{},
			[]string{"ground, plaintext to ground:8080; nobody judges"}},
		{"a waypoint's own address", pod("cell", "probe"), address("cell", "waypoint", 15008), topology.Live{},
			[]string{"probe, plaintext to waypoint:15008; nobody judges"}},
		{"the waypoint itself", pod("cell", "waypoint"), to("cell", "ship", 80), topology.Live{},
			[]string{waypointToShip}},
		{"the gateway, past the waypoint", w.Gateway.Caller(), route("/ship"), topology.Live{},
			[]string{"gateway-default as gateway-default-istio, tunnel to ship:15008 for pod ship:8080; the node " +
				"proxy judges"}},
		{"the gateway, through the waypoint", w.Gateway.Caller(), route("/ingress"), topology.Live{},
			[]string{"gateway-default as gateway-default-istio, tunnel to waypoint:15008 for Service " +
				"ship-ingress:80; the waypoint judges HTTP for ship-ingress", waypointToShip}},
		{"the gateway to a headless Service: it knows the pods' ports", w.Gateway.Caller(), route("/headless"),
			topology.Live{},
			[]string{"gateway-default as gateway-default-istio, tunnel to ship:15008 for pod ship:8080; the node " +
				"proxy judges"}},
		{"a pod asks for the gateway's route", pod("cell", "probe"), route("/ship"), topology.Live{},
			[]string{"HTTPRoute cell/to-ship is for the gateway's callers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			way := w.Way(c.from, c.to, c.live)
			if diff := cmp.Diff(c.want, told(w, &way)); diff != "" {
				t.Errorf("way (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryWayToAPod lists what the World offers, also what nobody meant.
func TestEveryWayToAPod(t *testing.T) {
	w := build(t, roads)
	var got []string
	for _, d := range w.Destinations(w.Pod(topology.Ref{Namespace: "cell", Name: "ship"})) {
		switch {
		case d.Service != nil:
			got = append(got, fmt.Sprintf("Service %s:%d", d.Service.Name, d.Port))
		case d.Pod != nil:
			got = append(got, fmt.Sprintf("pod address :%d", d.Port))
		default:
			got = append(got, "route "+d.Route.Path)
		}
	}
	want := []string{
		"Service ship:80", "Service ship:81", "Service ship:82", "Service ship-headless:80", "Service ship-ingress:80",
		"Service ship-lost:80", "Service ship-open:80",
		"pod address :8080", "route /headless", "route /ingress", "route /ship",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("destinations (-want +got):\n%s", diff)
	}
}

// TestWaysAreOneForEachPod has two workloads behind one Service, one of them
// outside of the mesh.
func TestWaysAreOneForEachPod(t *testing.T) {
	twin := strings.ReplaceAll(deployment("meshed", "twin", 8080), "{app: twin}",
		"{app: tower, twin: yes-it-is, istio.io/dataplane-mode: none}")
	w := build(t, roads+"---"+strings.TrimSuffix(twin, "---"))
	var got [][]string
	for _, way := range w.Ways(w.Pod(topology.Ref{Namespace: "cell", Name: "probe"}).Caller(),
		topology.Destination{Service: w.Service(topology.Ref{Namespace: "meshed", Name: "tower"}), Port: 80}) {
		got = append(got, told(w, &way))
	}
	want := [][]string{
		{"probe as probe, tunnel to tower:15008 for pod tower:8080; the node proxy judges"},
		{"probe, plaintext to twin:8080; nobody judges"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ways (-want +got):\n%s", diff)
	}
}
