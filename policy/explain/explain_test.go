package explain_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

func explainer(t *testing.T, stage string) *explain.Explainer {
	t.Helper()
	set, err := manifest.Load(filepath.Join("testdata", "zero-trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if stage != "zero-trust" {
		over, err := manifest.Load(filepath.Join("testdata", stage+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		set = set.Overlay(over)
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return explain.New(stage, w)
}

// outcome is what an answer comes down to.
type outcome struct {
	Verdict decision.Verdict
	Hop     decision.Hop
	Layer   int
	Decider string // the rule, or the policy
}

func of(a *explain.Answer) outcome {
	o := outcome{a.Verdict, a.Hop, a.Layer, a.Rule}
	if o.Decider == "" {
		o.Decider = a.Policy
	}
	return o
}

// The table of facts/istio.md 11.8 and 11.1, for callers and targets of the
// fixture.
func TestTheThreeStages(t *testing.T) {
	const (
		nav      = "orion/guidance-nav"
		hbone    = "/allow-istio-hbone"
		navRule  = "ns[orion-ns]-policy[guidance-nav-authz]-rule[0]"
		viaOrion = "ns[orion-ns]-policy[via-waypoint-only]-rule[0]"
	)
	network := func(policy string) outcome {
		return outcome{decision.DeniedNetwork, decision.HopNetworkPolicy, 1, policy}
	}
	app := func(rule string) outcome { return outcome{decision.Allowed, decision.HopNodeProxyInbound, 2, rule} }
	l7 := outcome{decision.DeniedL7, decision.HopWaypoint, 3, ""}
	l4 := outcome{decision.DeniedL4, decision.HopNodeProxyInbound, 2, ""}
	for _, c := range []struct {
		name, from, to, method, path string
		port                         uint16
		want                         map[string]outcome
	}{
		{"an allowed caller of another Cell", "houston/capcom", nav, "GET", "/position", 0, map[string]outcome{
			"open": network("orion-ns" + hbone), "mtls": app(viaOrion), "zero-trust": {decision.Allowed,
				decision.HopWaypoint, 3, navRule}}},
		{"its wrong method", "houston/capcom", nav, "DELETE", "/position", 0, map[string]outcome{"mtls": app(viaOrion),
			"zero-trust": l7}},
		{"the adversary in the Cell", "orion/adversary", nav, "GET", "/position", 0, map[string]outcome{
			"open": {decision.Allowed, decision.HopNetworkPolicy, 1, "orion-ns/openchoreo-guidance-nav"},
			"mtls": app(viaOrion), "zero-trust": l7}},
		{"the adversary by pod IP", "orion/adversary", "pod:" + nav, "GET", "/position", 0, map[string]outcome{
			"open": {decision.Allowed, decision.HopNetworkPolicy, 1, "orion-ns/openchoreo-guidance-nav"},
			"mtls": app(viaOrion), "zero-trust": l4}},
		{"the adversary through a shadow Service", "orion/adversary", "orion/shadow", "GET", "/position", 0,
			map[string]outcome{"mtls": app(viaOrion), "zero-trust": l4}},
		{"the adversary through a second Service", "orion/adversary", "orion/second", "GET", "/position", 0,
			map[string]outcome{"mtls": app(viaOrion), "zero-trust": l7}},
		{"the adversary through its TCP port", "orion/adversary", "orion/second", "GET", "/position", 8081,
			map[string]outcome{"zero-trust": l7}},
		{"the adversary in an unmeshed namespace", "dark-side/adversary", nav, "GET", "/position", 0,
			map[string]outcome{
				"open": network("orion-ns" + hbone), "mtls": network("orion-ns" + hbone),
				"zero-trust": network("orion-ns" +
					hbone)}},
		{"the operator", "ingress", "houston/flight-director", "GET", "/mission/status", 0, map[string]outcome{
			"open": {decision.Allowed, decision.HopNetworkPolicy, 1, "houston-ns/openchoreo-flight-director"},
			"mtls": app("ns[houston-ns]-policy[via-waypoint-only]-rule[0]"), "zero-trust": {decision.Allowed,
				decision.HopWaypoint, 3, "ns[houston-ns]-policy[flight-director-authz]-rule[0]"}}},
		{"the operator, what is not for ingress", "ingress", "houston/flight-director", "POST", "/handoff", 0,
			map[string]outcome{"zero-trust": l7}},
		{"the operator without a route", "ingress", nav, "GET", "/position", 0,
			map[string]outcome{"zero-trust": {decision.Failed, decision.HopGateway, 0, ""}}},
		{"the waypoint's own identity by pod IP", "spiffe://cluster.local/ns/orion-ns/sa/waypoint", "pod:" + nav, "GET",
			"/position", 0, map[string]outcome{"zero-trust": app(viaOrion)}},
		{"an identity that nobody has", "spiffe://cluster.local/ns/houston-ns/sa/nobody", nav, "GET", "/position", 0,
			map[string]outcome{"zero-trust": l7}},
		{"a path with a null byte", "houston/capcom", nav, "GET", "/position%00", 0,
			map[string]outcome{"zero-trust": l7}},
		{"a method in lower case", "houston/capcom", nav, "get", "/position", 0, map[string]outcome{"zero-trust": l7}},
		{"a path that the waypoint makes the right one", "houston/capcom", nav, "GET", "/x/%2e%2e/position", 0,
			map[string]outcome{"zero-trust": {decision.Allowed, decision.HopWaypoint, 3, navRule}}},
	} {
		for stage, want := range c.want {
			t.Run(c.name+" at "+stage, func(t *testing.T) {
				a, err := explainer(t, stage).Ask(explain.Question{From: c.from, To: c.to, Method: c.method,
					Path: c.path, Port: c.port})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, of(a)); diff != "" {
					t.Errorf("outcome (-want +got):\n%s\n%+v", diff, a.Steps)
				}
			})
		}
	}
}

func TestARefusalNamesWhatComesClosest(t *testing.T) {
	x := explainer(t, "zero-trust")
	for _, c := range []struct {
		name string
		q    explain.Question
		want []explain.NearMiss
	}{
		{"another caller", explain.Question{From: "orion/adversary", To: "orion/guidance-nav", Method: "GET",
			Path: "/position"}, []explain.NearMiss{{
			Policy: "orion-ns/guidance-nav-authz", Rule: "ns[orion-ns]-policy[guidance-nav-authz]-rule[0]",
			Message: "allowed for houston/capcom; you are orion/adversary",
			Misses: []authz.Miss{{Field: "principals", Values: []string{"cluster.local/ns/houston-ns/sa/capcom"},
				Got: "cluster.local/ns/orion-ns/sa/adversary"}},
		}}},
		{"another method", explain.Question{From: "houston/capcom", To: "orion/guidance-nav", Method: "POST",
			Path: "/position"}, []explain.NearMiss{{
			Policy: "orion-ns/guidance-nav-authz", Rule: "ns[orion-ns]-policy[guidance-nav-authz]-rule[0]",
			Message: "allowed for GET; you ask POST",
			Misses:  []authz.Miss{{Field: "methods", Values: []string{"GET"}, Got: "POST"}},
		}, {
			Policy: "orion-ns/guidance-nav-authz", Rule: "ns[orion-ns]-policy[guidance-nav-authz]-rule[1]",
			Message: "allowed for /maneuver; you ask /position",
			Misses:  []authz.Miss{{Field: "paths", Values: []string{"/maneuver"}, Got: "/position"}},
		}}},
		{"past the waypoint", explain.Question{From: "orion/adversary", To: "pod:orion/guidance-nav",
			Path: "/position"}, []explain.NearMiss{{
			Policy: "orion-ns/via-waypoint-only", Rule: "ns[orion-ns]-policy[via-waypoint-only]-rule[0]",
			Message: "allowed for waypoint; you are orion/adversary",
			Misses: []authz.Miss{{Field: "serviceAccounts", Values: []string{"waypoint"},
				Got: "cluster.local/ns/orion-ns/sa/adversary"}},
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := x.Ask(c.q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, a.NearMisses); diff != "" {
				t.Errorf("near misses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryLayerIsAStepInTheOrderOfTheWay(t *testing.T) {
	a, err := explainer(t, "zero-trust").Ask(explain.Question{From: "houston/capcom", To: "orion/guidance-nav",
		Path: "/position"})
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		Layer  int
		Hop    decision.Hop
		Policy string
	}
	var got []step
	for _, s := range a.Steps {
		got = append(got, step{s.Layer, s.Hop, s.Policy})
	}
	want := []step{
		{1, decision.HopNetworkPolicy, "orion-ns/allow-istio-hbone"},
		{3, decision.HopWaypoint, "orion-ns/guidance-nav-authz"},
		{1, decision.HopNetworkPolicy, "orion-ns/allow-istio-hbone"},
		{2, decision.HopNodeProxyInbound, "orion-ns/via-waypoint-only"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestAQuestionAboutNobodyIsAnError(t *testing.T) {
	x := explainer(t, "zero-trust")
	for _, q := range []explain.Question{
		{From: "orion/nobody", To: "orion/guidance-nav", Path: "/"},
		{From: "orion/adversary", To: "orion/nothing", Path: "/"},
		{From: "adversary", To: "orion/guidance-nav", Path: "/"}, // two go by that name
		{From: "orion/adversary", To: "orion/guidance-nav", Port: 1, Path: "/"},
		{From: "spiffe://", To: "orion/guidance-nav", Path: "/"},
	} {
		if a, err := x.Ask(q); err == nil {
			t.Errorf("%+v: %+v, want an error", q, a)
		}
	}
}

// What policies let through and the waypoint has no route for ends with 404, as it does
// at the live one.
func TestAWaypointHasNoRouteForSomeRequests(t *testing.T) {
	x := explainer(t, "zero-trust")
	for _, c := range []struct {
		name, method string
		header       http.Header
		want         decision.Verdict
		looks        string
	}{
		{"an empty x-forwarded-proto", "GET", http.Header{"X-Forwarded-Proto": {""}}, decision.Failed, "404"},
		{"a scheme", "GET", http.Header{"X-Forwarded-Proto": {"https"}}, decision.Allowed, ""},
		{"refused by policy first", "DELETE", http.Header{"X-Forwarded-Proto": {""}}, decision.DeniedL7,
			"403 RBAC: access denied"},
	} {
		a, err := x.Ask(explain.Question{From: "houston/capcom", To: "orion/guidance-nav", Method: c.method,
			Path: "/position", Header: c.header})
		if err != nil {
			t.Fatal(err)
		}
		if a.Verdict != c.want || a.Looks != c.looks {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, a.Verdict, a.Looks, c.want, c.looks)
		}
	}
}
