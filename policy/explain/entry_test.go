package explain_test

import (
	"strings"
	"testing"

	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

// abroad is a shop that calls hosts outside of the cluster: through a waypoint of
// its own, past it, and by every resolution.
const abroad = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: egress, labels: {istio.io/use-waypoint: out}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: plain}}
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
{apiVersion: v1, kind: Pod, metadata: {name: outsider, namespace: plain}, spec: {containers: [{name: c, image: x}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: caged, namespace: shop, labels: {caged: "true"}}, spec: {serviceAccountName: web, containers: [{name: c, image: x}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: caged, namespace: shop}
spec:
  podSelector: {matchLabels: {caged: "true"}}
  policyTypes: [Egress]
  egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: egress}}}]}, {to: [{ipBlock: {cidr: 198.51.100.0/24}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: egress}
spec:
  hosts: [pay.example.org]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: egress}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: pay}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [POST], paths: [/charge]}}]
---
# a Service of the same name, whose policies are not the ServiceEntry's
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: egress}
spec: {ports: [{port: 80, name: http}], selector: {app: nobody}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay-service, namespace: egress}
spec:
  targetRefs: [{kind: Service, name: pay}]
  rules: [{}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: legacy, namespace: egress, labels: {istio.io/use-waypoint: none}}
spec:
  hosts: [legacy.example.org]
  addresses: [198.51.100.7]
  ports: [{number: 5432, name: tcp, protocol: TCP, targetPort: 6432}]
  resolution: STATIC
  endpoints: [{address: 198.51.100.8}, {address: 192.0.2.8, ports: {tcp: 7432}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any, namespace: egress}
spec: {hosts: ["*.example.net"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: hidden, namespace: egress, labels: {networking.istio.io/enable-autoallocate-ip: "false"}}
spec: {hosts: [hidden.example.org], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: egress, labels: {istio.io/use-waypoint: theirs}}
spec: {hosts: [far.example.org], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs, namespace: egress}
spec: {gatewayClassName: kgateway, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.internal]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  workloadSelector: {labels: {caged: "true"}}
`

// A ServiceEntry is a destination like a Service: its own policies, the waypoint's,
// or none of them.
func TestAServiceEntryIsADestination(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(abroad)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Problems) > 0 {
		t.Fatal(in.Problems)
	}
	x, err := explain.Open("", in)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Verdict   decision.Verdict
		By        string
		NotJudged []string
	}
	for _, c := range []struct {
		name, from, to, method, path string
		want                         answer
	}{
		{"its own policy allows", "shop/web", "http://pay.example.org/charge", "POST", "",
			answer{decision.Allowed, "egress/pay", nil}},
		{"its own policy refuses another method", "shop/web", "http://pay.example.org/charge", "GET", "",
			answer{decision.DeniedL7, "", nil}},
		{"its own policy refuses another caller", "shop/rogue", "http://pay.example.org/charge", "POST", "",
			answer{decision.DeniedL7, "", nil}},
		{"a Service of its name is another destination", "shop/rogue", "egress/pay", "GET", "/",
			answer{decision.Failed, "", nil}},
		{"a TLS port carries bytes, for which the rule by path is left out", "shop/web", "https://pay.example.org",
			"", "", answer{decision.DeniedL7, "", nil}},
		{"without a waypoint everybody may", "shop/rogue", "legacy.example.org:5432", "", "",
			answer{decision.Allowed, "", nil}},
		{"an address that a NetworkPolicy admits", "shop/caged", "198.51.100.8", "", "", answer{decision.Allowed,
			"", nil}},
		{"an address that a NetworkPolicy refuses", "shop/caged", "192.0.2.8", "", "",
			answer{decision.DeniedNetwork, "shop/caged", nil}},
		{"the waypoint is where the NetworkPolicy sends it", "shop/caged", "http://pay.example.org/charge", "POST", "",
			answer{decision.Allowed, "egress/pay", nil}},
		{"past the waypoint, to the host's own address, nobody asks", "shop/rogue", "pod:egress/pay", "", "",
			answer{decision.Allowed, "", nil}},
		{"an address that DNS knows and a NetworkPolicy asks for", "shop/caged", "pod:egress/pay", "", "",
			answer{explain.NotJudged, "shop/caged", []string{"the address of pay.example.org, which DNS knows, and " +
				"NetworkPolicies of namespace shop ask for"}}},
		{"resolution NONE without addresses never meets the waypoint", "shop/rogue", "https://api.example.net", "", "",
			answer{decision.Allowed, "", nil}},
		{"a caller outside of the mesh", "plain/outsider", "http://pay.example.org", "", "",
			answer{explain.NotJudged, "", []string{"callers outside of the mesh know no ServiceEntry: what " +
				"pay.example.org is to them, their DNS says"}}},
		{"a host without an address", "shop/web", "http://hidden.example.org", "", "",
			answer{explain.NotJudged, "", []string{"metadata.labels.networking.istio.io/enable-autoallocate-ip in " +
				"<stdin>:78: it has no address: what its hosts are to a caller, DNS says"}}},
		{"a waypoint of a class of which nothing is known", "shop/web", "http://far.example.org", "", "",
			answer{explain.NotJudged, "", []string{"spec.gatewayClassName in <stdin>:89: what a Gateway of class " +
				"kgateway does as a waypoint is not known"}}},
		{"pods that it selects", "shop/web", "http://web.internal", "", "", answer{decision.Allowed, "", nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := x.Ask(explain.Question{From: c.from, To: c.to, Method: c.method, Path: c.path})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, answer{a.Verdict, a.Policy, a.NotJudged}); diff != "" {
				t.Errorf("(-want +got)\n%s\n%+v", diff, a)
			}
		})
	}
}
