// Package analyzer compares the project's decisions about NetworkPolicies with np-guard's
// netpol-analyzer, a tool of the field that was written by others for the same question.
package analyzer

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	"github.com/np-guard/netpol-analyzer/pkg/netpol/eval"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// end is one end as both sides take it.
type end struct {
	name     string // as the analyzer names it: namespace/pod, or an address
	endpoint netpol.Endpoint
}

// referee is the analyzer with some objects, of namespaces their labels.
func referee(t *testing.T, policies []*networkingv1.NetworkPolicy, labels map[string]map[string]string,
	pods []*corev1.Pod) *eval.PolicyEngine {
	t.Helper()
	var namespaces []*corev1.Namespace
	for name, labels := range labels {
		namespaces = append(namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	e := eval.NewPolicyEngine()
	//lint:ignore SA1019 InsertObject takes one at a time
	if err := e.SetResources(policies, pods, namespaces); err != nil {
		t.Fatal(err)
	}
	return e
}

func pod(namespace, name string, labels map[string]string, ports map[string]uint16, ip string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	p.Status.PodIP, p.Status.HostIP, p.Status.PodIPs = ip, "192.168.49.2", []corev1.PodIP{{IP: ip}}
	c := corev1.Container{Name: "main"}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: port, ContainerPort: int32(ports[port]),
			Protocol: corev1.ProtocolTCP})
	}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

// compare asks both sides about every pair of ends and every port, and returns how often.
func compare(t *testing.T, ours *netpol.Policies, theirs *eval.PolicyEngine, ends []end, ports []uint16,
	about func() string) int {
	t.Helper()
	n := 0
	for _, src := range ends {
		for _, dst := range ends {
			if src.name == dst.name || src.endpoint.Namespace == "" && dst.endpoint.Namespace == "" {
				continue
			}
			for _, port := range ports {
				got := ours.Decide(src.endpoint, dst.endpoint, port).Allowed
				want, err := theirs.CheckIfAllowed(src.name, dst.name, "TCP", strconv.Itoa(int(port)))
				if err != nil {
					t.Fatalf("%s to %s:%d: %v", src.name, dst.name, port, err)
				}
				if n++; got != want {
					t.Fatalf("%s to %s:%d: ours says %t, netpol-analyzer %t\n%s", src.name, dst.name, port, got, want,
						about())
				}
			}
		}
	}
	return n
}

func TestTheMissionsPerimeter(t *testing.T) {
	total := 0
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		set, err := manifest.LoadStage(filepath.Join("..", ".."), stage, true)
		if err != nil {
			t.Fatal(err)
		}
		w, err := topology.Build(set, topology.NewAllocator())
		if err != nil {
			t.Fatal(err)
		}
		var pods []*corev1.Pod
		ends := []end{{"203.0.113.7", netpol.Endpoint{IP: netip.MustParseAddr("203.0.113.7")}},
			{"169.254.7.127", netpol.Endpoint{IP: netip.MustParseAddr("169.254.7.127")}}}
		for _, p := range w.Pods {
			pods = append(pods, pod(p.Namespace, p.Name, p.Labels, p.Endpoint.Ports, p.IP.String()))
			ends = append(ends, end{p.Namespace + "/" + p.Name, p.Endpoint})
		}
		total += compare(t, netpol.New(set.NetworkPolicies), referee(t, set.NetworkPolicies, w.Namespaces, pods), ends,
			[]uint16{8080, 9090, 15008, 81},
			func() string { return "stage " + stage })
	}
	t.Logf("%d connections", total)
}

// TestGeneratedPolicies asks about policies of every form, over a few pods.
func TestGeneratedPolicies(t *testing.T) {
	total := 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(20, seed))
		namespaces := map[string]map[string]string{}
		var pods []*corev1.Pod
		var ends []end
		for i, ns := range []string{"a", "b", "c"} {
			labels := map[string]string{corev1.LabelMetadataName: ns, "team": []string{"red", "blue"}[r.IntN(2)]}
			namespaces[ns] = labels
			for j, name := range []string{"p", "q"} {
				own := map[string]string{"app": name}
				if r.IntN(2) == 0 {
					own["role"] = []string{"x", "y"}[r.IntN(2)]
				}
				ports := map[string]uint16{"http": []uint16{80, 8080}[r.IntN(2)]}
				ip := fmt.Sprintf("10.%d.0.%d", i, j+1)
				pods = append(pods, pod(ns, name, own, ports, ip))
				ends = append(ends, end{ns + "/" + name, netpol.Endpoint{IP: netip.MustParseAddr(ip), Namespace: ns,
					NamespaceLabels: labels, PodLabels: own, Ports: ports}})
			}
		}
		for _, ip := range []string{"203.0.113.7", "198.51.100.9"} {
			ends = append(ends, end{ip, netpol.Endpoint{IP: netip.MustParseAddr(ip)}})
		}
		g := &generator{r}
		var policies []*networkingv1.NetworkPolicy
		for i := range 1 + r.IntN(4) {
			policies = append(policies, g.policy(i))
		}
		total += compare(t, netpol.New(policies), referee(t, policies, namespaces, pods), ends, []uint16{80, 8080,
			15008, 9},
			func() string {
				b, err := json.Marshal(policies)
				return fmt.Sprintf("seed %d: %s %v", seed, b, err)
			})
	}
	t.Logf("%d connections", total)
}

type generator struct{ *rand.Rand }

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) selector(keys ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	values := map[string][]string{"app": {"p", "q"}, "role": {"x", "y"}, "team": {"red", "blue"},
		corev1.LabelMetadataName: {"a", "b"}}
	for _, k := range keys {
		v := pick(g, values[k]...)
		switch g.IntN(5) {
		case 0:
			s.MatchLabels = map[string]string{k: v}
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k,
				Operator: pick(g, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn), Values: []string{v}})
		case 2:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k,
				Operator: pick(g, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)})
		}
	}
	return s
}

func (g *generator) peers() []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		switch g.IntN(4) {
		case 0:
			// The analyzer takes blocks to mean what is outside of the cluster, and pods to
			// have no addresses: only such blocks can be compared.
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(g, "203.0.113.0/24", "203.0.113.7/32", "198.51.100.0/24",
				"192.0.0.0/2")}
			if p.IPBlock.CIDR == "203.0.113.0/24" && g.IntN(2) == 0 {
				p.IPBlock.Except = []string{"203.0.113.0/25"}
			}
		case 1:
			p.PodSelector = g.selector("app", "role")
		case 2:
			p.NamespaceSelector = g.selector("team", corev1.LabelMetadataName)
		default:
			p.NamespaceSelector, p.PodSelector = g.selector("team"), g.selector("app")
		}
		out = append(out, p)
	}
	return out
}

func (g *generator) ports() []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range g.IntN(3) {
		protocol := pick(g, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		p := networkingv1.NetworkPolicyPort{Protocol: &protocol}
		switch g.IntN(4) {
		case 0:
			number, last := intstr.FromInt32(80), int32(9000)
			p.Port, p.EndPort = &number, &last
		case 1, 2:
			number := intstr.FromInt32(pick(g, int32(80), 8080, 15008))
			p.Port = &number
		default:
			// The analyzer's eval takes a port without a number for every protocol
			// (ruleConnsContain), which the API's documentation does not.
			protocol = corev1.ProtocolTCP
		}
		out = append(out, p)
	}
	return out
}

func (g *generator) policy(i int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Namespace: pick(g, "a",
		"b")}}
	p.Spec.PodSelector = *g.selector("app", "role")
	switch g.IntN(3) {
	case 0:
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	case 1:
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	default:
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	}
	for range g.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: g.peers(),
			Ports: g.ports()})
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: g.peers(), Ports: g.ports()})
	}
	return p
}
