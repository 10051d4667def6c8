package missionclock_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/service/missionclock"
)

var noon = time.Date(2026, 4, 1, 12, 0, 0, 123456789, time.UTC)

func TestAReadingComesBackFromItsHeader(t *testing.T) {
	t.Parallel()
	want := missionclock.Reading{LiftOff: noon, Scale: 1440.5}
	got, err := missionclock.Parse(want.String())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestMissionTimeRunsByTheScaleFromTheLiftOff(t *testing.T) {
	t.Parallel()
	r := missionclock.Reading{LiftOff: noon, Scale: 1440}
	for after, want := range map[time.Duration]float64{-time.Second: 0, 0: 0, time.Second: 1440, time.Minute: 86400} {
		if got, ok := r.At(noon.Add(after)); !ok || got != want {
			t.Errorf("%s after lift-off: %g, %v, want %g", after, got, ok, want)
		}
	}
	if _, ok := (missionclock.Reading{}).At(noon); ok {
		t.Error("a mission time before any lift-off")
	}
}

func TestTheLatestLiftOffWinsInWhateverOrderItIsHeard(t *testing.T) {
	t.Parallel()
	first := missionclock.Reading{LiftOff: noon.Add(-time.Hour), Scale: 10}
	second := missionclock.Reading{LiftOff: noon, Scale: 20}
	for _, order := range [][]missionclock.Reading{{first, second}, {second, first}, {second, second, first}} {
		adopted := 0
		c := missionclock.New(func() time.Time { return noon }, func(missionclock.Reading) { adopted++ })
		for _, r := range order {
			if err := c.Observe(r.String()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(second, c.Reading()); diff != "" || c.Header() != second.String() {
			t.Errorf("order %v:\n%s", order, diff)
		}
		if adopted > 2 || adopted < 1 {
			t.Errorf("adopted %d times", adopted)
		}
	}
}

func TestALiftOffOfAClockThatWasSetBackGivesWay(t *testing.T) {
	t.Parallel()
	now := noon.Add(30 * time.Hour)
	c := missionclock.New(func() time.Time { return now }, nil)
	before := missionclock.Reading{LiftOff: now, Scale: 10}
	if ok, err := c.Set(before); !ok || err != nil {
		t.Fatal(ok, err)
	}
	now = noon // set right
	if c.Reading().IsSet() || c.Header() != "" || c.HeaderLine() != nil {
		t.Errorf("goes by a lift-off that lies 30 hours ahead: %v", c.Reading())
	}
	if err := c.Observe(before.String()); err == nil {
		t.Error("takes it up again")
	}
	next := missionclock.Reading{LiftOff: noon.Add(-time.Minute), Scale: 20}
	if err := c.Observe(next.String()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(next, c.Reading()); diff != "" {
		t.Errorf("a new mission is not taken up:\n%s", diff)
	}
	now = noon.Add(30 * time.Hour) // and wrong again: the mission is the one that was heard last
	if diff := cmp.Diff(next, c.Reading()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsOutOfBoundsIsNotAdopted(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"liftoff=2026-04-01T12:00:06Z;scale=10", // ahead
		"liftoff=2026-04-01T11:00:00Z;scale=0",
		"liftoff=2026-04-01T11:00:00Z;scale=NaN",
		"liftoff=2026-04-01T11:00:00Z;scale=1e9",
		"liftoff=yesterday;scale=1", "scale=1", "nonsense", "liftoff=2026-04-01T11:00:00Z",
	} {
		c := missionclock.New(func() time.Time { return noon.Truncate(time.Second) }, nil)
		if err := c.Observe(header); err == nil || c.Reading().IsSet() {
			t.Errorf("%q was adopted (%v)", header, err)
		}
	}
}
