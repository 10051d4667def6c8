package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
)

// guarded returns a world in which workload t can be called through its waypoint only, by
// whom a few rules name, and a claim that is about those, more or less.
func (g *generator) guarded() (string, Claim) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\n" +
		"metadata: {name: one, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: w}}\n")
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\n"+
		"metadata: {name: two, labels: {istio.io/dataplane-mode: %s, team: red}}\n",
		pick(g, "ambient", "none"))
	b.WriteString("---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n" +
		"metadata: {name: w, namespace: one}\n" +
		"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n")
	for _, name := range []string{"t", "a", "b"} {
		fmt.Fprintf(&b, shopPod, "Deployment", name, "app: "+name, name)
	}
	b.WriteString("---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\n" +
		"spec: {selector: {app: t}, ports: [{name: http, port: 80}]}\n")
	policy := "---\napiVersion: security.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: shop}\nspec: %s\n"
	for _, p := range [][3]string{
		{"PeerAuthentication", "default", "{mtls: {mode: STRICT}}"},
		{"AuthorizationPolicy", "via-waypoint-only", "{rules: [{from: [{source: {serviceAccounts: [w]}}]}]}"},
		{"AuthorizationPolicy", "default-deny",
			"{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: w}]}"},
	} {
		if g.IntN(12) > 0 {
			fmt.Fprintf(&b, policy, p[0], p[1], p[2])
		}
	}
	if g.IntN(3) == 0 {
		b.WriteString(fence(pick(g, "podSelector: {}",
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: three}}",
			"namespaceSelector: {matchLabels: {team: red}}")))
	}
	var entries []Allow
	for i := range g.IntN(4) {
		e := Allow{Project: pick(g, "one", "one", "two", "three"), Component: pick(g, "a", "b", "x")}
		principal := e.Project + "/sa/" + e.Component
		switch g.IntN(6) {
		case 0:
			e.Component, e.WholeCell, principal = "", true, e.Project+"/*"
		case 1: // a mistake that is easily made
			principal += "*"
		case 2:
			e.Component, e.WholeCell, principal = "", true, e.Project+"*"
		}
		var operation []string
		if g.IntN(3) > 0 {
			e.Methods = g.some("GET", "POST", "PUT")
			operation = append(operation, list("methods", e.Methods))
		}
		if g.IntN(3) > 0 {
			e.Paths = g.some("/a", "/b", "/a*", "*b", "/")
			operation = append(operation, list("paths", e.Paths))
		}
		spec := fmt.Sprintf("{targetRefs: [{group: \"\", kind: Service, name: s}], "+
			"rules: [{from: [{source: {principals: [\"cluster.local/ns/%s\"]}}]%s}]}", principal, operations(operation))
		fmt.Fprintf(&b, policy, "AuthorizationPolicy", fmt.Sprint("allow-", i), spec)
		switch g.IntN(10) {
		case 0: // the claim lacks it
			continue
		case 1:
			e.Methods = nil
		case 2:
			e.Project = "two"
		}
		entries = append(entries, e)
	}
	c := Claim{To: "one/t", Only: &entries}
	if g.IntN(3) == 0 && len(entries) > 0 {
		c.Only = nil
		for i := range entries {
			entries[i].Project = pick(g, "one", "two", "three", "four")
		}
		c.Never = entries
	}
	return strings.NewReplacer("namespace: shop", "namespace: one", "app: cart", "app: t").Replace(b.String()), c
}

func operations(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return ", to: [{operation: {" + strings.Join(parts, ", ") + "}}]"
}

// asking is somebody who asks: a pod of the manifests, or one that nobody wrote.
type asking struct {
	name, namespace, account, component string
	who                                 topology.Caller
}

// covers reports whether an entry of a claim is about a caller's request: what a reader
// of the claim takes it to say.
func (e *Allow) covers(c *asking, r *authz.Request) bool {
	named := e.WholeCell || e.Component == c.account || e.Component == c.component
	if !e.Anyone && (e.Project != c.namespace || !named) {
		return false
	}
	path, _, _ := strings.Cut(r.Path, "?")
	return (len(e.Methods) == 0 || slices.Contains(e.Methods, r.Method)) &&
		(len(e.Paths) == 0 || slices.ContainsFunc(e.Paths, func(p string) bool {
			switch before, after, star := strings.Cut(p, "*"); {
			case !star:
				return path == p
			case before == "":
				return strings.HasSuffix(path, after)
			default:
				return strings.HasPrefix(path, before)
			}
		}))
}

// contradicts reports whether an admitted request is one that the claim does not allow.
func (c *Claim) contradicts(who *asking, r *authz.Request) bool {
	covered := slices.ContainsFunc(c.allows(), func(e Allow) bool { return e.covers(who, r) })
	return covered == (c.Only == nil)
}

// TestNoProofIsContradictedByBruteForce judges random claims about generated worlds: of
// what is proven no caller's request shows the opposite, and what breaks a claim is
// admitted by the evaluators.
func TestNoProofIsContradictedByBruteForce(t *testing.T) {
	verdicts := map[Verdict]int{}
	asked, shown, contradicting := 0, 0, 0
	for n := *first; n < *first+*pairs; n++ {
		g := generated(22, n)
		text, claim := g.guarded()
		world := readInput(t, text).Most
		p, err := Prove(Exactly(world), []Claim{claim}, Options{})
		if err != nil {
			t.Fatalf("seed %d, question %d: %v", *seed, n, err)
		}
		j := p.Claims[0]
		verdicts[j.Verdict]++
		s := newSide(world)
		for _, b := range j.Breaks {
			q := b.found.ask[0]
			if q.to.anyPort {
				continue // a Service that nobody wrote has no port of its own
			}
			shown++
			if !opinionOn(s.Policies, q.to.ways(world, q.from)[0]).admits(b.Requests.Example.request, b.found.bytes) {
				t.Fatalf("seed %d, question %d: %s is said to be broken by %s: %+v, which is not admitted\n%s",
					*seed, n, claim.words(), b.Caller, b.Requests.Example.request, text)
			}
		}
		if j.Verdict != Proven {
			continue
		}
		requests := g.wideRequests(60)
		for _, who := range everybody(world) {
			for _, d := range s.destinations(workload{"one", "t"}) {
				if d.anyPort {
					continue
				}
				o := opinionOn(s.Policies, d.ways(world, who.who)[0])
				if !o.open {
					continue
				}
				for _, r := range requests {
					asked++
					if claim.contradicts(who, r) {
						contradicting++
						if o.admits(r, false) {
							t.Fatalf("seed %d, question %d: %s is said to be proven; %s is admitted by %s: %s %s\n%s",
								*seed, n, claim.words(), who.name, d.name, r.Method, r.Path, text)
						}
					}
				}
			}
		}
	}
	if verdicts[Proven] == 0 || verdicts[Broken] == 0 || contradicting == 0 {
		t.Errorf("%v, %d requests would contradict: the claims are too alike", verdicts, contradicting)
	}
	t.Logf("seed %d: %v; %d requests asked about what is proven, %d of which it excludes; %d breaks decided again",
		*seed, verdicts, asked, contradicting, shown)
}

// everybody returns the pods of a world and those that nobody wrote; of these none that
// runs as somebody else's account, which no proof covers.
func everybody(w *topology.World) []*asking {
	var out []*asking
	taken := map[string]bool{}
	for _, p := range w.Pods {
		taken[p.Namespace+"/"+p.ServiceAccount] = true
		if p.Kind == topology.App {
			out = append(out, &asking{p.Ref.String(), p.Namespace, p.ServiceAccount, p.Component, p.Caller()})
		}
	}
	strangers := strangersOf(w)
	for _, name := range slices.Sorted(maps.Keys(strangers)) {
		c := strangers[name]
		place, _, _ := strings.Cut(name, " ")
		if namespace, account, _ := strings.Cut(place, "/"); !taken[place] {
			out = append(out, &asking{fmt.Sprint("stranger ", name), namespace, account, "", c})
		}
	}
	return out
}
