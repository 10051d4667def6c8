package analysis

import (
	"fmt"
	"strings"
	"testing"
)

// grown is a Cell of n services, each with a pod, a Service, an ALLOW policy for two
// callers and a NetworkPolicy, behind one waypoint with default-deny, and as many
// policies for somebody else's namespace.
func grown(n, others int) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\nmetadata: {name: cell, labels: {istio.io/dataplane-mode: " +
		"ambient, istio.io/use-waypoint: w}}\n")
	b.WriteString("---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: " +
		"cell, labels: {istio.io/waypoint-for: service}}\nspec: {gatewayClassName: istio-waypoint, listeners: " +
		"[{name: mesh, port: 15008, protocol: HBONE}]}\n")
	b.WriteString("---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, " +
		"namespace: cell}\nspec: {mtls: {mode: STRICT}}\n")
	b.WriteString("---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " +
		"via-waypoint-only, namespace: cell}\nspec: {action: ALLOW, rules: [{from: [{source: {serviceAccounts: " +
		"[w]}}]}]}\n")
	b.WriteString("---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: default-deny, " +
		"namespace: cell}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w}]}\n")
	b.WriteString("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: hbone, namespace: " +
		"cell}\nspec: {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: " +
		"15008}]}]}\n")
	policy := func(namespace, name string, i int) {
		fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %[2]s, "+
			"namespace: %[1]s}\nspec:\n  action: ALLOW\n  targetRefs: [{group: \"\", kind: Service, name: %[2]s}]\n  "+
			"rules:\n"+
			"  - from: [{source: {principals: [cluster.local/ns/cell/sa/s%04[3]d]}}]\n    to: [{operation: {methods: "+
			"[GET], paths: [/position, /items/*]}}]\n"+
			"  - from: [{source: {principals: [cluster.local/ns/cell/sa/s%04[4]d]}}]\n    to: [{operation: {methods: "+
			"[POST], paths: [/orders]}}]\n", namespace, name, max(0, i-1), max(0, i-2))
	}
	for i := range n {
		name := fmt.Sprintf("s%04d", i)
		fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s, namespace: "+
			"cell}\nspec:\n  selector: {matchLabels: {app: %[1]s}}\n  template:\n    metadata: {labels: {app: "+
			"%[1]s}}\n    spec: {serviceAccountName: %[1]s, containers: [{name: main, image: x, ports: "+
			"[{containerPort: 8080}]}]}\n", name)
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %[1]s, namespace: cell}\nspec: "+
			"{selector: {app: %[1]s}, ports: [{name: http, port: 8080}]}\n", name)
		fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %[1]s, "+
			"namespace: cell}\nspec: {podSelector: {matchLabels: {app: %[1]s}}, policyTypes: [Ingress], ingress: "+
			"[{from: [{podSelector: {}}], ports: [{port: 8080}]}]}\n", name)
		policy("cell", name, i)
	}
	for i := range others {
		policy("elsewhere", fmt.Sprintf("o%05d", i), i)
	}
	return b.String()
}

// BenchmarkGrowth answers who can call each of n services, manifests loaded: what it
// costs is to grow with the policies that can matter, and those for others are to be
// compiled and no more.
func BenchmarkGrowth(b *testing.B) {
	for _, c := range []struct{ services, others int }{{100, 0}, {1000, 0}, {1000, 8000}} {
		b.Run(fmt.Sprintf("%d-services-%d-policies", c.services, 2*c.services+c.others), func(b *testing.B) {
			w := build(b, grown(c.services, c.others))
			for b.Loop() {
				q, callers := Ask(Exactly(w), Options{}), 0
				for i := range c.services {
					a, err := q.WhoCan(fmt.Sprintf("cell/s%04d", i), "")
					if err != nil {
						b.Fatal(err)
					}
					callers += len(a.Callers)
				}
				if callers != 2*c.services-2 {
					b.Fatalf("%d callers are admitted, want %d", callers, 2*c.services-2)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(c.services), "µs/service")
		})
	}
}
