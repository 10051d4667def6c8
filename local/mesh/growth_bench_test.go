package mesh

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
)

// grown is a world of n services in one Cell, each with a pod, a Service, a
// policy with two rules and a NetworkPolicy, plus policies that are for others.
func grown(n, others int) []string {
	parts := []string{cellYAML("orion", options{})}
	for i := range n {
		name := fmt.Sprintf("service-%04d", i)
		parts = append(parts,
			workloadYAML(orion, name, name, map[string]string{"openchoreo.dev/component": name}),
			fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[1]s, namespace: %[2]s}\nspec:\n  "+
				"selector: {openchoreo.dev/component: %[1]s}\n  ports: [{name: http, port: 8080, targetPort: 8080}]",
				name, orion),
			policyFor(name, i),
			fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %[1]s, namespace: "+
				"%[2]s}\nspec:\n  podSelector: {matchLabels: {openchoreo.dev/component: %[1]s}}\n  policyTypes: "+
				"[Ingress]\n  ingress: [{from: [{podSelector: {}}], ports: [{protocol: TCP, port: 8080}]}]", name,
				orion))
	}
	for i := range others {
		parts = append(parts, strings.Replace(policyFor(fmt.Sprintf("other-%05d", i), i), "namespace: "+orion,
			"namespace: elsewhere", 1))
	}
	return parts
}

func policyFor(name string, i int) string {
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %[1]s-authz, "+
		"namespace: %[2]s}\nspec:\n  action: ALLOW\n  targetRefs: [{group: \"\", kind: Service, name: %[1]s}]\n  "+
		"rules:\n"+
		"  - from: [{source: {principals: [cluster.local/ns/%[2]s/sa/service-%04[3]d]}}]\n    to: [{operation: "+
		"{methods: [GET], paths: [/position]}}]\n"+
		"  - from: [{source: {principals: [cluster.local/ns/%[2]s/sa/service-%04[4]d]}}]\n    to: [{operation: "+
		"{methods: [POST], paths: [/orders, /orders/*]}}]", name, orion, max(0, i-1), max(0, i-2))
}

// BenchmarkGrowth shows what services and policies cost: what a stage switch or
// an edit reads and compiles, what the compiled world takes in memory, and one
// decision.
func BenchmarkGrowth(b *testing.B) {
	for _, c := range []struct{ services, others int }{{10, 0}, {100, 0}, {1000, 0}, {10_000, 0}, {10, 10_000}} {
		parts := grown(c.services, c.others)
		name := fmt.Sprintf("%d-services-%d-policies", c.services, c.services+c.others+1)
		set := parse(b, parts...)
		b.Run("read/"+name, func(b *testing.B) {
			for b.Loop() {
				parse(b, parts...)
			}
		})
		var s *state
		b.Run("apply/"+name, func(b *testing.B) {
			var before, after runtime.MemStats
			s = nil // of the run before
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				w, err := topology.Build(set, topology.NewAllocator())
				if err != nil {
					b.Fatal(err)
				}
				s = compile("zero-trust", w)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(max(0, float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(c.services),
				"heap-B/service")
		})
		b.Run("decide/"+name, func(b *testing.B) {
			last := fmt.Sprintf("service-%04d", c.services-1)
			engine := s.policies.WaypointEngine(s.world.WaypointGateway(topology.Ref{Namespace: orion,
				Name: "waypoint"}), s.world.Service(topology.Ref{Namespace: orion, Name: last}))
			req := &authz.Request{
				HTTP: true, Principal: fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/service-%04d", orion, c.services-2),
				SourceIP: netip.MustParseAddr("10.244.0.20"), DestPort: 8080, Method: "GET", Host: last,
				Path: "/position",
			}
			if !engine.Decide(req).Allowed {
				b.Fatal("the call that is measured is refused")
			}
			b.ReportAllocs()
			for b.Loop() {
				engine.Decide(req)
			}
		})
		b.Run("network/"+name, func(b *testing.B) {
			from := s.world.Pod(topology.Ref{Namespace: orion, Name: "service-0000"})
			to := s.world.Pod(topology.Ref{Namespace: orion, Name: fmt.Sprintf("service-%04d", c.services-1)})
			for b.Loop() {
				if !s.policies.Network(from.Endpoint, to.Endpoint, 8080).Allowed {
					b.Fatal("the connection that is measured is refused")
				}
			}
		})
	}
}
