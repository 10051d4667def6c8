package analysis

import (
	"fmt"
	"net/netip"
	"strings"

	"artemis.example/policy/authz"
)

var (
	widePaths = []string{
		"/a", "/b", "/a*", "*b", "/{*}", "/a/{**}", "*", "/", "/{*}/b", "/{**}/a", "/a/{*}/{**}", "/{*}/{**}/b",
		"/ab*", "/A", "/a%2Fb", "/a%2fb", "//", "/a//", "/{**}.b", "/a{*}", "/..", "/a/../b",
		"/{*}/{*}", "/a;b", "*/", "/%20*",
	}
	wideHosts = []string{"s", "S:80", "*:80", "s*", "*", "s.one", "*.one", "s.one.svc.cluster.local:80",
		"[fd00::1]:80"}
	wideBlocks = []string{"10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "203.0.113.7", "2001:db8::/32", "::/0",
		"10.1.2.3/32"}
	wideIdentity = append([]string{"*b", "cluster.local/ns/two/sa/*", "*ns/one*"}, genPrincipals...)
)

// widePolicy is a random AuthorizationPolicy of any form that an API server takes.
func (g *generator) widePolicy(name string) string {
	var b strings.Builder
	namespace := pick(g, "one", "one", "one", "one", "istio-system")
	fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"+
		"metadata: {name: %s, namespace: %s}\nspec:\n  action: %s\n", name, namespace,
		pick(g, "ALLOW", "ALLOW", "ALLOW", "DENY", "AUDIT"))
	l7 := g.IntN(3) > 0
	switch {
	case l7 && namespace == "istio-system":
		b.WriteString("  targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]\n")
	case l7:
		fmt.Fprintf(&b, "  targetRefs: [%s]\n", pick(g, `{group: "", kind: Service, name: s}`,
			`{group: "", kind: Service, name: s}`,
			`{group: "", kind: Service, name: p}`, `{group: gateway.networking.k8s.io, kind: Gateway, name: w}`,
			`{group: "", kind: Service, name: s}, {group: "", kind: Service, name: u}`))
	case g.IntN(2) == 0:
		fmt.Fprintf(&b, "  selector: {matchLabels: {%s}}\n", pick(g, "app: t", "app: t, v: two", "v: two", "app: a"))
	}
	if g.IntN(12) == 0 {
		return b.String() // without rules
	}
	b.WriteString("  rules:\n")
	for range 1 + g.IntN(3) {
		fmt.Fprintf(&b, "  - {%s}\n", strings.Join(g.wideRule(l7), ", "))
	}
	return b.String()
}

// wideRule returns the parts of a rule.
func (g *generator) wideRule(l7 bool) []string {
	var parts []string
	one := func(odds int, to *[]string, name string, values ...string) {
		if g.IntN(odds) == 0 {
			*to = append(*to, list(name, g.some(values...)))
		}
	}
	var sources []string
	for range g.IntN(3) {
		var s []string
		one(2, &s, "principals", wideIdentity...)
		one(6, &s, "notPrincipals", wideIdentity...)
		one(6, &s, "namespaces", "one", "two", "t*", "three", "*e")
		one(8, &s, "notNamespaces", "one", "two", "t*")
		if len(s) == 0 {
			one(3, &s, "serviceAccounts", "a", "one/b", "two/a", "three/x")
			if len(s) > 0 {
				one(3, &s, "notServiceAccounts", "a", "two/a")
			}
		}
		one(8, &s, "ipBlocks", wideBlocks...)
		one(8, &s, "notIpBlocks", wideBlocks...)
		if l7 {
			one(6, &s, "remoteIpBlocks", wideBlocks...)
			one(8, &s, "notRemoteIpBlocks", wideBlocks...)
		}
		if len(s) > 0 {
			sources = append(sources, "{source: {"+strings.Join(s, ", ")+"}}")
		}
	}
	if len(sources) > 0 {
		parts = append(parts, "from: ["+strings.Join(sources, ", ")+"]")
	}
	var operations []string
	for range g.IntN(3) {
		var o []string
		if l7 || g.IntN(10) == 0 { // what a node proxy does not see
			one(2, &o, "methods", append([]string{"HEAD", "*"}, genMethods...)...)
			one(2, &o, "paths", widePaths...)
			one(5, &o, "notPaths", widePaths...)
			one(6, &o, "notMethods", genMethods...)
			one(5, &o, "hosts", wideHosts...)
			one(6, &o, "notHosts", wideHosts...)
		}
		one(5, &o, "ports", "80", "81", "8080", "9090")
		one(8, &o, "notPorts", "80", "81", "8080")
		if len(o) > 0 {
			operations = append(operations, "{operation: {"+strings.Join(o, ", ")+"}}")
		}
	}
	if len(operations) > 0 {
		parts = append(parts, "to: ["+strings.Join(operations, ", ")+"]")
	}
	var when []string
	condition := func(odds int, key string, values ...string) {
		if g.IntN(odds) == 0 {
			c := []string{fmt.Sprintf("key: %q", key), list(pick(g, "values", "notValues"), g.some(values...))}
			if g.IntN(4) == 0 && !strings.Contains(c[1], "not") {
				c = append(c, list("notValues", g.some(values...)))
			}
			when = append(when, "{"+strings.Join(c, ", ")+"}")
		}
	}
	condition(8, "source.principal", genPrincipals...)
	condition(8, "source.namespace", "one", "t*", "three")
	condition(10, "source.ip", wideBlocks...)
	condition(10, "destination.port", "80", "8080")
	if l7 {
		condition(5, "request.headers[x-r]", genHeaders...)
		condition(8, "request.headers[X-Q]", genHeaders...)
		condition(10, "remote.ip", wideBlocks...)
	}
	if len(when) > 0 {
		parts = append(parts, "when: ["+strings.Join(when, ", ")+"]")
	}
	return parts
}

// wideNetworkPolicy is a random NetworkPolicy: blocks with exceptions, ranges and names of
// ports, several peers, both directions.
func (g *generator) wideNetworkPolicy(name string) string {
	peer := func() string {
		return pick(g, "podSelector: {}", "podSelector: {matchLabels: {app: a}}",
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: two}}",
			"namespaceSelector: {matchLabels: {team: red}}",
			"namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [b]}]}",
			"namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}",
			`ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}`)
	}
	ports := pick(g, "", ", ports: [{port: 15008}]", ", ports: [{port: 80}, {port: 15008}]", ", ports: [{port: web}]",
		", ports: [{port: 8000, endPort: 9000}]", ", ports: [{port: 53, protocol: UDP}, {port: 8080}]")
	from := ""
	if g.IntN(6) > 0 {
		from = fmt.Sprintf("from: [{%s}, {%s}]", peer(), peer())
	}
	rule := "{" + strings.TrimPrefix(from+ports, ", ") + "}"
	return fmt.Sprintf("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"+
		"metadata: {name: %s, namespace: one}\n"+
		"spec: {podSelector: %s, policyTypes: [Ingress], ingress: [%s]}\n", name,
		pick(g, "{}", "{matchLabels: {app: t}}", "{matchExpressions: [{key: v, operator: Exists}]}"), rule)
}

// wideWorld is a namespace one with a workload t, which is two pods of different labels,
// behind Services with and without a waypoint: its own, or one of namespace two; and
// pods beside them.
func (g *generator) wideWorld() string {
	var b strings.Builder
	through := pick(g, ", istio.io/use-waypoint: w", ", istio.io/use-waypoint: w", "",
		", istio.io/use-waypoint: far, istio.io/use-waypoint-namespace: two")
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: one, labels: {istio.io/dataplane-mode: %s%s}}\n",
		pick(g, "ambient", "ambient", "ambient", "none"), through)
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\n"+
		"metadata: {name: two, labels: {istio.io/dataplane-mode: %s, team: %s}}\n",
		pick(g, "ambient", "none"), pick(g, "red", "blue"))
	gateway := "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n" +
		"metadata: {name: %s, namespace: %s, labels: {istio.io/waypoint-for: %s}}\n" +
		"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE%s}]}\n"
	fmt.Fprintf(&b, gateway, "w", "one", pick(g, "service", "service", "all", "workload", "none"), "")
	fmt.Fprintf(&b, gateway, "far", "two", "service", pick(g, "", ", allowedRoutes: {namespaces: {from: All}}"))
	pod := "---\napiVersion: apps/v1\nkind: %s\nmetadata: {name: %s, namespace: %s}\n" +
		"spec:\n  selector: {matchLabels: {app: %[2]s}}\n  template:\n    metadata: {labels: {%[4]s}}\n" +
		"    spec: {serviceAccountName: %[2]s, containers: [{name: main, image: x, " +
		"ports: [{name: web, containerPort: 8080}]}]}\n"
	fmt.Fprintf(&b, pod, "Deployment", "t", "one", "app: t")
	if g.IntN(3) == 0 {
		fmt.Fprintf(&b, pod, "StatefulSet", "t", "one",
			pick(g, "app: t, v: two", "app: t, v: two, istio.io/dataplane-mode: none"))
	}
	fmt.Fprintf(&b, pod, "Deployment", "a", "one", pick(g, "app: a", "app: a, istio.io/dataplane-mode: none"))
	fmt.Fprintf(&b, pod, "Deployment", "b", "one", "app: b")
	fmt.Fprintf(&b, pod, "Deployment", "a", "two", "app: a")
	service := "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: one, labels: {%s}}\n" +
		"spec: {%sselector: {%s}, ports: [{%sport: %d, targetPort: %s}]}\n"
	bound := pick(g, "", "", "istio.io/use-waypoint: none", "istio.io/use-waypoint: w")
	fmt.Fprintf(&b, service, "s", bound, "", "app: t", "name: http, ", 80, "8080")
	fmt.Fprintf(&b, service, "p", "", "", "app: t", "name: tcp, ", 81, "web")
	fmt.Fprintf(&b, service, "u", "", "", pick(g, "app: t", "v: two"), "", 82, "8080") // what its port takes is sniffed
	fmt.Fprintf(&b, service, "h", "", "clusterIP: None, ", "app: t", "name: http, ", 8080, "8080")
	for i := range g.IntN(5) {
		b.WriteString(g.widePolicy(fmt.Sprintf("policy-%d", i)))
	}
	for i := range g.IntN(3) {
		b.WriteString(g.wideNetworkPolicy(fmt.Sprintf("np-%d", i)))
	}
	for _, namespace := range []string{"one", "istio-system"} {
		if g.IntN(3) == 0 {
			fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"+
				"metadata: {name: default, namespace: %s}\nspec: {mtls: {mode: %s}}\n", namespace,
				pick(g, "STRICT", "PERMISSIVE", "UNSET"))
		}
	}
	if g.IntN(4) == 0 {
		fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"+
			"metadata: {name: t, namespace: one}\nspec: {selector: {matchLabels: {app: t}}, "+
			"mtls: {mode: %s}, portLevelMtls: {8080: {mode: %s}}}\n",
			pick(g, "STRICT", "PERMISSIVE"), pick(g, "STRICT", "PERMISSIVE", "DISABLE"))
	}
	return b.String()
}

// wideRequests are requests as policies see them: paths that a proxy has normalised.
func (g *generator) wideRequests(n int) []*authz.Request {
	out := make([]*authz.Request, 0, n)
	for len(out) < n {
		path := "/"
		for range g.IntN(5) {
			path += pick(g, "a", "b", "/", "ab", "A", ".b", "%2Fb", "%2f", ";b", "/a", "/b", "x", "%20", "..")
		}
		if normal, err := authz.NormalizePath(path); err != nil || normal != path {
			continue
		}
		if g.IntN(6) == 0 {
			path += pick(g, "?", "?a", "?/a", "?a=/b")
		}
		r := &authz.Request{
			Method: pick(g, "GET", "POST", "PUT", "HEAD", "G", "GET-T"), Path: path, HTTP: true,
			Header: map[string][]string{},
			Host: pick(g, "s:80", "S:80", "s", "s.one", "S.ONE:80", "other", "", "s.one.svc.cluster.local:80",
				"[fd00::1]:80"),
			RemoteIP: netip.MustParseAddr(pick(g, "10.1.2.3", "10.2.0.1", "203.0.113.7", "2001:db8::7",
				"::ffff:10.1.2.3", "192.0.2.1")),
		}
		for _, name := range []string{"X-R", "X-Q"} {
			lines := pick(g, nil, []string{"a"}, []string{"xb"}, []string{"a", "b"}, []string{""}, []string{"A"})
			if lines != nil {
				r.Header[name] = lines
			}
		}
		out = append(out, r)
	}
	return out
}
