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

// TestUnrulyPeersHarmNobodyElse makes two services at a time misbehave in every
// way that ./unruly knows: the one that the operator's question ends at, and one
// on the way of the spacecraft's frames. Whoever asks gets an error, in time, that
// names the culprit; nothing that it said is passed on as true.
func TestUnrulyPeersHarmNobodyElse(t *testing.T) {
	const monitor = "houston/telemetry-monitor"
	others := []string{"orion/guidance-nav", "orion/life-support", "deep-space-network/signal-router",
		"houston/flight-dynamics"}

	dir := visible(t)
	file := filepath.Join(dir, "manners")
	real := program(t, dir, "service", "./service")
	unruly := program(t, dir, "unruly", "./local/faults/unruly", "-ldflags", "-X main.manners="+file+
		" -X main.service="+real)
	list, err := exec.Command(unruly, "--manners").Output()
	if err != nil {
		t.Fatal(err)
	}
	manners := strings.Split(strings.TrimSpace(string(list)), "\n")
	misbehave := func(other, manner string) {
		put(t, file, fmt.Sprintf("%s %s\n%s %s\n", path.Base(monitor), manner, path.Base(other), manner))
	}

	put(t, file, "")
	s := start(t, options{service: unruly, share: dir})
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	misbehave(others[0], manners[0])
	s.kill(monitor) // it starts again as the other program
	was := ""
	for i, manner := range manners {
		other := others[i*len(others)/len(manners)]
		misbehave(other, manner)
		if other != was {
			s.kill(other)
			if was != "" {
				s.kill(was)
			}
			was = other
		}
		t.Run(manner, func(t *testing.T) {
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
