//go:build faults

package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMisbehavingPeersHarmNobodyElse makes two services at a time misbehave in every
// way that ./misbehaving knows: the one that the operator's question ends at, and one
// on the way of the spacecraft's frames. Whoever asks gets an error, in time, that
// names the culprit; nothing that it said is passed on as true.
func TestMisbehavingPeersHarmNobodyElse(t *testing.T) {
	const monitor = "houston/telemetry-monitor"
	others := []string{"orion/guidance-nav", "orion/life-support", "deep-space-network/signal-router",
		"houston/flight-dynamics"}

	dir := visible(t)
	file := filepath.Join(dir, "faults")
	real := program(t, dir, "service", "./service")
	misbehaving := program(t, dir, "misbehaving", "./local/faults/misbehaving", "-ldflags", "-X main.faults="+file+
		" -X main.service="+real)
	list, err := exec.Command(misbehaving, "--faults").Output()
	if err != nil {
		t.Fatal(err)
	}
	faults := strings.Split(strings.TrimSpace(string(list)), "\n")
	misbehave := func(other, fault string) {
		put(t, file, fmt.Sprintf("%s %s\n%s %s\n", path.Base(monitor), fault, path.Base(other), fault))
	}

	put(t, file, "")
	s := start(t, options{service: misbehaving, share: dir})
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	misbehave(others[0], faults[0])
	s.kill(monitor) // it starts again as the other program
	was := ""
	for i, fault := range faults {
		other := others[i*len(others)/len(faults)]
		misbehave(other, fault)
		if other != was {
			s.kill(other)
			if was != "" {
				s.kill(was)
			}
			was = other
		}
		t.Run(fault, func(t *testing.T) {
			w := s.watch()
			for range 2 {
				began := time.Now()
				code, body, err := s.call(http.MethodGet, "/flight-director-http/mission/status", "")
				var problem struct{ Peer string }
				switch {
				case err != nil:
					t.Errorf("no answer after %v: %v", time.Since(began), err)
				case code/100 != 5 || json.Unmarshal(body, &problem) != nil || problem.Peer != monitor:
					t.Errorf("%d %.300s, want an error that names %s", code, body, monitor)
				}
			}
			for range 2 {
				if got := s.curl("houston/flight-director",
					"http://telemetry-monitor:8080/dashboard"); strings.Contains(got, "forged") {
					t.Errorf("an answer to another question: %s", got)
				}
			}
			w.halt(t)
		})
	}
	put(t, file, "")
	s.kill(monitor)
	s.kill(was)
	s.until("frames come down again", 40*time.Second, s.live)
}
