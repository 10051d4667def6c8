package analysis

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// mission returns the suite's own manifests at a stage, read once for all tests.
func mission(t testing.TB, stage string, adversary bool) *manifest.Set {
	t.Helper()
	read, _ := missions.LoadOrStore(fmt.Sprint(stage, adversary), sync.OnceValues(func() (*manifest.Set, error) {
		return manifest.LoadStage(filepath.Join("..", ".."), stage, adversary)
	}))
	set, err := read.(func() (*manifest.Set, error))()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var missions sync.Map

func proof(t testing.TB, set *manifest.Set, claims []Claim) *Proof {
	t.Helper()
	p, err := Prove(Exactly(buildSet(t, set)), claims, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTheMissionIsExactlyItsTableAtZeroTrust proves, for every request and every way,
// that what is admitted is what the catalog says, and that it is more at the other
// stages.
func TestTheMissionIsExactlyItsTableAtZeroTrust(t *testing.T) {
	p := proof(t, mission(t, "zero-trust", false), Mission())
	if p.Verdict != Proven || p.Workloads != len(catalog.Services()) || p.Count(Proven) != len(p.Claims) {
		t.Errorf("verdict %s, %d of %d claims proven about %d workloads", p.Verdict, p.Count(Proven), len(p.Claims),
			p.Workloads)
	}
	for _, stage := range []string{"open", "mtls"} {
		p := proof(t, mission(t, stage, false), Mission())
		for _, c := range p.Claims {
			want := Proven // the mission flies at every stage
			if c.Claim == "only" {
				want = Broken
			}
			if c.Verdict != want {
				t.Errorf("stage %s, %s %s: %s, want %s %v", stage, c.To, c.Claim, c.Verdict, want, c.NotJudged)
			}
			for _, b := range c.Breaks {
				if b.Requests.Example.Command == "" && b.Kind != Outside {
					t.Errorf("stage %s, %s: %s can ask for %s, and there is no line that shows it", stage, c.To,
						b.Caller, b.Requests.Words)
				}
			}
		}
	}
}

// TestTheTwinsAreWhomTheirAccountSays counts the attacker's pods in: those with accounts
// of their own have nothing, those that run as the waypoint are the waypoint.
func TestTheTwinsAreWhomTheirAccountSays(t *testing.T) {
	got := map[string]bool{}
	for _, c := range proof(t, mission(t, "zero-trust", true), Mission()).Claims {
		for _, b := range c.Breaks {
			got[b.Caller] = true
		}
	}
	want := map[string]bool{"orion/waypoint-twin": true, "houston/namesake": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who breaks the table (-want +got):\n%s", diff)
	}
}

// TestRandomRequestsNeverContradictTheProof sends requests that nobody planned, as heads
// that are read by the waypoint's own reader, from everybody by every way: what is
// admitted has to be in the table.
func TestRandomRequestsNeverContradictTheProof(t *testing.T) {
	w := buildSet(t, mission(t, "zero-trust", false))
	a := newAnalysis(w)
	s := a.sides[0]
	p := evaluate.New(w)
	r := rand.New(rand.NewPCG(7, *seed))
	var callers []*caller
	callers = append(callers, a.pods...)
	for _, ns := range append(slices.Sorted(keysOf(w.Namespaces)), "elsewhere") {
		for _, account := range []string{"default", "waypoint-x", "comms-system-2", "gateway-default-istio"} {
			for _, meshed := range []bool{true, false} {
				if !a.taken[ns+"/"+account] {
					labels := map[string]string{"openchoreo.dev/system-component": "x",
						"openchoreo.dev/component": "comms-system"}
					callers = append(callers, &caller{name: ns + "/" + account, kind: Account,
						in: []topology.Caller{s.stranger(ns, account, labels, meshed, map[string]string{
							"openchoreo.dev/environment": "development", "openchoreo.dev/namespace": "default"})}})
				}
			}
		}
	}
	services := catalog.Services()
	destinations := map[string][]*destination{}
	for _, svc := range services {
		of, err := a.target(svc.Caller().String())
		if err != nil {
			t.Fatal(err)
		}
		destinations[svc.Name] = s.destinations(workloadOf(of))
	}
	admitted, refused := 0, 0
	for range *requests {
		svc := services[r.IntN(len(services))]
		d := destinations[svc.Name][r.IntN(len(destinations[svc.Name]))]
		rule := svc.Rules[r.IntN(len(svc.Rules))]
		method, path := rule.Method, strings.ReplaceAll(rule.Paths[r.IntN(len(rule.Paths))], "*", "x")
		if r.IntN(4) == 0 {
			method = methods[r.IntN(len(methods))]
		}
		for range r.IntN(3) {
			i := r.IntN(len(path) + 1)
			path = path[:i] + []string{"/", "//", "%2f", "%2e", "..", "/../", ";", "?", "#", "\\", "A", "%41", "/.",
				"*"}[r.IntN(14)] + path[i:]
		}
		who := callers[r.IntN(len(callers))]
		if c := rule.Callers[r.IntN(len(rule.Callers))]; r.IntN(3) == 0 {
			for _, x := range a.pods {
				if x.name == c.String() {
					who = x
				}
			}
		}
		if d.gateway() {
			who = a.gateways[0]
		}
		head, refusal := message.Ask(method, path, []string{"x", svc.Name, "localhost:8080"}[r.IntN(3)],
			http.Header{"X-Forwarded-Client-Cert": {"By=x;URI=spiffe://cluster.local/ns/x/sa/comms-system"},
				"X-Forwarded-For": {"10.0.0.1"}})
		if refusal != nil {
			continue
		}
		way := d.ways(w, who.in[0])[0]
		if way.Failure != "" {
			continue
		}
		ok, target := true, ""
		for _, ruling := range p.Way(&way, &evaluate.Call{Head: head, Bytes: d.protocol == topology.TCP &&
			d.unwritten != nil}) {
			ok = ok && ruling.Allowed
			if ruling.Target != "" {
				target = ruling.Target
			}
		}
		if !ok {
			refused++
			continue
		}
		admitted++
		seen, _, _ := strings.Cut(target, "?")
		is := catalog.Ingress
		if who.kind != Ingress {
			is = catalog.Caller{}
			is.Cell, is.Component, _ = strings.Cut(who.name, "/")
		}
		if !svc.Allows(is, method, seen) {
			t.Fatalf("%s %s %s to %s of %s: admitted as %s, and the table does not have it", who.name, method, path,
				d.name, svc.Name, seen)
		}
	}
	if admitted == 0 || refused == 0 {
		t.Errorf("%d admitted, %d refused: the requests are too alike", admitted, refused)
	}
	t.Logf("%d admitted, %d refused", admitted, refused)
}

// keysOf yields the keys of a map.
func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestWhatMeansTheSameIsNoDifference rewrites the rendered manifests without changing
// what they mean.
func TestWhatMeansTheSameIsNoDifference(t *testing.T) {
	type policySet = []*securityv1.AuthorizationPolicy
	policies := func(change func(policySet) policySet) func(*manifest.Set) {
		return func(s *manifest.Set) {
			var copies []*securityv1.AuthorizationPolicy
			for _, p := range s.AuthorizationPolicies {
				copies = append(copies, p.DeepCopy())
			}
			s.AuthorizationPolicies = change(copies)
		}
	}
	type list = []*securityv1.AuthorizationPolicy
	for name, change := range map[string]func(*manifest.Set){
		"nothing": func(*manifest.Set) {},
		"reordered": policies(func(l list) list {
			slices.Reverse(l)
			for _, p := range l {
				slices.Reverse(p.Spec.Rules)
				for _, r := range p.Spec.Rules {
					for _, to := range r.To {
						slices.Reverse(to.Operation.Methods)
						slices.Reverse(to.Operation.Paths)
					}
				}
			}
			return l
		}),
		"renamed": policies(func(l list) list {
			for i, p := range l {
				p.Name = fmt.Sprintf("policy-%02d", len(l)-i)
			}
			return l
		}),
		"split, a policy a rule": policies(func(l list) list {
			var out list
			for _, p := range l {
				if len(p.Spec.Rules) < 2 {
					out = append(out, p)
					continue
				}
				for i, r := range p.Spec.Rules {
					one := p.DeepCopy()
					one.Name, one.Spec.Rules = fmt.Sprintf("%s-%d", p.Name, i), []*securityv1beta1.Rule{r}
					out = append(out, one)
				}
			}
			return out
		}),
		"split, a rule a path": policies(func(l list) list {
			for _, p := range l {
				var rules []*securityv1beta1.Rule
				for _, r := range p.Spec.Rules {
					if len(r.To) == 0 {
						rules = append(rules, r)
						continue
					}
					for _, path := range r.To[0].Operation.Paths {
						rules = append(rules, &securityv1beta1.Rule{From: r.From,
							To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{
								Methods: r.To[0].Operation.Methods, Paths: []string{path}}}}})
					}
				}
				p.Spec.Rules = rules
			}
			return l
		}),
		"merged, by who calls": policies(func(l list) list {
			for _, p := range l {
				var rules []*securityv1beta1.Rule
			next:
				for _, r := range p.Spec.Rules {
					for _, o := range rules {
						if len(r.To) > 0 && len(o.From) == len(r.From) && o.From[0].String() == r.From[0].String() {
							o.To = append(o.To, r.To...)
							continue next
						}
					}
					rules = append(rules, r)
				}
				p.Spec.Rules = rules
			}
			return l
		}),
		"with words that say nothing more": policies(func(l list) list {
			for _, p := range l {
				for _, r := range p.Spec.Rules {
					for _, to := range r.To {
						to.Operation.Paths = append(to.Operation.Paths, to.Operation.Paths[0])
						if !strings.Contains(strings.Join(to.Operation.Paths, ""), "*") {
							to.Operation.NotPaths = []string{to.Operation.Paths[0] + "/never-one-of-them"}
						}
					}
				}
			}
			return l
		}),
		"with policies for others": policies(func(l list) list {
			for _, p := range slices.Clone(l) {
				other := p.DeepCopy()
				other.Namespace, other.Spec.Rules = "somewhere-else", []*securityv1beta1.Rule{{}}
				l = append(l, other)
			}
			return l
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, stage := range []string{"zero-trust", "mtls", "open"} {
				set := mission(t, stage, true)
				rewritten := *set
				change(&rewritten)
				c := Diff(Exactly(buildSet(t, set)), Exactly(buildSet(t, &rewritten)), Options{})
				if c.Verdict != "same" {
					t.Errorf("stage %s: %s: %+v %v", stage, c.Verdict, c.Changes, c.NotJudged)
				}
			}
		})
	}
}

// TestAStageSwitchIsADifference and says what it opens.
func TestAStageSwitchIsADifference(t *testing.T) {
	c := Diff(Exactly(buildSet(t, mission(t, "zero-trust", false))), Exactly(buildSet(t, mission(t, "mtls", false))),
		Options{})
	if c.Opens == 0 || c.Closes > 0 {
		t.Errorf("from zero-trust to mtls: opens %d, closes %d; want that it opens and closes nothing", c.Opens,
			c.Closes)
	}
}

// BenchmarkProveMission proves the mission's table, manifests loaded.
func BenchmarkProveMission(b *testing.B) {
	w := buildSet(b, mission(b, "zero-trust", false))
	for b.Loop() {
		p, err := Prove(Exactly(w), Mission(), Options{})
		if err != nil || p.Verdict != Proven {
			b.Fatal(p.Verdict, err)
		}
	}
}

// TestOffersAreTheWorldsDestinations holds the index against what it stands for.
func TestOffersAreTheWorldsDestinations(t *testing.T) {
	w := buildSet(t, mission(t, "zero-trust", true))
	s := newSide(w)
	for _, p := range w.Pods {
		if diff := cmp.Diff(destinationNames(w.Destinations(p)),
			destinationNames(s.offers(p))); p.Kind == topology.App && diff != "" {
			t.Errorf("%s (-World +index):\n%s", p.Ref, diff)
		}
	}
}

func destinationNames(list []topology.Destination) []string {
	var out []string
	for _, d := range list {
		switch {
		case d.Service != nil:
			out = append(out, fmt.Sprint("service ", d.Service.Ref, d.Port))
		case d.Route != nil:
			out = append(out, fmt.Sprint("route ", d.Route.Ref, d.Route.Path))
		default:
			out = append(out, fmt.Sprint("pod ", d.Pod.Ref, d.Port))
		}
	}
	slices.Sort(out)
	return out
}
