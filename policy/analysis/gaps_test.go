package analysis

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
)

// shop is somebody's two namespaces: shop, where cart takes GET /items from web through a
// waypoint, and other, where log takes POST /lines from agent.
func shop() string {
	var b strings.Builder
	for _, n := range []struct{ ns, to, from, method, path string }{{"shop", "cart", "web", "GET", "/items"},
		{"other", "log", "agent", "POST", "/lines"}} {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {istio.io/dataplane-mode: "+
			"ambient, istio.io/use-waypoint: w}}\n---\n", n.ns)
		fmt.Fprintf(&b, "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: %s, "+
			"labels: {istio.io/waypoint-for: service}}\nspec: {gatewayClassName: istio-waypoint, listeners: [{name: "+
			"mesh, port: 15008, protocol: HBONE}]}\n---\n", n.ns)
		fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, "+
			"namespace: %s}\nspec: {mtls: {mode: STRICT}}\n---\n", n.ns)
		fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: "+
			"via-waypoint-only, namespace: %s}\nspec: {rules: [{from: [{source: {serviceAccounts: [w]}}]}]}\n---\n",
			n.ns)
		fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: default-deny, "+
			"namespace: %s}\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w}]}\n---\n",
			n.ns)
		fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %[2]s, "+
			"namespace: %[1]s}\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: %[2]s}]\n  rules:\n  - "+
			"from: [{source: {principals: [cluster.local/ns/%[1]s/sa/%[3]s]}}]\n    to: [{operation: {methods: "+
			"[%[4]s], paths: [%[5]s]}}]\n---\n", n.ns, n.to, n.from, n.method, n.path)
		for _, w := range []string{n.to, n.from} {
			fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[2]s, namespace: "+
				"%[1]s}\nspec:\n  selector: {matchLabels: {app: %[2]s}}\n  template:\n    metadata: {labels: {app: "+
				"%[2]s}}\n    spec: {serviceAccountName: %[2]s, containers: [{name: main, image: x, ports: "+
				"[{containerPort: 80}]}]}\n---\n", n.ns, w)
		}
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata: {name: %[2]s, namespace: %[1]s}\nspec: {selector: "+
			"{app: %[2]s}, ports: [{name: http, port: 80}]}\n---\n", n.ns, n.to)
	}
	return b.String()
}

const shopClaims = `
claims:
- to: shop/cart
  only: [{project: shop, component: web, methods: [GET], paths: [/items]}]
- to: shop/cart
  always: [{project: shop, component: web, methods: [GET], paths: [/items]}]
- to: other/log
  only: [{project: other, component: agent, methods: [POST], paths: [/lines]}]
- to: other/log
  always: [{project: other, component: agent, methods: [POST], paths: [/lines]}]
`

func readInput(t *testing.T, texts ...string) Input {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read, err := manifest.ReadInput(manifest.Source{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := Of(read)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func policyFor(name, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name +
		", namespace: shop}\nspec:\n  targetRefs: [{group: \"\", kind: Service, name: cart}]\n" + spec
}

// TestWhatCannotBeJudgedIsNamedAndNeverProven adds something that the evaluators lack, or
// that manifests do not say, to shop: no claim about it that depends on that is proven,
// the reason is told with its place, and what is claimed of the other namespace stays
// proven.
func TestWhatCannotBeJudgedIsNamedAndNeverProven(t *testing.T) {
	claims, err := ReadClaims("claims.yaml", []byte(shopClaims))
	if err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rules, "  - when: [{key: \"request.headers[x-%d]\", notValues: [a, \"b*\"]}, {key: "+
			"\"request.headers[y-%d]\", notValues: [\"*c\"]}]\n", i, i)
	}
	place := regexp.MustCompile(`1\.yaml:\d+`)
	for _, c := range []struct {
		name, more string
		// not are the claims about cart that cannot be proven, because of because.
		not     []string
		because string
		placed  bool
		// everywhere is set where it can touch calls to the other namespace, too.
		everywhere bool
	}{
		{"nothing", "", nil, "", false, false},
		{"a token in an ALLOW rule for anybody", policyFor("token", "  rules: [{from: [{source: {requestPrincipals: "+
			"[\"*\"]}}]}]\n"), []string{"only"}, "requestPrincipals", true, false},
		{"a claim of a token in a DENY rule", policyFor("token", "  action: DENY\n  rules: [{when: [{key: "+
			"\"request.auth.claims[role]\", values: [x]}]}]\n"), []string{"always"}, "spec.rules[0].when", true, false},
		{"an external authorizer", policyFor("ext", "  action: CUSTOM\n  provider: {name: opa}\n  rules: [{}]\n"),
			[]string{"always"}, "spec.action", true, false},
		{"an EnvoyFilter", "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: f, " +
			"namespace: shop}\nspec: {}\n", []string{"only", "always"}, "EnvoyFilter", true, false},
		{"a VirtualService", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, " +
			"namespace: shop}\nspec: {hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}\n",
			[]string{"only", "always"}, "VirtualService", true, false},
		{"a policy of another CNI", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: c, " +
			"namespace: shop}\nspec: {endpointSelector: {}}\n", []string{"only", "always"}, "CiliumNetworkPolicy", true,
			true},
		{"a workload with a sidecar", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: side, namespace: " +
			"shop}\nspec:\n  selector: {matchLabels: {app: cart}}\n  template:\n    metadata: {labels: {app: cart, " +
			"sidecar.istio.io/inject: \"true\"}}\n    spec: {serviceAccountName: side, containers: [{name: main, " +
			"image: x}]}\n", nil, "", false, false},
		{"the destination's address", policyFor("dst", "  rules: [{when: [{key: destination.ip, values: "+
			"[10.0.0.0/8]}]}]\n"), []string{"only", "always"}, "destination.ip", false, false},
		{"a NetworkPolicy by the waypoint's address", "apiVersion: networking.k8s.io/v1\nkind: " +
			"NetworkPolicy\nmetadata: {name: n, namespace: shop}\nspec: {podSelector: {matchLabels: {app: cart}}, " +
			"policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.7.0.0/16}}]}]}\n",
			[]string{"only", "always"}, "address of a waypoint", false, false},
		{"a NetworkPolicy by the called pod's address", "apiVersion: networking.k8s.io/v1\nkind: " +
			"NetworkPolicy\nmetadata: {name: n, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Egress], " +
			"egress: [{to: [{ipBlock: {cidr: 10.7.0.0/16}}]}]}\n", []string{"only", "always"}, "called pod", false,
			false},
		{"the client's address, looked at in two ways", policyFor("xff", "  rules: [{from: [{source: "+
			"{remoteIpBlocks: [10.0.0.0/8]}}], when: [{key: \"request.headers[x-forwarded-for]\", values: "+
			"[\"10.*\"]}]}]\n"), []string{"only", "always"}, "x-forwarded-for", false, false},
		{"more classes than can be looked at", policyFor("many", "  rules:\n"+rules.String()),
			[]string{"only", "always"}, "too many classes", false, false},
		{"a field that nobody knows", policyFor("new", "  rules: [{from: [{source: {moonPhases: [full]}}]}]\n"),
			[]string{"only", "always"}, "shop/new", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts := []string{shop()}
			if c.more != "" {
				texts = append(texts, c.more)
			}
			p, err := Prove(readInput(t, texts...), claims, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range p.Claims {
				want := Proven
				for _, claim := range c.not {
					if (j.To == "shop/cart" || c.everywhere) && j.Claim == claim {
						want = NotJudged
					}
				}
				why := strings.Join(j.NotJudged, "\n")
				if j.Verdict != want {
					t.Errorf("%s %s: %s, want %s %s %+v", j.To, j.Claim, j.Verdict, want, why, j.Breaks)
				}
				if want == NotJudged && (!strings.Contains(why, c.because) || c.placed && !place.MatchString(why)) {
					t.Errorf("%s %s is not judged because of %q; want that it names %s, with file and line: %t", j.To,
						j.Claim, why, c.because, c.placed)
				}
			}
			if len(c.not) > 0 {
				namedByAll(t, readInput(t, shop()), readInput(t, texts...), c.because)
			}
		})
	}
}
