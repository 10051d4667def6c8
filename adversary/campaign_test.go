package adversary

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func mustLoad(t *testing.T) *Campaign {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheCampaignHoldsTogether(t *testing.T) {
	c := mustLoad(t)
	if len(c.Attacks) < 20 {
		t.Errorf("%d attacks, want at least 20", len(c.Attacks))
	}
	manifests, err := filepath.Glob("manifests/*.yaml")
	if err != nil || len(manifests) == 0 {
		t.Fatal("no manifests", err)
	}
	var all strings.Builder
	for _, f := range manifests {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for _, attacker := range c.Attackers() {
		if !strings.Contains(all.String(), "value: "+attacker+"}") {
			t.Errorf("no manifest runs the attacker %s", attacker)
		}
	}
	for _, story := range []string{"abort", "maneuver", "vitals", "uplink"} {
		if a, ok := c.Attack(story); !ok || a.Expect["open"].Verdict != Allowed || a.Expect["zero-trust"].Verdict != DeniedL7 {
			t.Errorf("the story's attack %s must succeed at open and be denied by layer 3 at zero-trust", story)
		}
	}
}

func TestAnAttackThatProvesNothingIsRefused(t *testing.T) {
	const valid = `
targets: {x: "x:1"}
attacks:
- {id: a, title: t, category: c, story: s, attacker: o/a, request: {target: x, method: GET, path: /}, expect: {open: {verdict: allowed}, mtls: {verdict: allowed}, zero-trust: {verdict: denied-l7, layer: 3}}}
`
	if _, err := Parse([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a field that nobody knows":     {"title: t", "titel: t"},
		"an unknown target":             {"target: x", "target: y"},
		"an unknown stage":              {"mtls:", "mTLS:"},
		"a verdict that is no verdict":  {"denied-l7", "blocked"},
		"a denial without a layer":      {", layer: 3", ""},
		"no success and no reason":      {"{verdict: allowed}", "{verdict: denied-l4, layer: 2}"},
		"a request that smuggles":       {"path: /", `path: "/ HTTP/1.1\r\nx: y"`},
		"an unknown kind":               {"{target: x", "{kind: http3, target: x"},
		"the same id twice":             {"- {id: a, title: t", "- {id: a, title: t, category: c, story: s, attacker: o/a, request: {target: x, method: GET, path: /}, expect: {open: {verdict: allowed}}, control: c}\n- {id: a, title: t"},
		"a stage left out, no reason":   {"mtls: {verdict: allowed}, ", ""},
		"expecting that nothing is up":  {"verdict: denied-l7", "verdict: target-down"},
		"an id that is no part of URLs": {"id: a", "id: a/../b"},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(valid, change[0], change[1])
			if file == valid {
				t.Fatal("the case changes nothing")
			}
			if _, err := Parse([]byte(file)); err == nil {
				t.Error("was accepted")
			}
		})
	}
}
