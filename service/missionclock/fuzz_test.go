package missionclock_test

import (
	"math"
	"testing"
	"time"

	"artemis.example/service/missionclock"
)

// FuzzObserve lets a peer say anything of the clock: what is adopted is believable,
// and is passed on as it was meant.
func FuzzObserve(f *testing.F) {
	for _, s := range []string{"liftoff=2026-04-01T11:59:00Z;scale=1440",
		"liftoff=2026-04-01T12:00:00.000000001+14:00;scale=0x1p4", "liftoff=;scale=",
		"liftoff=0000-01-01T00:00:00Z;scale=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := missionclock.New(func() time.Time { return noon }, nil)
		err := c.Observe(header)
		r := c.Reading()
		if !r.IsSet() {
			return
		}
		at, ok := c.MissionTime()
		if err != nil || !ok || math.IsNaN(at) || math.IsInf(at, 0) || at < 0 || r.LiftOff.Sub(
			noon) > missionclock.MaxAhead || r.Scale > missionclock.MaxScale || r.Scale < missionclock.MinScale {
			t.Fatalf("%q: adopted %+v, mission time %g, %v", header, r, at, err)
		}
		again, err := missionclock.Parse(c.Header())
		if err != nil || !again.LiftOff.Equal(r.LiftOff) || again.Scale != r.Scale {
			t.Fatalf("%q is passed on as %q: %+v, %v", header, c.Header(), again, err)
		}
	})
}
