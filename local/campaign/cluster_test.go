package campaign

import (
	"testing"

	"artemis.example/adversary"
	"github.com/google/go-cmp/cmp"
)

var orionRogue = adversary.Attacker{
	Name: "orion-rogue", Namespace: "dp-default-orion-development-1bced798", Pod: "adversary", Account: "adversary",
}

// Lines as ztunnel 1.31 writes them.
func TestZtunnelsLogNamesTheLayer(t *testing.T) {
	const common = `2026-11-24T10:11:12.131415Z	error	access	connection complete	src.addr=10.42.0.131:50652 ` +
		`src.workload="adversary-6c9f-xkq2p" src.namespace="dp-default-orion-development-1bced798" ` +
		`src.identity="spiffe://cluster.local/ns/dp-default-orion-development-1bced798/sa/adversary" ` +
		`dst.addr=10.42.0.132:15008 dst.hbone_addr=10.42.0.132:8080 dst.namespace="dp-default-orion-development-1bced798" `
	for name, c := range map[string]struct {
		line string
		want []adversary.Decision
	}{
		"no rule admits it": {
			common +
				`direction="inbound" bytes_sent=0 bytes_recv=0 duration="0ms" error="connection closed due to policy rejection: allow policies exist, but none allowed"`,
			[]adversary.Decision{{Hop: "node-proxy-inbound", Layer: 2, Verdict: adversary.DeniedL4,
				Reason: "connection closed due to policy rejection: allow policies exist, but none allowed"}},
		},
		"a policy denies it": {
			common +
				`direction="inbound" error="connection closed due to policy rejection: explicitly denied by: orion/no"`,
			[]adversary.Decision{{Hop: "node-proxy-inbound", Layer: 2, Verdict: adversary.DeniedL4, Policy: "orion/no",
				Reason: "connection closed due to policy rejection: explicitly denied by: orion/no"}},
		},
		"the perimeter refuses it": {
			common + `direction="outbound" error="connection failed: Connection refused (os error 111)"`,
			[]adversary.Decision{{Hop: "network-policy", Layer: 1, Verdict: adversary.DeniedNetwork,
				Reason: "connection failed: Connection refused (os error 111)"}},
		},
		"a connection that was let through": {common + `direction="inbound" bytes_sent=120 duration="3ms"`, nil},
		"somebody else's": {
			`error access connection complete src.workload="life-support-1" src.namespace="dp-default-orion-development-1bced798" ` +
				`src.identity="spiffe://cluster.local/ns/dp-default-orion-development-1bced798/sa/life-support" direction="inbound" error="policy rejection"`, nil,
		},
		"no line of an access log": {"info xds ADS connected", nil},
	} {
		if diff := cmp.Diff(c.want, ztunnelDenials([]byte(c.line+"\n"), orionRogue)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAWaypointsLogNamesTheRule(t *testing.T) {
	line := func(caller, decision, closed string) string {
		return `{"caller":"` + caller + `","method":"POST","path":"/maneuver","status":"403","decision":"` + decision +
			`","closed":"` + closed + `"}` + "\n"
	}
	own := orionRogue.Identity()
	for name, c := range map[string]struct {
		log  string
		want []adversary.Decision
	}{
		"no rule admits it": {
			line(own, "rbac_access_denied_matched_policy[none]", "-"),
			[]adversary.Decision{{Hop: "waypoint", Layer: 3, Verdict: adversary.DeniedL7,
				Reason: "ALLOW policies apply, but none of their rules matches"}},
		},
		"a rule denies it": {
			line(own, "rbac_access_denied_matched_policy[ns[orion]-policy[no]-rule[0]]", "-"),
			[]adversary.Decision{{Hop: "waypoint", Layer: 3, Verdict: adversary.DeniedL7,
				Rule: "ns[orion]-policy[no]-rule[0]", Reason: "a policy denies it"}},
		},
		"a TCP chain": {
			line(own, "-", "rbac_access_denied_matched_policy[none]"),
			[]adversary.Decision{{Hop: "waypoint", Layer: 3, Verdict: adversary.DeniedL7,
				Reason: "ALLOW policies apply, but none of their rules matches"}},
		},
		"allowed": {line(own, "via_upstream", "-"), nil},
		"somebody else's": {line("spiffe://cluster.local/ns/x/sa/y", "rbac_access_denied_matched_policy[none]", "-"),
			nil},
		"Envoy's own output": {"[2026-11-24 10:11:12.131][1][info] starting\n", nil},
	} {
		if diff := cmp.Diff(c.want, waypointDenials([]byte(c.log), orionRogue)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
