package evaluate_test

import (
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/message"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// mission compiles the suite's own manifests at a stage.
func mission(t *testing.T, stage string) *evaluate.Policies {
	t.Helper()
	set, err := manifest.LoadStage("../..", stage, true)
	if err != nil {
		t.Fatal(err)
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	return evaluate.New(w)
}

func caller(t *testing.T, w *topology.World, name string) topology.Caller {
	t.Helper()
	c, err := w.FindCaller(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWhoCouldCallAtAll is what an open connection depends on when the manifests
// change: whether its caller may call the pod in any way.
func TestWhoCouldCallAtAll(t *testing.T) {
	want := map[string][3]bool{ // open, mtls, zero-trust
		"orion/comms-system":   {true, true, true},
		"orion/crew-interface": {true, true, true},
		"orion/adversary":      {true, true, false},
		"orion/life-support":   {true, true, false},
		"houston/capcom":       {false, true, false},
		"houston/adversary":    {false, true, false},
		"intruder/adversary":   {false, false, false},
		"dark-side/adversary":  {false, false, false},
		"ingress":              {false, true, false},
	}
	got := map[string][3]bool{}
	for i, stage := range catalog.Stages() {
		p := mission(t, stage)
		to, _, err := p.World.FindDestination("orion/guidance-nav", 0)
		if err != nil {
			t.Fatal(err)
		}
		pod := to.Service.Backends(to.Port)[0].Pod
		for name := range want {
			row := got[name]
			row[i] = p.CouldAdmit(caller(t, p.World, name), pod)
			got[name] = row
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who could call guidance-nav (-want +got):\n%s", diff)
	}
}

// TestAWayIsDecidedLegByLeg up to the first refusal.
func TestAWayIsDecidedLegByLeg(t *testing.T) {
	p := mission(t, catalog.ZeroTrust)
	to, _, err := p.World.FindDestination("orion/guidance-nav", 0)
	if err != nil {
		t.Fatal(err)
	}
	pod := topology.Destination{Pod: to.Service.Backends(to.Port)[0].Pod, Port: 8080}
	type hop struct {
		Hop     decision.Hop
		Allowed bool
	}
	network, waypoint, inbound := decision.HopNetworkPolicy, decision.HopWaypoint, decision.HopNodeProxyInbound
	for _, c := range []struct {
		name, from, method, path string
		to                       topology.Destination
		want                     []hop
	}{
		{"allowed", "orion/comms-system", "POST", "/maneuver", to, []hop{{network, true}, {waypoint, true},
			{network, true}, {inbound, true}}},
		{"another method", "orion/comms-system", "DELETE", "/maneuver", to, []hop{{network, true}, {waypoint, false}}},
		{"a path that no policy sees", "orion/comms-system", "GET", "/%00", to, []hop{{network, true},
			{waypoint, false}}},
		{"the pod's own address", "orion/comms-system", "POST", "/maneuver", pod, []hop{{network, true},
			{inbound, false}}},
		{"from outside of the mesh", "dark-side/adversary", "POST", "/maneuver", to, []hop{{network, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, refused := message.Ask(c.method, c.path, "guidance-nav:8080", nil)
			if refused != nil {
				t.Fatal(refused)
			}
			way := p.World.Way(caller(t, p.World, c.from), c.to, topology.Live{})
			var got []hop
			for _, r := range p.Way(&way, &evaluate.Call{Head: head}) {
				got = append(got, hop{r.Hop, r.Allowed})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
		})
	}
}
