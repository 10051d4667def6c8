package campaign

import (
	"testing"

	"artemis.example/adversary"
	"artemis.example/policy/decision"
	"github.com/google/go-cmp/cmp"
)

func TestAControlIsGoodOnlyIfTheCallCameToTheTarget(t *testing.T) {
	hop := func(status, problem string) string {
		return `{"trace":{"service":"flight-director","hops":[{"from":"flight-director","to":"capcom","status":200,"hops":[` +
			`{"from":"capcom","to":"comms-system","status":200,"hops":[{"from":"comms-system","to":"guidance-nav","status":` + status + `,"error":"` + problem + `"}]}]}]}}`
	}
	for name, c := range map[string]struct {
		answer     answer
		ok, target bool
	}{
		"its hop is in the trace":             {answer{200, []byte(hop("200", ""))}, true, false},
		"its hop failed":                      {answer{200, []byte(hop("0", "upstream-unreachable"))}, false, true},
		"its hop was answered 503":            {answer{200, []byte(hop("503", "upstream-unreachable"))}, false, true},
		"the call ended before it":            {answer{502, []byte(`{"code":"upstream-reset","peer":"orion/comms-system","trace":{"service":"flight-director","hops":[]}}`)}, false, false},
		"the gateway has nobody behind it":    {answer{503, []byte("no healthy upstream")}, false, false},
		"a 200 that says nothing of the call": {answer{200, []byte("{}")}, false, false},
	} {
		p := judgeProbe(&adversary.Probe{}, "guidance-nav", c.answer)
		if p.OK != c.ok || p.Target != c.target {
			t.Errorf("%s: ok %t, target %t (%s)", name, p.OK, p.Target, p.Detail)
		}
	}
}

func TestEveryTargetOfTheCampaignHasAControl(t *testing.T) {
	c, err := adversary.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range c.Attacks {
		if _, ok := controlFor(a.Target); !ok {
			t.Errorf("%s: no operator's call reaches %s", a.ID, a.Target)
		}
	}
}

func TestOnlyTheAttackersOwnDenialsCount(t *testing.T) {
	rogue := adversary.Attacker{Name: "orion-rogue", Namespace: "orion", Pod: "adversary", Account: "adversary"}
	denied := decision.Record{From: decision.Peer{Namespace: "orion", Component: "adversary"}, Verdict: decision.DeniedL4, Layer: 2, Hop: decision.HopNodeProxyInbound, Policy: "orion/via-waypoint-only"}
	other, allowed := denied, denied
	other.From.Namespace = "houston"
	allowed.Verdict = decision.Allowed
	got := about([]decision.Record{allowed, other, denied}, rogue)
	want := []adversary.Decision{{Hop: "node-proxy-inbound", Layer: 2, Verdict: adversary.DeniedL4, Policy: "orion/via-waypoint-only"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
