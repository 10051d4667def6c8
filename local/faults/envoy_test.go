//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// withEnvoys are the options of a suite whose waypoints are real Envoys.
func withEnvoys(t *testing.T, o options) options {
	t.Helper()
	for _, p := range []string{"bin/envoy", "bin/waypoint-config"} {
		if _, err := os.Stat(absolute(t, p)); err != nil {
			t.Fatalf("%v; `make envoy` makes it", err)
		}
	}
	o.flags = append(o.flags, "--waypoint", "envoy")
	return o
}

func TestEveryEnvoyMayDie(t *testing.T) {
	s := start(t, withEnvoys(t, options{}))
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w := s.watch()
	for _, cell := range []string{"houston", "kennedy", "orion", "deep-space-network", "esa-ops"} {
		s.kill(cell + "/waypoint")
	}
	s.until("calls work", 20*time.Second, s.works)
	w.end(t)
	s.until("frames come down again", 40*time.Second, s.live)
}

// TestNobodyElseReachesAnEnvoysInside asks from pods of attackers, at every stage,
// for the configuration that an Envoy shows its owner, and for its certificate.
func TestNobodyElseReachesAnEnvoysInside(t *testing.T) {
	s := start(t, withEnvoys(t, options{}))
	waypoint, ok := s.pod("orion/waypoint")
	if !ok {
		t.Fatal("there is no waypoint")
	}
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		if out, err := s.ask("stage", stage); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, attacker := range []string{"orion/adversary", "houston/adversary", "orion/adversary-unmeshed"} {
			for _, url := range []string{
				"http://" + waypoint.Address + ":15000/config_dump",
				"http://10.96.0.12:15010/v3/discovery:secrets",
			} {
				if got := s.curl(attacker, url); !strings.HasSuffix(got, "\n000") {
					t.Errorf("%s: %s gets from %s: %s", stage, attacker, url, got)
				}
			}
		}
	}
}

// TestAWaypointMayGoAndComeBack takes a Cell's waypoint out of the manifests of a
// running suite and puts it back. Without one Istio sends callers straight to the
// pods, and those take nobody but the waypoint.
func TestAWaypointMayGoAndComeBack(t *testing.T) {
	project := copyOf(t)
	s := start(t, withEnvoys(t, options{root: project}))
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w := s.watch()
	file := filepath.Join(project, "istio/cells/orion.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for document := range strings.SplitSeq(string(good), "\n---\n") {
		if !strings.Contains(document, "kind: Gateway\nmetadata:") {
			kept = append(kept, document)
		}
	}
	put(t, file, strings.Join(kept, "\n---\n"))
	s.until("its loss is reported", 20*time.Second, func() bool {
		now, err := s.status()
		return err == nil && strings.Contains(now.Problem, "istio/cells/orion.yaml: at stage zero-trust: no waypoint")
	})
	if out, err := s.ask("apply", "--accept-loss"); err != nil {
		t.Fatalf("accept the loss: %v\n%s", err, out)
	}
	s.until("the waypoint is gone", 20*time.Second, func() bool {
		now, err := s.status()
		if err != nil {
			return false
		}
		for _, p := range now.Pods {
			if p.name() == "orion/waypoint" {
				return false
			}
		}
		return now.Problem == ""
	})
	for range 5 {
		if got := s.attack(); !strings.HasSuffix(got, "\n000") {
			t.Errorf("without the waypoint: %s, want a reset", got)
		}
	}
	put(t, file, string(good))
	s.until("the waypoint is ready", 20*time.Second, func() bool {
		p, ok := s.pod("orion/waypoint")
		return ok && p.Ready
	})
	s.until("calls work again", 20*time.Second, s.works)
	s.until("frames come down again", 40*time.Second, s.live)
	w.end(t)
}

// TestEnvoysWhoseClockIsAnother sets the clock of all but the Envoys: certificates
// are not valid yet to one side and over to the other. No new connection is made,
// and every one is when the clocks agree again.
func TestEnvoysWhoseClockIsAnother(t *testing.T) {
	clock := newSteppable(t)
	bin := filepath.Dir(clock.artemis)
	for _, p := range []string{"envoy", "waypoint-config"} { // artemis looks for them beside itself
		if err := os.Symlink(absolute(t, "bin/"+p), filepath.Join(bin, p)); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, withEnvoys(t, options{artemis: clock.artemis, service: clock.service,
		share: filepath.Dir(clock.file)}))
	allowed := func() bool {
		return strings.HasSuffix(s.curl("houston/flight-director", "http://telemetry-monitor:8080/dashboard"), "\n200")
	}
	s.until("a call is answered", 20*time.Second, allowed)
	w := s.watch()
	for _, step := range []time.Duration{30 * time.Hour, 20 * year} {
		clock.set(step)
		s.until(fmt.Sprintf("nothing new passes with the clocks %v apart", step), time.Minute,
			func() bool { return !allowed() })
		for range 5 {
			if allowed() {
				t.Errorf("a call was answered with the clocks %v apart", step)
			}
			if got := s.attack(); strings.HasSuffix(got, "\n200") {
				t.Errorf("let in with the clocks %v apart: %s", step, got)
			}
		}
		clock.set(0)
		s.until("a call is answered again", time.Minute, allowed)
		s.until("an operator's is", time.Minute, s.works)
	}
	w.end(t)
}
