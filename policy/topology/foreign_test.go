package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// somebodys is a mesh with what Cells do not have: several kinds of workloads, a
// waypoint of another namespace, waypoints for workloads, several gateways.
const somebodys = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: shared, istio.io/use-waypoint-namespace: mesh, team: web}}
---
apiVersion: v1
kind: Namespace
metadata: {name: data, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: all}}
---
apiVersion: v1
kind: Namespace
metadata: {name: apart, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: shared, istio.io/use-waypoint-namespace: mesh}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shared, namespace: mesh}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: web}}}}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: all, namespace: data, labels: {istio.io/waypoint-for: all}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: back, namespace: edge}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: front, namespace: edge}, {name: back, namespace: edge}], rules: [{backendRefs: [{name: web, port: 80, weight: 9}, {name: canary, port: 80, weight: 1}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x, ports: [{name: http, containerPort: 8080}]}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: lone, containers: [{name: c, image: x}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: data}
spec: {template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: data}
spec: {template: {metadata: {labels: {app: agent}}, spec: {hostNetwork: true, containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.100.7.7, type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: canary, namespace: shop, labels: {istio.io/use-waypoint: none}}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080, appProtocol: kubernetes.io/h2c}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {selector: {app: db}, ports: [{port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: lost, namespace: apart}
spec: {selector: {app: lost}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: shop}
spec: {type: ExternalName, externalName: example.org}
`

func TestSomebodysWorld(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(somebodys)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Problems) > 0 {
		t.Fatal(in.Problems)
	}
	w, err := topology.Build(in.Set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	waypoint := func(g *topology.WaypointGateway) string {
		if g == nil {
			return "none"
		}
		return g.Pod.Ref.String()
	}
	var got []string
	for _, p := range w.Pods {
		got = append(got, fmt.Sprintf("pod %s of %s, meshed %t, %s, waypoint %s", p.Ref, p.Workload.Kind, p.Meshed,
			p.Identity[len("spiffe://cluster.local/"):], waypoint(p.Waypoint)))
	}
	for _, s := range w.Services {
		line := fmt.Sprintf("service %s at %t, waypoint %s", s.Ref, s.VIP.IsValid(), waypoint(s.Waypoint))
		for _, p := range s.Ports {
			line += fmt.Sprintf(", %d:%d:%d", p.Number, p.Protocol, len(s.Backends(p.Number)))
		}
		got = append(got, line)
	}
	for _, g := range w.Gateways {
		for _, r := range g.Routes {
			got = append(got, fmt.Sprintf("%s leads to %s:%d", g.Pod.Ref, r.Service.Ref, r.Port))
		}
	}
	want := []string{
		"pod data/agent of DaemonSet, meshed false, ns/data/sa/default, waypoint data/all",
		"pod data/db of StatefulSet, meshed true, ns/data/sa/default, waypoint data/all",
		"pod shop/web of Deployment, meshed true, ns/shop/sa/default, waypoint none",
		"pod shop/web-pod of Pod, meshed true, ns/shop/sa/lone, waypoint none",
		"pod data/all of Gateway, meshed false, ns/data/sa/all, waypoint none",
		"pod edge/back of Gateway, meshed false, ns/edge/sa/back-istio, waypoint none",
		"pod edge/front of Gateway, meshed false, ns/edge/sa/front-istio, waypoint none",
		"pod mesh/shared of Gateway, meshed false, ns/mesh/sa/shared, waypoint none",
		"service apart/lost at true, waypoint none, 80:2:0",
		"service data/db at true, waypoint data/all, 3306:1:1",
		"service shop/canary at true, waypoint none, 80:0:2",
		"service shop/elsewhere at false, waypoint none",
		"service shop/web at true, waypoint mesh/shared, 80:0:2",
		"edge/front leads to shop/web:80",
		"edge/front leads to shop/canary:80",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the world (-want +got):\n%s", diff)
	}
	if w.Gateway != nil {
		t.Error("OpenChoreo's gateway is in a world that does not name it")
	}
	if s := w.Service(topology.Ref{Namespace: "shop", Name: "web"}); s.VIP.String() != "10.100.7.7" {
		t.Errorf("shop/web is at %s, want the cluster's own address", s.VIP)
	}
	db := w.Pod(topology.Ref{Namespace: "data", Name: "db"})
	way := w.Way(w.Pod(topology.Ref{Namespace: "shop", Name: "web"}).Caller(), topology.Destination{Pod: db,
		Port: 3306}, topology.Live{})
	if len(way.Legs) != 2 || way.Legs[0].Waypoint == nil || way.Legs[0].Authority.Addr() != db.IP {
		t.Errorf("a call to the pod's address with a waypoint for all: %+v", way.Legs)
	}
}

// What an API server and a kubelet make of a pod's less usual fields.
func TestPodsAreAsAClusterTakesThem(t *testing.T) {
	const template = `metadata: {labels: {app: web}}, spec: {serviceAccount: old, ` +
		`initContainers: [{name: once, image: x, ports: [{name: once, containerPort: 1}]}, ` +
		`{name: side, image: x, restartPolicy: Always, ports: [{name: http, containerPort: 2}, ` +
		`{name: admin, containerPort: 3}]}], ` +
		`containers: [{name: a, image: x, ports: [{name: http, containerPort: 8080}], livenessProbe: {grpc: {port: 5}}}, ` +
		`{name: b, image: x, ports: [{name: http, containerPort: 4}], readinessProbe: {tcpSocket: {port: 6}}}]}`
	w := foreignWorld(t, `
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {selector: {matchLabels: {app: web}}, template: {`+
		template+`}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}, spec: {template: {`+template+`}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: admin, port: 81, targetPort: admin}]}}
`)
	type pod struct {
		Account string
		Ports   []uint16
		Behind  []uint16
	}
	got := map[string]pod{}
	for _, p := range w.Pods {
		got[p.Name] = pod{p.ServiceAccount, p.Ports, w.Services[0].PortsOf(p)}
	}
	alike := pod{"old", []uint16{2, 3, 4, 5, 6, 8080}, []uint16{8080, 3}}
	if diff := cmp.Diff(map[string]pod{"web": alike, "db": alike}, got); diff != "" {
		t.Errorf("the pods (-want +got):\n%s", diff)
	}
}

// Which Services a waypoint takes, and whether it takes any, is as istiod reads its Gateway.
func TestAWaypointIsBeforeWhatIstiodFindsItFor(t *testing.T) {
	const hbone = "{name: mesh, port: 15008, protocol: HBONE%s}"
	from := func(from string) string {
		return fmt.Sprintf(hbone, ", allowedRoutes: {namespaces: {from: "+from+"}}")
	}
	const open = "{name: open, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}"
	for _, c := range []struct {
		name, labels, listeners, service string
		own, other                       bool
	}{
		{"no listener", "", "", "", true, false},
		{"its own namespace", "", fmt.Sprintf(hbone, ""), "", true, false},
		{"every namespace", "", from("All"), "", true, true},
		{"no namespace", "", from("None"), "", true, false},
		{"every namespace by another listener", "", open + ", " + fmt.Sprintf(hbone, ""), "", true, false},
		{"every namespace by a second one", "", "{name: first, port: 15008, protocol: HBONE}, " + from("All"), "", true,
			false},
		{"every namespace by one that is not HBONE's", "", open, "", true, false},
		{"for workloads", "istio.io/waypoint-for: workload", from("All"), "", false, false},
		{"for nothing", "istio.io/waypoint-for: \"\"", from("All"), "", false, false},
		{"an east-west gateway's Service", "", from("All"), "gateway.istio.io/managed: istio.io-eastwest-controller",
			false, false},
		{"a Service that names no namespace", "", from("All"), "istio.io/use-waypoint: w, " +
			"istio.io/use-waypoint-namespace: \"\"", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: w, namespace: mesh, " +
				"labels: {" + c.labels + "}}, spec: {gatewayClassName: istio-waypoint, " +
				"listeners: [" + c.listeners + "]}}\n"
			for _, namespace := range []string{"mesh", "shop"} {
				text += "---\n{apiVersion: v1, kind: Namespace, metadata: {name: " + namespace + ", labels: " +
					"{istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: mesh}}}\n" +
					"---\n{apiVersion: v1, kind: Service, metadata: {name: s, namespace: " + namespace + ", labels: {" +
					c.service + "}}, spec: {selector: {app: s}, ports: [{name: http, port: 80}]}}\n"
			}
			w := foreignWorld(t, text)
			before := func(namespace string) bool {
				return w.Service(topology.Ref{Namespace: namespace, Name: "s"}).Waypoint != nil
			}
			if own, other := before("mesh"), before("shop"); own != c.own || other != c.other {
				t.Errorf("it is before its own namespace's Services: %t, before another's: %t; want %t and %t", own,
					other, c.own, c.other)
			}
		})
	}
}
