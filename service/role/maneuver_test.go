package role_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A bare order is never refused for its hour: below the raised apogee, and while
// the engine burns for another, it waits as it does on the pad.
func TestBareOrdersWaitUntilTheEngineCanBurnAndAreAllFlown(t *testing.T) {
	m := newMission(t)
	order := func(at string, waits bool) {
		t.Helper()
		status, body := m.call("guidance-nav", "POST", "/maneuver", "")
		type answer struct {
			Status int
			Waits  bool
		}
		got := answer{status, strings.Contains(body, "as soon as the spacecraft can burn")}
		if diff := cmp.Diff(answer{200, waits}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s%s", at, diff, body)
		}
	}
	// flown returns how many corrections were, and how many s lie between them at least.
	flown := func() (int, float64) {
		t.Helper()
		_, body := m.call("guidance-nav", "GET", "/trajectory", "")
		var answer struct {
			Maneuvers []struct{ At float64 } `json:"maneuvers"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		apart := 1e9
		for i, b := range answer.Maneuvers[min(1, len(answer.Maneuvers)):] {
			apart = min(apart, b.At-answer.Maneuvers[i].At)
		}
		return len(answer.Maneuvers), apart
	}
	order("on the pad", true)
	m.call("flight-director", "POST", "/handoff",
		`{"liftOff":"2026-04-01T22:00:00Z","timeScale":1440,"vehicle":"Integrity"}`)
	m.pass(time.Second / 4)
	order("on the ascent", true)
	m.pass(time.Second)
	order("below the raised apogee", true)
	if n, _ := flown(); n != 0 {
		t.Errorf("%d corrections flown below the raised apogee", n)
	}
	m.pass(5 * time.Second)
	if n, _ := flown(); n != 1 {
		t.Errorf("%d corrections flown once the apogee was raised, want the first", n)
	}
	order("while the engine burns", true)
	for range 3 {
		m.pass(time.Second / 4) // six minutes each
		flown()
	}
	n, apart := flown()
	if n != 4 || apart < 300 {
		t.Errorf("%d corrections flown, %.0f s apart; want all 4, each after the burn before", n, apart)
	}
	m.pass(time.Second / 4)
	order("once the engine rests", false)
}
