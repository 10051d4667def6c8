package campaign

import (
	"testing"

	"artemis.example/adversary"
	"artemis.example/policy/decision"
	"github.com/google/go-cmp/cmp"
)

func TestOnlyTheAttackersOwnDenialsCount(t *testing.T) {
	rogue := adversary.Attacker{Name: "orion-rogue", Namespace: "orion", Pod: "adversary", Account: "adversary"}
	denied := decision.Record{From: decision.Peer{Namespace: "orion", Component: "adversary"},
		Verdict: decision.DeniedL4, Layer: 2, Hop: decision.HopNodeProxyInbound, Policy: "orion/via-waypoint-only"}
	other, allowed := denied, denied
	other.From.Namespace = "houston"
	allowed.Verdict = decision.Allowed
	got := about([]decision.Record{allowed, other, denied}, rogue)
	want := []adversary.Decision{{Hop: "node-proxy-inbound", Layer: 2, Verdict: adversary.DeniedL4,
		Policy: "orion/via-waypoint-only"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
