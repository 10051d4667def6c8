package peerauth_test

import (
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/peerauth"
	"github.com/google/go-cmp/cmp"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

func object(name, namespace, spec string) string {
	return "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
}

func TestMode(t *testing.T) {
	const (
		strict     = "mtls: {mode: STRICT}"
		permissive = "mtls: {mode: PERMISSIVE}"
		app        = "selector: {matchLabels: {app: app}}, "
	)
	mesh := object("default", "istio-system", strict)
	for _, c := range []struct {
		name, policies string
		want           peerauth.Result
	}{
		{"without a policy plaintext is taken", "", peerauth.Result{Mode: peerauth.Permissive}},
		{"the namespace's STRICT", object("p", "a", strict), peerauth.Result{Mode: peerauth.Strict, Policy: "a/p"}},
		{"another namespace's does not count", object("p", "b", strict), peerauth.Result{Mode: peerauth.Permissive}},
		{"the mesh's STRICT", mesh, peerauth.Result{Mode: peerauth.Strict, Policy: "istio-system/default"}},
		{"the namespace's beats the mesh's", mesh + object("p", "a", permissive), peerauth.Result{Mode: peerauth.Permissive, Policy: "a/p"}},
		{"UNSET leaves the mesh's", mesh + object("p", "a", "mtls: {mode: UNSET}"), peerauth.Result{Mode: peerauth.Strict, Policy: "istio-system/default"}},
		{"no mtls at all leaves the mesh's", mesh + object("p", "a", ""), peerauth.Result{Mode: peerauth.Strict, Policy: "istio-system/default"}},
		{"DISABLE takes plaintext", mesh + object("p", "a", "mtls: {mode: DISABLE}"), peerauth.Result{Mode: peerauth.Permissive, Policy: "a/p"}},
		{"the workload's beats the namespace's", object("p", "a", permissive) + object("w", "a", app+strict), peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"another workload's does not count", object("w", "a", strings.Replace(app, "app: app", "app: other", 1)+strict), peerauth.Result{Mode: peerauth.Permissive}},
		{"a port's beats the workload's", object("w", "a", app+strict+", portLevelMtls: {8080: {mode: PERMISSIVE}}"), peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"another port's does not count", object("w", "a", app+strict+", portLevelMtls: {9090: {mode: PERMISSIVE}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"a STRICT port of a permissive workload", object("w", "a", app+permissive+", portLevelMtls: {8080: {mode: STRICT}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"a permissive port under a strict namespace", object("p", "a", strict) + object("w", "a", app+"portLevelMtls: {8080: {mode: PERMISSIVE}}"), peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"a DISABLE port alone under a strict namespace is lost", object("p", "a", strict) + object("w", "a", app+"portLevelMtls: {8080: {mode: DISABLE}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/p"}},
		{"of two for the namespace the first by name counts", object("q", "a", permissive) + object("p", "a", strict), peerauth.Result{Mode: peerauth.Strict, Policy: "a/p"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var policies []*securityv1.PeerAuthentication
			if c.policies != "" {
				set, err := manifest.Parse("x.yaml", c.policies)
				if err != nil {
					t.Fatal(err)
				}
				policies = set.PeerAuthentications
			}
			got := peerauth.New("", policies).For("a", map[string]string{"app": "app"}, 8080)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("mode (-want +got):\n%s", diff)
			}
		})
	}
}
