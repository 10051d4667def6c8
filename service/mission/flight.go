package mission

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// The nominal flight, after NASA's published plan for Artemis II: an orbit of
// about an hour and three quarters, one of nearly a day that reaches 70,000 km,
// then a free return that passes some 7,400 km beyond the Moon's far side.
const (
	insertionAt = 497.0                 // s, core stage cut-off
	parking     = EarthRadius + 185.0   // km, perigee of both orbits
	lowApogee   = EarthRadius + 2250.0  // km
	highApogee  = EarthRadius + 70000.0 // km

	raiseTime     = 1080.0 // s, the burn that raises the apogee
	injectionTime = 360.0  // s, the trans-lunar injection

	flybyAltitude = 7400.0 // km above the far side
	// Solved for once (TestTheNominalFlightIsSolved solves again): the time of
	// the flyby, and the speed there against the Moon, backwards, that comes
	// from a perigee of 185 km at the injection.
	flybyAt    = 420939.70
	flybySpeed = 1.3590621

	entryAltitude = 122.0 // km, entry interface
	entryPerigee  = 45.0  // km, the vacuum perigee that the return aims at
	returnBurnLag = 24 * 3600.0
	returnBurnFor = 600.0 // s

	longest = 16 * 24 * 3600.0 // s; who is not back by then does not come back
)

// Bounds of a course correction.
const (
	MaxCorrection  = 50.0  // m/s in one burn, forwards or backwards
	correctionFor  = 300.0 // s that one burn takes
	maxReturnBurn  = 0.6   // km/s that the return correction may take
	abortPrepareIn = 600.0 // s from an abort in Earth orbit to its burn
)

// Maneuver changes the flight: a course correction, or an abort.
type Maneuver struct {
	At     float64 // s since lift-off
	DeltaV float64 // m/s along the velocity, backwards when negative; 0 for an abort
	Abort  bool
}

// Errors of a maneuver.
var (
	ErrOutOfRange = errors.New("delta-v out of range")
	ErrPhase      = errors.New("not possible in this phase")
)

// segment is a part of the flight: the state at every time before its end.
type segment struct {
	until float64
	at    func(t float64) State
}

// Flight is a whole flight with its maneuvers, from lift-off to its end. It does
// not change: Fly again with one maneuver more. It is safe for concurrent use.
type Flight struct {
	segments  []segment
	maneuvers []Maneuver
	injection float64 // when the trans-lunar injection begins; +Inf when an abort precedes it
	entry     float64 // entry interface; +Inf when it is never reached
	end       float64 // splashdown, or when the flight is given up
	lost      bool
	// The return correction that the flight makes of its own accord: when, and
	// how much along the velocity in km/s.
	returnAt, returnBurn float64
}

// Fly computes the flight with these maneuvers, which must be in the order of
// their times. It takes some milliseconds. An error names the maneuver that
// cannot be flown (ErrOutOfRange, ErrPhase).
func Fly(maneuvers []Maneuver) (*Flight, error) {
	f := &Flight{}
	f.nominal()
	for i, m := range maneuvers {
		if err := f.fly(m); err != nil {
			return nil, fmt.Errorf("maneuver %d at %.0f s: %w", i+1, m.At, err)
		}
	}
	f.maneuvers = slices.Clone(maneuvers)
	return f, nil
}

// Maneuvers gives those that were flown.
func (f *Flight) Maneuvers() []Maneuver { return slices.Clone(f.maneuvers) }

// End is when the flight is over, in s since lift-off.
func (f *Flight) End() float64 { return f.end }

// At gives the state at a mission time. Before lift-off it is on the pad, after
// the end where it came down.
func (f *Flight) At(t float64) State {
	t = math.Max(0, math.Min(t, f.end))
	i, _ := slices.BinarySearchFunc(f.segments, t, func(s segment, t float64) int {
		if s.until < t {
			return -1
		}
		return 1
	})
	return f.segments[min(i, len(f.segments)-1)].at(t)
}

// Phase gives the part of the flight at a mission time.
func (f *Flight) Phase(t float64) Phase {
	switch {
	case t < 0:
		return PreLaunch
	case t >= f.end && f.lost:
		return Lost
	case t >= f.end:
		return Splashdown
	case t >= f.entry:
		return Entry
	case t < insertionAt:
		return Ascent
	case t < f.injection:
		return EarthOrbit
	case t < f.injection+injectionTime:
		return Injection
	}
	s := f.At(t)
	switch {
	case s.DistanceMoon() < 66100: // the Moon's sphere of influence (Laplace)
		return Flyby
	case t < flybyAt:
		return Outbound
	}
	return Return
}

// Aborting tells whether the spacecraft is in its abort mode.
func (f *Flight) Aborting(t float64) bool {
	return slices.ContainsFunc(f.maneuvers, func(m Maneuver) bool { return m.Abort && t >= m.At })
}

// Sample gives n states from lift-off to the end, dense where the path bends.
func (f *Flight) Sample(n int) []State {
	out := make([]State, 0, n)
	last := math.Min(f.end, longest)
	// Equal parts of path and time together: near Earth a little time is much
	// path, far away much time is little.
	coarse := 4 * n
	total, marks := 0.0, make([]float64, coarse+1)
	before := f.At(0)
	for i := 1; i <= coarse; i++ {
		s := f.At(last * float64(i) / float64(coarse))
		total += math.Hypot(s.X-before.X, s.Y-before.Y)/MoonOrbit + 4/float64(coarse)
		marks[i], before = total, s
	}
	j := 0
	for i := range n {
		want := total * float64(i) / float64(n-1)
		for j < coarse-1 && marks[j+1] < want {
			j++
		}
		part := (want - marks[j]) / (marks[j+1] - marks[j])
		out = append(out, f.At(last*(float64(j)+part)/float64(coarse)))
	}
	return out
}

func atFlyby() State {
	return State{T: flybyAt, X: MoonOrbit + MoonRadius + flybyAltitude, VY: MoonOrbit*moonRate - flybySpeed}
}

func period(perigee, apogee float64) float64 {
	a := (perigee + apogee) / 2
	return 2 * math.Pi * math.Sqrt(a*a*a/EarthGM)
}

// injectionPerigee is when both Earth orbits have come round to the place of the
// injection.
var injectionPerigee = insertionAt + period(parking, lowApogee) + period(parking, highApogee)

// outboundTable holds the coast from the injection to the flyby, integrated
// backwards from the Moon.
func outboundTable() []State {
	var all []State
	all = append(all, atFlyby())
	propagate(atFlyby(), injectionPerigee, thrust{}, func(s State) bool { all = append(all, s); return true })
	slices.Reverse(all)
	return all
}

func (f *Flight) nominal() {
	coast := outboundTable()
	first := coast[0]
	angle := math.Atan2(first.Y, first.X)
	raise := insertionAt + period(parking, lowApogee)
	low := func(t float64) State { return ellipse(parking, lowApogee, angle, insertionAt, t) }
	high := func(t float64) State { return ellipse(parking, highApogee, angle, raise, t) }

	f.injection = injectionPerigee - injectionTime/2
	raiseFrom, raiseTo := low(raise-raiseTime/2), high(raise+raiseTime/2)
	injectFrom, injectTo := high(f.injection), lookUp(coast, f.injection+injectionTime)
	f.segments = []segment{
		{insertionAt, ascentTo(low(insertionAt))},
		{raiseFrom.T, low},
		{raiseTo.T, func(t float64) State { return hermite(raiseFrom, raiseTo, t) }},
		{injectFrom.T, high},
		{injectTo.T, func(t float64) State { return hermite(injectFrom, injectTo, t) }},
		{flybyAt, func(t float64) State { return lookUp(coast, t) }},
	}
	f.coast(atFlyby(), thrust{}, nominalReturnBurn)
}

// nominalReturnBurn is the return correction of the nominal flight, in km/s
// (solved for again by TestTheNominalFlightIsSolved).
const nominalReturnBurn = -0.0087377

// ascentTo climbs from the pad, which turns with Earth at Kennedy's latitude, to
// a state at a perigee.
func ascentTo(insertion State) func(float64) State {
	r1 := insertion.DistanceEarth()
	w0 := EarthTurning * math.Cos(28.6*math.Pi/180)
	w1 := insertion.Speed() / r1
	// The angle that this climb sweeps, so that it ends where it must.
	swept := insertionAt * (w0 + (w1-w0)/3)
	start := math.Atan2(insertion.Y, insertion.X) - swept
	return func(t float64) State {
		u := t / insertionAt
		r := EarthRadius + (r1-EarthRadius)*(3*u*u-2*u*u*u)
		dr := (r1 - EarthRadius) * (6*u - 6*u*u) / insertionAt
		w := w0 + (w1-w0)*u*u
		return polar(t, r, dr, start+insertionAt*(w0*u+(w1-w0)*u*u*u/3), w)
	}
}

func polar(t, r, dr, angle, w float64) State {
	sin, cos := math.Sincos(angle)
	return State{T: t, X: r * cos, Y: r * sin, VX: dr*cos - r*w*sin, VY: dr*sin + r*w*cos}
}

// coast flies on from a state: past the Moon where that lies ahead, through the
// return correction, to the entry and down. hint is the return correction to try
// first, in km/s; 0 means that it is to be solved for.
func (f *Flight) coast(from State, burn thrust, hint float64) {
	f.entry, f.lost, f.returnAt = math.Inf(1), false, 0
	var path []State
	path = append(path, from)
	// First to where the correction begins: a day after the flyby, or after the
	// burn when that is later.
	correctAt := math.Max(flybyAt+returnBurnLag, from.T+correctionFor)
	down := false
	reached := propagate(from, correctAt, burn, func(s State) bool {
		path = append(path, s)
		down = s.DistanceMoon() < MoonRadius || s.DistanceEarth() < EarthRadius+entryAltitude
		return !down
	})
	if !down {
		dv := hint
		if dv == 0 {
			var ok bool
			if dv, ok = solveReturn(reached); !ok {
				dv = 0
			}
		}
		f.returnAt, f.returnBurn = reached.T, dv
		propagate(reached, longest, thrust{reached.T, reached.T + returnBurnFor, dv / returnBurnFor}, func(s State) bool {
			path = append(path, s)
			return s.DistanceEarth() > EarthRadius+entryAltitude && s.DistanceMoon() > MoonRadius
		})
	}
	f.land(path)
}

// solveReturn finds the burn along the velocity, in km/s, that brings the next
// perigee to where the entry wants it, by bisection between bounds.
func solveReturn(s State) (float64, bool) {
	miss := func(dv float64) float64 {
		return nextPerigee(s, 9*24*3600, thrust{s.T, s.T + returnBurnFor, dv / returnBurnFor}) - (EarthRadius + entryPerigee)
	}
	// The perigee falls as the angular momentum is taken away; look outwards
	// from no burn at all for a change of sign.
	at0 := miss(0)
	for span := 0.002; span <= maxReturnBurn; span *= 1.6 {
		for _, end := range [2]float64{-span, span} {
			if (miss(end) > 0) == (at0 > 0) {
				continue
			}
			lo, hi := 0.0, end
			for range 40 {
				mid := (lo + hi) / 2
				if m := miss(mid); (m > 0) == (at0 > 0) {
					lo = mid
				} else {
					hi = mid
				}
				if math.Abs(hi-lo) < 1e-8 {
					break
				}
			}
			return (lo + hi) / 2, true
		}
	}
	return 0, false
}

// land appends the path, and the entry when it leads there.
func (f *Flight) land(path []State) {
	last := path[len(path)-1]
	if last.DistanceEarth() > EarthRadius+entryAltitude || len(path) < 2 {
		f.end, f.lost = last.T, true
		f.segments = append(f.segments, segment{last.T, func(t float64) State { return lookUp(path, t) }})
		return
	}
	// The interface itself lies within the last step.
	lo, hi := path[len(path)-2].T, last.T
	for range 60 {
		if mid := (lo + hi) / 2; lookUp(path, mid).Altitude() > entryAltitude {
			lo = mid
		} else {
			hi = mid
		}
	}
	f.entry = hi
	start := lookUp(path, hi)
	down, lasts := descentFrom(start)
	f.end = f.entry + lasts
	f.segments = append(f.segments, segment{f.entry, func(t float64) State { return lookUp(path, t) }}, segment{f.end, down})
}

// descentFrom falls through the atmosphere to the sea: height and speed fade
// exponentially from what they are at the interface to Earth's own turning.
func descentFrom(s State) (func(float64) State, float64) {
	r := s.DistanceEarth()
	dr := (s.X*s.VX + s.Y*s.VY) / r
	w0 := (s.X*s.VY - s.Y*s.VX) / (r * r)
	h := r - EarthRadius
	fall := h / -dr
	lasts := 7.5 * fall
	floor := math.Exp(-lasts / fall)
	const slow = 190.0 // s in which the speed falls to a third
	angle := math.Atan2(s.Y, s.X)
	return func(t float64) State {
		u := t - s.T
		e := math.Exp(-u / fall)
		brake := math.Exp(-u / slow)
		return polar(t, EarthRadius+h*(e-floor)/(1-floor), -h/fall*e/(1-floor),
			angle+EarthTurning*u+(w0-EarthTurning)*slow*(1-brake), EarthTurning+(w0-EarthTurning)*brake)
	}, lasts
}

// lookUp gives the state at t between the steps of an integration.
func lookUp(path []State, t float64) State {
	i, found := slices.BinarySearchFunc(path, t, func(s State, t float64) int {
		switch {
		case s.T < t:
			return -1
		case s.T > t:
			return 1
		}
		return 0
	})
	switch {
	case found:
		return path[i]
	case i == 0:
		return path[0]
	case i == len(path):
		return path[i-1]
	}
	return hermite(path[i-1], path[i], t)
}

// fly puts one more maneuver into the flight.
func (f *Flight) fly(m Maneuver) error {
	phase := f.Phase(m.At)
	switch {
	case m.Abort && (phase.Over || phase == PreLaunch || phase == Entry):
		return fmt.Errorf("an abort in phase %s: %w", phase.ID, ErrPhase)
	case m.Abort:
		return f.abort(m.At, phase)
	case !phase.Correctable:
		return fmt.Errorf("a course correction in phase %s: %w", phase.ID, ErrPhase)
	case m.DeltaV == 0 || math.Abs(m.DeltaV) > MaxCorrection || math.IsNaN(m.DeltaV):
		return fmt.Errorf("%g m/s is not within ±%g m/s: %w", m.DeltaV, MaxCorrection, ErrOutOfRange)
	}
	if math.IsInf(f.injection, 1) {
		return fmt.Errorf("a course correction on the way home after an abort: %w", ErrPhase)
	}
	burn := thrust{m.At, m.At + correctionFor, m.DeltaV / 1000 / correctionFor}
	from := f.At(m.At)
	if m.At >= f.injection {
		f.cut(m.At)
		f.coast(from, burn, 0)
		return nil
	}
	// In Earth orbit the injection is aimed anew: it leads from the orbit that
	// was flown onto the same way to the Moon.
	if m.At < insertionAt+period(parking, lowApogee)+raiseTime/2 {
		return fmt.Errorf("a course correction before the apogee has been raised: %w", ErrPhase)
	}
	if m.At+correctionFor > f.injection-60 {
		return fmt.Errorf("a course correction less than six minutes before the injection: %w", ErrPhase)
	}
	rest := slices.Clone(f.segments[f.index(f.injection)+1:])
	f.cut(m.At)
	path := []State{from}
	start := propagate(from, f.injection, burn, func(s State) bool { path = append(path, s); return true })
	target := rest[0].at(rest[0].until)
	rest[0].at = func(t float64) State { return hermite(start, target, t) }
	f.segments = append(append(f.segments, segment{f.injection, func(t float64) State { return lookUp(path, t) }}), rest...)
	return nil
}

func (f *Flight) index(t float64) int {
	return slices.IndexFunc(f.segments, func(s segment) bool { return s.until >= t })
}

// cut drops what comes after t.
func (f *Flight) cut(t float64) {
	i := f.index(t)
	f.segments = append(slices.Clone(f.segments[:i]), segment{t, f.segments[i].at})
}

// abort brings the spacecraft home. On the ascent it separates and comes down
// at sea; in Earth orbit a burn lowers the perigee into the atmosphere; beyond
// the injection the quickest way home is the free return that it flies already.
func (f *Flight) abort(at float64, phase Phase) error {
	switch phase {
	case Ascent:
		from := f.At(at)
		f.cut(at)
		f.injection, f.entry, f.returnAt = math.Inf(1), at, 0
		// Under its parachutes within ten minutes, some way down range.
		angle := math.Atan2(from.Y, from.X)
		w0 := (from.X*from.VY - from.Y*from.VX) / (from.DistanceEarth() * from.DistanceEarth())
		sea := polar(at+600, EarthRadius, 0, angle+300*(w0+EarthTurning), EarthTurning)
		f.end = sea.T
		f.segments = append(f.segments, segment{sea.T, func(t float64) State { return hermite(from, sea, t) }})
	case EarthOrbit:
		burnAt := math.Min(at+abortPrepareIn, f.injection)
		from := f.At(burnAt)
		dv, ok := solveReturn(from)
		if !ok {
			return fmt.Errorf("no burn at this place of the orbit leads into the atmosphere: %w", ErrPhase)
		}
		f.cut(burnAt)
		f.injection, f.returnAt, f.returnBurn = math.Inf(1), burnAt, dv
		path := []State{from}
		propagate(from, from.T+2*period(parking, highApogee), thrust{burnAt, burnAt + returnBurnFor, dv / returnBurnFor}, func(s State) bool {
			path = append(path, s)
			return s.DistanceEarth() > EarthRadius+entryAltitude
		})
		f.land(path)
	}
	return nil
}
