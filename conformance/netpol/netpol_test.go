// Package netpol compares the project's decisions on NetworkPolicies with those
// of an independent matcher, github.com/mattfenwick/cyclonus, on the rendered
// policies and on generated ones. It checks semantics, not a CNI.
package netpol

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"artemis.example/conformance/figures"
	"artemis.example/conformance/versions"
	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
)

const root = "../.."

var (
	seed = flag.Uint64("seed", 20260401, "seed of the generated cases")
	sets = flag.Int("sets", 10_000, "how many sets of policies to generate")
)

// judge asks both sides about one connection.
func judge(ours *netpol.Policies, theirs *matcher.Policy, src, dst netpol.Endpoint, port uint16) (got, want bool) {
	name := ""
	for n, p := range dst.Ports {
		if p == port {
			name = n
		}
	}
	return ours.Decide(src, dst, port).Allowed,
		theirs.IsTrafficAllowed(&matcher.Traffic{Source: peer(src), Destination: peer(dst), ResolvedPort: int(port),
			ResolvedPortName: name, Protocol: corev1.ProtocolTCP}).IsAllowed()
}

func peer(e netpol.Endpoint) *matcher.TrafficPeer {
	p := &matcher.TrafficPeer{IP: e.IP.String()}
	if e.Namespace != "" {
		p.Internal = &matcher.InternalPeer{Namespace: e.Namespace, NamespaceLabels: e.NamespaceLabels,
			PodLabels: e.PodLabels}
	}
	return p
}

// TestRenderedPolicies asks about every pair of pods of the suite, strangers
// included, and every port that matters.
func TestRenderedPolicies(t *testing.T) {
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			set, err := manifest.LoadStage(root, stage, true)
			if err != nil {
				t.Fatal(err)
			}
			w, err := topology.Build(set, topology.NewAllocator())
			if err != nil {
				t.Fatal(err)
			}
			namespaces := map[string]map[string]string{}
			for _, n := range set.Namespaces {
				labels := map[string]string{"kubernetes.io/metadata.name": n.Name}
				for k, v := range n.Labels {
					labels[k] = v
				}
				namespaces[n.Name] = labels
			}
			ends := []netpol.Endpoint{
				{IP: netip.MustParseAddr("169.254.7.127")}, {IP: netip.MustParseAddr("192.0.2.1")},
				{IP: netip.MustParseAddr("10.244.9.9"), Namespace: "stranger",
					NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "stranger"}},
			}
			for _, p := range w.Pods {
				if namespaces[p.Namespace] == nil {
					namespaces[p.Namespace] = map[string]string{"kubernetes.io/metadata.name": p.Namespace}
				}
				ends = append(ends, netpol.Endpoint{IP: p.IP, Namespace: p.Namespace,
					NamespaceLabels: namespaces[p.Namespace], PodLabels: p.Labels})
			}
			if len(ends) < 18+3 || len(set.NetworkPolicies) < 18 {
				t.Fatalf("only %d pods and %d policies: the manifests are not all there", len(ends),
					len(set.NetworkPolicies))
			}
			ours, theirs := netpol.New(set.NetworkPolicies), matcher.BuildNetworkPolicies(false, set.NetworkPolicies)
			n, allowed, wrong := 0, 0, 0
			for _, src := range ends {
				for _, dst := range ends {
					for _, port := range []uint16{8080, 9090, 15008, 15020, 22, 53} {
						got, want := judge(ours, theirs, src, dst, port)
						n++
						if want {
							allowed++
						}
						if got != want {
							if wrong++; wrong < 5 {
								t.Errorf("%s %v to %s %v port %d: ours %v, cyclonus %v", src.Namespace, src.PodLabels,
									dst.Namespace, dst.PodLabels, port, got, want)
							}
						}
					}
				}
			}
			if allowed == 0 || allowed == n {
				t.Errorf("%d of %d connections are allowed: nothing was tried", allowed, n)
			}
			keep(t, "rendered NetworkPolicies, "+stage, map[string]int{"open": 50, "mtls": 51, "zero-trust": 52}[stage],
				n, wrong, fmt.Sprintf("%d policies, %d pods and strangers", len(set.NetworkPolicies), len(ends)))
		})
	}
}

func keep(t *testing.T, what string, order, n, wrong int, notes string) {
	t.Helper()
	if err := figures.Keep(figures.Figure{Order: order, What: what, Engine: versions.Cyclonus(), Comparisons: n,
		Disagreements: wrong, Notes: notes}); err != nil {
		t.Error(err)
	}
}

type generator struct{ *rand.Rand }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// labels give every object the same keys, so that NotIn finds its key: see
// TestNotInWithoutTheKey.
func (g *generator) labels() map[string]string {
	return map[string]string{"app": pick(g, "a", "b", "c"), "tier": pick(g, "web", "db")}
}

func (g *generator) selector() metav1.LabelSelector {
	s := metav1.LabelSelector{}
	switch g.IntN(8) {
	case 0:
		return s
	case 1, 2, 3:
		s.MatchLabels = map[string]string{"app": pick(g, "a", "b")}
	case 4:
		s.MatchLabels = map[string]string{"app": pick(g, "a", "b"), "tier": pick(g, "web", "db")}
	case 5:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: pick(g, "app", "tier"), Operator: pick(g,
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn), Values: []string{"a", pick(g, "web", "b")}}}
	case 6:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: pick(g, "app", "absent"),
			Operator: pick(g, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}}
	case 7:
		s.MatchLabels = map[string]string{"app": pick(g, "a", "b")}
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpNotIn,
			Values: []string{"db"}}}
	}
	return s
}

func (g *generator) peers() []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		switch g.IntN(5) {
		case 0, 1:
			s := g.selector()
			p.PodSelector = &s
		case 2:
			s := g.selector()
			p.NamespaceSelector = &s
		case 3:
			a, b := g.selector(), g.selector()
			p.PodSelector, p.NamespaceSelector = &a, &b
		case 4:
			p.IPBlock = pick(g,
				&networkingv1.IPBlock{CIDR: "10.244.0.0/16"}, &networkingv1.IPBlock{CIDR: "10.244.0.0/16",
					Except: []string{"10.244.1.0/24"}},
				&networkingv1.IPBlock{CIDR: "192.0.2.1/32"}, &networkingv1.IPBlock{CIDR: "0.0.0.0/0",
					Except: []string{"10.0.0.0/8", "192.0.2.128/25"}})
		}
		out = append(out, p)
	}
	return out
}

func (g *generator) ports() []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPort
		if g.IntN(3) == 0 {
			p.Protocol = pick(g, new(corev1.ProtocolTCP), new(corev1.ProtocolUDP), new(corev1.ProtocolTCP))
		}
		switch g.IntN(5) {
		case 0:
		case 1:
			p.Port = new(intstr.FromString(pick(g, "http", "admin")))
		case 2:
			p.Port, p.EndPort = new(intstr.FromInt32(8000)), new(pick(g, int32(8080), int32(9000), int32(8000)))
		default:
			p.Port = new(intstr.FromInt32(pick(g, int32(8080), int32(9090), int32(15008))))
		}
		out = append(out, p)
	}
	return out
}

func (g *generator) policy(name string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(g, "one", "two")}}
	p.Spec.PodSelector = g.selector()
	p.Spec.PolicyTypes = pick(g, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		[]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress})
	for range g.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: g.peers(),
			Ports: g.ports()})
	}
	for range g.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: g.peers(), Ports: g.ports()})
	}
	return p
}

// TestGeneratedPolicies covers every field of a NetworkPolicy.
func TestGeneratedPolicies(t *testing.T) {
	g := &generator{rand.New(rand.NewPCG(*seed, 5))}
	namespaces := map[string]map[string]string{"one": g.labels(), "two": g.labels(), "three": g.labels()}
	n, made, allowed, wrong := 0, 0, 0, 0
	for range *sets {
		var policies []*networkingv1.NetworkPolicy
		for i := range 1 + g.IntN(4) {
			policies = append(policies, g.policy(fmt.Sprint("p", i)))
		}
		made += len(policies)
		ours, theirs := netpol.New(policies), matcher.BuildNetworkPolicies(false, policies)
		for range 20 {
			src, dst := g.endpoint(namespaces), g.endpoint(namespaces)
			port := pick(g, uint16(8080), 9090, 15008, 8000, 9000, 22)
			got, want := judge(ours, theirs, src, dst, port)
			n++
			if want {
				allowed++
			}
			if got != want {
				if wrong++; wrong < 4 {
					y, _ := yaml.Marshal(policies)
					t.Errorf("%+v to %+v port %d: ours %v, cyclonus %v\n%s", src, dst, port, got, want, y)
				}
			}
		}
	}
	if allowed < n/10 || allowed > n*9/10 {
		t.Errorf("%d of %d connections are allowed: one-sided", allowed, n)
	}
	keep(t, "generated NetworkPolicies", 53, n, wrong, fmt.Sprintf("%d policies, seed %d", made, *seed))
}

func (g *generator) endpoint(namespaces map[string]map[string]string) netpol.Endpoint {
	if g.IntN(8) == 0 {
		return netpol.Endpoint{IP: netip.MustParseAddr(pick(g, "192.0.2.1", "192.0.2.200", "203.0.113.9"))}
	}
	ns := pick(g, "one", "one", "two", "three")
	return netpol.Endpoint{IP: netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", g.IntN(3), 2+g.IntN(200))),
		Namespace: ns, NamespaceLabels: namespaces[ns],
		PodLabels: g.labels(), Ports: map[string]uint16{"http": 8080, "admin": 9090}}
}

// TestNotInWithoutTheKey names the one point on which cyclonus is not followed:
// to Kubernetes (k8s.io/apimachinery/pkg/labels) NotIn matches an object that
// lacks the key, to cyclonus 0.5.6 it does not.
func TestNotInWithoutTheKey(t *testing.T) {
	s := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "absent",
		Operator: metav1.LabelSelectorOpNotIn, Values: []string{"a"}}}}
	k8s, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		t.Fatal(err)
	}
	pod := netpol.Endpoint{IP: netip.MustParseAddr("10.244.0.2"), Namespace: "one",
		NamespaceLabels: map[string]string{}, PodLabels: map[string]string{"app": "a"}}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "one"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: s, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}}
	ours := !netpol.New([]*networkingv1.NetworkPolicy{policy}).Decide(pod, pod, 80).Allowed // selected, hence closed
	if want := k8s.Matches(labelSet(pod.PodLabels)); ours != want {
		t.Errorf("ours selects the pod: %v, Kubernetes: %v", ours, want)
	}
}

type labelSet map[string]string

func (l labelSet) Has(k string) bool              { _, ok := l[k]; return ok }
func (l labelSet) Get(k string) string            { return l[k] }
func (l labelSet) Lookup(k string) (string, bool) { v, ok := l[k]; return v, ok }
