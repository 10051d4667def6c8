package authz_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func cut(s string) (path, query string) {
	if i := strings.IndexByte(s, '?'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func splitSeq(path string) iter.Seq[string] { return strings.SplitSeq(path, "/") }

// namespaceOf is long, as OpenChoreo's are.
func namespaceOf(cell string) string { return "dp-default-" + cell + "-development-1bced798" }

// suite makes the policies of the table of who may call whom, in the form in
// which the trait renders them.
func suite() []*securityv1.AuthorizationPolicy {
	var out []*securityv1.AuthorizationPolicy
	for _, s := range catalog.Services() {
		p := &securityv1.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: s.Name + "-authz", Namespace: namespaceOf(s.Cell)},
			Spec: securityv1beta1.AuthorizationPolicy{TargetRefs: []*typev1beta1.PolicyTargetReference{
				{Kind: "Service", Name: s.Name}}},
		}
		for _, r := range s.Rules {
			for _, c := range r.Callers {
				principal := "cluster.local/ns/" + namespaceOf(c.Cell) + "/sa/" + c.Component
				if c == catalog.Ingress {
					principal = "cluster.local/ns/openchoreo-data-plane/sa/gateway-default-istio"
				}
				p.Spec.Rules = append(p.Spec.Rules, &securityv1beta1.Rule{
					From: []*securityv1beta1.Rule_From{
						{Source: &securityv1beta1.Source{Principals: []string{principal}}}},
					To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{r.Method},
						Paths: r.Paths}}},
				})
			}
		}
		out = append(out, p)
	}
	for _, cell := range catalog.Cells() {
		out = append(out, &securityv1.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "default-deny", Namespace: namespaceOf(cell)},
			Spec: securityv1beta1.AuthorizationPolicy{TargetRefs: []*typev1beta1.PolicyTargetReference{
				{Group: "gateway.networking.k8s.io", Kind: "Gateway", Name: "waypoint"}}},
		}, &securityv1.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "via-waypoint-only", Namespace: namespaceOf(cell)},
			Spec: securityv1beta1.AuthorizationPolicy{Rules: []*securityv1beta1.Rule{{
				From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{ServiceAccounts: []string{
					"waypoint"}}}},
			}}},
		})
	}
	return out
}

// others makes n policies for other Services of the same Cells.
func others(n int) []*securityv1.AuthorizationPolicy {
	out := make([]*securityv1.AuthorizationPolicy, n)
	for i := range out {
		name := fmt.Sprintf("other-%d", i)
		out[i] = &securityv1.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespaceOf(catalog.Cells()[i%len(catalog.Cells())])},
			Spec: securityv1beta1.AuthorizationPolicy{
				TargetRefs: []*typev1beta1.PolicyTargetReference{{Kind: "Service", Name: name}},
				Rules: []*securityv1beta1.Rule{{
					From: []*securityv1beta1.Rule_From{
						{Source: &securityv1beta1.Source{Principals: []string{"cluster.local/ns/x/sa/" + name}}}},
					To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"GET"},
						Paths: []string{"/" + name}}}},
				}},
			},
		}
	}
	return out
}

// question is a request to one service with the verdict that the table wants.
type question struct {
	service catalog.Service
	req     *authz.Request
	want    bool
}

// questions asks of every rule of the table: its last caller and its last path,
// and the same by someone else.
func questions() []question {
	var out []question
	for _, s := range catalog.Services() {
		for _, r := range s.Rules {
			c := r.Callers[len(r.Callers)-1]
			p := strings.TrimSuffix(r.Paths[len(r.Paths)-1], "*")
			by := id(namespaceOf(c.Cell), c.Component)
			if c == catalog.Ingress {
				by = id("openchoreo-data-plane", "gateway-default-istio")
			}
			out = append(out,
				question{s, request(as(by), method(r.Method), path(p)), true},
				question{s, request(as(id(namespaceOf("orion"), "adversary")), method(r.Method), path(p)), false})
		}
	}
	return out
}

func engines(ps []*securityv1.AuthorizationPolicy, qs []question) []*authz.Engine {
	w := authz.NewWaypoint(authz.Config{}, ps)
	out := make([]*authz.Engine, len(qs))
	for i, q := range qs {
		out[i] = w.ForService(namespaceOf(q.service.Cell), "waypoint", q.service.Name)
	}
	return out
}

func TestTheSuitesPoliciesDecideAsTheTable(t *testing.T) {
	qs := questions()
	for i, e := range engines(suite(), qs) {
		if got := e.Decide(qs[i].req); got.Allowed != qs[i].want {
			t.Errorf("%s: %s %s by %s: %+v, want allowed %t", qs[i].service.Name, qs[i].req.Method, qs[i].req.Path,
				qs[i].req.Principal, got, qs[i].want)
		}
	}
}

func TestADecisionAllocatesNothing(t *testing.T) {
	qs := questions()
	es := engines(suite(), qs)
	for name, f := range map[string]func(){
		"at a waypoint": func() {
			for i, e := range es {
				e.Decide(qs[i].req)
			}
		},
		"with every kind of value": func() func() {
			e := authz.NewWaypoint(authz.Config{}, policies(t, onService(`rules:
- from: [{source: {principals: ["*/sa/x", "a/*"], namespaces: ["c*x"], trustDomains: ["*.x"], notIpBlocks: [10.0.0.0/8]}}, {source: {serviceAccounts: [x/y]}}]
- to: [{operation: {hosts: ["*.x"], paths: ["/a/{*}/b/{**}/c", "*z"], methods: ["*T"], ports: ["1"]}}]
- when: [{key: "request.headers[x-a]", values: ["v*"]}, {key: "request.headers[user-agent]", values: ["*b,c"]}]
`))).ForService("cell-a", "waypoint", "app")
			r := request(header("x-a: v1", "x-a: w", "user-agent: a", "user-agent: b"))
			return func() { e.Decide(r) }
		}(),
		"at a node proxy": func() func() {
			e := authz.NewNodeProxy(authz.Config{}, suite()).ForWorkload(namespaceOf("orion"), nil)
			r := request(tcp, as(id(namespaceOf("orion"), "waypoint")))
			return func() { e.Decide(r) }
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			// Regular expressions keep what they need in a pool, of which the race detector
			// drops some at random: the least of a few is what counts.
			least := testing.AllocsPerRun(100, f)
			for range 9 {
				least = min(least, testing.AllocsPerRun(100, f))
			}
			if least != 0 {
				t.Errorf("%v allocations, want 0", least)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	qs := questions()
	for _, c := range []struct {
		name     string
		policies []*securityv1.AuthorizationPolicy
	}{
		{"suite", suite()},
		{"suite and 10000 others", append(suite(), others(10_000)...)},
	} {
		es := engines(c.policies, qs)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := i % len(es)
				es[k].Decide(qs[k].req)
			}
		})
	}
	b.Run("node proxy", func(b *testing.B) {
		e := authz.NewNodeProxy(authz.Config{}, suite()).ForWorkload(namespaceOf("orion"), nil)
		r := request(tcp, as(id(namespaceOf("orion"), "waypoint")))
		b.ReportAllocs()
		for b.Loop() {
			e.Decide(r)
		}
	})
}

// BenchmarkOtherPolicies compares a decision with and without 10,000 other
// policies loaded, in turns within one run; the faster of many short runs counts
// on each side. The bound does not count with -short.
func BenchmarkOtherPolicies(b *testing.B) {
	qs := questions()
	alone, among := engines(suite(), qs), engines(append(suite(), others(10_000)...), qs)
	run := func(es []*authz.Engine) time.Duration {
		start := time.Now()
		for range 20 {
			for i, e := range es {
				e.Decide(qs[i].req)
			}
		}
		return time.Since(start)
	}
	best := [2]time.Duration{time.Hour, time.Hour}
	for b.Loop() {
		best[0], best[1] = min(best[0], run(alone)), min(best[1], run(among))
	}
	ratio := float64(best[1]) / float64(best[0])
	b.ReportMetric(ratio, "of-alone")
	if ratio >= 1.10 && !testing.Short() {
		b.Errorf("a decision takes %.2f times as long with 10,000 other policies, want less than 1.10", ratio)
	}
}

func BenchmarkCompile10000(b *testing.B) {
	ps := append(suite(), others(10_000)...)
	for b.Loop() {
		authz.NewWaypoint(authz.Config{}, ps)
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, p := range []string{"/mission/status", "/maneuver/%2e%2e/position"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := authz.NormalizePath(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
