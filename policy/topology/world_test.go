package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

const cell = `
apiVersion: v1
kind: Namespace
metadata: {name: cell, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint, openchoreo.dev/project: orion}}
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
  infrastructure: {annotations: {ambient.istio.io/xfcc-include-client-identity: "true"}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nav, namespace: cell}
spec:
  selector: {matchLabels: {app: nav}}
  template:
    metadata: {labels: {app: nav, openchoreo.dev/component: guidance-nav}}
    spec:
      serviceAccountName: guidance-nav
      containers: [{name: main, image: x, ports: [{name: http, containerPort: 8081}, {name: admin, containerPort: 9090}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: opted-out, namespace: cell}
spec:
  selector: {matchLabels: {app: out}}
  template:
    metadata: {labels: {app: out, istio.io/dataplane-mode: none}}
    spec: {containers: [{name: main, image: x}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: none, namespace: cell}
spec:
  replicas: 0
  selector: {matchLabels: {app: nav}}
  template:
    metadata: {labels: {app: nav}}
    spec: {containers: [{name: main, image: x}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lonely, namespace: plain}
spec:
  selector: {matchLabels: {app: nav}}
  template:
    metadata: {labels: {app: nav}}
    spec: {containers: [{name: main, image: x, ports: [{containerPort: 80}]}]}
`

func service(namespace, name, labels, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s, labels: "+
		"{%s}}\nspec: {%s}\n", name, namespace, labels, spec)
}

var services = service("cell", "nav", "istio.io/ingress-use-waypoint: \"true\"",
	"selector: {app: nav}, ports: [{name: http, port: 8080, targetPort: http}]") +
	service("cell", "headless", "a: b", "clusterIP: None, selector: {app: nav}, ports: [{name: http, port: 8081}]") +
	service("cell", "shadow", "istio.io/use-waypoint: none",
		"selector: {app: nav}, ports: [{name: http, port: 8080, targetPort: 8081}]") +
	service("cell", "ports", "a: b", "selector: {app: nav}, ports: [{name: tcp-x, port: 1, targetPort: 8081}, {name: "+
		"http-y, port: 2, targetPort: 8081}, {name: odd, port: 3, targetPort: missing}]") +
	service("plain", "nav", "a: b", "selector: {app: nav}, ports: [{port: 80}]")

func build(t *testing.T, alloc *Allocator, yaml string) *World {
	t.Helper()
	set, err := manifest.Parse("test.yaml", yaml)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Build(set, alloc)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestPodsFollowTheirManifests(t *testing.T) {
	w := build(t, NewAllocator(), cell+services)
	type row struct {
		Pod, Identity, Cell, Component string
		Meshed                         bool
		Ports                          []uint16
	}
	var got []row
	for _, p := range w.Pods {
		got = append(got, row{p.Ref.String(), p.Identity, p.Cell, p.Component, p.Meshed, p.Ports})
	}
	want := []row{
		{"cell/nav", "spiffe://cluster.local/ns/cell/sa/guidance-nav", "orion", "guidance-nav", true,
			[]uint16{8081, 9090}},
		{"cell/opted-out", "spiffe://cluster.local/ns/cell/sa/default", "orion", "opted-out", false, nil},
		{"plain/lonely", "spiffe://cluster.local/ns/plain/sa/default", "", "lonely", false, []uint16{80}},
		{"cell/waypoint", "spiffe://cluster.local/ns/cell/sa/waypoint", "orion", "waypoint", false, nil},
		{"openchoreo-data-plane/gateway-default",
			"spiffe://cluster.local/ns/openchoreo-data-plane/sa/gateway-default-istio", "", "ingress", false, nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if w.Gateway.Labels[LabelSystemComponent] == "" {
		t.Error("the gateway's pod lacks the label that OpenChoreo's NetworkPolicies look for")
	}
}

func TestServicesFindTheirPodsAndWaypoints(t *testing.T) {
	w := build(t, NewAllocator(), cell+services)
	type row struct {
		Service           string
		VIP               bool
		Backends          string
		Protocols         []Protocol
		Waypoint, Ingress bool
	}
	var got []row
	for _, s := range w.Services {
		r := row{Service: s.Ref.String(), VIP: s.VIP.IsValid(), Waypoint: s.Waypoint != nil,
			Ingress: s.IngressWaypoint != nil}
		var backends []string
		for _, p := range s.Ports {
			r.Protocols = append(r.Protocols, p.Protocol)
			for _, b := range s.Backends(p.Number) {
				backends = append(backends, fmt.Sprintf("%d→%s:%d", p.Number, b.Pod.Name, b.Port))
			}
		}
		r.Backends = strings.Join(backends, " ")
		got = append(got, r)
	}
	want := []row{
		{"cell/headless", false, "8081→nav:8081", []Protocol{HTTP}, false, false},
		{"cell/nav", true, "8080→nav:8081", []Protocol{HTTP}, true, true},
		{"cell/ports", true, "1→nav:8081 2→nav:8081", []Protocol{TCP, HTTP, Sniffed}, true, false},
		{"cell/shadow", true, "8080→nav:8081", []Protocol{HTTP}, false, false},
		{"plain/nav", true, "80→lonely:80", []Protocol{Sniffed}, false, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

func TestNamesResolveAsInAPod(t *testing.T) {
	w := build(t, NewAllocator(), cell+services)
	nav, plain := w.Service(Ref{"cell", "nav"}).VIP, w.Service(Ref{"plain", "nav"}).VIP
	pod := w.Pod(Ref{"cell", "nav"}).IP
	for _, c := range []struct {
		from, name string
		want       []netip.Addr
	}{
		{"cell", "nav", []netip.Addr{nav}},
		{"plain", "nav", []netip.Addr{plain}},
		{"plain", "nav.cell", []netip.Addr{nav}},
		{"plain", "nav.cell.svc", []netip.Addr{nav}},
		{"plain", "NAV.cell.svc.cluster.local", []netip.Addr{nav}},
		{"plain", "nav.cell.svc.cluster.local.", []netip.Addr{nav}},
		{"plain", "headless.cell", []netip.Addr{pod}},
		{"plain", strings.ReplaceAll(pod.String(), ".", "-") + ".cell.pod.cluster.local", []netip.Addr{pod}},
		{"plain", "nav.", nil},
		{"plain", "nav.cell.", nil},
		{"plain", "x.nav.cell.svc.cluster.local", nil},
		{"plain", "unknown.cell", nil},
		{"plain", "example.com", nil},
		{"plain", "", nil},
	} {
		got, ok := w.Resolve(c.from, c.name)
		if ok != (c.want != nil) {
			t.Errorf("%q from %s: exists %v", c.name, c.from, ok)
		}
		if diff := cmp.Diff(fmt.Sprint(c.want), fmt.Sprint(got)); diff != "" {
			t.Errorf("%q from %s (-want +got):\n%s", c.name, c.from, diff)
		}
	}
}

func TestAddressesStay(t *testing.T) {
	alloc := NewAllocator()
	first := build(t, alloc, cell+services)
	second := build(t, alloc, cell+service("cell", "a-new-one", "a: b",
		"selector: {app: nav}, ports: [{name: http, port: 1}]")+services)
	for _, p := range first.Pods {
		if got := second.Pod(p.Ref).IP; got != p.IP {
			t.Errorf("%s moved from %s to %s", p.Ref, p.IP, got)
		}
	}
	seen := map[netip.Addr]string{}
	for _, s := range second.Services {
		if before := first.Service(s.Ref); before != nil && before.VIP != s.VIP {
			t.Errorf("%s moved from %s to %s", s.Ref, before.VIP, s.VIP)
		}
		if other, taken := seen[s.VIP]; taken && s.VIP.IsValid() {
			t.Errorf("%s and %s share %s", s.Ref, other, s.VIP)
		}
		seen[s.VIP] = s.Ref.String()
	}
}

func TestTheAllocatorSaysWhenItIsFull(t *testing.T) {
	alloc := NewAllocator()
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = alloc.Pod(Ref{"ns", fmt.Sprint(n)})
	}
	if n < 60_000 || !strings.Contains(err.Error(), "no address is left") {
		t.Errorf("after %d addresses: %v", n, err)
	}
}
