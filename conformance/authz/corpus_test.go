package authz

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"sigs.k8s.io/yaml"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
)

// corpusFiles are Istio's own policies, in its module: what its translation, its
// conversion for ztunnel, its validation, its analyzers and its benchmarks are tested on.
var corpusFiles = []string{
	"pilot/pkg/security/authz/builder/testdata/*/*-in.yaml",
	"pilot/pkg/serviceregistry/ambient/testdata/*-in.yaml",
	"pilot/pkg/xds/testdata/benchmarks/authorizationpolicy.yaml",
	"pkg/config/validation/testdata/crds/authz-valid.yaml",
	"pkg/config/analysis/analyzers/testdata/*.yaml",
	"pkg/test/datasets/validation/dataset/security-v1-AuthorizationPolicy.yaml",
	"tests/integration/pilot/testdata/*.yaml",
	"samples/*/*/*.yaml",
}

// corpus reads the policies, in order, with what local mode does not know taken out of
// them, and says how many it left out as a whole.
func corpus(t *testing.T) (policies []*securityv1.AuthorizationPolicy, without int) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatalf("find Istio's module: %v", err)
	}
	for _, pattern := range corpusFiles {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for doc := range strings.SplitSeq(string(b), "\n---") {
				p := &securityv1.AuthorizationPolicy{}
				if !strings.Contains(doc, "kind: AuthorizationPolicy") || yaml.Unmarshal([]byte(doc), p) != nil {
					continue
				}
				if p = known(p); p == nil || translate.Validate(p) != nil {
					without++
					continue
				}
				policies = append(policies, p)
			}
		}
	}
	return policies, without
}

// known is a policy for the Service, without what local mode does not know: nil where
// nothing is left.
func known(p *securityv1.AuthorizationPolicy) *securityv1.AuthorizationPolicy {
	if p.Spec.Action == securityv1beta1.AuthorizationPolicy_CUSTOM {
		return nil
	}
	p.Name, p.Namespace = "corpus", target.Namespace
	p.Spec.Selector, p.Spec.TargetRef = nil, nil
	p.Spec.TargetRefs = []*typev1beta1.PolicyTargetReference{{Kind: "Service", Name: target.Service}}
	for _, r := range p.Spec.Rules {
		for _, f := range r.From {
			f.Source.RequestPrincipals, f.Source.NotRequestPrincipals = nil, nil
		}
		r.When = slices.DeleteFunc(r.When, func(c *securityv1beta1.Condition) bool {
			return strings.HasPrefix(c.Key, "request.auth.") || strings.HasPrefix(c.Key, "experimental.")
		})
	}
	return p
}

// pieces are a policy, each of its rules alone, and each of their lists alone: in the full
// rules of Istio's tests everything else keeps a list from mattering.
func pieces(p *securityv1.AuthorizationPolicy) []policySet {
	out := []policySet{{p}}
	alone := func(r *securityv1beta1.Rule) {
		c := p.DeepCopy()
		c.Spec.Rules = []*securityv1beta1.Rule{r}
		if translate.Validate(c) == nil {
			out = append(out, policySet{c})
		}
	}
	for _, r := range p.Spec.Rules {
		alone(r.DeepCopy())
		for i := range valueLists(r) {
			c := r.DeepCopy()
			for j, l := range valueLists(c) {
				if j != i {
					l.Truncate(0)
				}
			}
			alone(pruned(c))
		}
	}
	return out
}

// valueLists are the lists of a rule that are no messages.
func valueLists(r *securityv1beta1.Rule) []protoreflect.List {
	return slices.DeleteFunc(lists(r), func(l protoreflect.List) bool {
		_, message := l.NewElement().Interface().(protoreflect.Message)
		return message
	})
}

// pruned takes what says nothing out of a rule.
func pruned(r *securityv1beta1.Rule) *securityv1beta1.Rule {
	r.From = slices.DeleteFunc(r.From, func(f *securityv1beta1.Rule_From) bool { return len(lists(f)) == 0 })
	r.To = slices.DeleteFunc(r.To, func(o *securityv1beta1.Rule_To) bool { return len(lists(o)) == 0 })
	r.When = slices.DeleteFunc(r.When, func(c *securityv1beta1.Condition) bool { return len(lists(c)) == 0 })
	return r.DeepCopy()
}

// vocabulary is what the policies compare an attribute with, made concrete.
type vocabulary struct{ principals, methods, hosts, paths, addresses map[string]bool }

func (v *vocabulary) add(to map[string]bool, list ...string) {
	for _, s := range list {
		to[s] = true
		to[strings.NewReplacer("{**}", "a/b", "{*}", "seg", "*", "x").Replace(s)] = true
	}
}

func collect(policies []*securityv1.AuthorizationPolicy) (v vocabulary, headers map[string]map[string]bool) {
	v = vocabulary{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	headers = map[string]map[string]bool{}
	for _, p := range policies {
		for _, r := range p.Spec.Rules {
			for _, f := range r.From {
				s := f.Source
				v.add(v.principals, slices.Concat(s.Principals, s.NotPrincipals)...)
				for _, ns := range slices.Concat(s.Namespaces, s.NotNamespaces) {
					v.add(v.principals, "cluster.local/ns/"+ns+"/sa/any")
				}
				for _, sa := range slices.Concat(s.ServiceAccounts, s.NotServiceAccounts) {
					ns, name, ok := strings.Cut(sa, "/")
					if !ok {
						ns, name = target.Namespace, sa
					}
					v.add(v.principals, "cluster.local/ns/"+ns+"/sa/"+name)
				}
				for _, td := range slices.Concat(s.TrustDomains, s.NotTrustDomains) {
					v.add(v.principals, td+"/ns/any/sa/any")
				}
				v.add(v.addresses, slices.Concat(s.RemoteIpBlocks, s.NotRemoteIpBlocks)...)
			}
			for _, o := range r.To {
				v.add(v.methods, slices.Concat(o.Operation.Methods, o.Operation.NotMethods)...)
				v.add(v.hosts, slices.Concat(o.Operation.Hosts, o.Operation.NotHosts)...)
				v.add(v.paths, slices.Concat(o.Operation.Paths, o.Operation.NotPaths)...)
			}
			for _, c := range r.When {
				all := slices.Concat(c.Values, c.NotValues)
				switch name, ok := strings.CutPrefix(c.Key, "request.headers["); {
				case ok:
					name = strings.TrimSuffix(name, "]")
					if headers[name] == nil {
						headers[name] = map[string]bool{}
					}
					v.add(headers[name], all...)
				case c.Key == "remote.ip":
					v.add(v.addresses, all...)
				case c.Key == "source.principal":
					v.add(v.principals, all...)
				case c.Key == "source.namespace":
					for _, ns := range all {
						v.add(v.principals, "cluster.local/ns/"+ns+"/sa/any")
					}
				}
			}
		}
	}
	return v, headers
}

// TestIstiosOwnPolicies judges requests by the policies of Istio's own tests: as they
// stand, rule by rule and list by list, with requests made of their values and variations
// of them.
func TestIstiosOwnPolicies(t *testing.T) {
	translate.Quiet()
	policies, without := corpus(t)
	v, headerValues := collect(policies)
	who := clients()
	for i, p := range slices.Sorted(maps.Keys(v.principals)) {
		id := "spiffe://" + p
		if _, err := url.Parse(id); err == nil && !strings.ContainsAny(p, "* ") && p != "" && i < 200 {
			who = append(who, enforcer.Client{Principal: id, Source: netip.AddrFrom4([4]byte{127, 3, 1, byte(1 + i)}),
				Dest: enforcer.Destinations[i%len(enforcer.Destinations)], Silent: i%2 == 1})
		}
	}
	r := startReferee(t, who)
	g := &generator{Rand: rand.New(rand.NewPCG(*seed, 77)), clients: who, seen: map[string]int{}}
	sorted := func(m map[string]bool, otherwise ...string) []string {
		return append(slices.Sorted(maps.Keys(m)), otherwise...)
	}
	methods, hosts, paths := sorted(v.methods, "GET", "GET", "POST"), sorted(v.hosts, "app"), sorted(v.paths, "/")
	addresses, names := sorted(v.addresses, "10.1.2.3"), slices.Sorted(maps.Keys(headerValues))
	request := func() enforcer.Request {
		q := enforcer.Request{Client: g.IntN(len(who)), Method: pick(g, methods), Host: pick(g, hosts),
			Target: pick(g, paths)}
		if q.Method != strings.ToUpper(q.Method) { // no method of Envoy's
			q.Method = pick(g, []string{"GET", "POST", "DELETE"})
		}
		if !strings.HasPrefix(q.Target, "/") {
			q.Target = "/" + q.Target
		}
		if len(names) > 0 && g.chance(50) {
			name := pick(g, names)
			if !strings.HasPrefix(name, ":") {
				q.Header = append(q.Header, [2]string{name, pick(g, slices.Sorted(maps.Keys(headerValues[name])))})
			}
		}
		if g.chance(40) {
			address, _, _ := strings.Cut(pick(g, addresses), "/")
			q.Header = append(q.Header, [2]string{"x-forwarded-for", address})
		}
		return oneBody(q)
	}
	var groups []group
	var total tally
	for _, p := range policies {
		for _, set := range pieces(p) {
			one := group{target: target, policies: set}
			for range 40 {
				q := request()
				if g.chance(30) {
					q = g.vary(q)
				}
				one.requests = append(one.requests, q)
			}
			groups = append(groups, one)
		}
	}
	found, err := r.compare(t.Context(), groups, &total)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		r.explain(t, found)
		t.Errorf("%d of %d requests are judged differently", len(found), total.requests)
	}
	t.Logf("%d policies, %d left out, %+v", len(policies), without, total)
	if len(policies) < 40 || total.allowed < total.requests/20 || total.denied < total.requests/20 {
		t.Errorf("too little was tried: %d policies, %+v", len(policies), total)
	}
	keep(t, r, figures.Figure{Order: 13, What: "Istio's own policies", Comparisons: total.requests,
		Disagreements: len(found),
		Notes: fmt.Sprintf("%d policies of its tests, as they stand and in %d pieces; %d allowed, %d denied, %d "+
			"refused before any policy; %d left out: CUSTOM, not admitted, or nothing left",
			len(policies), len(groups)-len(policies), total.allowed, total.denied, total.refused, without)})
}
