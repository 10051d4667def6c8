package analysis

import (
	"fmt"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

const payEntry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: shop}
spec: {hosts: [pay.example.org], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: pay}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [POST], paths: [/charge]}}]
---
`

// waypointsOnly lets the pods of a namespace out to waypoints alone, and these to
// anywhere.
const waypointsOnly = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: NS}
spec:
  podSelector: {matchExpressions: [{key: gateway.networking.k8s.io/gateway-name, operator: DoesNotExist}]}
  policyTypes: [Egress]
  egress: [{to: [{namespaceSelector: {}}]}]
---
`

func read(t *testing.T, manifests string) Input {
	t.Helper()
	read, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(manifests)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	in, err := Of(read)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// Who can call a ServiceEntry's host is told by every way: through the waypoint, and
// past it, to the host's own address.
func TestWhoCanCallAServiceEntry(t *testing.T) {
	caged := strings.ReplaceAll(waypointsOnly, "NS", "shop") + strings.ReplaceAll(waypointsOnly, "NS", "other")
	byWay := func(manifests string) map[string][]string {
		a, err := WhoCan(read(t, manifests), "pay.example.org", "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]string{}
		for _, c := range a.Callers {
			if c.Kind != Workload {
				continue
			}
			for _, r := range c.Requests {
				out[c.Caller+" "+r.Words] = r.Ways
			}
		}
		return out
	}
	direct := []string{"the address of pay.example.org :80"}
	for _, c := range []struct {
		name, manifests string
		want            map[string][]string
	}{
		{"egress is open", shop() + payEntry, map[string][]string{
			"shop/web POST /charge":  {"ServiceEntry pay:80"},
			"shop/web every request": direct, "shop/cart every request": direct,
			"other/log every request": direct, "other/agent every request": direct,
		}},
		{"egress is closed but for the waypoint", shop() + payEntry + caged, map[string][]string{
			"shop/web POST /charge": {"ServiceEntry pay:80"},
		}},
		{"no waypoint", shop() + strings.Replace(payEntry, "namespace: shop}", "namespace: shop, labels: "+
			"{istio.io/use-waypoint: none}}", 1) + caged, map[string][]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, byWay(c.manifests)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What a change of a ServiceEntry opens is told like that of a Service.
func TestDiffOfAServiceEntry(t *testing.T) {
	caged := strings.ReplaceAll(waypointsOnly, "NS", "shop") + strings.ReplaceAll(waypointsOnly, "NS", "other")
	before := shop() + payEntry + caged
	d := Diff(read(t, before), read(t, strings.Replace(before, "methods: [POST], paths: [/charge]",
		"methods: [POST, DELETE], paths: [/charge]", 1)), Options{})
	var got []string
	for _, c := range d.Changes {
		got = append(got, fmt.Sprint(c.Opens, " ", c.To, " ", c.Callers, " ", c.Requests.Words))
	}
	if diff := cmp.Diff([]string{"true shop/pay [shop/web] DELETE /charge"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s%+v", diff, d)
	}
}

// An address that only DNS knows, and a NetworkPolicy asks for, leaves the rest of an
// answer open.
func TestWhoCanDoesNotSayNobodyElseOfWhatDNSKnows(t *testing.T) {
	manifests := shop() + payEntry + strings.Replace(strings.ReplaceAll(waypointsOnly, "NS", "other"),
		"namespaceSelector: {}", "ipBlock: {cidr: 198.51.100.0/24}", 1)
	a, err := WhoCan(read(t, manifests), "pay.example.org", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict != string(NotJudged) || a.NobodyElse || strings.Contains(a.Sentence, "nobody else") {
		t.Errorf("%s, %t, %s", a.Verdict, a.NobodyElse, a.Sentence)
	}
}
