package authz

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/workloadapi/security"
	"sigs.k8s.io/yaml"

	"artemis.example/catalog"
	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
	"artemis.example/conformance/versions"
	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// TestMain starts the program again with ambient switched on: Istio's code reads
// the variable when the process starts.
func TestMain(m *testing.M) {
	const ambient = "PILOT_ENABLE_AMBIENT"
	if os.Getenv(ambient) == "" {
		self, err := os.Executable()
		if err == nil {
			err = syscall.Exec(self, os.Args, append(os.Environ(), ambient+"=true"))
		}
		fmt.Fprintln(os.Stderr, "start again with", ambient, err)
		os.Exit(1)
	}
	translate.Quiet()
	os.Exit(m.Run())
}

// converted returns what istiod sends ztunnel for policies, by "namespace/name".
func converted(t *testing.T, policies policySet) map[string]*security.Authorization {
	t.Helper()
	var docs []string
	for _, p := range policies {
		c := p.DeepCopy()
		c.APIVersion, c.Kind = "security.istio.io/v1", "AuthorizationPolicy"
		b, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, strings.ReplaceAll(string(b), "status: {}\n", ""))
	}
	out := map[string]*security.Authorization{}
	err := test.Wrap(func(f test.Failer) {
		text := strings.Join(docs, "---\n")
		d := xds.NewFakeDiscoveryServer(f, xds.FakeOptions{ConfigString: text, KubernetesObjectString: text})
		for _, p := range d.AmbientIndex.Policies(nil) {
			out[p.Authorization.Namespace+"/"+p.Authorization.Name] = p.Authorization
		}
	})
	if err != nil {
		t.Fatalf("convert policies: %v", err)
	}
	return out
}

// applying picks the converted policies that reach a workload, by the scopes
// that istiod gave them.
func applying(all map[string]*security.Authorization, policies policySet, namespace string,
	labels map[string]string) []*security.Authorization {
	var out []*security.Authorization
	for _, p := range policies {
		a := all[p.Namespace+"/"+p.Name]
		if a == nil {
			continue
		}
		switch a.Scope {
		case security.Scope_GLOBAL:
			out = append(out, a)
		case security.Scope_NAMESPACE:
			if a.Namespace == namespace {
				out = append(out, a)
			}
		case security.Scope_WORKLOAD_SELECTOR:
			selected := a.Namespace == namespace || a.Namespace == catalog.RootNamespace
			for k, v := range p.Spec.Selector.GetMatchLabels() {
				selected = selected && labels[k] == v
			}
			if selected {
				out = append(out, a)
			}
		}
	}
	return out
}

func ours(policies policySet, namespace string, labels map[string]string, c connection) authz.Reason {
	return authz.NewNodeProxy(authz.Config{}, policies).ForWorkload(namespace, labels).
		Decide(&authz.Request{Principal: c.identity, SourceIP: c.src, RemoteIP: c.src, DestIP: c.dst,
			DestPort: c.port}).Reason
}

// TestNodeProxySuite judges every pair of pods of the suite by its L4 policies.
func TestNodeProxySuite(t *testing.T) {
	n, wrong := 0, 0
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		set, err := manifest.LoadStage(root, stage, true)
		if err != nil {
			t.Fatal(err)
		}
		w, err := topology.Build(set, topology.NewAllocator())
		if err != nil {
			t.Fatal(err)
		}
		all := converted(t, set.AuthorizationPolicies)
		for _, to := range w.Pods {
			for _, from := range append(w.Pods, &topology.Pod{IP: netip.MustParseAddr("10.244.9.9")}) {
				for _, port := range []uint16{8080, 9090, 15008} {
					c := connection{from.Identity, from.IP, to.IP, port}
					want := ztunnelDecision(applying(all, set.AuthorizationPolicies, to.Namespace, to.Labels), c)
					got := ours(set.AuthorizationPolicies, to.Namespace, to.Labels, c)
					if n++; got != want {
						if wrong++; wrong < 5 {
							t.Errorf("%s: %s to %s port %d: ours %q, ztunnel %q", stage, c.identity, to.Ref, port, got,
								want)
						}
					}
				}
			}
		}
	}
	if n < 3*18*18 {
		t.Errorf("only %d decisions", n)
	}
	keepZtunnel(t, figures.Figure{Order: 30, What: "the suite's L4 policies", Comparisons: n, Disagreements: wrong,
		Notes: "every pair of pods, three stages"})
}

func keepZtunnel(t *testing.T, f figures.Figure) {
	t.Helper()
	f.Engine = versions.Istio() + ", its conversion for ztunnel"
	if err := figures.Keep(f); err != nil {
		t.Error(err)
	}
}

// TestNodeProxyGenerated does so with generated policies and connections.
func TestNodeProxyGenerated(t *testing.T) {
	total, n, wrong := 0, 0, 0
	reasons := map[authz.Reason]int{}
	for batch := uint64(0); total < 6_000; batch++ {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, 1_000_000+batch)), clients: clients(), seen: map[string]int{}}
		type workload struct {
			namespace string
			policies  policySet
		}
		var workloads []workload
		var everything policySet
		for i := range 1_000 {
			w := workload{namespace: fmt.Sprint("gen-", i)}
			for len(w.policies) == 0 || len(w.policies) < 3 && g.chance(50) {
				p := g.policy(fmt.Sprint("p", len(w.policies)), []enforcer.Request{g.request()})
				p.Namespace, p.Spec.TargetRefs, p.Spec.TargetRef, p.Spec.Selector = w.namespace, nil, nil, nil
				switch g.IntN(10) {
				case 0, 1, 2:
					p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "a"}}
				case 3:
					p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "b"}}
				}
				if g.chance(60) { // keep what ztunnel can judge
					for _, r := range p.Spec.Rules {
						l4(r)
					}
				}
				if translate.Validate(p) == nil {
					w.policies = append(w.policies, p)
				}
			}
			workloads = append(workloads, w)
			everything = append(everything, w.policies...)
		}
		total += len(everything)
		all := converted(t, everything)
		labels := map[string]string{"app": "a"}
		for _, w := range workloads {
			apply := applying(all, w.policies, w.namespace, labels)
			engine := authz.NewNodeProxy(authz.Config{}, w.policies).ForWorkload(w.namespace, labels)
			for range 40 {
				i := g.IntN(len(g.clients))
				for g.clients[i].Principal != "" && !wellFormed.MatchString(g.clients[i].Principal) {
					i = g.IntN(len(g.clients))
				}
				c := connection{g.clients[i].Principal, g.clients[i].Source, g.clients[i].Dest.Addr(),
					g.clients[g.IntN(len(g.clients))].Dest.Port()}
				if g.chance(15) {
					c.identity = "spiffe://cluster.local/ns/" + w.namespace + "/sa/web"
				}
				want := ztunnelDecision(apply, c)
				got := engine.Decide(&authz.Request{Principal: c.identity, SourceIP: c.src, RemoteIP: c.src,
					DestIP: c.dst, DestPort: c.port}).Reason
				reasons[want]++
				if n++; got != want {
					if wrong++; wrong < 4 {
						y, _ := yaml.Marshal(w.policies)
						t.Errorf("%+v: ours %q, ztunnel %q\n%s", c, got, want, y)
					}
				}
			}
		}
	}
	for _, r := range []authz.Reason{authz.ReasonDenied, authz.ReasonNoPolicy, authz.ReasonAllowed,
		authz.ReasonUnmatched} {
		if reasons[r] < n/100 {
			t.Errorf("%q was the outcome only %d times of %d", r, reasons[r], n)
		}
	}
	keepZtunnel(t, figures.Figure{Order: 31, What: "generated L4 policies", Comparisons: n, Disagreements: wrong,
		Notes: fmt.Sprintf("%d policies, seed %d", total, *seed)})
}

// wellFormed is what ztunnel takes for an identity; others do not get past TLS.
var wellFormed = regexp.MustCompile(`^spiffe://[^/]+/ns/[^/]+/sa/[^/]+$`)

// l4 takes out of a rule what a node proxy does not see.
func l4(r *securityv1beta1.Rule) {
	for _, f := range r.From {
		f.Source.RemoteIpBlocks, f.Source.NotRemoteIpBlocks = nil, nil
		if f.Source.String() == "" {
			f.Source.Namespaces = []string{"cell-a"}
		}
	}
	for _, o := range r.To {
		o.Operation = &securityv1beta1.Operation{Ports: o.Operation.Ports, NotPorts: o.Operation.NotPorts}
		if len(o.Operation.Ports)+len(o.Operation.NotPorts) == 0 {
			o.Operation.Ports = []string{"8080"}
		}
	}
	var kept []*securityv1beta1.Condition
	for _, w := range r.When {
		switch w.Key {
		case "source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port":
			kept = append(kept, w)
		}
	}
	r.When = kept
}

// TestWhereZtunnelDiffersFromEnvoy names the points on which the same words mean
// different things to the two proxies. Each side is asked itself.
func TestWhereZtunnelDiffersFromEnvoy(t *testing.T) {
	source := func(s *securityv1beta1.Source) []*securityv1beta1.Rule_From {
		return []*securityv1beta1.Rule_From{{Source: s}}
	}
	posts := []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"POST"}}}}
	const web = "spiffe://cluster.local/ns/cell-b/sa/web"
	for _, c := range []struct {
		name   string
		deny   bool
		rule   *securityv1beta1.Rule
		who    string
		want   authz.Reason // ztunnel, by istiod's conversion
		atHTTP bool         // what a waypoint says to a POST
	}{
		{"a star inside a namespace is a letter", false, &securityv1beta1.Rule{From: source(&securityv1beta1.Source{
			Namespaces: []string{"c*b"}})}, web, authz.ReasonUnmatched, true},
		{"an ALLOW rule with a method never matches", false, &securityv1beta1.Rule{To: posts}, web,
			authz.ReasonUnmatched, true},
		{"a DENY of a method alone is no denial", true, &securityv1beta1.Rule{To: posts}, web, authz.ReasonNoPolicy,
			false},
		{"a DENY of a caller and a method is no denial", true,
			&securityv1beta1.Rule{From: source(&securityv1beta1.Source{Principals: []string{
				"cluster.local/ns/cell-b/sa/web"}}), To: posts}, web, authz.ReasonNoPolicy, false},
		{"a trust domain beside a namespace is not looked at", false,
			&securityv1beta1.Rule{From: source(&securityv1beta1.Source{TrustDomains: []string{"other"},
				Namespaces: []string{"cell-b"}})}, web, authz.ReasonAllowed, false},
		{"a trust domain alone matches nobody", false, &securityv1beta1.Rule{From: source(&securityv1beta1.Source{
			TrustDomains: []string{"cluster.local"}})}, web, authz.ReasonUnmatched, true},
		{"a condition on the service account counts as HTTP", false,
			&securityv1beta1.Rule{When: []*securityv1beta1.Condition{{Key: "source.serviceAccount",
				Values: []string{"cell-b/web"}}}}, web, authz.ReasonUnmatched, true},
		{"a service account of any trust domain is the same", false,
			&securityv1beta1.Rule{From: source(&securityv1beta1.Source{ServiceAccounts: []string{"cell-b/web"}})},
			"spiffe://other/ns/cell-b/sa/web", authz.ReasonAllowed, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &securityv1.AuthorizationPolicy{}
			p.Name, p.Namespace = "p", target.Namespace
			p.Spec.Rules = []*securityv1beta1.Rule{c.rule}
			if c.deny {
				p.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY
			}
			conn := connection{c.who, netip.MustParseAddr("10.244.0.10"), netip.MustParseAddr("10.244.0.11"), 8080}
			all := converted(t, policySet{p})
			if got := ztunnelDecision(applying(all, policySet{p}, target.Namespace, nil), conn); got != c.want {
				t.Errorf("ztunnel decides %q, want %q", got, c.want)
			}
			if got := ours(policySet{p}, target.Namespace, nil, conn); got != c.want {
				t.Errorf("our node proxy decides %q, want %q", got, c.want)
			}
			w := p.DeepCopy()
			w.Spec.TargetRefs = []*typev1beta1.PolicyTargetReference{{Kind: "Service", Name: target.Service}}
			if got := localEngine(policySet{w}, target).Decide(&authz.Request{Principal: c.who, Method: "POST",
				Path: "/", HTTP: true}).Allowed; got != c.atHTTP {
				t.Errorf("our waypoint allows: %v, want %v", got, c.atHTTP)
			}
		})
	}
}
