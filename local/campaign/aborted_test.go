package campaign

import (
	"errors"
	"testing"
	"time"

	"artemis.example/service/mission"
)

// The campaign found it: replay-insider after abort, in Earth orbit, had
// guidance-nav integrate towards an injection that was never to come.
func TestACorrectionAfterAnAbortFromEarthOrbitIsRefusedAtOnce(t *testing.T) {
	const inOrbit = 6 * 3600.0
	done := make(chan error, 1)
	go func() {
		_, err := mission.Fly([]mission.Maneuver{{At: inOrbit, Abort: true}, {At: inOrbit + 60, DeltaV: 0.1}})
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, mission.ErrPhase) {
			t.Errorf("want an error that wraps ErrPhase, have %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still integrating after 20 s")
	}
}
