package authz

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/workloadapi/security"

	"artemis.example/conformance/figures"
	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/peerauth"
)

// What a PeerAuthentication, or one of its ports, can say: nothing at all, no mtls, and
// each mode.
var (
	scopes = []string{"absent", "", "UNSET", "DISABLE", "PERMISSIVE", "STRICT"}
	modes  = scopes[1:]
)

func peerAuthentication(namespace, name, spec string) string {
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: "+
		"%s}\nspec: {%s}\n", name, namespace, spec)
}

func mtls(mode string) []string {
	if mode == "" {
		return nil
	}
	return []string{"mtls: {mode: " + mode + "}"}
}

// peerCase is one combination below the mesh, in a namespace of its own.
type peerCase struct {
	namespace, policies string // the namespace's name, and its policies' YAML
	what                string
}

// peerCases are all combinations of a namespace, a workload and two of its ports.
func peerCases() []peerCase {
	var out []peerCase
	add := func(namespace, what string, workload ...string) {
		n := fmt.Sprintf("n-%d", len(out))
		var docs []string
		if namespace != "absent" {
			docs = append(docs, peerAuthentication(n, "default", strings.Join(mtls(namespace), "")))
		}
		if workload != nil {
			docs = append(docs, peerAuthentication(n, "workload",
				strings.Join(append([]string{"selector: {matchLabels: {app: app}}"}, workload...), ", ")))
		}
		out = append(out, peerCase{n, strings.Join(docs, "---\n"), "namespace " + namespace + what})
	}
	for _, namespace := range scopes {
		add(namespace, "", []string(nil)...)
		for _, workload := range modes {
			for _, first := range modes {
				for _, second := range modes {
					spec := append([]string{}, mtls(workload)...)
					var ports []string
					for i, m := range []string{first, second} {
						if m != "" {
							ports = append(ports, fmt.Sprintf("%d: {mode: %s}", []int{8080, 9090}[i], m))
						}
					}
					if len(ports) > 0 {
						spec = append(spec, "portLevelMtls: {"+strings.Join(ports, ", ")+"}")
					}
					add(namespace, fmt.Sprintf(", workload %q, 8080 %q, 9090 %q", workload, first, second),
						append([]string{}, spec...)...)
				}
			}
		}
	}
	return out
}

// plaintext reports, for every namespace, whether ztunnel takes plaintext on a port of its
// pod, by the policies that istiod sends and attaches to the workload.
func plaintext(t *testing.T, docs []string) func(namespace string, port uint16) bool {
	t.Helper()
	policies := map[string]*security.Authorization{}
	attached := map[string][]string{}
	err := test.Wrap(func(f test.Failer) {
		text := strings.Join(docs, "---\n")
		d := xds.NewFakeDiscoveryServer(f, xds.FakeOptions{ConfigString: text, KubernetesObjectString: text})
		for _, p := range d.AmbientIndex.Policies(nil) {
			policies[p.Authorization.Namespace+"/"+p.Authorization.Name] = p.Authorization
		}
		all, _ := d.AmbientIndex.AddressInformation(nil)
		for _, a := range all {
			if w := a.GetWorkload(); w != nil {
				attached[w.Namespace] = w.AuthorizationPolicies
			}
		}
	})
	if err != nil {
		t.Fatalf("convert PeerAuthentications: %v", err)
	}
	return func(namespace string, port uint16) bool {
		keys, ok := attached[namespace]
		if !ok {
			t.Fatalf("istiod knows no workload in %s", namespace)
		}
		var apply []*security.Authorization
		for _, k := range keys {
			if p := policies[k]; p != nil { // a name without a policy is no policy
				apply = append(apply, p)
			}
		}
		return ztunnelDecision(apply, connection{"", netip.MustParseAddr("10.244.0.9"),
			netip.MustParseAddr("10.244.0.10"), port}) != authz.ReasonDenied
	}
}

// TestPeerAuthentication compares, for all combinations of what the mesh, a namespace, a
// workload and two of its ports can say, who takes plaintext on those ports and on
// another one: by istiod's own conversion with ztunnel's rules, and by ours.
func TestPeerAuthentication(t *testing.T) {
	cases := peerCases()
	n, open, wrong, surprises := 0, 0, 0, 0
	for _, mesh := range scopes {
		var docs []string
		meshDoc := ""
		if mesh != "absent" {
			meshDoc = peerAuthentication("istio-system", "default", strings.Join(mtls(mesh), ""))
			docs = append(docs, meshDoc)
		}
		for i, c := range cases {
			if c.policies != "" {
				docs = append(docs, c.policies)
			}
			docs = append(docs, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: app, namespace: %s, labels: {app: app}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {serviceAccountName: app, nodeName: node, containers: [{name: app, image: app}]}
status: {phase: Running, podIP: %[2]s, podIPs: [{ip: %[2]s}], conditions: [{type: Ready, status: "True"}]}
`, c.namespace, netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})))
		}
		theirs := plaintext(t, docs)
		for _, c := range cases {
			text := meshDoc
			if c.policies != "" {
				text += "---\n" + c.policies
			}
			set := &manifest.Set{}
			if strings.TrimSpace(text) != "" {
				var err error
				if set, err = manifest.Parse("case.yaml", strings.TrimPrefix(text, "---\n")); err != nil {
					t.Fatal(err)
				}
			}
			ours := peerauth.New("", set.PeerAuthentications)
			surprises += len(ours.Surprises())
			for _, port := range []uint16{8080, 9090, 7070} {
				want := theirs(c.namespace, port)
				got := ours.For(c.namespace, map[string]string{"app": "app"}, port).Mode == peerauth.Permissive
				if n++; want {
					open++
				}
				if got != want {
					if wrong++; wrong < 6 {
						t.Errorf("mesh %s, %s, port %d: plaintext %v, at ztunnel %v", mesh, c.what, port, got, want)
					}
				}
			}
		}
	}
	if n < 9_450 || open < n/10 || open > n*9/10 || surprises == 0 {
		t.Errorf("%d comparisons, plaintext in %d, %d surprises: too little was tried", n, open, surprises)
	}
	keepZtunnel(t, figures.Figure{Order: 32, What: "PeerAuthentications", Comparisons: n, Disagreements: wrong,
		Notes: fmt.Sprintf("mesh, namespace, workload, two ports in all combinations; plaintext in %d; %d ports on "+
			"which the result is not what the policies say", open, surprises)})
}
