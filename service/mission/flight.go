package mission

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The nominal flight, after NASA's account of Artemis II (April 2026): an orbit
// of about an hour and three quarters, one of nearly a day that reaches
// 70,000 km, then a free return that passes 6,545 km above the Moon's far side,
// 406,771 km from Earth, and ends nine days after lift-off.
const (
	insertionAt = 497.0                 // s, core stage cut-off
	parking     = EarthRadius + 185.0   // km, perigee of both orbits
	lowApogee   = EarthRadius + 2250.0  // km
	highApogee  = EarthRadius + 70000.0 // km

	raiseTime     = 1080.0 // s, the burn that raises the apogee
	injectionTime = 360.0  // s, the trans-lunar injection

	flybyAltitude = 6545.0 // km above the far side
	// Solved for once (TestTheNominalFlightIsSolved solves again): the time of
	// the flyby, and the speed there against the Moon, backwards, that comes
	// from a perigee of 185 km at the injection.
	flybyAt    = 430250.95
	flybySpeed = 1.397739975

	entryAltitude = 122.0 // km, entry interface
	entryPerigee  = 45.0  // km, the vacuum perigee that the return aims at
	perigeeWithin = 5.0   // km, by which it may miss that
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
	abortWait      = 900.0 // s between two looks for a place where the abort's burn works

	regainIn       = 12 * 3600.0 // s in which a corrected Earth orbit comes back to the plan
	quietInjection = 3600.0      // s before the injection without a correction
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
	ErrOrder      = errors.New("maneuvers are not in the order of their times")
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
	injection float64 // when the trans-lunar injection begins; +Inf when an abort precedes it
	entry     float64 // entry interface; +Inf when it is never reached
	end       float64 // splashdown, or when the flight is given up
	lost      bool
	aborted   bool
	// When the course corrections began.
	corrections []float64
	raised      float64 // when the apogee has been raised
	burns       []spent // of the service module, in the order of their times
}

// spent is what a burn of the service module takes from its tanks.
type spent struct {
	from, to float64
	deltaV   float64 // m/s, of the whole burn; never negative
}

// Fly computes the flight with these maneuvers, which must be in the order of
// their times. Without any it takes a millisecond, with them some ten for each.
// An error names the maneuver that cannot be flown (ErrOutOfRange, ErrPhase,
// ErrOrder). An abort stays in force: another one changes nothing.
func Fly(maneuvers []Maneuver) (*Flight, error) {
	f := &Flight{}
	f.nominal()
	for i, m := range maneuvers {
		if i > 0 && m.At < maneuvers[i-1].At {
			return nil, fmt.Errorf("maneuver %d at %.0f s: %w", i+1, m.At, ErrOrder)
		}
		if err := f.fly(m); err != nil {
			return nil, fmt.Errorf("maneuver %d at %.0f s: %w", i+1, m.At, err)
		}
	}
	return f, nil
}

// End is when the flight is over, in s since lift-off.
func (f *Flight) End() float64 { return f.end }

// At returns the state at a mission time. Before lift-off it is on the pad, after
// the end where it came down.
func (f *Flight) At(t float64) State {
	t = math.Max(0, math.Min(t, f.end))
	return f.segments[f.index(t)].at(t)
}

// Phase returns the part of the flight at a mission time.
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

// Sample returns n states from lift-off to the end, dense where the path bends.
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
	f.raised = raise + raiseTime/2
	raiseFrom, raiseTo := low(raise-raiseTime/2), high(raise+raiseTime/2)
	injectFrom, injectTo := high(f.injection), lookUp(coast, f.injection+injectionTime)
	f.segments = []segment{
		{insertionAt, ascentTo(low(insertionAt))},
		{raiseFrom.T, low},
		{raiseTo.T, func(t float64) State { return arc(raiseFrom, raiseTo, t) }},
		{injectFrom.T, high},
		{injectTo.T, func(t float64) State { return arc(injectFrom, injectTo, t) }},
		{flybyAt, func(t float64) State { return lookUp(coast, t) }},
	}
	// The core's upper stage raises the apogee; the injection is the service
	// module's, in the published plan as here.
	f.burns = []spent{{f.injection, f.injection + injectionTime,
		1000 * (first.Speed() - high(injectionPerigee).Speed())}}
	f.coast(atFlyby(), thrust{}, nominalReturnBurn)
}

// nominalReturnBurn is the return correction of the nominal flight, in km/s
// (solved for again by TestTheNominalFlightIsSolved).
const nominalReturnBurn = -0.0089496

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
	f.entry, f.lost = math.Inf(1), false
	path := []State{from}
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
			dv, _ = solveReturn(reached) // 0 when there is none: fly on as it comes
		}
		f.spend(reached.T, returnBurnFor, 1000*dv)
		propagate(reached, longest, thrust{reached.T, reached.T + returnBurnFor, dv / returnBurnFor},
			func(s State) bool {
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
		return nextPerigee(s, 9*24*3600, thrust{s.T, s.T + returnBurnFor, dv / returnBurnFor}) - (EarthRadius +
			entryPerigee)
	}
	// The perigee falls as the angular momentum is taken away; look outwards
	// from no burn at all for a change of sign.
	at0 := miss(0)
	for span := 0.002; span <= maxReturnBurn; span *= 1.6 {
		for _, end := range [2]float64{-span, span} {
			if (miss(end) > 0) == (at0 > 0) {
				continue
			}
			lo, hi := bisect(0, end, 1e-8, func(dv float64) bool { return (miss(dv) > 0) == (at0 > 0) })
			// A change of sign can also be a jump, where a little more burn
			// makes the perigee one of another revolution: that is no solution.
			if dv := (lo + hi) / 2; math.Abs(miss(dv)) < perigeeWithin {
				return dv, true
			}
		}
	}
	return 0, false
}

// bisect moves two places together, until they are within a distance or as near as
// numbers can be: lo to where holds is true, hi to where it is not.
func bisect(lo, hi, within float64, holds func(float64) bool) (float64, float64) {
	for range 60 {
		if math.Abs(hi-lo) < within {
			break
		}
		if mid := (lo + hi) / 2; holds(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, hi
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
	_, f.entry = bisect(path[len(path)-2].T, last.T, 0,
		func(t float64) bool { return lookUp(path, t).Altitude() > entryAltitude })
	start := lookUp(path, f.entry)
	down, lasts := descentFrom(start)
	f.end = f.entry + lasts
	f.segments = append(f.segments, segment{f.entry, func(t float64) State { return lookUp(path, t) }},
		segment{f.end, down})
}

// descentFrom falls through the atmosphere to the sea: height and speed fade
// exponentially from what they are at the interface to Earth's own turning.
func descentFrom(s State) (func(float64) State, float64) {
	r, dr, w0 := s.turning()
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

// lookUp returns the state at t between the steps of an integration.
func lookUp(path []State, t float64) State {
	i, found := slices.BinarySearchFunc(path, t, func(s State, t float64) int { return cmp.Compare(s.T, t) })
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
		f.abort(m.At, phase)
		return nil
	case m.DeltaV == 0 || math.Abs(m.DeltaV) > MaxCorrection || math.IsNaN(m.DeltaV):
		return fmt.Errorf("%g m/s is not within ±%g m/s: %w", m.DeltaV, MaxCorrection, ErrOutOfRange)
	}
	if err := f.correctable(m.At); err != nil {
		return err
	}
	burn := thrust{m.At, m.At + correctionFor, m.DeltaV / 1000 / correctionFor}
	if m.At < f.injection {
		f.correctInOrbit(m.At, burn)
		f.spend(m.At, correctionFor, m.DeltaV)
	} else {
		from := f.At(m.At)
		f.cut(m.At)
		f.spend(m.At, correctionFor, m.DeltaV)
		f.coast(from, burn, 0)
	}
	f.corrections = append(f.corrections, m.At)
	return nil
}

// Correctable reports whether the engine could burn for a course correction at a
// mission time.
func (f *Flight) Correctable(t float64) bool { return f.correctable(t) == nil }

// correctable returns why no course correction can begin at a mission time, or nil.
func (f *Flight) correctable(t float64) error {
	switch phase := f.Phase(t); {
	case !phase.Correctable:
		return fmt.Errorf("a course correction in phase %s: %w", phase.ID, ErrPhase)
	case len(f.corrections) > 0 && t < f.corrections[len(f.corrections)-1]+correctionFor:
		return fmt.Errorf("the engine still burns for the course correction before: %w", ErrPhase)
	case t >= f.injection:
		return nil
	case f.aborted:
		return fmt.Errorf("a course correction on the way home from an abort: %w", ErrPhase)
	case t < f.raised:
		return fmt.Errorf("a course correction before the apogee has been raised: %w", ErrPhase)
	case t > f.injection-quietInjection:
		return fmt.Errorf("a course correction less than an hour before the injection: %w", ErrPhase)
	}
	return nil
}

// correctInOrbit flies a correction before the injection. What it does to the
// orbit is flown; then the guidance, with small thrust, takes the spacecraft
// back to the planned orbit, by half a day later or by the injection, which has
// one place only.
func (f *Flight) correctInOrbit(at float64, burn thrust) {
	before := &Flight{segments: f.segments, end: f.end}
	from, regained := before.At(at), math.Min(at+regainIn, f.injection)
	free, burned := record(from, regained, thrust{}), record(from, regained, burn)
	corrected := func(t float64) State {
		s, a, b := before.At(t), lookUp(free, t), lookUp(burned, t)
		u := (t - at) / (regained - at)
		part, change := 1-3*u*u+2*u*u*u, (6*u*u-6*u)/(regained-at)
		s.VX += part*(b.VX-a.VX) + change*(b.X-a.X)
		s.VY += part*(b.VY-a.VY) + change*(b.Y-a.Y)
		s.X += part * (b.X - a.X)
		s.Y += part * (b.Y - a.Y)
		return s
	}
	rest := f.segments[f.index(regained):]
	i := f.index(at)
	f.segments = slices.Concat(f.segments[:i], []segment{{at, f.segments[i].at}, {regained, corrected}}, rest)
}

// record propagates and keeps every step, the start among them.
func record(from State, until float64, burn thrust) []State {
	path := []State{from}
	propagate(from, until, burn, func(s State) bool { path = append(path, s); return true })
	return path
}

// spend notes a burn along the velocity, in m/s.
func (f *Flight) spend(at, lasts, deltaV float64) {
	f.burns = append(f.burns, spent{at, at + lasts, math.Abs(deltaV)})
	slices.SortStableFunc(f.burns, func(a, b spent) int { return cmp.Compare(a.from, b.from) })
}

// index returns the segment that t is in, the last one behind the end.
func (f *Flight) index(t float64) int {
	i, _ := slices.BinarySearchFunc(f.segments, t, func(s segment, t float64) int { return cmp.Compare(s.until, t) })
	return min(i, len(f.segments)-1)
}

// cut drops what comes after t; of a burn at t remains what was flown.
func (f *Flight) cut(t float64) {
	var flown []spent
	for _, b := range f.burns {
		if b.from < t {
			b.deltaV *= math.Min(1, (t-b.from)/(b.to-b.from))
			b.to = math.Min(b.to, t)
			flown = append(flown, b)
		}
	}
	f.burns = flown
	i := f.index(t)
	f.segments = append(slices.Clone(f.segments[:i]), segment{t, f.segments[i].at})
}

// abort brings the spacecraft home. On the ascent it separates and comes down
// at sea; in Earth orbit a burn lowers the perigee into the atmosphere; beyond
// the injection the quickest way home is the free return that it flies already.
func (f *Flight) abort(at float64, phase Phase) {
	if f.aborted {
		return
	}
	f.aborted = true
	switch phase {
	case Ascent:
		from := f.At(at)
		f.cut(at)
		f.injection, f.entry = math.Inf(1), at
		// Under its parachutes within ten minutes, some way down range.
		angle := math.Atan2(from.Y, from.X)
		_, _, w0 := from.turning()
		sea := polar(at+600, EarthRadius, 0, angle+300*(w0+EarthTurning), EarthTurning)
		f.end = sea.T
		f.segments = append(f.segments, segment{sea.T, func(t float64) State { return arc(from, sea, t) }})
	case EarthOrbit:
		f.cut(math.Min(at+abortPrepareIn, f.injection))
		f.injection = math.Inf(1)
		f.deorbit(f.segments[len(f.segments)-1])
	}
}

// deorbit coasts from the end of the last segment to the first place where a
// burn leads into the atmosphere, burns, and comes down. Near a perigee no small
// burn does; an orbit later one did in any case.
func (f *Flight) deorbit(last segment) {
	path := []State{last.at(last.until)}
	home := func() bool { return path[len(path)-1].DistanceEarth() <= EarthRadius+entryAltitude }
	visit := func(s State) bool {
		path = append(path, s)
		return !home()
	}
	giveUp := last.until + 2*period(parking, highApogee)
	for here := path[0]; here.T < giveUp && !home(); here = path[len(path)-1] {
		waited := len(path)
		if dv, ok := solveReturn(here); ok {
			propagate(here, giveUp, thrust{here.T, here.T + returnBurnFor, dv / returnBurnFor}, visit)
			if home() {
				f.spend(here.T, returnBurnFor, 1000*dv)
				break
			}
			path = path[:waited] // it leads home in weeks only
		}
		propagate(here, here.T+abortWait, thrust{}, visit)
	}
	f.land(path)
}
