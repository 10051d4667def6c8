package role

import (
	"sync"
	"time"
)

// padWork is something that is done on the pad during a count and takes three
// tenths of it. It is undone at the next lift-off.
type padWork struct {
	Kit
	mu    sync.Mutex
	since time.Time // when it began
}

// begin starts it, unless it has begun.
func (w *padWork) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		w.since = w.Clock.Now()
	}
}

// done returns how much of it is done, from 0 to 1. gone reports whether the rocket
// has left: a count that began after the last lift-off has another.
func (w *padWork) done() (part float64, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return 0, w.Clock.Reading().IsSet()
	}
	return min(1, float64(w.Clock.Now().Sub(w.since))/(0.3*float64(w.Config.Countdown))), false
}

func (w *padWork) newMission() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
}
