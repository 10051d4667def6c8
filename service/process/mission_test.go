package process_test

import (
	"fmt"
	"slices"
	"testing"

	"artemis.example/service/role"
)

func TestTheMissionFliesFromTheCountdownToTheSplashdown(t *testing.T) {
	t.Parallel()
	s := start(t, fast(45))
	if got := s.status(); got.Phase != "pre-launch" || got.MissionTime != nil || got.Contact.State != "none" {
		t.Errorf("before the launch: %+v", got)
	}
	s.launch()

	// A burn, when it can be flown, comes back by telemetry.
	var burn string
	s.until("a course correction is flown", func() (bool, string) {
		code, body := s.call("POST", "flight-director", "/uplink/command", `{"type":"course-correction","deltaV":2.3}`)
		burn = body
		return code == 200, fmt.Sprint(code, body)
	})
	s.until("the burn comes down", func() (bool, string) {
		got := s.status()
		return len(got.Maneuvers) == 1 && got.Maneuvers[0].DeltaVMS == 2.3, fmt.Sprintf("%+v after %s", got.Maneuvers,
			burn)
	})

	stations := map[string]bool{}
	var phases []string
	s.until("splashdown", func() (bool, string) {
		got := s.status()
		if got.Station != nil {
			stations[*got.Station] = true
		}
		if !slices.Contains(phases, got.Phase) {
			phases = append(phases, got.Phase)
		}
		return got.Phase == "splashdown", fmt.Sprintf("%s %v %+v", got.Phase, stations, got.Contact)
	})
	t.Log("phases seen:", phases)

	frames := must[role.FramesAnswer](s, "GET", "flight-director", "/downlink/telemetry", "").Frames
	if len(frames) < 5 {
		t.Fatalf("%d frames came down", len(frames))
	}
	// Each station has a third of the sky; a machine in a crowd brings down few frames.
	if want := min(3, 1+len(frames)/10); len(stations) < want {
		t.Errorf("%d frames came by %v, want %d stations", len(frames), stations, want)
	}
	for i := 1; i < len(frames); i++ {
		if frames[i].Sequence <= frames[i-1].Sequence {
			t.Fatalf("frame %d follows frame %d", frames[i].Sequence, frames[i-1].Sequence)
		}
	}
	current := must[role.TrajectoryAnswer](s, "GET", "flight-director", "/trajectory", "")
	if len(current.Burns) != 1 || len(current.Flown) < 5 {
		t.Errorf("flight-dynamics knows %d burns and %d points", len(current.Burns), len(current.Flown))
	}
}
