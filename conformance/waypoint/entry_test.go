package waypoint

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
)

// abroad has ServiceEntries with and without a waypoint, by every resolution that needs
// no name server, with policies of their own, of Services of their name, and of the
// waypoint.
const abroad = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: egress, labels: {istio.io/use-waypoint: out}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: out, namespace: egress}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}, spec: {serviceAccountName: web, containers: [{name: c, image: x}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: rogue, namespace: shop}, spec: {serviceAccountName: rogue, containers: [{name: c, image: x}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: egress}
spec:
  hosts: [pay.example.org]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 81, name: tcp, protocol: TCP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 10.244.250.1}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: egress}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: pay}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [POST], paths: [/charge]}}]
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {ports: ["81"]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: news, namespace: egress}
spec:
  hosts: [news.example.org]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: DNS
  endpoints: [{address: 10.244.250.1}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: news, namespace: egress}
spec:
  targetRefs: [{kind: Service, name: news}, {group: networking.istio.io, kind: ServiceEntry, name: other}]
  rules: [{from: [{source: {namespaces: [nowhere]}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: past, namespace: egress, labels: {istio.io/use-waypoint: none}}
spec:
  hosts: [past.example.org]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 10.244.250.1}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: past, namespace: egress}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: past}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: itself, namespace: egress}
spec:
  hosts: [itself.example.org]
  addresses: [10.244.250.2]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: NONE
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: itself, namespace: egress}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: itself}]
  action: DENY
  rules: [{to: [{operation: {methods: [DELETE]}}]}]
`

// TestServiceEntries sends calls to ServiceEntries' hosts through the waypoint that
// istiod's code configures, in a real Envoy, and past it: each ends as the evaluators
// say, and so it does through our own waypoint; also with a policy for the waypoint.
func TestServiceEntries(t *testing.T) {
	bin, err := envoy.Path(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"10.244.250.1:8080", "10.244.250.2:8080"} {
		ln, err := net.Listen("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		host := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI)
		})}
		go func() { _ = host.Serve(ln) }()
		t.Cleanup(func() { host.Close() })
	}
	wrong := 0
	statuses := map[string]int{}
	for _, more := range []string{"", `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: default-deny, namespace: egress}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: out}]}
`} {
		in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(abroad + more)}, "-")
		if err != nil || len(in.Problems) > 0 {
			t.Fatal(err, in.Problems)
		}
		for _, waypoint := range []string{bin, ""} {
			name := fmt.Sprintf("Envoy %t, the waypoint's own policy %t", waypoint != "", more != "")
			t.Run(name, func(t *testing.T) {
				want, got := entryCalls(t, run(t, waypoint, in.Set))
				for what, status := range got {
					statuses[status]++
					if status != want[what] {
						wrong++
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-evaluators +mesh)\n%s", diff)
				}
			})
		}
	}
	t.Logf("%v", statuses)
	if statuses["200"] < 20 || statuses["403"] < 20 || statuses["reset"] == 0 {
		t.Errorf("%v: too little was tried", statuses)
	}
	var notes []string
	calls := 0
	for s, n := range statuses {
		notes, calls = append(notes, fmt.Sprintf("%d %s", n, s)), calls+n
	}
	slices.Sort(notes)
	v, err := envoy.Version(t.Context(), bin)
	if err != nil {
		t.Error(err)
	}
	if err := figures.Keep(figures.Figure{Order: 23, What: "calls to ServiceEntries", Engine: "Envoy " + v +
		", configured by istiod's code", Comparisons: calls, Disagreements: wrong,
		Notes: strings.Join(notes, ", ")}); err != nil {
		t.Error(err)
	}
}

// entryCalls calls every ServiceEntry and returns how each call ends by the evaluators,
// and in the mesh.
func entryCalls(t *testing.T, s *suite) (want, got map[string]string) {
	t.Helper()
	want, got = map[string]string{}, map[string]string{}
	for _, to := range s.world.Services {
		for _, port := range to.Ports {
			for _, from := range []string{"web", "rogue"} {
				for _, line := range []string{"GET /charge", "POST /charge", "POST /charge/x", "DELETE /"} {
					what := fmt.Sprintf("%s to %s:%d %s", from, to.Name, port.Number, line)
					pod := s.world.Pod(topology.Ref{Namespace: "shop", Name: from})
					want[what] = said(t, s.world, pod, to, port, line)
					got[what] = s.pods[pod.Ref].call(netip.AddrPortFrom(to.VIP, port.Number), line, to.Host).Status
				}
			}
		}
	}
	return want, got
}

// said is the answer that a call has by the evaluators.
func said(t *testing.T, w *topology.World, from *topology.Pod, to *topology.Service, port topology.Port,
	line string) string {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	head, refused := message.Ask(method, path, to.Host, nil)
	if refused != nil {
		t.Fatal(refused)
	}
	way := w.Way(from.Caller(), topology.Destination{Service: to, Port: port.Number}, topology.Live{})
	if way.Failure != "" {
		t.Fatal(way.Failure)
	}
	call := &evaluate.Call{Head: head}
	if port.Protocol == topology.TCP {
		call = &evaluate.Call{Bytes: true}
	}
	rulings := evaluate.New(w).Way(&way, call)
	switch last := rulings[len(rulings)-1]; {
	case last.Allowed:
		return "200"
	case call.Bytes:
		return "reset"
	}
	return "403"
}
