package openchoreo_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
)

// namespaceOf computes a Cell's namespace as OpenChoreo does: up to 13 or 12
// letters of each name and eight of the hash over all of them
// (internal/dataplane/kubernetes/name.go of OpenChoreo 1.2.3).
func namespaceOf(cell string) string {
	names := []string{"dp", "default", cell, "development"}
	sum := sha256.Sum256([]byte(strings.Join(names, "-")))
	quota := []int{13, 13, 13, 12}
	for i, n := range names {
		names[i] = n[:min(len(n), quota[i])]
	}
	return strings.Join(names, "-") + "-" + hex.EncodeToString(sum[:4])
}

func cellOf(t *testing.T, namespace string) string {
	t.Helper()
	for _, c := range catalog.Cells() {
		if namespaceOf(c) == namespace {
			return c
		}
	}
	t.Errorf("namespace %q is no Cell's", namespace)
	return namespace
}

const gatewayPrincipal = "cluster.local/ns/openchoreo-data-plane/sa/gateway-default-istio"

// caller returns who a principal of a policy is, in the words of the table.
func caller(t *testing.T, principal string) string {
	t.Helper()
	if principal == gatewayPrincipal {
		return catalog.Ingress.String()
	}
	var ns, sa string
	if _, err := fmt.Sscanf(strings.ReplaceAll(principal, "/", " "), "cluster.local ns %s sa %s", &ns,
		&sa); err != nil {
		t.Errorf("principal %q is not exactly one identity: %v", principal, err)
	}
	return cellOf(t, ns) + "/" + sa
}

func rendered(t *testing.T, stage string) *manifest.Set {
	t.Helper()
	set, err := manifest.LoadStage("..", stage, false)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// inEveryCell returns, for each Cell's namespace, the same names.
func inEveryCell(names ...string) map[string][]string {
	want := map[string][]string{}
	for _, c := range catalog.Cells() {
		want[namespaceOf(c)] = slices.Sorted(slices.Values(names))
	}
	return want
}

// perService returns, for each Cell's namespace, a name for each of its services.
func perService(name func(catalog.Service) string) map[string][]string {
	want := map[string][]string{}
	for _, s := range catalog.Services() {
		ns := namespaceOf(s.Cell)
		want[ns] = append(want[ns], name(s))
		slices.Sort(want[ns])
	}
	return want
}

func names[T metav1.Object](objects []T) map[string][]string {
	got := map[string][]string{}
	for _, o := range objects {
		got[o.GetNamespace()] = append(got[o.GetNamespace()], o.GetName())
		slices.Sort(got[o.GetNamespace()])
	}
	return got
}

func merge(a, b map[string][]string) map[string][]string {
	out := maps.Clone(a)
	for k, v := range b {
		out[k] = slices.Sorted(slices.Values(slices.Concat(out[k], v)))
	}
	return out
}

func TestEveryStageHoldsExactlyTheObjectsOfTheSuite(t *testing.T) {
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			set := rendered(t, stage)
			check := func(what string, want, got map[string][]string) {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			var namespaces []string
			for _, ns := range set.Namespaces {
				namespaces = append(namespaces, ns.Name)
			}
			want := slices.Sorted(maps.Keys(inEveryCell()))
			slices.Sort(namespaces)
			if diff := cmp.Diff(want, namespaces); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
			own := func(s catalog.Service) string { return s.Name }
			check("service accounts", perService(own), names(set.ServiceAccounts))
			check("services", perService(own), names(set.Services))
			check("waypoints", inEveryCell("waypoint"), names(set.Gateways))
			check("mTLS modes", inEveryCell("default"), names(set.PeerAuthentications))
			check("authorization policies", merge(inEveryCell("default-deny", "via-waypoint-only"),
				perService(func(s catalog.Service) string { return s.Name + "-authz" })),
				names(set.AuthorizationPolicies))
			check("network policies", merge(inEveryCell("allow-istio-hbone"),
				perService(func(s catalog.Service) string { return "openchoreo-" + s.Name })),
				names(set.NetworkPolicies))
			routes := map[string][]string{}
			for _, r := range set.HTTPRoutes {
				backend := string(r.Spec.Rules[0].BackendRefs[0].Name)
				routes[r.Namespace] = append(routes[r.Namespace], backend)
			}
			check("routes", map[string][]string{namespaceOf("houston"): {"flight-director"},
				namespaceOf("kennedy"): {"launch-control"}}, routes)
			if got := len(set.Deployments); got != len(catalog.Services()) {
				t.Errorf("%d Deployments, want %d", got, len(catalog.Services()))
			}
		})
	}
}

func TestThePoliciesAdmitWhatTheTableAdmitsByExactIdentity(t *testing.T) {
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		var got []call
		for _, p := range rendered(t, stage).AuthorizationPolicies {
			name, ok := strings.CutSuffix(p.Name, "-authz")
			if !ok {
				continue
			}
			ref := &typev1beta1.PolicyTargetReference{Kind: "Service", Name: name}
			if diff := cmp.Diff([]*typev1beta1.PolicyTargetReference{ref}, p.Spec.TargetRefs,
				cmpopts.IgnoreUnexported(typev1beta1.PolicyTargetReference{})); diff != "" {
				t.Errorf("%s: %s must be attached to its Service alone (-want +got):\n%s", stage, p.Name, diff)
			}
			if p.Spec.Action != securityv1beta1.AuthorizationPolicy_ALLOW {
				t.Errorf("%s: %s has action %s", stage, p.Name, p.Spec.Action)
			}
			for _, r := range p.Spec.Rules {
				if len(r.When) != 0 || len(r.From) != 1 || len(r.To) != 1 {
					t.Fatalf("%s: %s: a rule must have one source, one operation and no condition: %v", stage, p.Name,
						r)
				}
				for _, principal := range r.From[0].Source.Principals {
					for _, m := range r.To[0].Operation.Methods {
						for _, path := range r.To[0].Operation.Paths {
							got = append(got, call{caller(t, principal), cellOf(t, p.Namespace) + "/" + name, m, path})
						}
					}
				}
			}
		}
		if diff := cmp.Diff(table(), got, cmpopts.SortSlices(less)); diff != "" {
			t.Errorf("at %s the table (-) and the rendered policies (+) disagree:\n%s", stage, diff)
		}
	}
}

func TestPodsRunAsTheirOwnIdentityAndAreLockedDown(t *testing.T) {
	set := rendered(t, "zero-trust")
	for _, d := range set.Deployments {
		pod := d.Spec.Template
		name := pod.Labels["openchoreo.dev/component"]
		row, ok := catalog.Lookup(name)
		if !ok || d.Namespace != namespaceOf(row.Cell) {
			t.Errorf("%s/%s runs %q, which the table does not place there", d.Namespace, d.Name, name)
			continue
		}
		if pod.Spec.ServiceAccountName != name {
			t.Errorf("%s runs as %q, not as itself", name, pod.Spec.ServiceAccountName)
		}
		yes, no := true, false
		if diff := cmp.Diff(&no, pod.Spec.AutomountServiceAccountToken); diff != "" {
			t.Errorf("%s gets a token (-want +got):\n%s", name, diff)
		}
		uid := int64(65532)
		if diff := cmp.Diff(&corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &uid, RunAsGroup: &uid,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}, pod.Spec.SecurityContext); diff != "" {
			t.Errorf("%s: pod security (-want +got):\n%s", name, diff)
		}
		c := pod.Spec.Containers[0]
		if diff := cmp.Diff(&corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}, c.SecurityContext); diff != "" {
			t.Errorf("%s: container security (-want +got):\n%s", name, diff)
		}
		for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
			if p == nil || p.HTTPGet == nil || p.HTTPGet.Port.StrVal != "admin" {
				t.Errorf("%s: every probe must ask the admin port: %v", name, p)
			}
		}
		want := map[string]string{"ADMIN_PORT": "9090", "GOMEMLIMIT": "57MiB"}
		for _, dep := range catalog.Dependencies(name) {
			want[catalog.URLVariable(dep.Name)] = "http://" + dep.Name + "." + namespaceOf(dep.Cell) +
				".svc.cluster.local:8080"
		}
		got := map[string]string{}
		for _, v := range c.Env {
			got[v.Name] = v.Value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: environment (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryServiceSelectsItsOwnPodsAndNoOthers(t *testing.T) {
	set := rendered(t, "zero-trust")
	for _, s := range set.Services {
		var selected []string
		for _, d := range set.Deployments {
			if d.Namespace == s.Namespace && labels.SelectorFromSet(s.Spec.Selector).Matches(
				labels.Set(d.Spec.Template.Labels)) {
				selected = append(selected, d.Spec.Template.Spec.ServiceAccountName)
			}
		}
		if diff := cmp.Diff([]string{s.Name}, selected); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
		if s.Labels["istio.io/ingress-use-waypoint"] != "true" {
			t.Errorf("%s: the gateway would go past the waypoint", s.Name)
		}
		if p := s.Spec.Ports; len(p) != 1 || p[0].Name != "http" || p[0].Port != 8080 ||
			p[0].TargetPort.IntValue() != 8080 {
			t.Errorf("%s: ports %v, want http on 8080 and nothing else", s.Name, p)
		}
	}
}

func TestNetworkPoliciesOpenTheServicePortToWhomTheTableNames(t *testing.T) {
	own := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	cells := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{
		"openchoreo.dev/environment": "development", "openchoreo.dev/namespace": "default",
	}}}
	gateway := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{},
		PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "openchoreo.dev/system-component", Operator: metav1.LabelSelectorOpExists},
		}},
	}
	for _, p := range rendered(t, "zero-trust").NetworkPolicies {
		name, ok := strings.CutPrefix(p.Name, "openchoreo-")
		if !ok {
			continue
		}
		row, _ := catalog.Lookup(name)
		want := []networkingv1.NetworkPolicyPeer{own}
		if row.Namespaced {
			want = append(want, cells)
		}
		if row.External {
			want = append(want, gateway)
		}
		var got []networkingv1.NetworkPolicyPeer
		for _, r := range p.Spec.Ingress {
			if len(r.Ports) != 1 || r.Ports[0].Port.IntValue() != 8080 {
				t.Errorf("%s opens %v, want 8080 alone", p.Name, r.Ports)
			}
			got = append(got, r.From...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Name, diff)
		}
	}
}

func TestAStageIsANamespaceLabelAnMTLSModeAndARule(t *testing.T) {
	type stage struct {
		DataplaneMode, UseWaypoint string
		Mode                       string
		ViaWaypointOnly            []*securityv1beta1.Rule
	}
	all := []*securityv1beta1.Rule{{}}
	waypoint := []*securityv1beta1.Rule{
		{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{ServiceAccounts: []string{"waypoint"}}}}}}
	for name, want := range map[string]stage{
		"open":       {"", "", "PERMISSIVE", all},
		"mtls":       {"ambient", "", "STRICT", all},
		"zero-trust": {"ambient", "waypoint", "STRICT", waypoint},
	} {
		set := rendered(t, name)
		for _, ns := range set.Namespaces {
			got := stage{DataplaneMode: ns.Labels["istio.io/dataplane-mode"],
				UseWaypoint: ns.Labels["istio.io/use-waypoint"]}
			for _, p := range set.PeerAuthentications {
				if p.Namespace == ns.Name {
					got.Mode = p.Spec.Mtls.Mode.String()
				}
			}
			for _, p := range policies(set, ns.Name, "via-waypoint-only") {
				got.ViaWaypointOnly = p.Spec.Rules
				if p.Spec.Selector != nil || len(p.Spec.TargetRefs) != 0 {
					t.Errorf("%s: via-waypoint-only must cover the whole namespace", ns.Name)
				}
			}
			opts := cmpopts.IgnoreUnexported(securityv1beta1.Rule{}, securityv1beta1.Rule_From{},
				securityv1beta1.Source{})
			if diff := cmp.Diff(want, got, opts); diff != "" {
				t.Errorf("%s at %s (-want +got):\n%s", ns.Name, name, diff)
			}
			for _, p := range policies(set, ns.Name, "default-deny") {
				ref := p.Spec.TargetRefs
				if len(p.Spec.Rules) != 0 || len(ref) != 1 || ref[0].Kind != "Gateway" || ref[0].Name != "waypoint" {
					t.Errorf("%s: default-deny must be an ALLOW without rules on the waypoint: %v", ns.Name, &p.Spec)
				}
			}
		}
	}
}

func policies(set *manifest.Set, namespace, name string) []*securityv1.AuthorizationPolicy {
	var out []*securityv1.AuthorizationPolicy
	for _, p := range set.AuthorizationPolicies {
		if p.Namespace == namespace && p.Name == name {
			out = append(out, p)
		}
	}
	return out
}
