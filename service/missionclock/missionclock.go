// Package missionclock is how a service knows what time it is on the mission:
// the lift-off and the time scale, as they reach it over the declared edges, in
// a header of calls that exist anyway. Nobody asks a time server: a service that
// starts in mid-mission learns the clock with the first call or answer it gets.
package missionclock

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Header carries a Reading on requests and answers, as
// "liftoff=RFC3339Nano;scale=NUMBER".
const Header = "Artemis-Clock"

// Bounds of what a service believes.
const (
	MinScale = 1
	MaxScale = 1e7
	// MaxAhead is how far in the future a lift-off may lie: the handoff
	// happens at T-0, so only clocks of machines that disagree explain more.
	MaxAhead = 5 * time.Second
)

// Reading is what there is to know: zero LiftOff means not yet.
type Reading struct {
	LiftOff time.Time
	Scale   float64 // mission seconds per second of wall time after lift-off
}

// IsSet reports whether there was a lift-off.
func (r Reading) IsSet() bool { return !r.LiftOff.IsZero() }

// At returns the mission time, in seconds since lift-off, at a wall time, and
// whether there is one.
func (r Reading) At(now time.Time) (float64, bool) {
	if !r.IsSet() {
		return 0, false
	}
	return math.Max(0, now.Sub(r.LiftOff).Seconds()) * r.Scale, true
}

// String returns the form of the header; empty when not known.
func (r Reading) String() string {
	if !r.IsSet() {
		return ""
	}
	return "liftoff=" + r.LiftOff.UTC().Format(time.RFC3339Nano) + ";scale=" + strconv.FormatFloat(r.Scale, 'g', -1, 64)
}

// Parse reads the form of the header.
func Parse(s string) (Reading, error) {
	at, scale, ok := strings.Cut(s, ";scale=")
	at, ok2 := strings.CutPrefix(at, "liftoff=")
	if !ok || !ok2 || len(s) > 128 {
		return Reading{}, errors.New("want liftoff=RFC3339;scale=NUMBER")
	}
	liftOff, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return Reading{}, fmt.Errorf("lift-off: %w", err)
	}
	factor, err := strconv.ParseFloat(scale, 64)
	if err != nil {
		return Reading{}, fmt.Errorf("scale: %w", err)
	}
	return Reading{LiftOff: liftOff, Scale: factor}, nil
}

// Clock is a service's own. It is safe for concurrent use.
type Clock struct {
	now     func() time.Time
	reading atomic.Pointer[published]
	changed func(Reading)
}

type published struct {
	Reading
	header string
	line   []string
}

// New makes a clock that knows nothing yet. Changed, if not nil, is called once
// for every Reading adopted: another mission has begun, or this service has
// caught up with the one under way.
func New(now func() time.Time, changed func(Reading)) *Clock {
	c := &Clock{now: now, changed: changed}
	c.reading.Store(&published{})
	return c
}

// Now returns the wall time.
func (c *Clock) Now() time.Time { return c.now() }

// current returns what is known. A lift-off that lies further ahead than any
// believable one was made before this machine's clock was set back: it counts as
// none, and gives way to whatever is heard next.
func (c *Clock) current() *published {
	p := c.reading.Load()
	if p.IsSet() && p.LiftOff.Sub(c.now()) > MaxAhead {
		return &published{}
	}
	return p
}

// Reading returns what is known.
func (c *Clock) Reading() Reading { return c.current().Reading }

// Header returns the form of the header, without making it anew; empty when not
// known.
func (c *Clock) Header() string { return c.current().header }

// HeaderLine returns the header's value for an http.Header, shared and not to be
// changed; nil when not known.
func (c *Clock) HeaderLine() []string { return c.current().line }

// MissionTime returns the seconds since lift-off, and whether there was one.
func (c *Clock) MissionTime() (float64, bool) { return c.Reading().At(c.now()) }

// Set takes a Reading over if it is of a later lift-off than the known one:
// every service comes to the same, whatever the order in which it hears. It
// refuses what lies out of bounds, and reports whether it took it.
func (c *Clock) Set(r Reading) (bool, error) {
	if !(r.Scale >= MinScale && r.Scale <= MaxScale) {
		return false, fmt.Errorf("time scale %g is not between %d and %g", r.Scale, MinScale, float64(MaxScale))
	}
	if ahead := r.LiftOff.Sub(c.now()); ahead > MaxAhead {
		return false, fmt.Errorf("lift-off lies %s ahead", ahead.Round(time.Second))
	}
	r.LiftOff = r.LiftOff.Round(0)
	for {
		old := c.reading.Load()
		if !r.LiftOff.After(old.LiftOff) && old.LiftOff.Sub(c.now()) <= MaxAhead {
			return false, nil
		}
		if c.reading.CompareAndSwap(old, &published{r, r.String(), []string{r.String()}}) {
			if c.changed != nil {
				c.changed(r)
			}
			return true, nil
		}
	}
}

// Observe adopts the Reading of a header that came over a declared edge. An empty
// one says nothing; one like the known costs no more than a comparison.
func (c *Clock) Observe(header string) error {
	if header == "" || header == c.Header() {
		return nil
	}
	r, err := Parse(header)
	if err == nil {
		_, err = c.Set(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", Header, err)
	}
	return nil
}
