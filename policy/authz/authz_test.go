package authz_test

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// policies reads AuthorizationPolicies as a person writes them.
func policies(t testing.TB, yaml string) []*securityv1.AuthorizationPolicy {
	t.Helper()
	set, err := manifest.Parse("test.yaml", yaml)
	if err != nil {
		t.Fatal(err)
	}
	return set.AuthorizationPolicies
}

// onService makes a policy named p in namespace cell-a that targets Service app.
func onService(spec string) string {
	return object("p", "cell-a", "", "targetRefs: [{group: \"\", kind: Service, name: app}]\n"+spec)
}

// onPods makes a policy named p in cell-a without a target: for node proxies.
func onPods(spec string) string { return object("p", "cell-a", "", spec) }

func object(name, namespace, annotations, spec string) string {
	spec = strings.TrimSpace(spec)
	if spec == "" || spec == "{}" {
		return "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name +
			", namespace: " + namespace + ", annotations: {" + annotations + "}}\nspec: {}\n"
	}
	return "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name +
		", namespace: " + namespace + ", annotations: {" + annotations + "}}\nspec:\n  " +
		strings.ReplaceAll(spec, "\n", "\n  ") + "\n"
}

// request is GET /position by cell-b/web at 10.96.0.7:8080, with changes.
func request(changes ...func(*authz.Request)) *authz.Request {
	r := &authz.Request{
		Principal: id("cell-b", "web"), SourceIP: netip.MustParseAddr("10.244.1.5"),
		RemoteIP: netip.MustParseAddr("10.244.1.5"),
		DestIP:   netip.MustParseAddr("10.96.0.7"), DestPort: 8080,
		Method: "GET", Host: "app.cell-a.svc.cluster.local:8080", Path: "/position", Header: http.Header{}, HTTP: true,
	}
	for _, c := range changes {
		c(r)
	}
	return r
}

type change = func(*authz.Request)

func id(namespace, account string) string {
	return "spiffe://cluster.local/ns/" + namespace + "/sa/" + account
}

func as(principal string) change { return func(r *authz.Request) { r.Principal = principal } }
func method(m string) change     { return func(r *authz.Request) { r.Method = m } }
func path(p string) change       { return func(r *authz.Request) { r.Path = p } }
func host(h string) change       { return func(r *authz.Request) { r.Host = h } }
func sni(name string) change     { return func(r *authz.Request) { r.SNI = name } }
func forwarded(ip string) change {
	return func(r *authz.Request) { r.RemoteIP = netip.MustParseAddr(ip) }
}
func to(ip string, p uint16) change {
	return func(r *authz.Request) { r.DestIP, r.DestPort = netip.MustParseAddr(ip), p }
}
func tcp(r *authz.Request) { r.HTTP = false }
func header(lines ...string) change {
	return func(r *authz.Request) {
		for _, l := range lines {
			k, v, _ := strings.Cut(l, ":")
			r.Header.Add(textproto.CanonicalMIMEHeaderKey(k), strings.TrimSpace(v))
		}
	}
}

// Results that rows want.
var (
	open   = authz.Result{Allowed: true, Reason: authz.ReasonNoPolicy}
	closed = authz.Result{Reason: authz.ReasonUnmatched}
)

func allowed(rule string) authz.Result { return result(rule, true, authz.ReasonAllowed) }
func denied(rule string) authz.Result  { return result(rule, false, authz.ReasonDenied) }

func result(rule string, ok bool, why authz.Reason) authz.Result {
	parts := strings.FieldsFunc(rule, func(c rune) bool { return c == '[' || c == ']' })
	return authz.Result{Allowed: ok, Policy: parts[1] + "/" + parts[3], Rule: rule, Reason: why}
}

func rule(i int) string { return authz.RuleID("cell-a", "p", i) }

type row struct {
	name   string
	policy string
	req    *authz.Request
	want   authz.Result
}

func TestWaypoint(t *testing.T) {
	from1 := func(field, value string) string {
		return onService("rules: [{from: [{source: {" + field + ": [" + value + "]}}]}]")
	}
	to1 := func(field, value string) string {
		return onService("rules: [{to: [{operation: {" + field + ": [" + value + "]}}]}]")
	}
	when := func(key, values string) string {
		return onService("rules: [{when: [{key: \"" + key + "\", " + values + "}]}]")
	}
	yes, no := allowed(rule(0)), closed
	for _, c := range []row{
		// facts 1.1, 1.2: order and empty shapes
		{"a target without policies is open", "", request(), open},
		{"an ALLOW without rules allows nothing", onService(""), request(), no},
		{"an ALLOW with empty rules allows nothing", onService("rules: []"), request(), no},
		{"an ALLOW with an empty rule allows everything", onService("rules: [{}]"), request(as("")), yes},
		{"a DENY with an empty rule denies everything", onService("action: DENY\nrules: [{}]"), request(),
			denied(rule(0))},
		{"a DENY alone leaves the rest open",
			onService("action: DENY\nrules: [{to: [{operation: {methods: [POST]}}]}]"), request(), open},
		{"DENY beats ALLOW", onService("rules: [{}]") + object("d", "cell-a", "", "targetRefs: [{group: \"\", kind: "+
			"Service, name: app}]\naction: DENY\nrules: [{to: [{operation: {paths: [/position]}}]}]"), request(),
			denied("ns[cell-a]-policy[d]-rule[0]")},
		{"AUDIT decides nothing", onService("action: AUDIT\nrules: [{}]"), request(), open},
		{"a dry run alone enforces nothing", object("p", "cell-a", "istio.io/dry-run: \"true\"",
			"targetRefs: [{group: \"\", kind: Service, name: app}]\nrules: [{to: [{operation: {paths: [/only]}}]}]"),
			request(), open},
		{"a dry run beside an enforced ALLOW opens nothing", object("p", "cell-a", "istio.io/dry-run: \"true\"",
			"targetRefs: [{group: \"\", kind: Service, name: app}]\nrules: [{}]") + object("q", "cell-a", "",
			"targetRefs: [{group: \"\", kind: Service, name: app}]"), request(), no},
		{"of several matching rules the first by name is reported",
			onService("rules: [{to: [{operation: {methods: [PUT]}}]}, {}, {}]"), request(), allowed(rule(1))},

		// facts 1.3: and, or, not
		{"the sources of a rule are alternatives", onService("rules: [{from: [{source: {namespaces: [x]}}, {source: " +
			"{namespaces: [cell-b]}}]}]"), request(), yes},
		{"the fields of a source go together", onService("rules: [{from: [{source: {namespaces: [cell-b], ipBlocks: " +
			"[10.9.0.0/16]}}]}]"), request(), no},
		{"from, to and when go together", onService("rules: [{from: [{source: {namespaces: [cell-b]}}], to: " +
			"[{operation: {methods: [GET]}}], when: [{key: source.ip, values: [10.9.0.0/16]}]}]"), request(), no},
		{"conditions go together", onService("rules: [{when: [{key: remote.ip, values: [10.244.0.0/16]}, {key: " +
			"destination.port, values: [\"8080\"]}]}]"), request(), yes},
		{"values and notValues of a condition go together",
			when("remote.ip", "values: [10.244.0.0/16], notValues: [10.244.1.0/24]"), request(), no},
		{"a positive and a negative field go together",
			onService("rules: [{to: [{operation: {paths: [\"/p*\"], notPaths: [/position]}}]}]"), request(), no},
		{"a negative list refuses any of its values",
			onService("rules: [{to: [{operation: {notMethods: [PUT, GET]}}]}]"), request(), no},

		{"an empty Host is one", to1("hosts", "\"*\""), request(host("")), yes},
		// pseudo-headers, as a real Envoy takes them
		{"a condition on :path is compared with the path", onService("action: DENY\nrules: [{when: [{key: " +
			"\"request.headers[:path]\", values: [\"/items*\"]}]}]"), request(path("/items")), denied(rule(0))},
		{"and with the query, which paths do not see", when("request.headers[:path]", "values: [\"*x=1\"]"),
			request(path("/position?x=1")), yes},
		{"an exact :path is not one with a query", when("request.headers[:path]", "values: [/position]"),
			request(path("/position?x=1")), no},
		{"paths leave the query out", to1("paths", "/position"), request(path("/position?x=1")), yes},
		{"a condition on :path that is there", when("request.headers[:path]", "values: [\"*\"]"), request(), yes},
		{"a condition on :path minds case", when("request.headers[:path]", "values: [/Position]"), request(), no},
		{"a condition on :scheme", when("request.headers[:scheme]", "values: [http]"), request(), yes},
		{"a condition on :scheme https", when("request.headers[:scheme]", "values: [https]"),
			request(func(r *authz.Request) { r.Scheme = "https" }), yes},
		{"no other pseudo-header is ever there", when("request.headers[:status]", "values: [\"*\"]"), request(), no},
		{"so that its notValues are satisfied", when("request.headers[:protocol]", "notValues: [\"*\"]"), request(),
			yes},
		// facts 1.4: identities
		{"a principal matches exactly", from1("principals", "cluster.local/ns/cell-b/sa/web"), request(), yes},
		{"a principal is no prefix of another", from1("principals", "cluster.local/ns/cell-b/sa/web"),
			request(as(id("cell-b", "web2"))), no},
		{"a principal in another trust domain is another", from1("principals", "cluster.local/ns/cell-b/sa/web"),
			request(as("spiffe://other/ns/cell-b/sa/web")), no},
		{"a principal with a trailing star is a prefix", from1("principals", "\"cluster.local/ns/cell-b/*\""),
			request(), yes},
		{"a principal with a leading star is a suffix", from1("principals", "\"*/sa/web\""),
			request(as(id("x", "web"))), yes},
		{"a principal suffix is not found inside", from1("principals", "\"*/sa/web\""), request(as(id("x", "web2"))),
			no},
		{"a star inside a principal is a literal", from1("principals", "\"cluster.local/*/sa/web\""), request(), no},
		{"principals * wants an identity", from1("principals", "\"*\""), request(as("")), no},
		{"principals * takes any identity", from1("principals", "\"*\""), request(), yes},
		{"notPrincipals * takes those without an identity", from1("notPrincipals", "\"*\""), request(as("")), yes},
		{"notPrincipals * refuses any identity", from1("notPrincipals", "\"*\""), request(), no},
		{"a namespace matches exactly", from1("namespaces", "cell-b"), request(), yes},
		{"a namespace is no prefix of another", from1("namespaces", "cell"), request(), no},
		{"a namespace takes a star at the end", from1("namespaces", "\"cell-*\""), request(), yes},
		{"a namespace takes a star in the middle", from1("namespaces", "\"c*b\""), request(), yes},
		{"a namespace star does not pass the other parts", from1("namespaces", "\"cell-*x\""), request(), no},
		{"without an identity there is no namespace", from1("namespaces", "\"*\""), request(as("")), no},
		{"notNamespaces admits those without an identity", from1("notNamespaces", "cell-b"), request(as("")), yes},
		{"a bare service account is of the policy's namespace", from1("serviceAccounts", "job"),
			request(as(id("cell-a", "job"))), yes},
		{"a bare service account is of no other namespace", from1("serviceAccounts", "job"),
			request(as(id("cell-b", "job"))), no},
		{"a qualified service account is of its namespace", from1("serviceAccounts", "cell-b/web"), request(), yes},
		{"a service account is no prefix of another", from1("serviceAccounts", "cell-b/web"),
			request(as(id("cell-b", "web2"))), no},
		{"a service account of any trust domain matches", from1("serviceAccounts", "cell-b/web"),
			request(as("spiffe://other/ns/cell-b/sa/web")), yes},
		{"a service account is found past further segments", from1("serviceAccounts", "cell-b/web"),
			request(as("spiffe://td/x/ns/cell-b/k/v/sa/web/more")), yes},
		{"a service account does not match in another segment", from1("serviceAccounts", "cell-b/web"),
			request(as("spiffe://td/ns/cell-b/xsa/web")), no},
		{"a trust domain matches exactly", from1("trustDomains", "cluster.local"), request(), yes},
		{"another trust domain does not match", from1("trustDomains", "other"), request(), no},
		{"trustDomains * wants an identity only", from1("trustDomains", "\"*\""),
			request(as("spiffe://other/ns/a/sa/b")), yes},
		{"a trust domain takes a leading star", from1("trustDomains", "\"*.local\""), request(), yes},
		{"a trust domain takes a trailing star", from1("trustDomains", "\"cluster.*\""), request(), yes},
		{"a trust domain's star stays in the trust domain", from1("trustDomains", "\"*web\""), request(), no},
		{"notTrustDomains refuses its own", from1("notTrustDomains", "cluster.local"), request(), no},

		// addresses
		{"no ipBlock has the caller in it: the connection comes out of the tunnel", from1("ipBlocks", "10.244.1.0/24"),
			request(forwarded("1.2.3.4")), no},
		{"not even the block of all", from1("ipBlocks", "0.0.0.0/0"), request(), no},
		{"a DENY by ipBlocks denies nobody", onService("action: DENY\nrules: [{from: [{source: {ipBlocks: " +
			"[0.0.0.0/0]}}]}]"), request(), open},
		{"notIpBlocks refuses nobody", from1("notIpBlocks", "0.0.0.0/0"), request(), yes},
		{"nor does a condition on source.ip", when("source.ip", "notValues: [0.0.0.0/0]"), request(), yes},
		{"a remoteIpBlock is compared with the forwarded client", from1("remoteIpBlocks", "1.2.3.0/24"),
			request(forwarded("1.2.3.4")), yes},
		{"a remoteIpBlock without a length is one address", from1("remoteIpBlocks", "10.244.1.5"),
			request(forwarded("10.244.1.6")), no},
		{"notRemoteIpBlocks refuses its own", from1("notRemoteIpBlocks", "10.244.0.0/16"), request(), no},
		{"an IPv6 block matches", from1("remoteIpBlocks", "\"fd00::/8\""), request(forwarded("fd00::1")), yes},

		// methods, hosts, paths, ports
		{"a method matches exactly", to1("methods", "GET"), request(), yes},
		{"a method for GET does not cover HEAD", to1("methods", "GET"), request(method("HEAD")), no},
		{"a method is compared with case", to1("methods", "get"), request(), no},
		{"a method takes a trailing star", to1("methods", "\"G*\""), request(), yes},
		{"a method takes a leading star", to1("methods", "\"*T\""), request(method("POST")), yes},
		{"methods * is any", to1("methods", "\"*\""), request(method("BREW")), yes},
		{"a host matches exactly", to1("hosts", "a.example"), request(host("a.example")), yes},
		{"a host is compared without case", to1("hosts", "a.example"), request(host("A.EXAMPLE")), yes},
		{"a host's port is part of it", to1("hosts", "a.example"), request(host("a.example:8080")), no},
		{"a host's trailing dot is part of it", to1("hosts", "a.example"), request(host("a.example.")), no},
		{"a host takes a star for its port", to1("hosts", "\"a.example:*\""), request(host("A.example:8080")), yes},
		{"a host takes a leading star", to1("hosts", "\"*.EXAMPLE\""), request(host("x.example")), yes},
		{"a path matches exactly", to1("paths", "/position"), request(), yes},
		{"a path is compared without its query", to1("paths", "/position"), request(path("/position?x=1")), yes},
		{"a path is compared with case", to1("paths", "/position"), request(path("/POSITION")), no},
		{"a trailing slash makes another path", to1("paths", "/position"), request(path("/position/")), no},
		{"a double slash makes another path", to1("paths", "/position"), request(path("//position")), no},
		{"an escaped slash makes another path", to1("paths", "/position"), request(path("/position%2f")), no},
		{"a path parameter makes another path", to1("paths", "/position"), request(path("/position;a=b")), no},
		{"a path with a trailing star is a prefix", to1("paths", "\"/uplink/*\""), request(path("/uplink/x/y")), yes},
		{"a prefix keeps its slash", to1("paths", "\"/uplink/*\""), request(path("/uplink")), no},
		{"an escaped way out of a prefix still matches it", to1("paths", "\"/v1/items/*\""),
			request(path("/v1/items/..%2fadmin")), yes},
		{"a path with a leading star is a suffix", to1("paths", "\"*.json\""), request(path("/x/y.json?a.txt")), yes},
		{"a suffix is not found in the query", to1("paths", "\"*.json\""), request(path("/admin?y.json")), no},
		{"with stars on both sides the second is a literal", to1("paths", "\"*/x*\""), request(path("/a/x")), no},
		{"with stars on both sides the literal matches", to1("paths", "\"*/x*\""), request(path("/a/x*")), yes},
		{"paths * is any", to1("paths", "\"*\""), request(path("/any")), yes},
		{"{*} is one segment", to1("paths", "\"/v2/{*}/history\""), request(path("/v2/a/history")), yes},
		{"{*} is not two segments", to1("paths", "\"/v2/{*}/history\""), request(path("/v2/a/b/history")), no},
		{"{*} is not an empty segment", to1("paths", "\"/v2/{*}/history\""), request(path("/v2//history")), no},
		{"{*} takes an escaped slash", to1("paths", "\"/v2/{*}/history\""), request(path("/v2/a%2Fb/history")), yes},
		{"{*} takes no character that a segment cannot have", to1("paths", "\"/v2/{*}/history\""),
			request(path("/v2/a[b/history")), no},
		{"a template leaves the query out", to1("paths", "\"/v2/{*}/history\""), request(path("/v2/a/history?q=1")),
			yes},
		{"a template ends where the path ends", to1("paths", "\"/v2/{*}/history\""), request(path("/v2/a/history/")),
			no},
		{"{**} is any segments", to1("paths", "\"/v3/{**}/end\""), request(path("/v3/a/b/end")), yes},
		{"{**} may be empty between its slashes", to1("paths", "\"/v3/{**}/end\""), request(path("/v3//end")), yes},
		{"{**} does not swallow its slashes", to1("paths", "\"/v3/{**}/end\""), request(path("/v3/end")), no},
		{"{**} with a trailing slash wants the slash", to1("paths", "\"/foo/{**}/\""), request(path("/foo/bar")), no},
		{"{**} with a trailing slash takes the slash", to1("paths", "\"/foo/{**}/\""), request(path("/foo/bar/")), yes},
		{"{*} before {**}", to1("paths", "\"/{*}/x/{**}\""), request(path("/a/x/b/c")), yes},
		{"a port is the Service's port at a waypoint", to1("ports", "\"8080\""), request(), yes},
		{"another port does not match", to1("ports", "\"9090\""), request(), no},

		// conditions
		{"a header matches one line", when("request.headers[x-a]", "values: [v1]"), request(header("X-A:   v1  ")),
			yes},
		{"a header is compared with case", when("request.headers[x-a]", "values: [v1]"), request(header("x-a: V1")),
			no},
		{"one of several lines is enough", when("request.headers[x-a]", "values: [v1]"),
			request(header("x-a: v2", "x-a: v1")), yes},
		{"lines are not joined", when("request.headers[x-a]", "values: [\"v1,v2\"]"),
			request(header("x-a: v1", "x-a: v2")), no},
		{"one line with a comma is one value", when("request.headers[x-a]", "values: [\"v1,v2\"]"),
			request(header("x-a: v1,v2")), yes},
		{"a header prefix looks at each line", when("request.headers[x-a]", "values: [\"v1*\"]"),
			request(header("x-a: v2", "x-a: v1")), yes},
		{"a header suffix looks at each line", when("request.headers[x-a]", "values: [\"*v2\"]"),
			request(header("x-a: v1", "x-a: v2")), yes},
		{"a header star matches an empty value", when("request.headers[x-a]", "values: [\"*\"]"),
			request(header("x-a:")), yes},
		{"a header star wants the header", when("request.headers[x-a]", "values: [\"*\"]"), request(), no},
		{"notValues of a header takes requests without it", when("request.headers[x-a]", "notValues: [v1]"), request(),
			yes},
		{"notValues of a header refuses any line", when("request.headers[x-a]", "notValues: [v1]"),
			request(header("x-a: v1", "x-a: v2")), no},
		{"request.headers[host] is the authority", when("request.headers[host]", "values: [a.example]"),
			request(host("a.example")), yes},
		{"source.namespace as a condition", when("source.namespace", "values: [cell-b]"), request(), yes},
		{"source.principal as a condition", when("source.principal", "notValues: [cluster.local/ns/cell-b/sa/web]"),
			request(), no},
		{"source.serviceAccount as a condition", when("source.serviceAccount", "values: [cell-b/web]"), request(), yes},
		{"source.trustDomain as a condition", when("source.trustDomain", "values: [cluster.local]"), request(), yes},
		{"remote.ip as a condition", when("remote.ip", "values: [1.2.3.4]"), request(forwarded("1.2.3.4")), yes},
		{"destination.ip as a condition", when("destination.ip", "values: [10.96.0.0/12]"), request(), yes},
		{"destination.port as a condition", when("destination.port", "values: [\"8080\"]"),
			request(to("10.96.0.7", 8081)), no},
		{"connection.sni as a condition", when("connection.sni", "values: [\"*.example\"]"), request(sni("a.example")),
			yes},

		// facts 1.8, 9.14: TCP chains
		{"on a TCP chain an ALLOW rule with HTTP attributes is no rule", onService("rules: [{from: [{source: " +
			"{namespaces: [cell-b]}}], to: [{operation: {methods: [GET]}}]}]"), request(tcp), no},
		{"on a TCP chain an ALLOW rule without any stays", from1("namespaces", "cell-b"), request(tcp), yes},
		{"on a TCP chain a DENY loses its HTTP attributes", onService("action: DENY\nrules: [{to: [{operation: " +
			"{methods: [DELETE]}}]}]"), request(tcp), denied(rule(0))},
		{"on a TCP chain a DENY keeps what else it says", onService("action: DENY\nrules: [{to: [{operation: " +
			"{methods: [DELETE], ports: [\"9090\"]}}]}]"), request(tcp), open},
		{"on a TCP chain an ALLOW without rules closes", onService(""), request(tcp), no},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := authz.NewWaypoint(authz.Config{}, policies(t, c.policy))
			if diff := cmp.Diff(c.want, w.ForService("cell-a", "waypoint", "app").Decide(c.req)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaypointAttachment(t *testing.T) {
	const (
		onGateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]"
		onClass   = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]"
		onApp     = "targetRefs: [{group: \"\", kind: Service, name: app}]\nrules: [{from: [{source: {namespaces: " +
			"[cell-b]}}]}]"
	)
	appRule := allowed("ns[cell-a]-policy[app]-rule[0]")
	for _, c := range []struct {
		name, policy, service string
		want                  authz.Result
	}{
		{"a policy protects the Service that it names", object("app", "cell-a", "", onApp), "app", appRule},
		{"and no second Service over the same pods", object("app", "cell-a", "", onApp), "second", open},
		{"default-deny on the Gateway closes the second Service", object("app", "cell-a", "", onApp) +
			object("default-deny", "cell-a", "", onGateway), "second", closed},
		{"default-deny on the Gateway adds up with the Service's ALLOW", object("app", "cell-a", "", onApp) +
			object("default-deny", "cell-a", "", onGateway), "app", appRule},
		{"allow-nothing on the GatewayClass in the root namespace closes too", object("app", "cell-a", "", onApp) +
			object("none", "istio-system", "", onClass), "second", closed},
		{"and adds up with the Service's ALLOW", object("app", "cell-a", "", onApp) + object("none", "istio-system", "",
			onClass), "app", appRule},
		{"on the GatewayClass in another namespace it attaches nowhere", object("none", "cell-a", "", onClass), "app",
			open},
		{"a policy of another namespace does not attach to a Service", object("app", "cell-b", "", onApp), "app", open},
		{"a policy of another namespace does not attach to a Gateway", object("default-deny", "cell-b", "", onGateway),
			"app", open},
		{"a policy for another Gateway does not attach", object("default-deny", "cell-a", "", strings.Replace(onGateway,
			"name: waypoint", "name: other", 1)), "app", open},
		{"a policy without a target is not the waypoint's business", object("via-waypoint-only", "cell-a", "",
			"rules: [{from: [{source: {serviceAccounts: [waypoint]}}]}]"), "app", open},
		{"nor is one with a selector", object("s", "cell-a", "", "selector: {matchLabels: {app: app}}\nrules: []"),
			"app", open},
		{"chains of no Service have the Gateway's policies", object("default-deny", "cell-a", "", onGateway), "",
			closed},
		{"chains of no Service have no Service's policies", object("app", "cell-a", "", onApp), "", open},
		{"a policy with several targets attaches to each", object("app", "cell-a", "", "targetRefs: [{kind: Service, "+
			"name: x, group: \"\"}, {kind: Service, name: app, group: core}]\nrules: [{}]"), "app", appRule},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := authz.NewWaypoint(authz.Config{}, policies(t, c.policy))
			if diff := cmp.Diff(c.want, w.ForService("cell-a", "waypoint", c.service).Decide(request())); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPoliciesSayClusterLocalAndMeanTheMeshsTrustDomain(t *testing.T) {
	ps := policies(t, onService("rules: [{from: [{source: {principals: [cluster.local/ns/cell-b/sa/web]}}]}]"))
	e := authz.NewWaypoint(authz.Config{TrustDomain: "moon.example"}, ps).ForService("cell-a", "waypoint", "app")
	got := []bool{
		e.Decide(request(as("spiffe://moon.example/ns/cell-b/sa/web"))).Allowed,
		e.Decide(request(as(id("cell-b", "web")))).Allowed,
	}
	if diff := cmp.Diff([]bool{true, false}, got); diff != "" {
		t.Errorf("moon.example, cluster.local (-want +got):\n%s", diff)
	}
}

func TestNodeProxy(t *testing.T) {
	yes, no := allowed(rule(0)), closed
	from1 := func(field, value string) string {
		return onPods("rules: [{from: [{source: {" + field + ": [" + value + "]}}]}]")
	}
	for _, c := range []row{
		{"a workload without policies is open", "", request(tcp), open},
		{"an ALLOW without rules allows nothing", onPods(""), request(tcp), no},
		{"an ALLOW with an empty rule allows everything", onPods("rules: [{}]"), request(tcp, as("")), yes},
		{"a DENY with an empty rule denies everything", onPods("action: DENY\nrules: [{}]"), request(tcp),
			denied(rule(0))},
		{"via-waypoint-only admits the Cell's waypoint", from1("serviceAccounts", "waypoint"),
			request(tcp, as(id("cell-a", "waypoint"))), yes},
		{"via-waypoint-only refuses a namesake elsewhere", from1("serviceAccounts", "waypoint"),
			request(tcp, as(id("cell-b", "waypoint"))), no},
		{"via-waypoint-only refuses plaintext", from1("serviceAccounts", "waypoint"), request(tcp, as("")), no},
		{"an HTTP request is judged as a connection", from1("namespaces", "cell-b"), request(), yes},
		{"a service account of any trust domain matches", from1("serviceAccounts", "cell-b/web"),
			request(tcp, as("spiffe://x/ns/cell-b/sa/web")), yes},
		{"an identity of more than five segments is none", from1("serviceAccounts", "cell-b/web"),
			request(tcp, as("spiffe://x/ns/cell-b/sa/web/more")), no},
		{"a principal matches without spiffe://", from1("principals", "cluster.local/ns/cell-b/sa/web"), request(tcp),
			yes},
		{"a principal takes a trailing star", from1("principals", "\"cluster.local/ns/cell-b/*\""), request(tcp), yes},
		{"a principal takes a leading star", from1("principals", "\"*/sa/web\""), request(tcp), yes},
		{"principals * wants an identity", from1("principals", "\"*\""), request(tcp, as("")), no},
		{"notPrincipals * takes those without", from1("notPrincipals", "\"*\""), request(tcp, as("")), yes},
		{"a namespace matches exactly", from1("namespaces", "cell-b"), request(tcp), yes},
		{"a namespace takes a trailing star", from1("namespaces", "\"cell-*\""), request(tcp), yes},
		{"a star in the middle of a namespace is a literal", from1("namespaces", "\"c*b\""), request(tcp), no},
		{"notNamespaces admits those without an identity", from1("notNamespaces", "cell-b"), request(tcp, as("")), yes},
		{"an ipBlock is compared with the peer", from1("ipBlocks", "10.244.1.0/24"), request(tcp), yes},
		{"a port is the pod's", onPods("rules: [{to: [{operation: {ports: [\"9090\"]}}]}]"),
			request(tcp, to("10.244.1.9", 9090)), yes},
		{"notPorts refuses its own", onPods("rules: [{to: [{operation: {notPorts: [\"8080\"]}}]}]"), request(tcp), no},
		{"trustDomains is lost beside another field",
			onPods("rules: [{from: [{source: {trustDomains: [other], namespaces: [cell-b]}}]}]"), request(tcp), yes},
		{"trustDomains alone is a clause that never matches", from1("trustDomains", "cluster.local"), request(tcp), no},
		{"an ALLOW rule with methods is left out", onPods("rules: [{to: [{operation: {methods: [GET]}}]}]"), request(),
			no},
		{"an ALLOW rule with hosts is left out", onPods("rules: [{from: [{source: {namespaces: [cell-b]}}], to: " +
			"[{operation: {hosts: [\"*\"]}}]}]"), request(), no},
		{"an ALLOW rule with remoteIpBlocks is left out", from1("remoteIpBlocks", "0.0.0.0/0"), request(), no},
		{"an ALLOW rule with source.serviceAccount as a condition is left out",
			onPods("rules: [{when: [{key: source.serviceAccount, values: [cell-b/web]}]}]"), request(tcp), no},
		{"an ALLOW rule with a header condition is left out",
			onPods("rules: [{when: [{key: \"request.headers[x]\", values: [\"*\"]}]}]"), request(header("x: 1")), no},
		{"the other rules of the policy stay", onPods("rules: [{to: [{operation: {methods: [GET]}}]}, {from: " +
			"[{source: {namespaces: [cell-b]}}]}]"), request(tcp), allowed(rule(1))},
		{"source.namespace as a condition", onPods("rules: [{when: [{key: source.namespace, values: [cell-b]}]}]"),
			request(tcp), yes},
		{"source.principal as a condition", onPods("rules: [{when: [{key: source.principal, notValues: [\"*\"]}]}]"),
			request(tcp), no},
		{"destination.port and source.ip as conditions", onPods("rules: [{when: [{key: destination.port, values: " +
			"[\"8080\"]}, {key: source.ip, values: [10.244.0.0/16]}]}]"), request(tcp), yes},
		{"destination.ip as a condition", onPods("rules: [{when: [{key: destination.ip, values: [10.244.0.0/16]}]}]"),
			request(tcp), no},
		{"a DENY from a principal to methods is a silent no-op", onPods("action: DENY\nrules: [{from: [{source: " +
			"{principals: [\"*\"]}}], to: [{operation: {methods: [POST]}}]}]"), request(method("POST")), open},
		{"a DENY of paths alone is a silent no-op", onPods("action: DENY\nrules: [{to: [{operation: {paths: " +
			"[\"/admin*\"]}}]}]"), request(path("/admin")), open},
		{"a DENY with a header condition is a silent no-op", onPods("action: DENY\nrules: [{from: [{source: " +
			"{namespaces: [cell-b]}}], when: [{key: \"request.headers[x]\", values: [a]}]}]"), request(header("x: a")),
			open},
		{"a DENY whose clause keeps a port loses only its methods", onPods("action: DENY\nrules: [{to: [{operation: " +
			"{methods: [DELETE], ports: [\"8080\"]}}]}]"), request(tcp), denied(rule(0))},
		{"DENY beats ALLOW", onPods("rules: [{}]") + object("d", "cell-a", "", "action: DENY\nrules: [{from: "+
			"[{source: {namespaces: [cell-b]}}]}]"), request(tcp), denied("ns[cell-a]-policy[d]-rule[0]")},
		{"AUDIT is not for node proxies", onPods("action: AUDIT\nrules: [{}]"), request(tcp), open},
		{"a dry run is dropped", object("p", "cell-a", "istio.io/dry-run: \"true\"", "rules: []"), request(tcp), open},
		{"a policy with a target is not for node proxies", onService("rules: []"), request(tcp), open},
		{"a selector that matches applies", onPods("selector: {matchLabels: {app: app}}\nrules: []"), request(tcp), no},
		{"a selector that does not match does not", onPods("selector: {matchLabels: {app: other}}\nrules: []"),
			request(tcp), open},
		{"an empty selector is for nobody", onPods("selector: {}\nrules: []"), request(tcp), open},
		{"empty labels of a selector are for all", onPods("selector: {matchLabels: {}}\nrules: []"), request(tcp), no},
		{"an empty selector in the root namespace is for nobody", object("p", "istio-system", "",
			"selector: {}\nrules: []"), request(tcp), open},
		{"a policy of another namespace does not apply", object("p", "cell-b", "", "rules: []"), request(tcp), open},
		{"a policy of the root namespace applies everywhere", object("p", "istio-system", "", "rules: []"),
			request(tcp), no},
		{"with a selector it applies to the workloads that match", object("p", "istio-system", "",
			"selector: {matchLabels: {app: app}}\nrules: []"), request(tcp), no},
		{"with a selector it applies to no other", object("p", "istio-system", "",
			"selector: {matchLabels: {app: other}}\nrules: []"), request(tcp), open},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := authz.NewNodeProxy(authz.Config{}, policies(t, c.policy))
			if diff := cmp.Diff(c.want, n.ForWorkload("cell-a", map[string]string{"app": "app"}).Decide(
				c.req)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingIsOpenToEveryone(t *testing.T) {
	var w *authz.Waypoint
	var n *authz.NodeProxy
	got := []authz.Result{w.ForService("a", "b", "c").Decide(request()), n.ForWorkload("a", nil).Decide(request())}
	if diff := cmp.Diff([]authz.Result{open, open}, got); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

func TestTraceSaysWhatIsMissing(t *testing.T) {
	e := authz.NewWaypoint(authz.Config{}, policies(t, onService(`rules:
- from: [{source: {principals: [cluster.local/ns/cell-b/sa/capcom]}}]
  to: [{operation: {methods: [POST], paths: [/uplink]}}, {operation: {methods: [GET], paths: [/position]}}]
- from: [{source: {principals: [cluster.local/ns/cell-b/sa/web]}}]
  to: [{operation: {methods: [POST]}}]
`))).ForService("cell-a", "waypoint", "app")
	want := []authz.Trace{
		{Policy: "cell-a/p", Rule: rule(0), Misses: []authz.Miss{{Field: "principals",
			Values: []string{"cluster.local/ns/cell-b/sa/capcom"}, Got: "cluster.local/ns/cell-b/sa/web"}}},
		{Policy: "cell-a/p", Rule: rule(1), Misses: []authz.Miss{{Field: "methods", Values: []string{"POST"},
			Got: "GET"}}},
	}
	if diff := cmp.Diff(want, e.Trace(request())); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestWhatAProxyDoesNotGetIsNamed(t *testing.T) {
	const bytesOnly = "the proxy sees bytes alone here, no HTTP request"
	waypoint := authz.NewWaypoint(authz.Config{}, policies(t,
		onService("rules: [{to: [{operation: {paths: [/a], ports: [\"80\"]}}]}, {from: [{source: {namespaces: "+
			"[x]}}]}]")+
			object("d", "cell-a", "", "targetRefs: [{group: \"\", kind: Service, name: app}]\naction: DENY\nrules: "+
				"[{to: [{operation: {methods: [GET], ports: [\"80\"]}}]}]")))
	e := waypoint.ForService("cell-a", "waypoint", "app")
	if got := e.Skipped(true); got != nil {
		t.Errorf("on an HTTP chain: %+v", got)
	}
	want := []authz.Skip{
		{Policy: "cell-a/p", Rule: rule(0), Field: "paths", Why: bytesOnly, Whole: true},
		{Policy: "cell-a/d", Rule: authz.RuleID("cell-a", "d", 0), Field: "methods", Why: bytesOnly},
	}
	if diff := cmp.Diff(want, e.Skipped(false)); diff != "" {
		t.Errorf("on a TCP chain (-want +got):\n%s", diff)
	}

	const notAtNode = "node proxies do not get this field"
	node := authz.NewNodeProxy(authz.Config{}, policies(t, onPods("rules: [{to: [{operation: {paths: [/a]}}], when: "+
		"[{key: source.trustDomain, values: [x]}]}, {from: [{source: {namespaces: [x], trustDomains: [other]}}]}]")))
	want = []authz.Skip{
		{Policy: "cell-a/p", Rule: rule(0), Field: "paths", Why: notAtNode, Whole: true},
		{Policy: "cell-a/p", Rule: rule(0), Field: "source.trustDomain", Why: notAtNode, Whole: true},
		{Policy: "cell-a/p", Rule: rule(1), Field: "trustDomains", Why: notAtNode},
	}
	if diff := cmp.Diff(want, node.ForWorkload("cell-a", nil).Skipped(false)); diff != "" {
		t.Errorf("at a node proxy (-want +got):\n%s", diff)
	}
}
