package process_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/missionclock"
	"artemis.example/service/role"
)

// TestEveryServiceThatRestartsInMidMissionIsBackInStep restarts one of each
// Cell at a time, until all have been, and then whole Cells. The burn stays
// flown.
func TestEveryServiceThatRestartsInMidMissionIsBackInStep(t *testing.T) {
	t.Parallel()
	env := fast(240)
	env["SHUTDOWN_GRACE"] = "800ms" // callers never pause: the drain takes half of it
	s := start(t, env)
	s.launch()
	s.until("a course correction is flown", func() (bool, string) {
		code, body := s.call("POST", "flight-director", "/uplink/command", `{"type":"course-correction","deltaV":-2.5}`)
		return code == 200, fmt.Sprint(code, body)
	})
	want := *s.status().LiftOff
	burned := func() (bool, string) {
		code, body := s.call("GET", "flight-director", "/mission/status", "")
		var got role.Status
		if code != 200 || json.Unmarshal([]byte(body), &got) != nil {
			return false, body
		}
		return got.Contact.State == "live" && len(got.Maneuvers) == 1 && got.Maneuvers[0].DeltaVMS == -2.5 &&
				got.LiftOff.Equal(want),
			fmt.Sprintf("%+v %+v", got.Contact, got.Maneuvers)
	}
	s.until("the burn comes down", burned)
	// First one of each Cell at a time, then Cell by Cell.
	cells, places := [][]string{}, [][]string{}
	for _, cell := range catalog.Cells() {
		all := []string{}
		for _, service := range catalog.Services() {
			if service.Cell != cell {
				continue
			}
			if len(all) == len(places) {
				places = append(places, nil)
			}
			places[len(all)] = append(places[len(all)], service.Name)
			all = append(all, service.Name)
		}
		cells = append(cells, all)
	}
	for _, group := range append(places, cells...) {
		var stopped sync.WaitGroup
		for _, name := range group {
			stopped.Go(func() { s.stop(name) })
		}
		stopped.Wait()
		for _, name := range group {
			s.run(name, listenAt(t, s.address[name]))
		}
		s.until(fmt.Sprint(group, " in step"), func() (bool, string) {
			for _, name := range group {
				if got := s.clockOf(name); !got.Equal(want) {
					return false, fmt.Sprintf("%s: lift-off at %s, want %s", name, got, want)
				}
			}
			return true, ""
		})
		s.until(fmt.Sprint("frames with the burn after the restart of ", group), burned)
	}
}

// clockOf returns the lift-off that a service tells with any answer, here of an
// endpoint that it does not have.
func (s *suite) clockOf(name string) time.Time {
	s.t.Helper()
	response, err := http.Get("http://" + s.address[name] + "/no/such/endpoint")
	if err != nil {
		return time.Time{}
	}
	response.Body.Close()
	r, err := missionclock.Parse(response.Header.Get(missionclock.Header))
	if err != nil {
		return time.Time{}
	}
	return r.LiftOff
}
