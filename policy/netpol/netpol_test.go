package netpol_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
)

func policy(name, namespace, spec string) string {
	return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + ", namespace: " +
		namespace + "}\nspec:\n  " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

func policies(t testing.TB, yaml string) []*networkingv1.NetworkPolicy {
	t.Helper()
	if yaml == "" {
		return nil
	}
	set, err := manifest.Parse("x.yaml", yaml)
	if err != nil {
		t.Fatal(err)
	}
	return set.NetworkPolicies
}

// The pods of the rows: nav in orion, comms beside it, capcom in houston, and an
// address outside of the cluster.
func pod(namespace, name, ip string) netpol.Endpoint {
	return netpol.Endpoint{
		IP: netip.MustParseAddr(ip), Namespace: namespace,
		NamespaceLabels: map[string]string{"cell": namespace, "env": "dev"},
		PodLabels:       map[string]string{"app": name, "tier": "flight"},
		Ports:           map[string]uint16{"http": 8080},
	}
}

var (
	nav     = pod("orion", "nav", "10.244.0.2")
	comms   = pod("orion", "comms", "10.244.0.3")
	capcom  = pod("houston", "capcom", "10.244.1.4")
	outside = netpol.Endpoint{IP: netip.MustParseAddr("192.0.2.7")}
)

func TestDecide(t *testing.T) {
	open := netpol.Result{Allowed: true}
	admitted := netpol.Result{Allowed: true, Policy: "orion/p"}
	refused := netpol.Result{Direction: netpol.Ingress, Policy: "orion/p"}
	ingress := func(rule string) string {
		return policy("p", "orion", "podSelector: {matchLabels: {app: nav}}\npolicyTypes: [Ingress]\ningress: ["+rule+
			"]")
	}
	peer := func(p string) string { return ingress("{from: [" + p + "]}") }
	port := func(p string) string { return ingress("{ports: [" + p + "]}") }
	for _, c := range []struct {
		name, policies string
		src            netpol.Endpoint
		port           uint16
		want           netpol.Result
	}{
		{"without policies everything is open", "", capcom, 8080, open},
		{"a policy for other pods closes nothing here", policy("p", "orion",
			"podSelector: {matchLabels: {app: comms}}"), capcom, 8080, open},
		{"a policy of another namespace closes nothing here", policy("p", "houston", "podSelector: {}"), comms, 8080,
			open},
		{"an empty selector is every pod of the namespace", policy("p", "orion", "podSelector: {}"), comms, 8080,
			refused},
		{"without rules nothing is admitted", ingress(""), comms, 8080, refused},
		{"an empty rule admits everything", ingress("{}"), outside, 1, admitted},
		{"rules are alternatives", ingress("{from: [{podSelector: {matchLabels: {app: x}}}]}, {from: [{podSelector: " +
			"{matchLabels: {app: comms}}}]}"), comms, 8080, admitted},
		{"policies add up", ingress("") + policy("q", "orion", "podSelector: {}\ningress: [{}]"), comms, 8080,
			netpol.Result{Allowed: true, Policy: "orion/q"}},
		{"peer and port go together", ingress("{from: [{podSelector: {}}], ports: [{port: 9090}]}"), comms, 8080,
			refused},

		{"a pod selector is of the policy's namespace", peer("{podSelector: {}}"), comms, 8080, admitted},
		{"a pod selector is of no other namespace", peer("{podSelector: {}}"), capcom, 8080, refused},
		{"a namespace selector admits its pods", peer("{namespaceSelector: {matchLabels: {cell: houston}}}"), capcom,
			8080, admitted},
		{"a namespace selector refuses others", peer("{namespaceSelector: {matchLabels: {cell: houston}}}"), comms,
			8080, refused},
		{"an empty namespace selector is every pod", peer("{namespaceSelector: {}}"), capcom, 8080, admitted},
		{"an empty namespace selector is no outsider", peer("{namespaceSelector: {}}"), outside, 8080, refused},
		{"namespace and pod selector of one peer go together", peer("{namespaceSelector: {matchLabels: {cell: " +
			"houston}}, podSelector: {matchLabels: {app: nobody}}}"), capcom, 8080, refused},
		{"as two peers they are alternatives", peer("{namespaceSelector: {matchLabels: {cell: houston}}}, " +
			"{podSelector: {matchLabels: {app: nobody}}}"), capcom, 8080, admitted},
		{"In", peer("{podSelector: {matchExpressions: [{key: app, operator: In, values: [a, comms]}]}}"), comms, 8080,
			admitted},
		{"NotIn", peer("{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [comms]}]}}"), comms,
			8080, refused},
		{"NotIn matches without the label", peer("{podSelector: {matchExpressions: [{key: other, operator: NotIn, " +
			"values: [x]}]}}"), comms, 8080, admitted},
		{"Exists", peer("{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}"), comms, 8080, admitted},
		{"DoesNotExist", peer("{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}"), comms, 8080,
			refused},
		{"an ipBlock admits its addresses", peer("{ipBlock: {cidr: 192.0.2.0/24}}"), outside, 8080, admitted},
		{"an ipBlock's exception is refused", peer("{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/29]}}"), outside,
			8080, refused},
		{"an ipBlock admits pods by their address", peer("{ipBlock: {cidr: 10.244.1.0/24}}"), capcom, 8080, admitted},

		{"a port admits", port("{port: 8080}"), capcom, 8080, admitted},
		{"another port does not", port("{port: 8080}"), capcom, 15008, refused},
		{"a named port is the pod's", port("{port: http}"), capcom, 8080, admitted},
		{"a name that the pod does not have admits nothing", port("{port: grpc}"), capcom, 8080, refused},
		{"a range admits both of its ends", port("{port: 8000, endPort: 8080}"), capcom, 8080, admitted},
		{"a range admits nothing above it", port("{port: 8000, endPort: 8079}"), capcom, 8080, refused},
		{"a port without a number is every port", port("{protocol: TCP}"), capcom, 1, admitted},
		{"a UDP port is not for TCP", port("{protocol: UDP, port: 8080}"), capcom, 8080, refused},

		{"a policy without types closes ingress", policy("p", "orion", "podSelector: {}"), capcom, 8080, refused},
		{"egress rules alone close ingress, too", policy("p", "orion", "podSelector: {}\negress: [{}]"), capcom, 8080,
			refused},
		{"policyTypes Egress leaves ingress open", policy("p", "orion", "podSelector: {}\npolicyTypes: [Egress]"),
			capcom, 8080, open},
		{"the caller's egress counts", policy("p", "houston", "podSelector: {}\npolicyTypes: [Egress]"), capcom, 8080,
			netpol.Result{Direction: netpol.Egress, Policy: "houston/p"}},
		{"the caller's egress to the right peer", policy("p", "houston", "podSelector: {}\npolicyTypes: "+
			"[Egress]\negress: [{to: [{namespaceSelector: {matchLabels: {cell: orion}}}], ports: [{port: http}]}]"),
			capcom, 8080, open},
		{"both ends have to agree", policy("p", "houston", "podSelector: {}\npolicyTypes: [Egress]\negress: [{}]") +
			policy("p", "orion", "podSelector: {}"), capcom, 8080, refused},
		{"an outsider has no egress policy", policy("p", "houston", "podSelector: {}\npolicyTypes: [Egress]"), outside,
			8080, open},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, netpol.New(policies(t, c.policies)).Decide(c.src, nav, c.port)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutPoliciesNothingIsClosed(t *testing.T) {
	var p *netpol.Policies
	if diff := cmp.Diff(netpol.Result{Allowed: true}, p.Decide(capcom, nav, 8080)); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

// many makes a policy for each of n pods, in OpenChoreo's shape.
func many(n int) string {
	var b strings.Builder
	b.WriteString(policy("openchoreo-nav", "orion", `
podSelector: {matchLabels: {app: nav}}
policyTypes: [Ingress]
ingress:
- from: [{podSelector: {}}]
  ports: [{port: 8080, protocol: TCP}]
- from: [{namespaceSelector: {matchLabels: {env: dev}}}]
  ports: [{port: 8080, protocol: TCP}]
- from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: system, operator: Exists}]}}]
  ports: [{port: 8080, protocol: TCP}]
`))
	for i := range n {
		b.WriteString(policy(fmt.Sprintf("other-%d", i), "orion",
			fmt.Sprintf("podSelector: {matchLabels: {app: other-%d}}", i)))
	}
	return b.String()
}

func TestADecisionAllocatesNothing(t *testing.T) {
	p := netpol.New(policies(t, many(10)))
	if n := testing.AllocsPerRun(100, func() { p.Decide(capcom, nav, 8080) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{5, 100} {
		b.Run(fmt.Sprintf("%d policies in the namespace", n+1), func(b *testing.B) {
			p := netpol.New(policies(b, many(n)))
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(capcom, nav, 8080)
			}
		})
	}
}
