package adversary_test

import (
	"slices"
	"testing"

	"artemis.example/adversary"
	"artemis.example/policy/manifest"
	"github.com/google/go-cmp/cmp"
)

func TestEveryAttackerOfTheCampaignHasItsDeployment(t *testing.T) {
	set, err := manifest.Load("manifests")
	if err != nil {
		t.Fatal(err)
	}
	deployed := map[string]adversary.Attacker{}
	for _, d := range set.Deployments {
		pod := d.Spec.Template.Spec
		for _, v := range pod.Containers[0].Env {
			if v.Name == "ADVERSARY_NAME" {
				deployed[v.Value] = adversary.Attacker{
					Name: v.Value, Namespace: d.Namespace, Pod: d.Name, Account: pod.ServiceAccountName,
					Unmeshed: d.Namespace == "dark-side" || d.Spec.Template.Labels["istio.io/dataplane-mode"] == "none",
				}
			}
		}
	}
	c, err := adversary.Load()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]adversary.Attacker{}
	for _, a := range c.Attackers {
		if a.About = ""; a.Pod != "" {
			want[a.Name] = a
		}
	}
	if diff := cmp.Diff(want, deployed); diff != "" {
		t.Errorf("attackers of the campaign (-) and of the manifests (+):\n%s", diff)
	}
}

func TestTheConsoleIsPublishedForOperatorsOnly(t *testing.T) {
	set, err := manifest.Load("manifests")
	if err != nil {
		t.Fatal(err)
	}
	var prefixes []string
	for _, r := range set.HTTPRoutes {
		for _, rule := range r.Spec.Rules {
			for _, f := range rule.Filters {
				prefixes = append(prefixes, *f.URLRewrite.Path.ReplacePrefixMatch)
			}
		}
	}
	if !slices.Equal(prefixes, []string{"/operator"}) {
		t.Errorf("the gateway rewrites to %q, want /operator only: rogues phone home beside it", prefixes)
	}
}
