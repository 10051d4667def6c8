package adversary_test

import (
	"testing"

	"artemis.example/adversary"
)

func TestAControlIsGoodOnlyIfTheCallCameToTheTarget(t *testing.T) {
	hop := func(status, problem string) string {
		return `{"trace":{"service":"flight-director","hops":[{"from":"flight-director","to":"capcom","status":200,"hops":[` +
			`{"from":"capcom","to":"comms-system","status":200,"hops":[{"from":"comms-system","to":"guidance-nav","status":` + status + `,"error":"` + problem + `"}]}]}]}}`
	}
	call, _ := adversary.ControlFor("guidance-nav")
	for name, c := range map[string]struct {
		status     int
		body       string
		ok, target bool
	}{
		"its hop is in the trace":  {200, hop("200", ""), true, false},
		"its hop failed":           {200, hop("0", "upstream-unreachable"), false, true},
		"its hop was answered 503": {200, hop("503", "upstream-unreachable"), false, true},
		"the call ended before it": {502,
			`{"code":"upstream-reset","peer":"orion/comms-system","trace":{"service":"flight-director","hops":[]}}`,
			false, false},
		"the gateway has nobody behind it":    {503, "no healthy upstream", false, false},
		"a 200 that says nothing of the call": {200, "{}", false, false},
	} {
		p := adversary.ReadProbe("guidance-nav", call, c.status, []byte(c.body))
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
		if _, ok := adversary.ControlFor(a.Target); !ok {
			t.Errorf("%s: no operator's call reaches %s", a.ID, a.Target)
		}
	}
}
