package authz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"artemis.example/catalog"
	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
)

// target is the Service that generated requests go to.
var target = translate.Target{Namespace: "cell-a", Waypoint: "waypoint", Service: "app"}

// generator makes policies and requests that meet at the policies' edges: first
// some requests, then policies whose values are cut out of those requests, then
// variations of the requests. The same seed gives the same cases, but for the
// listeners' port numbers.
type generator struct {
	*rand.Rand
	clients []enforcer.Client
	seen    map[string]int // how often each field and operator was generated
}

// policySet is what is in force for one group of requests.
type policySet []*securityv1.AuthorizationPolicy

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) note(what string) { g.seen[what]++ }

// ---- requests

var (
	methods = []string{"GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}
	hosts   = []string{"app.example", "app.example:8080", "App.Example", "api.app.example", "app", "app.cell-a",
		"app.cell-a.svc.cluster.local", "app.cell-a.svc.cluster.local:80", "app.example.", "10.96.0.7:80", "[::1]:80"}
	// badHosts are what Envoy refuses, and what it takes although it is no name.
	badHosts = []string{"", "a b", "a/b", "a?b", "a#b", "a\\b", "\"a\"", "<a>", "{a}", "a|b", "a^b", "`", "\xe9", "a@b",
		"a,b", "a:b:c", "app:99999", "app:", "*", "%41", "a;b", "a_b", ".."}
	segments = []string{"v1", "items", "item", "7", "admin", "a", "b", "position", "Position", "x%2Fy", "x%2fy", "a.b",
		"a-b", "~x", "a;b=c", "a:b", "%41", "%20", "a+b", "a@b", "$", "(a)", "'", "!", "a,b", "=", "&"}
	// headers are of every class: any, those whose lines Envoy joins, those that it takes
	// off or rewrites, and those that concern the connection.
	headers = []string{"x-a", "X-A", "x-b", "x-role", "x-role", "x_under", "cookie", "accept-language", "forwarded",
		"x-real-ip", "content-length", "date", "traceparent", "x-b3-sampled",
		"user-agent", "authorization", "accept", "cache-control", "origin", "via", "content-type", "accept-encoding",
		"pragma", "if-none-match", "access-control-request-method", "grpc-timeout", "expect", "expect",
		"x-forwarded-for", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
		"x-forwarded-client-cert", "x-forwarded-client-cert", "x-request-id", "referer", "x-client-trace-id",
		"x-envoy-original-path", "x-envoy-original-host", "x-envoy-decorator-operation", "x-envoy-external-address",
		"x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-attempt-count",
		"x-envoy-is-timeout-retry", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-envoy-max-retries",
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-internal", "x-envoy-force-trace",
		"x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-alt-stat-name",
		"x-envoy-upstream-rq-timeout-alt-response", "x-envoy-expected-rq-timeout-ms",
		"x-envoy-hedge-on-per-try-timeout", "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-retriable-header-names",
		"x-envoy-retriable-status-codes", "x-envoy-upstream-stream-duration-ms",
		"te", "te", "connection", "connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings",
		"transfer-encoding"}
	// pseudo are names that a condition can ask for and no client can send.
	pseudo = []string{":authority", ":method", ":path", ":path", ":path", ":scheme", ":status", ":protocol", "host",
		"Host"}
	values = []string{"v1", "v2", "v1,v2", "V1", "", "v", "v11", "a b", "admin", "*", "a*b", "v1, v2", "\"q\""}
	chain  = []string{"127.0.0.9", "10.1.2.3", "10.1.2.4", "192.168.1.1", "2001:db8::1", "not an address",
		"10.1.2.3:80", "10.1.2.3, 127.0.0.9", "::ffff:10.1.2.3", "", "10.1.2.3,"}
)

func (g *generator) request() enforcer.Request {
	r := enforcer.Request{Client: g.IntN(len(g.clients)), Method: pick(g, methods), Host: pick(g, hosts),
		Target: g.path()}
	for range g.IntN(4) {
		r.Header = append(r.Header, g.headerLine())
	}
	return oneBody(r)
}

func (g *generator) headerLine() [2]string { return g.lineOf(pick(g, headers)) }

// lineOf returns a line of a header.
func (g *generator) lineOf(name string) [2]string {
	g.note("header " + strings.ToLower(name))
	if name == "x-forwarded-client-cert" {
		c := g.anyone()
		return [2]string{name, pick(g, []string{"By=x;URI=" + c.Principal, "By=" + c.WaypointIdentity() + ";URI=" +
			c.Principal, "URI=" + c.Principal, "v1"})}
	}
	if own, ok := valuesOf[name]; ok {
		return [2]string{name, pick(g, own)}
	}
	return [2]string{name, pick(g, values)}
}

// valuesOf are the values of headers that have some of their own.
var valuesOf = map[string][]string{
	"x-forwarded-for":   chain,
	"referer":           referers,
	"x-forwarded-proto": {"http", "https", "HTTPS", "ws"},
	// no part of it is one of a UUID that Envoy makes up
	"x-request-id": {"zz-zyz", "", "zz"},
	"te":           {"trailers", "gzip", "gzip, trailers", "Trailers", "trailers;q=1", "", ",trailers,"},
	"expect":       {"100-continue", "100-Continue", "x"},
	"connection": {"x-role", "X-A, x-b", "close", "keep-alive", "te", "upgrade", "Upgrade, x-role", "x-forwarded-for",
		"x-forwarded-client-cert", "host", ":path", "http2-settings, upgrade", "\"x-a\"", ",,", "x-request-id",
		"x-envoy-original-path", "connection", "cookie,user-agent", "a,b,c,d,e,f,g,h,i", "a,b,c,d,e,f,g,h,i,j",
		"x-forwarded-proto"},
	"upgrade":           {"websocket", "WebSocket", "h2c", "foo", ""},
	"transfer-encoding": {"chunked"},
	"content-length":    {"0"},
}

var referers = []string{"https://app.example/x", "http://app.example", "https://app.example:8080/a?b", "app.example/x",
	"/x", "admin", "", "https://", "http://u@h/x", "about:blank", "https://h/#f", "ftp://h/x", "https://a_b/",
	"https://h:99999/", "a:b/c", "a/b:c", "?q", "https://[::1]/x", "https://h?q"}

func (g *generator) path() string {
	var b strings.Builder
	for range g.IntN(5) {
		b.WriteByte('/')
		if !g.chance(4) {
			b.WriteString(pick(g, segments))
		}
	}
	if b.Len() == 0 || g.chance(10) {
		b.WriteByte('/')
	}
	return b.String()
}

// vary changes some parts of a request, near to what it was.
func (g *generator) vary(base enforcer.Request) enforcer.Request {
	r := base
	r.Header = slices.Clone(base.Header)
	for range g.IntN(4) {
		switch g.IntN(12) {
		case 0, 1:
			r.Client = g.IntN(len(g.clients))
		case 2:
			r.Method = pick(g, methods)
		case 3:
			if g.chance(10) {
				r.Method = pick(g, []string{"get", "Get", "PURGE", "FOO"})
			}
		case 4:
			r.Host = g.varyHost(r.Host)
		case 5, 6, 7:
			r.Target = g.varyPath(r.Target)
		case 8:
			r.Header = append(r.Header, g.headerLine())
		case 9:
			if n := len(r.Header); n > 0 {
				r.Header = slices.Delete(r.Header, n-1, n)
			}
		case 10:
			if n := len(r.Header); n > 0 {
				i := g.IntN(n)
				r.Header[i][1] = g.lineOf(r.Header[i][0])[1]
			}
		case 11:
			if n := len(r.Header); n > 0 { // the same header once more
				i := g.IntN(n)
				r.Header = append(r.Header, g.lineOf(r.Header[i][0]))
			}
		}
	}
	switch g.IntN(150) {
	case 0:
		r.NoHost = true
	case 1:
		r.Version = pick(g, []string{"HTTP/1.0", "HTTP/2.0", "http/1.1", "HTTP/1.2", "HTTP/11", ""})
	case 2:
		r.Header = append(r.Header, [2]string{"Host", pick(g, hosts)})
	case 3:
		r.Host = pick(g, badHosts)
	case 4:
		r.Header = append(r.Header, [2]string{pick(g, []string{"x y", ":path", "x(", "\xe9", "x/y"}), "v1"})
	case 5:
		r.Header = append(r.Header, [2]string{"x-a", pick(g, []string{"a\x01", "a\x7f", "\xc3\xa9", "a\tb"})})
	case 6:
		r.Header = append(r.Header, [2]string{"Connection", "upgrade"}, [2]string{"Upgrade",
			pick(g, []string{"websocket", "h2c"})})
	}
	return oneBody(r)
}

// oneBody leaves a request one way to end its body, and none to one that asks for an
// upgrade: TestRawRequestsAreAnsweredAsByEnvoy has the others.
func oneBody(r enforcer.Request) enforcer.Request {
	ways := 0
	if slices.ContainsFunc(r.Header, func(h [2]string) bool { return strings.EqualFold(h[0], "upgrade") }) {
		ways = 1
	}
	r.Header = slices.DeleteFunc(r.Header, func(h [2]string) bool {
		if strings.EqualFold(h[0], "transfer-encoding") || strings.EqualFold(h[0], "content-length") {
			ways++
			return ways > 1
		}
		return false
	})
	return r
}

func (g *generator) varyHost(h string) string {
	switch g.IntN(7) {
	case 0:
		return strings.ToUpper(h)
	case 1:
		return h + ":80"
	case 2:
		name, _, _ := strings.Cut(h, ":")
		return name + "x"
	case 3:
		return "x" + h
	case 4:
		return "sub." + h
	}
	return pick(g, hosts)
}

// varyPath bends a path in a way that a path matcher could trip over.
func (g *generator) varyPath(p string) string {
	if p == "" {
		p = "/"
	}
	at := g.IntN(len(p))
	slash := at + max(0, strings.IndexByte(p[at:], '/'))
	switch g.IntN(22) {
	case 0:
		return p + "?a=/b&c=" + pick(g, []string{"..", "%2e", "#x", ""})
	case 1:
		return p + "/"
	case 2:
		return strings.TrimSuffix(p, "/") + "/" + pick(g, segments)
	case 3:
		return p[:slash] + "/" + p[slash:]
	case 4:
		return p[:slash] + "/." + p[slash:]
	case 5:
		return p[:slash] + "/x/.." + p[slash:]
	case 6:
		return p[:slash] + pick(g, []string{"/%2e", "/%2e%2E", "/.%2e", "/%2E."}) + p[slash:]
	case 7:
		return strings.Replace(p, "/", pick(g, []string{"%2f", "%2F", "\\", "/..;/", "/.;/", "//"}), 1+g.IntN(2))
	case 8:
		return "/" + strings.Replace(p[1:], "/", pick(g, []string{"%2f", "\\", "%5c", "/\\"}), 1)
	case 9: // escape one character
		return p[:at] + fmt.Sprintf(pick(g, []string{"%%%02x", "%%%02X"}), p[at]) + p[at+1:]
	case 10:
		return strings.ToUpper(p)
	case 11:
		return p + pick(g, []string{";a=b", "%00", "%", "%2", "%zz", "%C3%A9", "\xc3\xa9", "%%30%30", "%25%32%66",
			"{x}", "|", "`", "\"", "^", "<>", "*", "[x]", "#frag", ".", "..", "%7e", "%2d", "%3f", "%3F", "%23", "\x7f",
			"%7F"})
	case 12:
		if len(p) > 1 {
			return p[:len(p)-1]
		}
	case 13:
		return pick(g, []string{"*", "?", "/?", "//", "/..", "/../..", "/%2e%2e/", "\\", "http://other.example/v1",
			"HTTPS://other.example:8080/v1/items", "http://u:p@other.example/v1", "http://other.example",
			"http://other.example?v1", "http://a_b/", "http://:80/", "http://h:/", "ftp://h/", "/.", "/.//", "//.."})
	case 14:
		return "/" + pick(g, segments) + p
	case 15:
		return p + "/" + pick(g, segments) + "/" + pick(g, segments)
	case 16:
		return p[:at] + pick(g, []string{"a", "/", ".", "%", "-", "_"}) + p[at:]
	case 17:
		if len(p) > 1 {
			at = 1 + g.IntN(len(p)-1)
			return p[:at] + p[at+1:]
		}
	case 18:
		return p + "/../" + pick(g, segments)
	case 19:
		return p + pick(g, []string{"/..", "/.", "/../", "/./", "/...", "/..x", "/.x"})
	}
	return g.path()
}

// ---- policies

// policies makes one to three policies around the requests.
func (g *generator) policies(around []enforcer.Request) policySet {
	var set policySet
	for len(set) == 0 || (len(set) < 3 && g.chance(60)) {
		p := g.policy(fmt.Sprintf("p%d", len(set)), around)
		if translate.Validate(p) == nil {
			set = append(set, p)
		}
	}
	return set
}

func (g *generator) policy(name string, around []enforcer.Request) *securityv1.AuthorizationPolicy {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: target.Namespace}}
	p.APIVersion, p.Kind = "security.istio.io/v1", "AuthorizationPolicy"
	switch {
	case g.chance(32):
		p.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY
	case g.chance(6):
		p.Spec.Action = securityv1beta1.AuthorizationPolicy_AUDIT
	}
	g.note("action " + p.Spec.Action.String())
	g.attach(p)
	if g.chance(4) {
		p.Annotations = map[string]string{"istio.io/dry-run": pick(g, []string{"true", "true", "false", "nonsense", "1",
			"T"})}
		g.note("dry-run")
	}
	if g.chance(3) {
		g.note("rules none")
		return p
	}
	n := 1 + g.IntN(3)
	if g.chance(2) {
		n = 12 // rule[10] sorts before rule[2]
	}
	for range n {
		p.Spec.Rules = append(p.Spec.Rules, g.rule(pick(g, around)))
	}
	return p
}

func (g *generator) attach(p *securityv1.AuthorizationPolicy) {
	ref := func(group, kind, name string) []*typev1beta1.PolicyTargetReference {
		return []*typev1beta1.PolicyTargetReference{{Group: group, Kind: kind, Name: name}}
	}
	service := ref(pick(g, []string{"", "core"}), "Service", target.Service)
	const api = "gateway.networking.k8s.io"
	class := func(name string) []*typev1beta1.PolicyTargetReference { return ref(api, "GatewayClass", name) }
	waypoint, other := ref(api, "Gateway", target.Waypoint), ref("", "Service", "other")
	n := g.IntN(100)
	for _, way := range []struct {
		below int // of a hundred
		what  string
		set   func()
	}{
		{74, "targetRefs Service", func() { p.Spec.TargetRefs = service }},
		{76, "targetRef Service", func() { p.Spec.TargetRef = service[0] }},
		{82, "targetRefs Gateway", func() { p.Spec.TargetRefs = waypoint }},
		{85, "targetRefs GatewayClass in the root namespace", func() {
			p.Spec.TargetRefs, p.Namespace = class("istio-waypoint"), catalog.RootNamespace
		}},
		{86, "targetRefs GatewayClass elsewhere", func() { p.Spec.TargetRefs = class("istio-waypoint") }},
		{87, "targetRefs another GatewayClass", func() {
			p.Spec.TargetRefs, p.Namespace = class("istio"), catalog.RootNamespace
		}},
		{89, "targetRefs another Service", func() { p.Spec.TargetRefs = other }},
		{90, "targetRefs another Gateway", func() { p.Spec.TargetRefs = ref(api, "Gateway", "other") }},
		{92, "targetRefs Service of another namespace", func() {
			p.Spec.TargetRefs, p.Namespace = service, pick(g, []string{"cell-b", catalog.RootNamespace})
		}},
		{94, "targetRefs several", func() { p.Spec.TargetRefs = slices.Concat(other, service, waypoint) }},
		{96, "selector", func() {
			p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{
				"gateway.networking.k8s.io/gateway-name": target.Waypoint}}
		}},
		{98, "neither selector nor targetRefs", func() {}},
		{100, "neither selector nor targetRefs, in the root namespace", func() {
			p.Namespace = catalog.RootNamespace
		}},
	} {
		if n < way.below {
			g.note(way.what)
			way.set()
			return
		}
	}
}

func (g *generator) rule(r enforcer.Request) *securityv1beta1.Rule {
	rule := &securityv1beta1.Rule{}
	if g.chance(70) {
		for range 1 + g.IntN(2) {
			rule.From = append(rule.From, &securityv1beta1.Rule_From{Source: g.source(r)})
		}
	}
	if g.chance(75) {
		for range 1 + g.IntN(2) {
			rule.To = append(rule.To, &securityv1beta1.Rule_To{Operation: g.operation(r)})
		}
	}
	if g.chance(30) {
		for range 1 + g.IntN(2) {
			rule.When = append(rule.When, g.condition(r))
		}
	}
	return rule
}

// some returns one to three values of a field for a list, or none.
func (g *generator) some(field string, percent int, value func() (string, string)) []string {
	if !g.chance(percent) {
		return nil
	}
	var out []string
	for range 1 + g.IntN(3) {
		v, operator := value()
		if v != "" {
			g.note(field + " " + operator)
			out = append(out, v)
		}
	}
	return out
}

func (g *generator) source(r enforcer.Request) *securityv1beta1.Source {
	c := g.clients[r.Client]
	s := &securityv1beta1.Source{}
	if g.chance(70) {
		s.Principals = g.some("principals", 60, func() (string, string) { return g.principal(c) })
		s.NotPrincipals = g.some("notPrincipals", 15, func() (string, string) { return g.principal(g.anyone()) })
		s.Namespaces = g.some("namespaces", 30, func() (string, string) { return g.namespace(c) })
		s.NotNamespaces = g.some("notNamespaces", 12, func() (string, string) { return g.namespace(g.anyone()) })
	} else {
		s.ServiceAccounts = g.some("serviceAccounts", 80, func() (string, string) { return g.account(c) })
		s.NotServiceAccounts = g.some("notServiceAccounts", 25,
			func() (string, string) { return g.account(g.anyone()) })
	}
	s.TrustDomains = g.some("trustDomains", 10, func() (string, string) { return g.trustDomain(c) })
	s.NotTrustDomains = g.some("notTrustDomains", 6, func() (string, string) { return g.trustDomain(g.anyone()) })
	s.IpBlocks = g.some("ipBlocks", 10, func() (string, string) { return g.block(c.Source.String()) })
	s.NotIpBlocks = g.some("notIpBlocks", 6, func() (string, string) { return g.block(g.anyone().Source.String()) })
	s.RemoteIpBlocks = g.some("remoteIpBlocks", 8, func() (string, string) { return g.block(g.forwarded(r)) })
	s.NotRemoteIpBlocks = g.some("notRemoteIpBlocks", 6, func() (string, string) { return g.block(pick(g, chain)) })
	if len(lists(s)) == 0 {
		v, operator := g.principal(c)
		g.note("principals " + operator)
		s.Principals = []string{v}
	}
	return s
}

func (g *generator) anyone() enforcer.Client { return pick(g, g.clients) }

func (g *generator) operation(r enforcer.Request) *securityv1beta1.Operation {
	o := &securityv1beta1.Operation{}
	o.Paths = g.some("paths", 65, func() (string, string) { return g.pathValue(r.Target) })
	o.NotPaths = g.some("notPaths", 12, func() (string, string) { return g.pathValue(g.path()) })
	o.Methods = g.some("methods", 45, func() (string, string) { return g.text(r.Method) })
	o.NotMethods = g.some("notMethods", 10, func() (string, string) { return g.text(pick(g, methods)) })
	o.Hosts = g.some("hosts", 15, func() (string, string) { return g.host(r.Host) })
	o.NotHosts = g.some("notHosts", 8, func() (string, string) { return g.host(pick(g, hosts)) })
	o.Ports = g.some("ports", 12, func() (string, string) { return g.portValue(r.Client) })
	o.NotPorts = g.some("notPorts", 6, func() (string, string) { return g.portValue(g.IntN(len(g.clients))) })
	if len(lists(o)) == 0 {
		v, operator := g.pathValue(r.Target)
		g.note("paths " + operator)
		o.Paths = []string{v}
	}
	return o
}

var conditionKeys = []string{"source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount",
	"source.trustDomain", "destination.ip", "destination.port", "connection.sni",
	"request.headers", "request.headers", "request.headers", "request.headers", "request.headers", "request.headers"}

func (g *generator) condition(r enforcer.Request) *securityv1beta1.Condition {
	c := g.clients[r.Client]
	key := pick(g, conditionKeys)
	out := &securityv1beta1.Condition{Key: key}
	value := map[string]func() (string, string){
		"source.ip":             func() (string, string) { return g.block(c.Source.String()) },
		"remote.ip":             func() (string, string) { return g.block(g.forwarded(r)) },
		"source.namespace":      func() (string, string) { return g.namespace(c) },
		"source.principal":      func() (string, string) { return g.principal(c) },
		"source.serviceAccount": func() (string, string) { return g.account(c) },
		"source.trustDomain":    func() (string, string) { return g.trustDomain(c) },
		"destination.ip":        func() (string, string) { return g.block(c.Dest.Addr().String()) },
		"destination.port":      func() (string, string) { return g.portValue(r.Client) },
		"connection.sni":        func() (string, string) { return g.text("web.example") },
	}[key]
	if key == "request.headers" {
		line := g.headerLine()
		if n := len(r.Header); n > 0 && g.chance(80) {
			line = r.Header[g.IntN(n)]
		}
		if g.chance(12) {
			line = [2]string{pick(g, pseudo), ""}
			switch line[0] {
			case ":method":
				line[1] = r.Method
			case ":path":
				line[1] = r.Target
			case ":scheme":
				line[1] = pick(g, []string{"http", "https"})
			case ":status", ":protocol":
				line[1] = "v1"
			default:
				line[1] = r.Host
			}
		}
		out.Key = "request.headers[" + line[0] + "]"
		g.note("when " + strings.ToLower(out.Key))
		value = func() (string, string) { return g.text(strings.TrimSpace(line[1])) }
	}
	mode := g.IntN(10)
	if mode != 0 && mode != 1 {
		out.Values = g.some("when "+key+" values", 100, value)
	}
	if mode < 4 {
		out.NotValues = g.some("when "+key+" notValues", 100, value)
	}
	return out
}

// text cuts a value out of a text: exact, prefix, suffix, present, or close to it.
func (g *generator) text(s string) (string, string) {
	n := len(s)
	switch g.IntN(10) {
	case 0:
		return "*", "present"
	case 1:
		return s[:g.IntN(n+1)] + "*", "prefix"
	case 2:
		return "*" + s[g.IntN(n+1):], "suffix"
	case 3:
		if n > 1 {
			at := 1 + g.IntN(n-1)
			return s[:at] + "*" + s[at:], "star inside"
		}
	case 4:
		return "*" + s[min(n, 1):] + "*", "star at both ends"
	case 5:
		if g.chance(50) {
			return strings.ToLower(s), "exact"
		}
		return s + "x", "exact"
	}
	return s, "exact"
}

func (g *generator) principal(c enforcer.Client) (string, string) {
	id := strings.TrimPrefix(c.Principal, "spiffe://")
	if id == "" {
		id = strings.TrimPrefix(identities[0], "spiffe://")
	}
	if g.chance(3) {
		return c.Principal, "with spiffe://"
	}
	return g.text(id)
}

// parts returns the namespace and the service account of a client, as far as it
// has them.
func parts(c enforcer.Client) (trustDomain, namespace, account string) {
	trustDomain, namespace, account = "cluster.local", "cell-a", "web"
	id := strings.TrimPrefix(c.Principal, "spiffe://")
	if td, rest, ok := strings.Cut(id, "/"); ok {
		trustDomain = td
		if _, ns, ok := strings.Cut(rest, "ns/"); ok {
			namespace, _, _ = strings.Cut(ns, "/")
		}
		account = id[strings.LastIndexByte(id, '/')+1:]
	}
	return trustDomain, namespace, account
}

func (g *generator) namespace(c enforcer.Client) (string, string) {
	_, ns, _ := parts(c)
	switch g.IntN(12) {
	case 0:
		return strings.Replace(ns, "-", ".", 1), "regular expression's character"
	case 1:
		return strings.Replace(ns, "-", "*", 1), "star inside"
	case 2:
		return "*e*l*", "several stars"
	case 3:
		return pick(g, []string{"ns", "cell-a/sa", "cell-a/sa/web", "cell-a/x", "(.*)", "**", "cell-[ab]", "a|b",
			"*/sa/web*"}), "strange"
	}
	return g.text(ns)
}

func (g *generator) account(c enforcer.Client) (string, string) {
	_, ns, sa := parts(c)
	if g.chance(10) {
		sa = pick(g, []string{"we", "web2", "w.b", "eb", "Web"})
	}
	if g.chance(10) {
		ns = pick(g, []string{"cell", "cell.a", "cell-aa", "cell-b"})
	}
	if g.chance(45) {
		return sa, "bare"
	}
	return ns + "/" + sa, "qualified"
}

func (g *generator) trustDomain(c enforcer.Client) (string, string) {
	td, _, _ := parts(c)
	switch g.IntN(6) {
	case 0:
		return "*", "present"
	case 1:
		return td[:g.IntN(len(td))] + "*", "prefix"
	case 2:
		return "*" + td[g.IntN(len(td)):], "suffix"
	case 3:
		return strings.Replace(td, ".", "x", 1), "exact"
	}
	return td, "exact"
}

func (g *generator) forwarded(r enforcer.Request) string {
	for _, h := range r.Header {
		if h[0] == "x-forwarded-for" {
			return h[1]
		}
	}
	return g.clients[r.Client].Source.String()
}

func (g *generator) block(addr string) (string, string) {
	if i := strings.LastIndex(addr, ", "); i >= 0 {
		addr = addr[i+2:]
	}
	switch {
	case strings.HasPrefix(addr, "::ffff:"):
		addr = addr[len("::ffff:"):]
	case strings.ContainsAny(addr, " ") || addr == "" || strings.HasSuffix(addr, ","):
		addr = "10.1.2.3"
	case strings.Count(addr, ":") == 1:
		addr, _, _ = strings.Cut(addr, ":")
	}
	if strings.Contains(addr, ":") {
		return addr + pick(g, []string{"", "/128", "/64", "/32", "/0"}), "IPv6"
	}
	switch g.IntN(8) {
	case 0:
		return "0.0.0.0/0", "all of IPv4"
	case 1:
		return "10.0.0.0/8", "block"
	case 2, 3:
		return addr, "address"
	case 4:
		return pick(g, []string{"::/0", "::1", "::ffff:127.0.0.0/104", "::ffff:10.1.2.3"}), "IPv6"
	}
	return addr + pick(g, []string{"/32", "/31", "/24", "/20", "/16", "/9", "/8"}), "block"
}

func (g *generator) portValue(client int) (string, string) {
	p := int(g.clients[client].Dest.Port())
	switch g.IntN(5) {
	case 0:
		return fmt.Sprint(p + 1), "another"
	case 1:
		return pick(g, []string{"0", "65535", "80", "8080"}), "another"
	}
	return fmt.Sprint(p), "its own"
}

func (g *generator) host(h string) (string, string) {
	if g.chance(25) {
		name, _, _ := strings.Cut(h, ":")
		return name + ":*", "prefix with port"
	}
	if g.chance(20) {
		h = strings.ToUpper(h)
	}
	return g.text(h)
}

// pathValue cuts a path value out of a request target: as it stands, without
// its query, as a template, with stars.
func (g *generator) pathValue(raw string) (string, string) {
	p, _, _ := strings.Cut(raw, "?")
	if p == "" {
		p = "/"
	}
	switch g.IntN(20) {
	case 0, 1, 2, 3:
		return g.template(p)
	case 4:
		return pick(g, []string{"/*", "/", "*", "//*", "/v1/*", "/v1*", "*/items", "*.b", "/*/items", "*/x*", "**",
			"*/"}), "common"
	case 5:
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			return p[:i+1] + "*", "prefix up to a slash"
		}
	case 6:
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			return "*" + p[i:], "suffix from a slash"
		}
	case 7:
		return raw, "exact with query"
	case 8:
		return strings.TrimSuffix(p, "/") + "/", "exact with a slash at the end"
	}
	return g.text(p)
}

// template replaces segments by operators.
func (g *generator) template(p string) (string, string) {
	segs := strings.Split(strings.Trim(p, "/"), "/")
	any := false
	operator := "template {*}"
	for i := range segs {
		switch n := g.IntN(10); {
		case n < 3:
			segs[i] = "{*}"
		case n == 3 && !any:
			segs[i], any = "{**}", true
			operator = "template {**}"
			// {**} is the last operator; literals may follow.
			for j := i + 1; j < len(segs); j++ {
				if g.chance(50) {
					segs = segs[:j]
				}
			}
		}
		if any {
			break
		}
	}
	if !any && g.chance(30) {
		segs = append(segs, "{**}")
		operator = "template {**}"
	}
	out := "/" + strings.Join(segs, "/")
	if g.chance(15) {
		out += "/"
	}
	if !strings.Contains(out, "{") {
		out, operator = "/{*}"+out, "template {*}"
	}
	// Envoy refuses an empty segment in a template, Istio does not: see
	// TestWhatIstioTakesAndEnvoyRefuses.
	for strings.Contains(out, "//") {
		out = strings.ReplaceAll(out, "//", "/")
	}
	return out, operator
}
