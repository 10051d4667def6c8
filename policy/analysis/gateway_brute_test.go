package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/topology"
)

// fronted returns a world in which a gateway's routes lead to workload t behind a waypoint,
// and to workload b.
func (g *generator) fronted() string {
	var b strings.Builder
	b.WriteString(object("v1", "Namespace", "", "edge", "") + "---\napiVersion: v1\nkind: Namespace\n" +
		"metadata: {name: one, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: w, " +
		"istio.io/ingress-use-waypoint: \"true\"}}\n---\n" +
		object(
			"gateway.networking.k8s.io/v1",
			"Gateway",
			"one",
			"w",
			"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}",
		) + "---\n" +
		object("gateway.networking.k8s.io/v1", "Gateway", "edge", "front", "spec: {gatewayClassName: istio, "+
			"listeners: [{name: l, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}"))
	for _, name := range []string{"t", "b"} {
		b.WriteString(strings.NewReplacer("namespace: shop", "namespace: one", "{app: x}", "{app: "+name+"}").Replace(
			fmt.Sprintf(shopPod, "Deployment", name, "app: "+name, name)))
		b.WriteString("---\n" + object("v1", "Service", "one", name,
			"spec: {selector: {app: "+name+"}, ports: [{name: http, port: 80}]}"))
	}
	for i := range 1 + g.IntN(3) {
		hosts := pick(
			g,
			"",
			"hostnames: [a.example]",
			"hostnames: [\"*.example\"]",
			"hostnames: [a.example, \"*.b.example\"]",
		)
		fmt.Fprintf(&b, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"+
			"metadata: {name: r%d, namespace: one}\nspec:\n  parentRefs: [{name: front, namespace: edge}]\n"+
			"  %s\n  rules:\n", i, hosts)
		for range 1 + g.IntN(2) {
			filters, kind := "", pick(g, "PathPrefix", "PathPrefix", "Exact")
			path, rewrite := pick(g, "/", "/a", "/a/b", "/ab", "/a/"), pick(g, "", "", "/", "/b", "/a/b")
			if path == "/" && rewrite != "" {
				rewrite = "/" // nothing else is judged there
			}
			if rewrite != "" && kind == "PathPrefix" {
				filters = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, " +
					"replacePrefixMatch: " + rewrite + "}}}], "
			}
			fmt.Fprintf(
				&b,
				"  - {matches: [{path: {type: %s, value: %s}}], %sbackendRefs: [{name: %s, port: 80}]}\n",
				kind,
				path,
				filters,
				pick(g, "t", "t", "b"),
			)
		}
	}
	for i := range g.IntN(3) {
		var operation []string
		for _, f := range []struct {
			name   string
			values []string
		}{{"methods", genMethods}, {"paths", genPaths}, {"hosts", []string{"a.example", "*.example", "*:80", "b*"}}} {
			if g.IntN(2) == 0 {
				operation = append(operation, list(f.name, g.some(f.values...)))
			}
		}
		b.WriteString("---\n" + object("security.istio.io/v1", "AuthorizationPolicy", "one", fmt.Sprint("p", i),
			"spec: {targetRefs: [{group: \"\", kind: Service, name: t}], action: "+pick(g, "ALLOW", "ALLOW", "DENY")+
				", rules: [{"+strings.TrimPrefix(operations(operation), ", ")+"}]}"))
	}
	return b.String()
}

// TestWhatComesThroughAGatewayIsWhatBruteForceFinds asks generated gateways for every path
// and host of a small alphabet: what their routes lead to the workload and its waypoint
// admits is what is said of the routes, and nothing else is.
func TestWhatComesThroughAGatewayIsWhatBruteForceFinds(t *testing.T) {
	small := smallAlphabet()
	small.hosts = []string{"a.example", "c.example", "x.b.example", "A.EXAMPLE:80", "b", "other:80"}
	asked, admitted, shown := 0, 0, 0
	for n := *first; n < *first+*pairs; n++ {
		text := (generated(23, n)).fronted()
		world := readInput(t, text).Most
		a, policies := newAnalysis(world), evaluate.New(world)
		s, from := a.sides[0], world.Gateways[0].Pod.Caller()
		ways := s.destinations(workload{"one", "t"})
		// admits asks the gateway for what a client wants, and the waypoint of what it makes of it.
		admits := func(r authz.Request) (to *destination, path string, ok bool) {
			route, rewritten := (&topology.World{Routes: world.Gateways[0].Routes}).Route(r.Host, r.Path)
			if route == nil || route.Service.Name != "t" {
				return nil, "", false
			}
			i := slices.IndexFunc(ways, func(d *destination) bool { return d.gateway() && sameRule(d.to.Route, route) })
			r.Path = rewritten
			return ways[i], rewritten, opinionOn(policies, ways[i].ways(world, from)[0]).admits(&r, false)
		}
		found := map[string]*finding{}
		allowed := func(m uint) bool { return m == 1 }
		if unknown := a.sweep(workload{"one", "t"}, nil, allowed, func(f *finding) {
			if !f.to.gateway() {
				return
			}
			found[f.to.key] = f
			f.said.regions(allowed, region{}, func(at region) {
				shown++
				p := f.probe(at.leaf.example)
				r := *at.leaf.example
				if r.Path = p.Path; r.Path == "" {
					t.Fatalf("seed %d, world %d: nobody can ask for %+v\n%s", *seed, n, at.leaf.example, text)
				}
				if to, path, ok := admits(r); !ok || to.key != f.to.key || path != at.leaf.example.Path {
					t.Fatalf("seed %d, world %d: %s %s host %s is not admitted by %s\n%s", *seed, n, r.Method, r.Path,
						r.Host, f.to.name, text)
				}
			})
		}); len(unknown) > 0 {
			t.Fatalf("seed %d, world %d: %v\n%s", *seed, n, unknown, text)
		}
		for _, method := range small.methods {
			for _, path := range small.paths {
				for _, host := range small.hosts {
					asked++
					to, rewritten, ok := admits(authz.Request{Method: method, Host: host, Path: path, HTTP: true})
					if to == nil {
						continue
					}
					f := found[to.key]
					seen := &authz.Request{Method: method, Host: host, Path: rewritten, HTTP: true}
					if said := f != nil && allowed(f.said.says(t, seen)); said != ok {
						t.Fatalf(
							"seed %d, world %d: %s %s host %s by %s: admitted %t, said %t\n%s",
							*seed,
							n,
							method,
							path,
							host,
							to.name,
							ok,
							said,
							text,
						)
					}
					if ok {
						admitted++
					}
				}
			}
		}
	}
	if admitted == 0 || admitted == asked || shown == 0 {
		t.Errorf("%d of %d admitted, %d shown: the worlds are too alike", admitted, asked, shown)
	}
	t.Logf("seed %d: %d requests asked, %d admitted; %d examples decided again", *seed, asked, admitted, shown)
}
