package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// plainShop is a namespace shop with a workload cart behind a Service, and nothing that
// protects it; mesh says what its namespace's labels are.
func plainShop(labels string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {%s}}
`, labels) + bareShop
}

const bareShop = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, tier: a}}
    spec: {serviceAccountName: cart, containers: [{name: main, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
`

const shopPod = `---
apiVersion: apps/v1
kind: %s
metadata: {name: %s, namespace: shop}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {%s}}
    spec: {serviceAccountName: %s, containers: [{name: main, image: x, ports: [{containerPort: 80}]}]}
`

// fence is a NetworkPolicy of shop with one peer.
func fence(peer string) string {
	return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: fence, namespace: shop}\n" +
		"spec: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Ingress], ingress: [{from: [" + peer + "]}]}\n"
}

func admits(rule string) string { return policyFor("more", "  rules: ["+rule+"]\n") }

const sidecars = `---
apiVersion: v1
kind: Namespace
metadata: {name: ext, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: ext}
spec:
  selector: {matchLabels: {app: gw}}
  template:
    metadata: {labels: {app: gw}}
    spec: {serviceAccountName: gw, containers: [{name: main, image: x}]}
---
`

// TestAClaimIsAboutThoseWhomItNames judges claims about callers that no manifest has: a
// rule may mean them and others alike, and what is claimed of the ones is not claimed
// of the others.
func TestAClaimIsAboutThoseWhomItNames(t *testing.T) {
	meshed, open := shop(), plainShop("istio.io/dataplane-mode: none")
	from := func(principal string) string {
		return admits(`{from: [{source: {principals: ["cluster.local/ns/` + principal + `"]}}]}`)
	}
	for _, c := range []struct {
		name, manifests, claim string
		want                   Verdict
		// breaks is a caller that breaks it.
		breaks string
	}{
		{"a pattern admits more namespaces than the one that may call", meshed + from("three*"),
			"only: [{project: shop, component: web}, {project: three, wholeCell: true}]", Broken, "another namespace"},
		{"exactly the namespace that may call", meshed + from("three/*"),
			"only: [{project: shop, component: web}, {project: three, wholeCell: true}]", Proven, ""},
		{"a pattern admits the namespace that may not", meshed + from("t*"),
			"never: [{project: three, wholeCell: true}]", Broken, "three"},
		{"a pattern does not admit the namespace that may not", meshed + from("t*"),
			"never: [{project: four, wholeCell: true}]", Proven, ""},
		{"a pattern admits more accounts than the one that may call", meshed + from("shop/sa/x*"),
			"only: [{project: shop, component: web}, {project: shop, component: x}]", Broken, "shop/sa/x*"},
		{"exactly the account that may call", meshed + from("shop/sa/x"),
			"only: [{project: shop, component: web}, {project: shop, component: x}]", Proven, ""},
		{"everybody's rule admits the account that may not", meshed + admits("{}"),
			"never: [{project: shop, component: x}]", Broken, "shop/x"},
		{"everybody's rule admits an account that may not, of a namespace that nobody wrote", meshed + admits("{}"),
			"never: [{project: three, component: x}]", Broken, "three/x"},
		{"a pod of the namespace that may not, outside of the mesh", open,
			"never: [{project: three, wholeCell: true}]", Broken, "a pod of three outside of the mesh"},
		{"a pod outside of the mesh may run as the account that may not", open,
			"never: [{project: three, component: x}]", Broken, "that runs as x"},
		{"a pod outside of the mesh need not run as the account that may", open,
			"only: [{project: three, component: x}]", Broken, "a pod of three outside of the mesh"},
		{"the same pods, kept out by the namespace's name", open +
			fence("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}"),
			"never: [{project: three, wholeCell: true}, {project: three, component: x}]", Proven, ""},
		{"a workload with a sidecar may call, by its name", meshed + sidecars + from("ext/sa/gw"),
			"only: [{project: shop, component: web}, {project: ext, component: edge}]", Proven, ""},
		{"a workload with a sidecar may call, by its account", meshed + sidecars + from("ext/sa/gw"),
			"only: [{project: shop, component: web}, {project: ext, component: gw}]", Proven, ""},
		{"what a sidecar does", meshed + sidecars + from("ext/sa/gw"),
			"always: [{project: ext, component: edge}]", NotJudged, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, err := ReadClaims("claims.yaml", []byte("claims:\n- to: shop/cart\n  "+c.claim+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := Prove(readInput(t, c.manifests), claims, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var callers []string
			for _, b := range p.Claims[0].Breaks {
				callers = append(callers, b.Caller)
			}
			if p.Verdict != c.want {
				t.Errorf("%s, want %s %v %v", p.Verdict, c.want, callers, p.Claims[0].NotJudged)
			}
			named := func(who string) bool { return strings.Contains(who, c.breaks) }
			if c.breaks != "" && !slices.ContainsFunc(callers, named) {
				t.Errorf("broken by %q, want one of %q", callers, c.breaks)
			}
		})
	}
}

// TestNobodyIsLeftOut asks who can call a workload where a way, a pod or a class of
// callers is easily missed.
func TestNobodyIsLeftOut(t *testing.T) {
	const ambient = "istio.io/dataplane-mode: ambient"
	elsewhere := plainShop(ambient+", istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: infra") + `---
apiVersion: v1
kind: Namespace
metadata: {name: infra}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: w, namespace: infra}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: via-waypoint-only, namespace: shop}
spec: {rules: [{from: [{source: {serviceAccounts: [infra/w]}}]}]}
---
` + policyFor("cart", "")
	strict := plainShop(ambient) + `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {selector: {matchLabels: {tier: a}}}
`
	told := strings.Replace(shop(), "{istio.io/waypoint-for: service}}",
		"{istio.io/waypoint-for: service}, annotations: {ambient.istio.io/xfcc-include-client-identity: \"true\"}}", 1)
	silent := func(labels string) string {
		workload, _, _ := strings.Cut(strings.Replace(plainShop(labels), ", ports: [{containerPort: 80}]", "", 1),
			"---\napiVersion: v1\nkind: Service")
		return workload
	}
	bytes := strings.Replace(shop(), "ports: [{name: http, port: 80}]", "ports: [{name: tcp, port: 80}]", 1)
	// edge is somebody of another namespace, whose account alone may call the pod.
	edge := func(podLabels string) string {
		return strict + "---\n" + object("v1", "Namespace", "", "ext", "") +
			"---\n" + strings.NewReplacer("namespace: shop", "namespace: ext", "{app: x}", "{app: edge}").Replace(
			fmt.Sprintf(shopPod, "Deployment", "edge", "app: edge"+podLabels, "edge"))[4:] + "---\n" +
			object("security.istio.io/v1", "AuthorizationPolicy", "shop", "edge",
				"spec: {rules: [{from: [{source: {principals: [cluster.local/ns/ext/sa/edge]}}]}]}")
	}
	for _, c := range []struct{ name, manifests, want string }{
		{"nobody", strict, ""},
		{"nobody whose account is named but who has no proxy", edge(""), ""},
		{"a pod with a sidecar, which has its identity", edge(", sidecar.istio.io/inject: \"true\""),
			"account ext/edge, a sidecar's: every request by pod address :80"},
		{"nobody by the address that a header could name, where no header is read",
			bytes + admits("{from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]}"), ""},
		{"another workload of the same name, that no policy selects",
			strict + fmt.Sprintf(shopPod, "StatefulSet", "cart", "app: cart", "cart"),
			"any other account of shop: every request by Service cart:80"},
		{"another pod of the same workload and account, with other labels",
			plainShop("") + fence("{podSelector: {matchLabels: {role: b}}}") +
				fmt.Sprintf(shopPod, "Deployment", "log", "role: a", "log") +
				fmt.Sprintf(shopPod, "StatefulSet", "log", "role: b", "log"),
			"shop/log-statefulset: every request by pod address :80"},
		{"a Service that nobody wrote, on a waypoint of another namespace", elsewhere,
			"any other account of another namespace: every request" +
				" by a Service that nobody wrote, on waypoint infra/w, with an HTTP port, to port 80"},
		{"a waypoint of another namespace, which leads wherever its Services do", strict + "---\n" +
			object("v1", "Namespace", "", "ext", "") + "---\n" +
			object("gateway.networking.k8s.io/v1", "Gateway", "ext", "w",
				"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}") +
			"---\n" + object("security.istio.io/v1", "AuthorizationPolicy", "shop", "w",
			"spec: {rules: [{from: [{source: {principals: [cluster.local/ns/ext/*]}}]}]}"),
			"any other account of ext that matches cluster.local/ns/ext/*: every request by pod address :80"},
		{"who has the account of a waypoint that runs as another", strings.Replace(shop(),
			"{istio.io/waypoint-for: service}}", "{istio.io/waypoint-for: service}, "+
				"annotations: {gateway.istio.io/service-account: edge}}", 1),
			"account shop/w, which no workload here runs as: every request by pod address :80"},
		{"a header that the waypoint writes", told +
			admits(`{when: [{key: "request.headers[x-forwarded-client-cert]", values: ["*/sa/any-other"]}]}`),
			"any other account of shop: every request by Service cart:80"},
		{"clients whose address is of version 6",
			shop() + admits("{from: [{source: {notRemoteIpBlocks: [0.0.0.0/0]}}]}"),
			"any other account of shop: every request, client address any but 0.0.0.0/0 by Service cart:80"},
		{"pods beside it whose Namespace is not among the manifests", bareShop + fence("{podSelector: {}}"),
			"a pod of shop outside of the mesh: every request by Service cart:80"},
		{"pods with addresses of a block that begins where no pod is",
			plainShop("") + fence("{ipBlock: {cidr: 169.254.0.0/15}}"),
			"shop/cart, with an address in 169.254.0.0/15: every request by pod address :80"},
		{"pods with addresses of version 6", plainShop("") + fence(`{ipBlock: {cidr: "::/0"}}`),
			"shop/cart, with an address in ::/0: every request by pod address :80"},
		{"ports of a pod that names none", silent(""),
			"any other account of shop: every request by pod address :1-65535"},
		{"ports of a pod that names none, behind a NetworkPolicy for some of them", silent("") +
			strings.Replace(fence("{podSelector: {}}"), "}]}]}\n", "}], ports: [{port: 9100, endPort: 9102}]}]}\n", 1),
			"a pod of shop outside of the mesh: every request by pod address :9100-9102"},
		{"nobody, where a pod that names no port is closed", silent("") +
			strings.Replace(fence("{podSelector: {}}"), "[{from: [{podSelector: {}}]}]", "[]", 1), ""},
		{"one port that a policy of the mesh admits to a pod that names none", silent(ambient) +
			"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n" +
			"metadata: {name: ports, namespace: shop}\nspec: {rules: [{to: [{operation: {ports: [\"9100\"]}}]}]}\n",
			"any other account of shop: every request by pod address :9100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := WhoCan(readInput(t, c.manifests), "shop/cart", "", Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, who := range a.Callers {
				for _, r := range who.Requests {
					for _, way := range r.Ways {
						got = append(got, fmt.Sprintf("%s: %s by %s", who.Caller, r.Words, way))
					}
				}
			}
			switch {
			case c.want == "" && (len(got) > 0 || !a.NobodyElse):
				t.Errorf("who can: %q, nobody else: %t; want nobody", got, a.NobodyElse)
			case c.want != "" && !slices.Contains(got, c.want):
				t.Errorf("who can: %q, want among them %q %v", got, c.want, a.NotJudged)
			}
		})
	}
}

// TestWhoCanNeverSaysNobodyElseOfWhatItCouldNotJudge where the reason is no gap of the
// manifests but a limit of what is looked at.
func TestWhoCanNeverSaysNobodyElseOfWhatItCouldNotJudge(t *testing.T) {
	var labels []string
	for i := range 12 {
		labels = append(labels, fmt.Sprintf("l%d: x", i))
	}
	for because, manifests := range map[string]string{
		"content-length": shop() + admits(`{when: [{key: "request.headers[content-length]", values: ["*"]}]}`),
		"connection.sni": strings.Replace(shop(), "[{name: http, port: 80}]", "[{name: https, port: 80}]", 1) +
			admits("{when: [{key: connection.sni, values: [cart.shop]}]}"),
		"by Service cart:80, Service twin:80: ": shop() + twinService +
			admits(`{when: [{key: "request.headers[content-length]", values: ["*"]}]}`) + "---\n" +
			strings.Replace(policyFor("twin", `  rules: [{when: [{key: "request.headers[content-length]", values: ["*"]}]}]`+
				"\n"), "name: cart}]", "name: twin}]", 1),
		"combinations of labels": plainShop("") +
			fence("{podSelector: {matchLabels: {"+strings.Join(labels, ", ")+"}}}"),
	} {
		a, err := WhoCan(readInput(t, manifests), "shop/cart", "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		why := strings.Join(a.NotJudged, "; ")
		if a.Verdict != string(NotJudged) || a.NobodyElse || !strings.Contains(a.Sentence, "not judged") ||
			!strings.Contains(why, because) {
			t.Errorf("%s, nobody else: %t, %q, because %q", a.Verdict, a.NobodyElse, a.Sentence, why)
		}
	}
}

const twinService = `apiVersion: v1
kind: Service
metadata: {name: twin, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
`

// TestWhatCannotBeJudgedByOneWayHidesNoOther of several: callers by a way that can be judged
// are told beside it, and break what is claimed.
func TestWhatCannotBeJudgedByOneWayHidesNoOther(t *testing.T) {
	in := readInput(t, shop()+twinService+
		admits(`{when: [{key: "request.headers[content-length]", values: ["*"]}]}`)+"---\n"+
		strings.Replace(policyFor("twin", "  rules: [{}]\n"), "name: cart}]", "name: twin}]", 1))
	a, err := WhoCan(in, "shop/cart", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := ReadClaims("claims.yaml", []byte(shopClaims))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Prove(in, claims[:1], Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict != string(NotJudged) || len(a.Callers) == 0 || a.NobodyElse || p.Verdict != Broken ||
		len(p.Claims[0].NotJudged) == 0 {
		t.Errorf("who-can is %s with %d classes of callers, nobody else: %t; prove is %s, not judged: %q",
			a.Verdict, len(a.Callers), a.NobodyElse, p.Verdict, p.Claims[0].NotJudged)
	}
}

// TestClaimsAboutWhatNobodySeesAreRefused since everything could be claimed of it.
func TestClaimsAboutWhatNobodySeesAreRefused(t *testing.T) {
	for requests, want := range map[string]string{
		"methods: [get]": "method get", "paths: [items]": "path items", `paths: ["/items?x"]`: "path /items?x",
		"paths: [/x/../items]": "path /x/../items", `methods: [GET, "P*"], paths: ["/a*", "*b", "/{*}", /%2F]`: "",
	} {
		_, err := ReadClaims(
			"claims.yaml",
			[]byte("claims:\n- {to: shop/cart, never: [{anyone: true, "+requests+"}]}\n"),
		)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), "claims.yaml:2: "+want) {
			t.Errorf("%s: %v, want an error about %q", requests, err, want)
		}
	}
}

// TestAGatewayWritesHowItWasAsked into x-forwarded-proto and by whom into x-forwarded-for,
// whatever its clients say; pods of the mesh say what they like.
func TestAGatewayWritesHowItWasAsked(t *testing.T) {
	front := func(protocol, annotations string) string {
		return object("v1", "Namespace", "", "edge", "") + "---\n" +
			object("gateway.networking.k8s.io/v1", "Gateway", "edge", "front",
				"spec: {gatewayClassName: istio, infrastructure: {annotations: {"+annotations+"}}, "+
					"listeners: [{name: l, port: 80, protocol: "+protocol+
					", allowedRoutes: {namespaces: {from: All}}}]}") + "---\n" +
			object(
				"gateway.networking.k8s.io/v1",
				"HTTPRoute",
				"shop",
				"r",
				"spec:\n  parentRefs: [{name: front, namespace: edge}]\n"+
					"  rules: [{backendRefs: [{name: cart, port: 80}]}]",
			) + "---\n"
	}
	rule := func(key, values string) string {
		return policyFor("more", "  rules: [{from: [{source: {principals: [cluster.local/ns/edge/sa/front-istio, "+
			"cluster.local/ns/shop/sa/web]}}], when: [{key: \""+key+"\", "+values+"}]}]\n")
	}
	const proto, by = "request.headers[x-forwarded-proto]", "request.headers[x-forwarded-for]"
	for _, c := range []struct{ name, gateway, rule, claim, want string }{
		{"plain HTTP, where it is admitted", front("HTTP", ""), rule(proto, "values: [http]"), "always", "proven"},
		{"plain HTTP, where HTTPS is", front("HTTP", ""), rule(proto, "values: [https]"), "always", "broken"},
		{"plain HTTP, where HTTPS is admitted alone", front("HTTP", ""), rule(proto, "values: [https]"), "never",
			"proven"},
		{"HTTPS", front("HTTPS", ""), rule(proto, "values: [https]"), "always", "proven"},
		{"HTTPS, by the scheme", front("HTTPS", ""), rule("request.headers[:scheme]", "values: [https]"), "always",
			"proven"},
		{"what a gateway is told that trusts others", front("HTTP", "proxy.istio.io/config: x"),
			rule(proto, "values: [https]"), "never", "broken"},
		{"that somebody asked", front("HTTP", ""), rule(by, "values: [\"*\"]"), "always", "proven"},
		{"that nobody asked", front("HTTP", ""), rule(by, "notValues: [\"*\"]"), "never", "proven"},
		{"a client's word before its address", front("HTTP", ""), rule(by, "values: [\"nonsense*\"]"), "never",
			"broken"},
		{"a client's word behind its address", front("HTTP", ""), rule(by, "values: [\"*nonsense\"]"), "never",
			"proven"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(
				shop(),
				"metadata: {name: cart, namespace: shop}\nspec: {selector",
				"metadata: {name: cart, namespace: shop, labels: {istio.io/ingress-use-waypoint: \"true\"}}\n"+
					"spec: {selector",
				1,
			)
			claims, err := ReadClaims(
				"claims.yaml",
				[]byte("claims: [{to: shop/cart, "+c.claim+": [{ingress: true}]}]"),
			)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Prove(readInput(t, text+c.gateway+c.rule), claims, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Verdict) != c.want {
				t.Errorf(
					"%s: %s, want %s %+v %v",
					c.claim,
					p.Verdict,
					c.want,
					p.Claims[0].Breaks,
					p.Claims[0].NotJudged,
				)
			}
		})
	}
	inside, err := WhoCan(readInput(t, shop()+rule(proto, "values: [gopher]")), "shop/cart", "shop/web", Options{})
	if err != nil || len(inside.Callers) != 1 || len(inside.Callers[0].Requests) != 3 {
		t.Errorf("a pod that says what it likes: %+v %v", inside, err)
	}
}

// TestAlwaysIsAboutTheHostsThatLeadThere of those who come through a gateway.
func TestAlwaysIsAboutTheHostsThatLeadThere(t *testing.T) {
	claims, err := ReadClaims("claims.yaml",
		[]byte("claims: [{to: shop/cart, always: [{ingress: true, methods: [GET], paths: [/items]}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	const all, some = "{backendRefs: [{name: cart, port: 80}]}",
		"{matches: [{path: {value: /other}}], backendRefs: [{name: cart, port: 80}]}"
	for routes, want := range map[[2]string]Verdict{
		{"hostnames: [a.example]|" + all, "hostnames: [b.example]|" + all}:  Proven,
		{"hostnames: [a.example]|" + all, "hostnames: [b.example]|" + some}: Broken,
		{"hostnames: [\"*.example\"]|" + all, "|" + all}:                    Proven,
		{"hostnames: [a.example]|" + some, "|" + all}:                       Broken,
	} {
		text := plainShop("") + "---\n" + object("gateway.networking.k8s.io/v1", "Gateway", "shop", "front",
			"spec: {gatewayClassName: istio, listeners: [{name: l, port: 80, protocol: HTTP}]}")
		for i, r := range routes {
			hosts, rule, _ := strings.Cut(r, "|")
			text += "---\n" + object("gateway.networking.k8s.io/v1", "HTTPRoute", "shop", fmt.Sprint("r", i),
				"spec:\n  parentRefs: [{name: front}]\n  "+hosts+"\n  rules: ["+rule+"]")
		}
		p, err := Prove(readInput(t, text), claims, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != want {
			t.Errorf("%q: %s, want %s %+v %v", routes, p.Verdict, want, p.Claims[0].Breaks, p.Claims[0].NotJudged)
		}
	}
}

// TestAPodWithItsNodesAddressIsNobodyToNetworkPolicies where they mean it by its labels:
// what they do then is not said.
func TestAPodWithItsNodesAddressIsNobodyToNetworkPolicies(t *testing.T) {
	agent := strings.Replace(fmt.Sprintf(shopPod, "Deployment", "agent", "app: agent", "agent"), "spec: {service",
		"spec: {hostNetwork: true, service", 1)
	claims, err := ReadClaims("claims.yaml",
		[]byte("claims: [{to: shop/cart, always: [{project: shop, component: agent}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]Verdict{"{podSelector: {matchLabels: {app: agent}}}": NotJudged,
		"{ipBlock: {cidr: 0.0.0.0/0}}": Proven, "{podSelector: {matchLabels: {app: other}}}": Broken} {
		p, err := Prove(readInput(t, plainShop("")+agent+fence(peer)), claims, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != want {
			t.Errorf("%s admits a pod with its node's address: %s, want %s %v", peer, p.Verdict, want,
				p.Claims[0].NotJudged)
		}
	}
}

// TestAlwaysHoldsWhateverAddressAClusterGives to the caller.
func TestAlwaysHoldsWhateverAddressAClusterGives(t *testing.T) {
	web := fmt.Sprintf(shopPod, "Deployment", "web", "app: web", "web")
	claim := "claims: [{to: shop/cart, always: [{project: shop, component: web}]}]"
	claims, err := ReadClaims("claims.yaml", []byte(claim))
	if err != nil {
		t.Fatal(err)
	}
	for block, want := range map[string]Verdict{"0.0.0.0/0": Proven, "10.0.0.0/8": Broken} {
		p, err := Prove(readInput(t, plainShop("")+web+fence("{ipBlock: {cidr: "+block+"}}")), claims, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != want {
			t.Errorf("callers of %s are admitted: %s, want %s %+v", block, p.Verdict, want, p.Claims[0].Breaks)
		}
	}
}

// TestManyValuesOfSeveralAttributesAreNoReasonNotToJudge where each attribute is compared
// with many, and their combinations would be more than are looked at.
func TestManyValuesOfSeveralAttributesAreNoReasonNotToJudge(t *testing.T) {
	var methods, paths, hosts []string
	for i := range 120 {
		methods = append(methods, "M"+strings.Repeat("A", i))
		paths = append(paths, fmt.Sprintf("/%d", i))
		hosts = append(hosts, fmt.Sprintf("h%d.example", i))
	}
	rule := fmt.Sprintf("{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], "+
		"to: [{operation: {%s, %s, %s}}]}",
		list("methods", methods), list("paths", paths), list("hosts", hosts))
	a, err := WhoCan(readInput(t, shop()+admits(rule)), "shop/cart", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict != string(Proven) || len(a.Callers) != 1 || len(a.Callers[0].Requests) != 2 {
		t.Errorf("%s: %+v %v", a.Verdict, a.Callers, a.NotJudged)
	}
}
