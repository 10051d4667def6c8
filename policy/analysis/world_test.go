package analysis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
)

// says returns what a diagram says of one request: the mask of the class that it is
// in.
func (n *diagram) says(t *testing.T, r *authz.Request) uint {
	t.Helper()
	for n.kids != nil {
		at := n.cut.classOf(t, n.attribute, r)
		i := slices.IndexFunc(n.kids, func(k kid) bool { return slices.Contains(k.classes, at) })
		if i < 0 {
			t.Fatalf("class %d of %s follows nowhere", at, n.attribute)
		}
		n = n.kids[i].diagram
	}
	return n.mask
}

// classOf finds the class of a request's value, by the patterns themselves.
func (c *cut) classOf(t *testing.T, a authz.Attribute, r *authz.Request) int {
	t.Helper()
	if a == authz.AttributeRemoteIP {
		return c.at(t, a, true, func(v *authz.Value) bool { return v.Block.IsValid() && v.Block.Contains(r.RemoteIP) })
	}
	lines := []string{""}
	switch name, header := a.Header(); {
	case header:
		lines = r.Header[name]
		if len(lines) > 1 && message.Joined(name) {
			lines = []string{strings.Join(lines, ",")}
		}
	case a == authz.AttributeMethod:
		lines[0] = r.Method
	case a == authz.AttributePath:
		lines[0] = r.Path
	case a == authz.AttributeHost:
		lines[0] = r.Host
	default:
		t.Fatalf("the test knows no %s", a)
	}
	return c.at(t, a, len(lines) > 0, func(v *authz.Value) bool {
		return slices.ContainsFunc(lines, v.Pattern.Matches)
	})
}

func (c *cut) at(t *testing.T, a authz.Attribute, there bool, is func(*authz.Value) bool) int {
	t.Helper()
	var in []int
	for i := range c.values {
		if is(&c.values[i]) {
			in = append(in, i)
		}
	}
	for i, x := range c.classes {
		if slices.Equal(x.in, in) && (x.values != nil || x.addr.IsValid()) == there {
			return i
		}
	}
	t.Fatalf("%s that matches %v of patterns %q is in no class", a, in, c.texts)
	return 0
}

// generator makes worlds of a few pods over a small alphabet.
type generator struct{ *rand.Rand }

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) some(of ...string) []string {
	var out []string
	for range 1 + g.IntN(2) {
		if v := pick(g, of...); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func list(name string, values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("%s: [%s]", name, strings.Join(quoted, ", "))
}

var (
	genPrincipals = []string{"cluster.local/ns/one/sa/a", "cluster.local/ns/one/sa/b", "cluster.local/ns/two/sa/a",
		"cluster.local/ns/one/*", "*/sa/a", "*", "cluster.local/ns/t*", "cluster.local/ns/three/sa/x"}
	genPaths   = []string{"/a", "/b", "/a*", "*b", "/{*}", "/a/{**}", "*", "/", "/{*}/b", "*/a", "/ab"}
	genMethods = []string{"GET", "POST", "G*", "*T", "*", "PUT"}
	genHosts   = []string{"s", "S:80", "*:80", "s*", "*"}
	genHeaders = []string{"a", "b", "a*", "*b", "*"}
)

// policy is a random AuthorizationPolicy for a waypoint, or a node proxy.
func (g *generator) policy(name string, l7 bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, "+
		"namespace: one}\nspec:\n  action: %s\n", name, pick(g, "ALLOW", "ALLOW", "ALLOW", "DENY"))
	if l7 {
		fmt.Fprintf(&b, "  targetRefs: [%s]\n", pick(g, `{group: "", kind: Service, name: s}`,
			`{group: "", kind: Service, name: s}`, `{group: gateway.networking.k8s.io, kind: Gateway, name: w}`))
	}
	b.WriteString("  rules:\n")
	for range 1 + g.IntN(3) {
		var parts []string
		if g.IntN(4) > 0 {
			var source []string
			if g.IntN(5) > 0 {
				source = append(source, list("principals", g.some(genPrincipals...)))
			}
			if g.IntN(4) == 0 {
				source = append(source, list("notPrincipals", g.some(genPrincipals...)))
			}
			if g.IntN(4) == 0 {
				source = append(source, list("namespaces", g.some("one", "two", "t*", "three")))
			}
			if len(source) > 0 {
				parts = append(parts, "from: [{source: {"+strings.Join(source, ", ")+"}}]")
			}
		}
		if l7 && g.IntN(5) > 0 {
			var operations []string
			for range 1 + g.IntN(2) {
				var op []string
				if g.IntN(3) > 0 {
					op = append(op, list("methods", g.some(genMethods...)))
				}
				if g.IntN(3) > 0 {
					op = append(op, list("paths", g.some(genPaths...)))
				}
				if g.IntN(5) == 0 {
					op = append(op, list("notPaths", g.some(genPaths...)))
				}
				if g.IntN(5) == 0 {
					op = append(op, list("notMethods", g.some(genMethods...)))
				}
				if g.IntN(5) == 0 {
					op = append(op, list(pick(g, "hosts", "notHosts"), g.some(genHosts...)))
				}
				if len(op) > 0 {
					operations = append(operations, "{operation: {"+strings.Join(op, ", ")+"}}")
				}
			}
			if len(operations) > 0 {
				parts = append(parts, "to: ["+strings.Join(operations, ", ")+"]")
			}
		} else if !l7 && g.IntN(3) == 0 {
			parts = append(parts, "to: [{operation: {"+list("ports", g.some("80", "81"))+"}}]")
		}
		if l7 && g.IntN(4) == 0 {
			parts = append(parts, fmt.Sprintf("when: [{key: \"request.headers[x-r]\", %s}]",
				list(pick(g, "values", "notValues"), g.some(genHeaders...))))
		}
		if len(parts) == 0 {
			b.WriteString("  - {}\n")
			continue
		}
		fmt.Fprintf(&b, "  - %s\n", strings.Join(parts, "\n    "))
	}
	return b.String()
}

func (g *generator) networkPolicy(name string) string {
	peer := pick(g, "podSelector: {}", "podSelector: {matchLabels: {app: a}}",
		"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: two}}",
		"namespaceSelector: {matchLabels: {team: red}}", "namespaceSelector: {}, podSelector: {matchExpressions: "+
			"[{key: app, operator: NotIn, values: [b]}]}")
	return fmt.Sprintf("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: "+
		"%s}\nspec:\n  podSelector: %s\n  policyTypes: [%s]\n  %s: [{%s: [{%s}], ports: [{port: %s}]}]\n",
		name, "one", pick(g, "{}", "{matchLabels: {app: t}}"), "Ingress", "ingress", "from", peer,
		pick(g, "15008", "80", "8080"))
}

// world is a namespace one with a waypoint w and a workload t behind Services s
// (through the waypoint, where it is labelled so), h (headless) and p (a TCP port),
// pods a and b beside it, and pods of namespace two.
func (g *generator) world() string {
	var b strings.Builder
	mode := pick(g, "ambient", "ambient", "ambient", "none")
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: one, labels: {istio.io/dataplane-mode: %s%s}}\n",
		mode, pick(g, ", istio.io/use-waypoint: w", ", istio.io/use-waypoint: w", ""))
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: two, labels: {istio.io/dataplane-mode: "+
		"%s, team: %s}}\n", pick(g, "ambient", "none"), pick(g, "red", "blue"))
	b.WriteString("---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: one, " +
		"labels: {istio.io/waypoint-for: service}}\nspec: {gatewayClassName: istio-waypoint, listeners: [{name: " +
		"mesh, port: 15008, protocol: HBONE}]}\n")
	for _, p := range []struct{ ns, name string }{{"one", "t"}, {"one", "a"}, {"one", "b"}, {"two", "a"}} {
		fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[2]s, namespace: "+
			"%[1]s}\nspec:\n  selector: {matchLabels: {app: %[2]s}}\n  template:\n    metadata: {labels: {app: "+
			"%[2]s}}\n    spec: {serviceAccountName: %[2]s, containers: [{name: main, image: x, ports: "+
			"[{containerPort: 8080}]}]}\n", p.ns, p.name)
	}
	b.WriteString("---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: one}\nspec: {selector: {app: " +
		"t}, ports: [{name: http, port: 80, targetPort: 8080}]}\n")
	b.WriteString("---\napiVersion: v1\nkind: Service\nmetadata: {name: p, namespace: one}\nspec: {selector: {app: " +
		"t}, ports: [{name: tcp, port: 81, targetPort: 8080}]}\n")
	b.WriteString("---\napiVersion: v1\nkind: Service\nmetadata: {name: h, namespace: one}\nspec: {clusterIP: None, " +
		"selector: {app: t}, ports: [{name: http, port: 8080, targetPort: 8080}]}\n")
	for i := range g.IntN(3) {
		b.WriteString(g.policy(fmt.Sprintf("l7-%d", i), true))
	}
	for i := range g.IntN(2) {
		b.WriteString(g.policy(fmt.Sprintf("l4-%d", i), false))
	}
	for i := range g.IntN(3) {
		b.WriteString(g.networkPolicy(fmt.Sprintf("np-%d", i)))
	}
	if g.IntN(3) == 0 {
		fmt.Fprintf(&b, "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, "+
			"namespace: one}\nspec: {mtls: {mode: %s}}\n", pick(g, "STRICT", "PERMISSIVE"))
	}
	return b.String()
}

func build(t testing.TB, yaml string) *topology.World {
	t.Helper()
	set, err := manifest.Parse("generated.yaml", yaml)
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	return buildSet(t, set)
}

func buildSet(t testing.TB, set *manifest.Set) *topology.World {
	t.Helper()
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// alphabet is the requests that brute force tries.
type alphabet struct {
	methods, paths, hosts []string
	headers               [][]string
}

func smallAlphabet() alphabet {
	a := alphabet{methods: []string{"GET", "POST", "PUT"}, hosts: []string{"s:80", "other"}, headers: [][]string{nil,
		{"a"}, {"xb"}, {"a", "b"}}}
	level := []string{"/"}
	for range 4 {
		a.paths = append(a.paths, level...)
		var next []string
		for _, p := range level {
			for _, c := range "/ab" {
				next = append(next, p+string(c))
			}
		}
		level = next
	}
	return a
}

// requests returns every request of the alphabet, as policies see it.
func (a *alphabet) requests() []*authz.Request {
	var out []*authz.Request
	for _, m := range a.methods {
		for _, p := range a.paths {
			for _, h := range a.hosts {
				for _, lines := range a.headers {
					r := &authz.Request{Method: m, Path: p, Host: h, HTTP: true, Header: map[string][]string{}}
					if lines != nil {
						r.Header["X-R"] = lines
					}
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// opinion is the second opinion about one way: what no request changes is asked once,
// the waypoint about every request.
type opinion struct {
	policies *evaluate.Policies
	open     bool // but for the waypoint
	waypoint *topology.Leg
}

func opinionOn(p *evaluate.Policies, way topology.Way) *opinion {
	o := &opinion{policies: p, open: way.Failure == ""}
	for i := range way.Legs {
		l := &way.Legs[i]
		o.open = o.open && p.Perimeter(l).Allowed
		if l.Waypoint != nil {
			o.waypoint = l
		} else {
			o.open = o.open && p.AtPod(l).Allowed
		}
	}
	return o
}

func (o *opinion) admits(r *authz.Request, bytes bool) bool {
	return o.open && (o.waypoint == nil || o.policies.AtWaypoint(o.waypoint, &evaluate.Call{Seen: r,
		Bytes: bytes}).Allowed)
}
