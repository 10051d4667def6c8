package mission

import "math"

// thrust is an acceleration along the velocity between two times.
type thrust struct {
	from, to float64
	along    float64 // km/s²
}

// motion returns velocity and acceleration under Earth and Moon, in the frame
// that falls with Earth (Battin, An Introduction to the Mathematics and Methods
// of Astrodynamics, section 8.4).
func motion(t float64, y [4]float64, burn thrust) [4]float64 {
	r2 := y[0]*y[0] + y[1]*y[1]
	e := EarthGM / (r2 * math.Sqrt(r2))
	m := MoonAt(t)
	dx, dy := y[0]-m.X, y[1]-m.Y
	d2 := dx*dx + dy*dy
	g := MoonGM / (d2 * math.Sqrt(d2))
	const indirect = MoonGM / (MoonOrbit * MoonOrbit * MoonOrbit)
	ax := -e*y[0] - g*dx - indirect*m.X
	ay := -e*y[1] - g*dy - indirect*m.Y
	if burn.along != 0 && t >= burn.from && t < burn.to {
		v := math.Hypot(y[2], y[3])
		ax += burn.along * y[2] / v
		ay += burn.along * y[3] / v
	}
	return [4]float64{y[2], y[3], ax, ay}
}

const (
	stepMax   = 1800.0 // s
	stepMin   = 0.5    // s
	tolerance = 1e-7   // km a step
	farthest  = 2e6    // km from Earth that a flight is followed, beyond Earth's sphere of influence
)

// propagate integrates from a state to a time, forwards or backwards, by the
// embedded Runge-Kutta method of Dormand and Prince (1980), and hands every
// step to visit until that returns false.
func propagate(s State, until float64, burn thrust, visit func(State) bool) State {
	dir := 1.0
	if until < s.T {
		dir = -1
	}
	y := [4]float64{s.X, s.Y, s.VX, s.VY}
	t, h := s.T, 30.0
	state := func() State { return State{T: t, X: y[0], Y: y[1], VX: y[2], VY: y[3]} }
	add := func(k *[7][4]float64, c ...float64) [4]float64 {
		out := y
		for i, f := range c {
			for j := range out {
				out[j] += dir * h * f * k[i][j]
			}
		}
		return out
	}
	for dir*(until-t) > 1e-9 {
		h = math.Min(h, dir*(until-t))
		// A step never straddles the edge of a burn, where the force jumps.
		for _, edge := range [2]float64{burn.from, burn.to} {
			if ahead := dir * (edge - t); burn.along != 0 && ahead > 1e-9 && ahead < h {
				h = ahead
			}
		}
		var k [7][4]float64
		at := func(c float64, y [4]float64) [4]float64 { return motion(t+dir*c*h, y, burn) }
		k[0] = at(0, y)
		k[1] = at(1./5, add(&k, 1./5))
		k[2] = at(3./10, add(&k, 3./40, 9./40))
		k[3] = at(4./5, add(&k, 44./45, -56./15, 32./9))
		k[4] = at(8./9, add(&k, 19372./6561, -25360./2187, 64448./6561, -212./729))
		k[5] = at(1-1e-12, add(&k, 9017./3168, -355./33, 46732./5247, 49./176, -5103./18656))
		next := add(&k, 35./384, 0, 500./1113, 125./192, -2187./6784, 11./84)
		k[6] = at(1-1e-12, next)
		worse := add(&k, 5179./57600, 0, 7571./16695, 393./640, -92097./339200, 187./2100, 1./40)
		err := math.Hypot(next[0]-worse[0], next[1]-worse[1])
		if err > tolerance && h > stepMin {
			h = math.Max(stepMin, h*math.Max(0.2, 0.9*math.Pow(tolerance/err, 0.2)))
			continue
		}
		t, y = t+dir*h, next
		if !visit(state()) {
			break
		}
		h = math.Min(stepMax, h*math.Min(4, 0.9*math.Pow(tolerance/math.Max(err, 1e-14), 0.2)))
	}
	return state()
}

// nextPerigee returns the distance of closest approach to Earth that a state
// leads to, within a time; the distance reached by then when it never turns.
func nextPerigee(s State, within float64, burn thrust) float64 {
	closest := math.Inf(1)
	last := s.DistanceEarth()
	falling := false
	propagate(s, s.T+within, burn, func(now State) bool {
		r := now.DistanceEarth()
		if r < last {
			falling = true
		}
		// Nobody comes back from the Moon's inside, or from the Sun's realm.
		if now.DistanceMoon() < MoonRadius || r > farthest {
			last = farthest
			return false
		}
		// Close to Earth, and when the engine is off, the osculating orbit tells the perigee to metres, and
		// also one that lies below the ground.
		if falling && r < 40000 && (burn.along == 0 || now.T >= burn.to) {
			closest = now.Orbit().Perigee
			return false
		}
		last = r
		return true
	})
	if math.IsInf(closest, 1) {
		return last
	}
	return closest
}
