package lint_test

import (
	"slices"
	"strings"
	"testing"

	"artemis.example/policy/lint"
	"github.com/google/go-cmp/cmp"
)

// A ServiceEntry is judged as a Service is: whether its policies find it, and whether
// its waypoint is before it.
func TestServiceEntries(t *testing.T) {
	const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: orion}
spec: {hosts: [pay.example.org], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
`
	const policy = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: orion}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: pay}]
  rules: [{from: [{source: {principals: [cluster.local/ns/houston/sa/capcom]}}]}]
`
	const closed = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: NS}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}
`
	both := strings.ReplaceAll(closed, "NS", "orion") + strings.ReplaceAll(closed, "NS", "houston")
	edit := func(old, new string) string { return strings.Replace(entry, old, new, 1) }
	for _, c := range []struct {
		name, objects string
		want          []seen // without lines
		notJudged     int
	}{
		{"as it should be", entry + policy + both, nil, 0},
		{"a policy that finds none", entry + strings.Replace(policy, "name: pay}]", "name: pray}]", 1) + both,
			[]seen{{lint.Error, "attached-to-nothing", "AuthorizationPolicy orion/pay", 0}}, 0},
		{"a policy where none is among the files", strings.TrimPrefix(policy, "---\n"), nil, 1},
		{"it opts out", edit("namespace: orion}", "namespace: orion, labels: {istio.io/use-waypoint: none}}") + policy +
			both, []seen{{lint.Error, "service-without-waypoint", "AuthorizationPolicy orion/pay", 0}}, 0},
		{"its waypoint is not there",
			edit("namespace: orion}", "namespace: orion, labels: {istio.io/use-waypoint: out}}") + policy + both,
			[]seen{{lint.Error, "waypoint-missing", "ServiceEntry orion/pay", 0}}, 0},
		{"its waypoint is of a class of which nothing is known", edit("namespace: orion}", "namespace: orion, labels: "+
			"{istio.io/use-waypoint: theirs}}") + policy + both + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs, namespace: orion}
spec: {gatewayClassName: kgateway, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`, nil, 3},
		{"its hosts have no address", edit("resolution: DNS", "resolution: NONE") + policy + both,
			[]seen{{lint.Error, "waypoint-does-not-cover", "ServiceEntry orion/pay", 0}}, 0},
		{"its hosts have no address, and nobody expects the waypoint", edit("resolution: DNS", "resolution: NONE"),
			nil, 0},
		{"a rule by path for a port of bytes", entry + strings.Replace(policy, "}]}]\n",
			"}], to: [{operation: {paths: [/charge]}}]}]\n", 1) + both,
			[]seen{{lint.Warning, "port-not-http", "ServiceEntry orion/pay", 0}}, 0},
		{"admission refuses it", edit("number: 443", "number: 0") + both,
			[]seen{{lint.Error, "invalid", "ServiceEntry orion/pay", 0}}, 0},
		{"two of one host", entry + "---\n" + edit("name: pay,", "name: paid,") + both, nil, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, cell(t)+"---\n"+c.objects)
			var got []seen
			for _, f := range r.Findings {
				got = append(got, seen{f.Severity, f.Check, f.Object, 0})
			}
			got = slices.Compact(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s%+v", diff, r.Findings)
			}
			if len(r.NotJudged) != c.notJudged {
				t.Errorf("not judged: %+v, want %d", r.NotJudged, c.notJudged)
			}
		})
	}
}
