package adversary_test

import (
	"testing"

	"artemis.example/adversary"
	"github.com/google/go-cmp/cmp"
)

var (
	alive = &adversary.Probe{OK: true, Call: "GET /x", Detail: "answered 200"}
	down  = &adversary.Probe{Call: "GET /x", Target: true, Detail: "unreachable"}
	lost  = &adversary.Probe{Call: "GET /x", Detail: "the gateway: connection refused"}
)

func logged(v adversary.Verdict) []adversary.Decision {
	return []adversary.Decision{{Hop: "node-proxy-inbound", Layer: v.Layer(), Verdict: v,
		Policy: "orion/via-waypoint-only"}}
}

func rbac() *adversary.Evidence { return &adversary.Evidence{Status: 403, Body: "RBAC: access denied"} }

func TestAVerdictIsOnlyWhatWasProven(t *testing.T) {
	reset := &adversary.Evidence{Fault: adversary.Reset, Error: "connection reset by peer"}
	for _, c := range []struct {
		name           string
		evidence       *adversary.Evidence
		before, after  *adversary.Probe
		logRead        bool
		log            []adversary.Decision
		outside, plain bool
		want           adversary.Verdict
		layer          int
		inferred       bool
	}{
		{name: "the target's program answered 200", evidence: &adversary.Evidence{Status: 200, Service: "guidance-nav",
			Effect: true}, want: adversary.Allowed},
		{name: "the target's program answered 404: no layer stood in the way", evidence: &adversary.Evidence{
			Status: 404, Service: "guidance-nav"}, before: alive, after: alive, want: adversary.Allowed},
		{name: "the target's program answered 500", evidence: &adversary.Evidence{Status: 500, Service: "guidance-nav"},
			before: alive, after: alive, want: adversary.Allowed},
		{name: "403 by the waypoint, controls good, named by the log", evidence: rbac(), before: alive, after: alive,
			logRead: true, log: logged(adversary.DeniedL7), want: adversary.DeniedL7, layer: 3},
		{name: "403 by the waypoint, no log to read", evidence: rbac(), before: alive, after: alive,
			want: adversary.DeniedL7, layer: 3},
		{name: "403 by the waypoint, but the log names nothing", evidence: rbac(), before: alive, after: alive,
			logRead: true, want: adversary.Unknown},
		{name: "403 by the waypoint, target down before", evidence: rbac(), before: down, after: alive, logRead: true,
			log: logged(adversary.DeniedL7), want: adversary.TargetDown},
		{name: "403 by the waypoint, target down after", evidence: rbac(), before: alive, after: down, logRead: true,
			log: logged(adversary.DeniedL7), want: adversary.TargetDown},
		{name: "403 with another body is somebody else's", evidence: &adversary.Evidence{Status: 403,
			Body: "Forbidden"}, before: alive, after: alive, logRead: true, log: logged(adversary.DeniedL7),
			want: adversary.Unknown},
		{name: "404 by nobody of ours, from inside", evidence: &adversary.Evidence{Status: 404}, before: alive,
			after: alive, logRead: true, want: adversary.Unknown},
		{name: "404 by the gateway", evidence: &adversary.Evidence{Status: 404}, before: alive, after: alive,
			logRead: true, outside: true, want: adversary.DeniedNetwork, layer: 1},
		{name: "404 by the gateway while nothing comes through it", evidence: &adversary.Evidence{Status: 404},
			before: lost, after: lost, logRead: true, outside: true, want: adversary.Unknown},
		{name: "another program answered", evidence: &adversary.Evidence{Status: 200, Service: "life-support"},
			before: alive, after: alive, want: adversary.Unknown},
		{name: "reset, controls good, named by the log", evidence: reset, before: alive, after: alive, logRead: true,
			log: logged(adversary.DeniedL4), want: adversary.DeniedL4, layer: 2},
		{name: "reset that the log calls a NetworkPolicy's", evidence: reset, before: alive, after: alive,
			logRead: true, log: logged(adversary.DeniedNetwork), want: adversary.DeniedNetwork, layer: 1},
		{name: "reset, controls good, but the log names nothing", evidence: reset, before: alive, after: alive,
			logRead: true, want: adversary.Unknown},
		{name: "reset without a log: denied, layer inferred", evidence: reset, before: alive, after: alive,
			want: adversary.DeniedL4, layer: 2, inferred: true},
		{name: "refused to an unmeshed pod without a log", evidence: &adversary.Evidence{Fault: adversary.Refused},
			before: alive, after: alive, plain: true, want: adversary.DeniedNetwork, layer: 1, inferred: true},
		{name: "reset while the target is down", evidence: reset, before: down, after: down, logRead: true,
			log: logged(adversary.DeniedL4), want: adversary.TargetDown},
		{name: "target goes down in between", evidence: reset, before: alive, after: down, want: adversary.TargetDown},
		{name: "waypoint stopped: the control fails on the way", evidence: reset, before: lost, after: lost,
			want: adversary.Unknown},
		{name: "gateway stopped in between", evidence: reset, before: alive, after: lost, want: adversary.Unknown},
		{name: "nobody made a control", evidence: reset, want: adversary.Unknown},
		{name: "503 by a proxy, named by the log", evidence: &adversary.Evidence{Status: 503}, before: alive,
			after: alive, logRead: true, log: logged(adversary.DeniedL4), want: adversary.DeniedL4, layer: 2},
		{name: "503 by a proxy while the target is down", evidence: &adversary.Evidence{Status: 503}, before: down,
			after: down, want: adversary.TargetDown},
		{name: "the attacker did not report", before: alive, after: alive, want: adversary.AttackerDown},
		{name: "no such name", evidence: &adversary.Evidence{Fault: adversary.NoSuchName}, before: alive, after: alive,
			logRead: true, want: adversary.Unknown},
		{name: "what came back is no HTTP", evidence: &adversary.Evidence{Fault: adversary.Garbled}, before: alive,
			after: alive, logRead: true, want: adversary.Unknown},
		{name: "a means settles it", evidence: &adversary.Evidence{Concluded: adversary.DeniedL4}, before: alive,
			after: alive, want: adversary.DeniedL4, layer: 2},
		{name: "a means settles it while the target is down", evidence: &adversary.Evidence{
			Concluded: adversary.DeniedL4}, before: down, after: down, want: adversary.TargetDown},
	} {
		t.Run(c.name, func(t *testing.T) {
			who := adversary.Attacker{Name: "rogue", Pod: "adversary", Unmeshed: c.plain}
			if c.outside {
				who.Pod = ""
			}
			got := adversary.Judge(adversary.Case{
				Attack: adversary.Attack{Target: "guidance-nav"}, Attacker: who, Evidence: c.evidence,
				Before: c.before, After: c.after, LogRead: c.logRead, Log: c.log,
			})
			want := adversary.Judgement{Verdict: c.want, Layer: c.layer, Inferred: c.inferred}
			got.Reason, got.Policy, got.Decision = "", "", nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want (-), have (+):\n%s", diff)
			}
		})
	}
}

func TestNoDenialWithoutBothControls(t *testing.T) {
	evidences := []*adversary.Evidence{
		rbac(), {Fault: adversary.Reset}, {Fault: adversary.Refused}, {Fault: adversary.TimedOut},
		{Fault: adversary.Closed},
		{Status: 503}, {Status: 404}, {Fault: adversary.TLSAlert}, {Concluded: adversary.DeniedL4},
		{Concluded: adversary.DeniedNetwork},
	}
	for _, e := range evidences {
		for _, controls := range [][2]*adversary.Probe{{down, alive}, {alive, down}, {lost, alive}, {alive, lost},
			{nil, alive}, {alive, nil}, {down, down}} {
			for _, read := range []bool{false, true} {
				got := adversary.Judge(adversary.Case{
					Attack: adversary.Attack{Target: "guidance-nav"}, Attacker: adversary.Attacker{Name: "outside"},
					Evidence: e, Before: controls[0], After: controls[1], LogRead: read,
					Log: logged(adversary.DeniedL4),
				})
				if got.Verdict.Denied() {
					t.Errorf("%+v with controls %+v, %+v: %s", e, controls[0], controls[1], got.Verdict)
				}
			}
		}
	}
}

func TestAnExpectationIsMetOnlyByItsVerdictLayerAndEffect(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name     string
		expected adversary.Expectation
		got      adversary.Judgement
		evidence *adversary.Evidence
		met      bool
	}{
		{"the same", adversary.Expectation{Verdict: adversary.DeniedL7},
			adversary.Judgement{Verdict: adversary.DeniedL7, Layer: 3}, nil, true},
		{"another layer's denial", adversary.Expectation{Verdict: adversary.DeniedL7},
			adversary.Judgement{Verdict: adversary.DeniedL4, Layer: 2}, nil, false},
		{"inferred: any denial of a connection", adversary.Expectation{Verdict: adversary.DeniedNetwork},
			adversary.Judgement{Verdict: adversary.DeniedL4, Layer: 2, Inferred: true}, nil, true},
		{"inferred, but a success was expected", adversary.Expectation{Verdict: adversary.Allowed},
			adversary.Judgement{Verdict: adversary.DeniedL4, Layer: 2, Inferred: true}, nil, false},
		{"target down is no denial", adversary.Expectation{Verdict: adversary.DeniedL7},
			adversary.Judgement{Verdict: adversary.TargetDown}, nil, false},
		{"allowed with the effect", adversary.Expectation{Verdict: adversary.Allowed, Effect: &yes},
			adversary.Judgement{Verdict: adversary.Allowed}, &adversary.Evidence{Effect: true}, true},
		{"allowed to no effect", adversary.Expectation{Verdict: adversary.Allowed, Effect: &yes},
			adversary.Judgement{Verdict: adversary.Allowed}, &adversary.Evidence{}, false},
		{"an effect that should not be", adversary.Expectation{Verdict: adversary.Allowed, Effect: &no},
			adversary.Judgement{Verdict: adversary.Allowed}, &adversary.Evidence{Effect: true}, false},
	} {
		if differs := c.expected.Differs(c.got, c.evidence); (differs == "") != c.met {
			t.Errorf("%s: differs %q", c.name, differs)
		}
	}
}

func TestEitherOfTwoVerdictsWillDo(t *testing.T) {
	e := adversary.Expectation{Verdict: adversary.Allowed, AlsoAcceptable: adversary.DeniedNetwork}
	for verdict, want := range map[adversary.Verdict]bool{adversary.Allowed: true, adversary.DeniedNetwork: true,
		adversary.DeniedL4: false, adversary.Unknown: false} {
		if got := e.Differs(adversary.Judgement{Verdict: verdict}, nil) == ""; got != want {
			t.Errorf("%s will do: %v, want %v", verdict, got, want)
		}
	}
}
