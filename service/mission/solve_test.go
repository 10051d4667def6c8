package mission

import (
	"math"
	"testing"
)

// solve finds again what flight.go holds as constants: the flyby's time and
// speed, by bisection on the perigee that they come from.
func solve() (at, speed float64) {
	perigee := func(v float64) (r, before float64) {
		s := State{T: flybyAt, X: MoonOrbit + MoonRadius + flybyAltitude, VY: MoonOrbit*moonRate - v}
		last := s
		propagate(s, flybyAt-5*24*3600, thrust{}, func(now State) bool {
			done := now.DistanceEarth() > last.DistanceEarth() && now.DistanceEarth() < 50000
			last = now
			return !done
		})
		o := last.Orbit()
		// From the last step, which is just beyond the perigee, to the perigee
		// itself along the osculating orbit.
		radial := (last.X*last.VX + last.Y*last.VY) / last.DistanceEarth()
		f := math.Atan2(radial*math.Sqrt(o.Perigee*(1+o.Eccentricity)/EarthGM),
			o.Perigee*(1+o.Eccentricity)/last.DistanceEarth()-1)
		var since float64
		if e := o.Eccentricity; e < 1 {
			ecc := 2 * math.Atan(math.Sqrt((1-e)/(1+e))*math.Tan(f/2))
			since = (ecc - e*math.Sin(ecc)) * math.Sqrt(math.Pow(o.SemiMajorAxis, 3)/EarthGM)
		}
		return o.Perigee, flybyAt - (last.T - since)
	}
	lo, hi := 1.30, 1.40
	for range 60 {
		speed = (lo + hi) / 2
		if r, _ := perigee(speed); r > parking {
			lo = speed
		} else {
			hi = speed
		}
	}
	_, before := perigee(speed)
	return injectionPerigee + before, speed
}

func TestTheNominalFlightIsSolved(t *testing.T) {
	at, speed := solve()
	if math.Abs(at-flybyAt) > 1 || math.Abs(speed-flybySpeed) > 1e-6 {
		t.Errorf("flybyAt = %.2f, flybySpeed = %.7f solve the problem; flight.go has %.2f and %.7f", at, speed, flybyAt,
			flybySpeed)
	}
	f := &Flight{}
	f.nominal()
	reached := f.At(flybyAt + returnBurnLag)
	dv, ok := solveReturn(reached)
	if !ok || math.Abs(dv-nominalReturnBurn) > 1e-5 {
		t.Errorf("the return burn is %.7f km/s (%v); flight.go has %.7f", dv, ok, nominalReturnBurn)
	}
}
