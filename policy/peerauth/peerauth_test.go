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
	return "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " + name +
		", namespace: " + namespace + "}\nspec: {" + spec + "}\n"
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
		{"the namespace's beats the mesh's", mesh + object("p", "a", permissive),
			peerauth.Result{Mode: peerauth.Permissive, Policy: "a/p"}},
		{"UNSET leaves the mesh's", mesh + object("p", "a", "mtls: {mode: UNSET}"),
			peerauth.Result{Mode: peerauth.Strict, Policy: "istio-system/default"}},
		{"no mtls at all leaves the mesh's", mesh + object("p", "a", ""), peerauth.Result{Mode: peerauth.Strict,
			Policy: "istio-system/default"}},
		{"DISABLE takes plaintext", mesh + object("p", "a", "mtls: {mode: DISABLE}"),
			peerauth.Result{Mode: peerauth.Permissive, Policy: "a/p"}},
		{"the workload's beats the namespace's", object("p", "a", permissive) + object("w", "a", app+strict),
			peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"another workload's does not count", object("w", "a", strings.Replace(app, "app: app", "app: other", 1)+
			strict), peerauth.Result{Mode: peerauth.Permissive}},
		{"a port's beats the workload's", object("w", "a", app+strict+", portLevelMtls: {8080: {mode: PERMISSIVE}}"),
			peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"another port's does not count", object("w", "a", app+strict+", portLevelMtls: {9090: {mode: PERMISSIVE}}"),
			peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"a STRICT port of a permissive workload", object("w", "a", app+permissive+
			", portLevelMtls: {8080: {mode: STRICT}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"a permissive port under a strict namespace", object("p", "a", strict) + object("w", "a", app+
			"portLevelMtls: {8080: {mode: PERMISSIVE}}"), peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"a DISABLE port alone under a strict namespace is lost", object("p", "a", strict) + object("w", "a",
			app+"portLevelMtls: {8080: {mode: DISABLE}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/p"}},
		{"a STRICT port under a STRICT mesh is lost when its workload is PERMISSIVE", mesh + object("w", "a",
			app+permissive+", portLevelMtls: {8080: {mode: STRICT}}"), peerauth.Result{Mode: peerauth.Permissive,
			Policy: "a/w"}},
		{"so it is beside a namespace that says nothing", mesh + object("p", "a", "") + object("w", "a",
			app+"mtls: {mode: DISABLE}, portLevelMtls: {8080: {mode: STRICT}}"),
			peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"it counts where the namespace says PERMISSIVE", mesh + object("p", "a", permissive) + object("w", "a",
			app+permissive+", portLevelMtls: {8080: {mode: STRICT}}"), peerauth.Result{Mode: peerauth.Strict,
			Policy: "a/w"}},
		{"another port's PERMISSIVE opens all where the namespace says nothing under a STRICT mesh", mesh + object("p",
			"a", "") + object("w", "a", app+"portLevelMtls: {9090: {mode: PERMISSIVE}}"),
			peerauth.Result{Mode: peerauth.Permissive, Policy: "a/w"}},
		{"it opens itself alone where the namespace has no policy", mesh + object("w", "a",
			app+"portLevelMtls: {9090: {mode: PERMISSIVE}}"), peerauth.Result{Mode: peerauth.Strict, Policy: "a/w"}},
		{"of two for the namespace the first by name counts", object("q", "a", permissive) + object("p", "a", strict),
			peerauth.Result{Mode: peerauth.Strict, Policy: "a/p"}},
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

func TestSurprisesAreNamed(t *testing.T) {
	set, err := manifest.Parse("x.yaml", object("default", "istio-system", "mtls: {mode: STRICT}")+
		object("w", "a", "selector: {matchLabels: {app: app}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8080: "+
			"{mode: STRICT}, 9090: {mode: PERMISSIVE}}")+
		object("p", "b", "")+
		object("w", "b", "selector: {matchLabels: {app: app}}, portLevelMtls: {9090: {mode: PERMISSIVE}}")+
		object("w", "c", "selector: {matchLabels: {app: app}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: "+
			"PERMISSIVE}}"))
	if err != nil {
		t.Fatal(err)
	}
	type surprise struct {
		Policy     string
		Port       uint16
		Said, Mode peerauth.Mode
	}
	var got []surprise
	for _, s := range peerauth.New("", set.PeerAuthentications).Surprises() {
		got = append(got, surprise{s.Policy.Namespace + "/" + s.Policy.Name, s.Port, s.Said, s.Mode})
	}
	want := []surprise{{"a/w", 8080, peerauth.Strict, peerauth.Permissive}, {"b/w", 0, peerauth.Strict,
		peerauth.Permissive}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("surprises (-want +got):\n%s", diff)
	}
}
