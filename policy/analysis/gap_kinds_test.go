package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// namedByAll reports what who-can and diff say of something that cannot be judged about
// shop/cart: they name it, and are not certain.
func namedByAll(t *testing.T, without, with Input, because string) {
	t.Helper()
	a, err := WhoCan(with, "shop/cart", "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if why := strings.Join(a.NotJudged, "\n"); a.Verdict != string(NotJudged) || !strings.Contains(why, because) {
		t.Errorf("who-can is %s because of %q, want that it is not judged, and names %s", a.Verdict, why, because)
	}
	for name, c := range map[string]*Comparison{
		"from without": Diff(without, with, Options{}), "from with": Diff(with, without, Options{}),
		"with itself": Diff(with, with, Options{}),
	} {
		why := strings.Join(c.NotJudged, "\n")
		if c.Verdict == "same" || !strings.Contains(why, because) || !strings.Contains(why, "shop/cart: ") {
			t.Errorf("diff %s is %s because of %q, want that it names shop/cart and %s", name, c.Verdict, why, because)
		}
	}
}

func object(apiVersion, kind, in, name, rest string) string {
	meta := "name: " + name
	if in != "" {
		meta += ", namespace: " + in
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {%s}\n%s\n", apiVersion, kind, meta, rest)
}

// TestEveryKindOfGapIsNamed goes through everything of which manifest.Input makes a Gap and
// every limit of what is looked at: prove, who-can and diff name it, and what is claimed
// of the other namespace stays proven.
func TestEveryKindOfGapIsNamed(t *testing.T) {
	claims, err := ReadClaims("claims.yaml", []byte(shopClaims))
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"only", "always"}
	when := func(action, key string) string {
		return policyFor("more", "  action: "+action+"\n  rules: [{when: [{key: \""+key+"\", values: [x]}]}]\n")
	}
	gateway := func(class string) string {
		return object("gateway.networking.k8s.io/v1", "Gateway", "shop", "front",
			"spec: {gatewayClassName: "+class+", listeners: [{name: http, port: 80, protocol: HTTP}]}") + "---\n"
	}
	route := func(kind, parent, rule string) string {
		return object("gateway.networking.k8s.io/v1", kind, "shop", "r",
			"spec:\n  parentRefs: ["+parent+"]\n  rules: ["+rule+"]")
	}
	const toCart = "backendRefs: [{name: cart, port: 80}]"
	byGateway := func(rule string) string { return gateway("istio") + route("HTTPRoute", "{name: front}", rule) }
	front := object(
		"v1",
		"Service",
		"shop",
		"front",
		"spec: {selector: {app: front}, ports: [{name: http, port: 80}]}",
	) +
		"---\n"
	const fromFront = "{group: \"\", kind: Service, name: front}"
	const mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}"
	const byHost = "backendRefs: [{group: networking.istio.io, kind: Hostname, " +
		"name: cart.shop.svc.cluster.local, port: 80}]"
	alias := object("v1", "Service", "shop", "basket", "spec: {type: ExternalName, externalName: "+
		"cart.shop.svc.cluster.local, ports: [{name: http, port: 80}]}") + "---\n"
	abroad := object(
		"v1",
		"Namespace",
		"",
		"edge",
		"",
	) + "---\n" + object(
		"gateway.networking.k8s.io/v1",
		"Gateway",
		"edge",
		"front",
		"spec: {gatewayClassName: istio, listeners: [{name: l, port: 80, protocol: HTTP}]}",
	) + "---\n" +
		object(
			"gateway.networking.k8s.io/v1",
			"HTTPRoute",
			"edge",
			"r",
			"spec:\n  parentRefs: [{name: front}]\n"+
				"  rules: [{backendRefs: [{name: cart, namespace: shop, port: 80}]}]",
		)
	grant := func(in, from string) string {
		return object("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", in, "g",
			"spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: "+from+
				"}], to: [{group: \"\", kind: Service}]}")
	}
	type edit [2]string // of shop
	admitsLength := "  rules: [{when: [{key: \"request.headers[content-length]\", values: [\"1*\"]}]}]\n"
	cart := "metadata: {labels: {app: cart}}"
	for _, c := range []struct {
		name, more string
		edit       edit
		not        []string
		because    string
		// everywhere is set where it can touch calls to the other namespace, too.
		everywhere bool
	}{
		{"tokens that must not be there", policyFor("more",
			"  rules: [{from: [{source: {notRequestPrincipals: [x]}}]}]\n"),
			edit{}, []string{"only"}, "notRequestPrincipals", false},
		{"tokens that must not be there, in a DENY rule",
			policyFor("more", "  action: DENY\n  rules: [{from: [{source: {notRequestPrincipals: [\"*\"]}}]}]\n"),
			edit{}, []string{"always"}, "notRequestPrincipals", false},
		{"a claim of a token", when("ALLOW", "request.auth.claims[role]"), edit{}, []string{"only"}, "when[0]", false},
		{"the token's audience", when("ALLOW", "request.auth.audiences"), edit{}, []string{"only"}, "when[0]", false},
		{"a filter of Envoy's", when("ALLOW", "experimental.envoy.filters.network.mysql_proxy[db.table]"), edit{},
			[]string{"only"}, "when[0]", false},
		{"a check of tokens", object("security.istio.io/v1", "RequestAuthentication", "shop", "jwt",
			"spec: {targetRefs: [{group: \"\", kind: Service, name: cart}], jwtRules: [{issuer: x, jwks: y}]}"),
			edit{}, []string{"always"}, "RequestAuthentication", false},
		{"an extension", object("extensions.istio.io/v1alpha1", "WasmPlugin", "shop", "w", "spec: {}"), edit{}, both,
			"WasmPlugin", false},
		{"an EnvoyFilter for the whole mesh", object("networking.istio.io/v1alpha3", "EnvoyFilter", "istio-system", "f",
			"spec: {}"),
			edit{}, both, "EnvoyFilter", true},
		{"Calico's NetworkPolicy", object("projectcalico.org/v3", "NetworkPolicy", "shop", "c", "spec: {}"), edit{},
			both,
			"NetworkPolicy shop/c", true},
		{"Antrea's NetworkPolicy", object("crd.antrea.io/v1beta1", "NetworkPolicy", "shop", "c", "spec: {}"), edit{},
			both,
			"NetworkPolicy shop/c", true},
		{"the administrator's NetworkPolicy", object("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "", "a",
			"spec: {}"),
			edit{}, both, "AdminNetworkPolicy", true},
		{"a route of gRPC at the waypoint", route("GRPCRoute", "{group: \"\", kind: Service, name: cart}",
			"{"+toCart+"}"), edit{}, both,
			"GRPCRoute", false},
		{"an HTTPRoute at the waypoint", route("HTTPRoute", "{group: \"\", kind: Service, name: cart}", "{"+toCart+"}"),
			edit{}, both,
			"spec.parentRefs[0]", false},
		{"a gateway of another class", gateway("nginx") + route("HTTPRoute", "{name: front}", "{"+toCart+"}"), edit{},
			nil, "", false},
		{"a policy for a gateway", byGateway("{"+toCart+"}") + "---\n" + object("security.istio.io/v1",
			"AuthorizationPolicy", "shop", "gw",
			"spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}], rules: [{}]}"),
			edit{}, both,
			"spec.targetRefs", false},
		{"another Service's HTTPRoute that leads here", front + route("HTTPRoute", fromFront, "{"+toCart+"}"), edit{},
			both, "HTTPRoute shop/r", false},
		{"another Service's TCPRoute that leads here", front + route("TCPRoute", fromFront, "{"+toCart+"}"), edit{},
			both, "it leads to cart", false},
		{"another Service's VirtualService that leads here", front + object("networking.istio.io/v1", "VirtualService",
			"shop", "v",
			"spec: {hosts: [front], http: [{route: [{destination: {host: cart.shop.svc.cluster.local}}]}]}"),
			edit{}, both, "it leads to cart", false},
		{"a VirtualService of every Service", object("networking.istio.io/v1", "VirtualService", "shop", "v",
			"spec: {hosts: [\"*.cluster.local\"], http: [{route: [{destination: {host: web}}]}]}"),
			edit{}, both, "VirtualService shop/v", true},
		{"a VirtualService of a namespace's Services", object("networking.istio.io/v1", "VirtualService", "shop", "v",
			"spec: {hosts: [\"*.shop.svc.cluster.local\"], http: [{route: [{destination: {host: web}}]}]}"),
			edit{}, both, "VirtualService shop/v", false},
		{"a VirtualService of hosts outside of the cluster", object("networking.istio.io/v1", "VirtualService", "shop",
			"v", "spec: {hosts: [\"*.example.com\"], http: [{route: [{destination: {host: web}}]}]}"),
			edit{}, nil, "", false},
		{"another Service's VirtualService that mirrors here", front + object("networking.istio.io/v1",
			"VirtualService", "shop", "v",
			"spec: {hosts: [front], http: [{route: [{destination: {host: front}}], mirror: {host: cart}}]}"),
			edit{}, both, "it leads to cart", false},
		{"another Service's HTTPRoute that mirrors here", front + route("HTTPRoute", fromFront, "{filters: ["+mirror+
			"], backendRefs: [{name: front, port: 80}]}"), edit{}, both, "it leads to cart", false},
		{"another Service's HTTPRoute that mirrors here beside a backend", front + route("HTTPRoute", fromFront,
			"{backendRefs: [{name: front, port: 80, filters: ["+mirror+"]}]}"), edit{}, both, "it leads to cart",
			false},
		{"another Service's GRPCRoute that mirrors here", front + route("GRPCRoute", fromFront, "{filters: ["+mirror+
			"], backendRefs: [{name: front, port: 80}]}"), edit{}, both, "it leads to cart", false},
		{"another Service's HTTPRoute that leads here by the host", front + route("HTTPRoute", fromFront,
			"{"+byHost+"}"), edit{}, both, "it leads to cart", false},
		{"another Service's VirtualService that leads here by another name", front + alias +
			object("networking.istio.io/v1", "VirtualService", "shop", "v",
				"spec: {hosts: [front], http: [{route: [{destination: {host: basket}}]}]}"),
			edit{}, both, "it leads to cart", false},
		{"another Service's VirtualService that hands on to one that leads here", front +
			object("networking.istio.io/v1", "VirtualService", "shop", "v",
				"spec: {hosts: [front], http: [{delegate: {name: d}}]}") + "---\n" +
			object("networking.istio.io/v1", "VirtualService", "shop", "d",
				"spec: {http: [{route: [{destination: {host: cart}}]}]}"),
			edit{}, both, "it leads to cart", false},
		{"a gateway's route that mirrors here", front + byGateway("{filters: ["+mirror+
			"], backendRefs: [{name: front, port: 80}]}"), edit{}, both, "it leads to cart", false},
		{"a gateway's route that leads here by the host", byGateway("{" + byHost + "}"), edit{}, both,
			"it leads to cart", false},
		{"a gateway's route that leads here by another name", alias + byGateway("{backendRefs: [{name: basket, "+
			"port: 80}]}"), edit{}, both, "it leads to cart", false},
		{"the same of a gateway of another class, which is a caller like others", alias + gateway("nginx") +
			route("HTTPRoute", "{name: front}", "{backendRefs: [{name: basket, port: 80}]}"), edit{}, nil, "", false},
		{"a gateway's GRPCRoute", gateway("istio") + route("GRPCRoute", "{name: front}", "{"+toCart+"}"), edit{}, both,
			"it leads to cart", false},
		{"a gateway's route of another namespace that nothing lets lead here", abroad, edit{}, both,
			"no ReferenceGrant", false},
		{"the same, let by all but one that is of another namespace", abroad + "---\n" + grant("other", "elsewhere"),
			edit{}, both, "no ReferenceGrant", false},
		{"an HTTPRoute of a set of listeners", gateway("istio") + route("HTTPRoute", "{kind: ListenerSet, name: l}",
			"{"+toCart+"}"), edit{}, both, "it leads to cart", false},
		{"a second waypoint for some of the calls", "", edit{"istio.io/use-waypoint: w}",
			"istio.io/use-waypoint: w, istio.io/use-waypoint-canary: v}"}, both, "use-waypoint-canary", false},
		{"a waypoint of a namespace that is not among the manifests", "", edit{"istio.io/use-waypoint: w}",
			"istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: infra}"}, both, "Gateway infra/w", false},
		{"a waypoint whose pods are another's", "", edit{"istio-waypoint, listeners",
			"istio-waypoint, addresses: [{type: Hostname, value: w.shop.svc.cluster.local}], listeners"}, both,
			"spec.addresses", false},
		{"a waypoint of a class that is for something", object("gateway.networking.k8s.io/v1", "GatewayClass", "",
			"istio-waypoint, labels: {istio.io/waypoint-for: workload}", "spec: {controllerName: "+
				"istio.io/mesh-controller}"), edit{", labels: {istio.io/waypoint-for: service}", ""}, both,
			"GatewayClass istio-waypoint", false},
		{"a NetworkPolicy by a label that Jobs get", fence("{podSelector: {matchLabels: {job-name: web}}}"), edit{},
			both, "label job-name", false},
		{"a Service by a label that a StatefulSet's pods get", object("v1", "Service", "shop", "cart-0",
			"spec: {selector: {statefulset.kubernetes.io/pod-name: cart-0}, ports: [{name: http, port: 80}]}"),
			edit{}, both, "label statefulset.kubernetes.io/pod-name", false},
		{"a policy by a label that a StatefulSet's pods get", object("security.istio.io/v1", "AuthorizationPolicy",
			"shop", "first", "spec: {selector: {matchLabels: {apps.kubernetes.io/pod-index: \"0\"}}, rules: [{}]}"),
			edit{}, both, "label apps.kubernetes.io/pod-index", false},
		{"another trust domain", object("v1", "ConfigMap", "istio-system", "istio",
			"data: {mesh: \"trustDomain: example.com\\nrootNamespace: istio-system\"}"),
			edit{}, both, "trustDomain", true},
		{"an operator's trust domain", object("sailoperator.io/v1", "Istio", "", "default",
			"spec: {values: {meshConfig: {trustDomain: example.com}}}"), edit{}, both, "trustDomain", true},
		{"gateways that trust proxies before them", object("install.istio.io/v1alpha1", "IstioOperator", "istio-system",
			"o", "spec: {meshConfig: {defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}}}"), edit{}, both,
			"defaultConfig", true},
		{"a gateway's route of another namespace that is let lead here", abroad + "---\n" + grant("shop", "edge"),
			edit{}, nil, "", false},
		{"the mesh's usual settings", object("v1", "ConfigMap", "istio-system", "istio",
			"data: {mesh: \"trustDomain: cluster.local\\nrootNamespace: istio-system\"}"), edit{}, nil, "", false},
		{"a route of a Service without a waypoint", strings.Replace(front, "namespace: shop}",
			"namespace: shop, labels: {istio.io/use-waypoint: none}}", 1) +
			route("HTTPRoute", fromFront, "{"+toCart+"}"), edit{}, nil, "", false},
		{"a proxy's own way of reading paths", object("networking.istio.io/v1beta1", "ProxyConfig", "shop", "p",
			"spec: {connectionSettings: {}}"), edit{}, both, "ProxyConfig", false},
		{"a gateway's route for a method", byGateway("{matches: [{method: GET}], " + toCart + "}"), edit{}, both,
			"matches[0].method", false},
		{"a gateway's route for a header", byGateway("{matches: [{headers: [{name: x, value: y}]}], " + toCart + "}"),
			edit{}, both,
			"matches[0].headers", false},
		{"a gateway's route for a query", byGateway("{matches: [{queryParams: [{name: x, value: y}]}], " + toCart +
			"}"), edit{}, both,
			"matches[0].queryParams", false},
		{"a gateway's route for an expression",
			byGateway("{matches: [{path: {type: RegularExpression, value: /a.*}}], " + toCart + "}"),
			edit{}, both, "matches[0].path", false},
		{"a gateway's route beside one for a header", byGateway("{"+toCart+"}") + "---\n" +
			strings.Replace(route("HTTPRoute", "{name: front}", "{matches: [{headers: [{name: x, value: y}]}]}"),
				"name: r,", "name: q,", 1),
			edit{}, both, "matches[0].headers", false},
		{"a gateway that redirects",
			byGateway("{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301}}], " + toCart + "}"),
			edit{}, both, "filters[0]", false},
		{"a gateway that writes headers",
			byGateway("{filters: [{type: RequestHeaderModifier, " +
				"requestHeaderModifier: {set: [{name: x, value: y}]}}], " + toCart + "}"),
			edit{}, both, "filters[0]", false},
		{"a gateway that replaces the path", byGateway("{filters: [{type: URLRewrite, " +
			"urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /items}}}], " + toCart + "}"), edit{}, both,
			"filters[0]", false},
		{"a gateway that puts something before every path", byGateway("{matches: [{path: {value: /}}], filters: " +
			"[{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /items}}}], " +
			toCart + "}"), edit{}, both, "filters[0]", false},
		{"a gateway that mirrors", byGateway("{filters: [{type: RequestMirror, " +
			"requestMirror: {backendRef: {name: cart, port: 80}}}], " + toCart + "}"), edit{}, both, "filters[0]",
			false},
		{"a gateway that sends nothing", byGateway("{backendRefs: [{name: cart, port: 80, weight: 0}]}"), edit{}, both,
			"weight", false},
		{"pods with the node's address", "", edit{cart + "\n    spec: {", cart + "\n    spec: {hostNetwork: true, "},
			both,
			"hostNetwork", false},
		{"pods whose node proxy is gone around", "", edit{cart,
			"metadata: {labels: {app: cart}, annotations: {ambient.istio.io/bypass-inbound-capture: \"true\"}}"}, both,
			"bypass-inbound-capture", false},
		{"pods with a sidecar", "", edit{cart, "metadata: {labels: {app: cart, sidecar.istio.io/inject: \"true\"}}"},
			both,
			"sidecar", false},
		{"a Namespace that is not among the manifests", "", edit{"kind: Namespace\nmetadata: {name: shop",
			"kind: Namespace\nmetadata: {name: nobody"},
			both, "Namespace shop", true},
		{"a policy that admission refuses", policyFor("more",
			"  selector: {matchLabels: {app: cart}}\n  rules: [{}]\n"), edit{}, both,
			"admission refuses it", false},
		{"an object that is given twice", policyFor("cart", "  rules: [{}]\n"), edit{}, both, "given twice", false},
		{"both headers of an upgrade", policyFor("more",
			"  rules: [{when: [{key: \"request.headers[upgrade]\", values: [x]}, "+
				"{key: \"request.headers[connection]\", values: [y]}]}]\n"), edit{}, both, "come together", false},
		{"a header that is seen otherwise than it is sent", policyFor("more",
			admitsLength), edit{}, both,
			"content-length", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(shop(), c.edit[0], c.edit[1], 1)
			if c.edit[0] != "" && text == shop() {
				t.Fatalf("shop has no %q", c.edit[0])
			}
			texts := []string{text}
			if c.more != "" {
				texts = append(texts, c.more)
			}
			with := readInput(t, texts...)
			p, err := Prove(with, claims, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range p.Claims {
				want := Proven
				if (j.To == "shop/cart" || c.everywhere) && slices.Contains(c.not, j.Claim) {
					want = NotJudged
				}
				if why := strings.Join(j.NotJudged, "\n"); j.Verdict != want || want == NotJudged &&
					!strings.Contains(why, c.because) {
					t.Errorf("%s %s is %s because of %q, want %s, naming %s %+v", j.To, j.Claim, j.Verdict, why, want,
						c.because, j.Breaks)
				}
			}
			if len(c.not) > 0 {
				namedByAll(t, readInput(t, shop()), with, c.because)
			}
		})
	}
}
