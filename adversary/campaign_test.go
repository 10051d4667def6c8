package adversary_test

import (
	"strings"
	"testing"

	"artemis.example/adversary"
)

func TestTheCampaignIsWholeAndCoversTheStory(t *testing.T) {
	c, err := adversary.Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Attacks) < 20 {
		t.Errorf("%d attacks, want 20 at least", len(c.Attacks))
	}
	for _, id := range []string{"abort", "maneuver", "vitals", "uplink"} {
		a, ok := c.Attack(id)
		if !ok || a.Category != "story" {
			t.Errorf("%s is not of the story", id)
			continue
		}
		for stage, want := range map[string]adversary.Verdict{"open": adversary.Allowed, "mtls": adversary.Allowed,
			"zero-trust": adversary.DeniedL7} {
			if e, _ := a.Expect.At(stage); e.Verdict != want {
				t.Errorf("%s at %s: expected %s, want %s", id, stage, e.Verdict, want)
			}
		}
	}
	for _, a := range c.Attacks {
		if a.Category == "limits" && a.ID != "datagram" && !strings.Contains(a.Limits, "NOT STOPPED") {
			t.Errorf("%s: a limit that does not say so", a.ID)
		}
	}
}

const sound = `
attackers: [{name: rogue, about: a pod, namespace: n, pod: p, account: a}]
attacks:
  - id: one
    title: One
    story: It attacks.
    category: story
    attacker: rogue
    target: guidance-nav
    send: [{to: "host:8080", line: GET /position}]
    expect: {open: {verdict: allowed}, mtls: {verdict: allowed}, zero-trust: {verdict: denied-l7}}
    control: {stage: open}
    why: Because.
    limits: None.
`

func TestACampaignIsReadStrictly(t *testing.T) {
	if _, err := adversary.Parse(strings.NewReader(sound)); err != nil {
		t.Fatalf("the sound one: %v", err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"an unknown field":             {"why: Because.", "why: Because.\n    wyh: x", "wyh"},
		"an unknown attacker":          {"attacker: rogue", "attacker: nobody", "nobody"},
		"a target that is no service":  {"target: guidance-nav", "target: example.org", "example.org"},
		"a stage without expectation":  {", mtls: {verdict: allowed}", "", "mtls"},
		"a verdict outside of the set": {"denied-l7", "blocked", "blocked"},
		"an address without a port":    {"host:8080", "host", "HOST:PORT"},
		"a line break in the request":  {"GET /position", `"GET /position\r\nX: y"`, "line break"},
		"a control that is no success": {"control: {stage: open}", "control: {stage: zero-trust}", "control"},
		"no control at all":            {"control: {stage: open}", "control: {}", "control"},
		"an attack without its limits": {"limits: None.", `limits: ""`, "limits"},
		"an attack that is given twice": {"attacks:", "attacks:\n  - {id: one, title: a, story: b, category: c, " +
			"attacker: rogue, target: capcom, why: w, limits: l, send: [{to: 'h:1', line: GET /}], expect: {open: " +
			"{verdict: allowed}, mtls: {verdict: allowed}, zero-trust: {verdict: allowed}}, control: {stage: open}}",
			"twice"},
	} {
		text := strings.Replace(sound, c.old, c.new, 1)
		if text == sound {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := adversary.Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want an error that names %q, have %v", name, c.want, err)
		}
	}
}
