package adversary

import "testing"

func TestNotTwoHundredIsNeverBlocked(t *testing.T) {
	up := Control{Call: "control", OK: true}
	down := Control{Call: "control"}
	log := &Denial{Verdict: DeniedL4, Layer: 2, Hop: "node-proxy-inbound"}
	problem := map[string]string{"content-type": "application/problem+json"}
	for name, c := range map[string]struct {
		attack        Attack
		seen          Evidence
		before, after Control
		denial        *Denial
		logged        bool
		want          Verdict
		layer         int
	}{
		"200":                                     {seen: Evidence{Status: 200, Body: "{}"}, before: up, after: up, logged: true, want: Allowed},
		"the program's own 404":                   {seen: Evidence{Status: 404, Headers: problem, Body: `{"type":"urn:artemis:problem:not-found"}`}, before: up, after: up, logged: true, want: Allowed},
		"somebody's 404":                          {seen: Evidence{Status: 404, Body: "not found"}, before: up, after: up, logged: true, want: Unknown},
		"a 404 that claims to be a program's":     {seen: Evidence{Status: 404, Headers: map[string]string{"content-type": "text/html"}, Body: `{"type":"urn:artemis:problem:not-found"}`}, before: up, after: up, logged: true, want: Unknown},
		"the waypoint's 403":                      {seen: Evidence{Status: 403, Body: "RBAC: access denied"}, before: up, after: up, logged: true, want: DeniedL7, layer: 3},
		"somebody's 403":                          {seen: Evidence{Status: 403, Body: "forbidden"}, before: up, after: up, logged: true, want: Unknown},
		"500":                                     {seen: Evidence{Status: 500, Body: "oops"}, before: up, after: up, logged: true, want: Unknown},
		"reset, the log says why":                 {seen: Evidence{Failure: FailedReset}, before: up, after: up, denial: log, logged: true, want: DeniedL4, layer: 2},
		"reset, the log is silent":                {seen: Evidence{Failure: FailedReset}, before: up, after: up, logged: true, want: Unknown},
		"reset, no log can be read":               {seen: Evidence{Failure: FailedReset}, before: up, after: up, want: DeniedL4, layer: 2},
		"refused, no log can be read":             {seen: Evidence{Failure: FailedRefused}, before: up, after: up, want: DeniedNetwork, layer: 1},
		"time-out, no log can be read":            {seen: Evidence{Failure: FailedTimeout}, before: up, after: up, want: DeniedNetwork, layer: 1},
		"reset, the target was down before":       {seen: Evidence{Failure: FailedReset}, before: down, after: up, denial: log, logged: true, want: TargetDown},
		"reset, the target is down after":         {seen: Evidence{Failure: FailedReset}, before: up, after: down, denial: log, logged: true, want: TargetDown},
		"503, the target is down":                 {seen: Evidence{Status: 503, Body: "no healthy upstream"}, before: down, after: down, logged: true, want: TargetDown},
		"503, the log says why":                   {seen: Evidence{Status: 503}, before: up, after: up, denial: log, logged: true, want: DeniedL4, layer: 2},
		"a name that nobody knows":                {seen: Evidence{Failure: FailedName}, before: up, after: up, denial: log, logged: true, want: Unknown},
		"200, but not what the attack wanted":     {attack: Attack{Success: "capcom"}, seen: Evidence{Status: 200, Body: "{}"}, before: up, after: up, logged: true, want: Unknown},
		"200, and what the attack wanted":         {attack: Attack{Success: "capcom"}, seen: Evidence{Status: 200, Body: `"capcom"`}, before: up, after: up, logged: true, want: Allowed},
		"a datagram that the kernel refuses":      {attack: Attack{Request: Request{Kind: KindUDP}}, seen: Evidence{Failure: FailedRefused}, before: up, after: up, logged: true, want: DeniedNetwork, layer: 1},
		"a datagram that nobody answers":          {attack: Attack{Request: Request{Kind: KindUDP}}, seen: Evidence{Failure: FailedTimeout}, before: up, after: up, logged: true, want: Unknown},
		"a datagram, nobody answers, and no logs": {attack: Attack{Request: Request{Kind: KindUDP}}, seen: Evidence{Failure: FailedTimeout}, before: up, after: up, want: DeniedNetwork, layer: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, layer := Judge(c.attack, c.seen, c.before, c.after, c.denial, c.logged)
			if got != c.want || layer != c.layer {
				t.Errorf("got %s (layer %d), want %s (layer %d)", got, layer, c.want, c.layer)
			}
		})
	}
}
