package mission

import "math"

// State is where the spacecraft is and how it moves.
type State struct {
	T      float64 // s since lift-off
	X, Y   float64 // km
	VX, VY float64 // km/s
}

// DistanceEarth is from Earth's centre, in km.
func (s State) DistanceEarth() float64 { return math.Hypot(s.X, s.Y) }

// Altitude is above the equatorial radius, in km.
func (s State) Altitude() float64 { return s.DistanceEarth() - EarthRadius }

// DistanceMoon is from the Moon's centre, in km.
func (s State) DistanceMoon() float64 {
	m := MoonAt(s.T)
	return math.Hypot(s.X-m.X, s.Y-m.Y)
}

// Speed is against Earth's centre, in km/s.
func (s State) Speed() float64 { return math.Hypot(s.VX, s.VY) }

// LightTime is one way to Earth's centre, in s.
func (s State) LightTime() float64 { return s.DistanceEarth() / LightSpeed }

// SpecificEnergy is against Earth alone, in km²/s²: constant on an orbit that
// the Moon does not disturb (the vis-viva equation).
func (s State) SpecificEnergy() float64 {
	return s.Speed()*s.Speed()/2 - EarthGM/s.DistanceEarth()
}

// Orbit is the ellipse or hyperbola around Earth that a state lies on.
type Orbit struct {
	SemiMajorAxis float64 // km; negative on a hyperbola
	Eccentricity  float64
	Perigee       float64 // km from the centre
}

// Orbit returns the osculating orbit around Earth (Vallado, Fundamentals of
// Astrodynamics and Applications, section 2.5).
func (s State) Orbit() Orbit {
	r, v2 := s.DistanceEarth(), s.VX*s.VX+s.VY*s.VY
	energy := v2/2 - EarthGM/r
	h := s.X*s.VY - s.Y*s.VX
	o := Orbit{
		SemiMajorAxis: -EarthGM / (2 * energy),
		Eccentricity:  math.Sqrt(math.Max(0, 1+2*energy*h*h/(EarthGM*EarthGM))),
	}
	o.Perigee = h * h / EarthGM / (1 + o.Eccentricity)
	return o
}

// moonRate is the Moon's mean motion in rad/s (Kepler's third law for both
// bodies).
var moonRate = math.Sqrt((EarthGM + MoonGM) / (MoonOrbit * MoonOrbit * MoonOrbit))

// MoonAt returns the Moon's place and motion at a mission time.
func MoonAt(t float64) State {
	sin, cos := math.Sincos(moonRate * (t - flybyAt))
	return State{T: t, X: MoonOrbit * cos, Y: MoonOrbit * sin, VX: -MoonOrbit * moonRate * sin,
		VY: MoonOrbit * moonRate * cos}
}

// cubic returns the value and the rate, a part u of the way over h seconds, of the
// polynomial of third degree with these values and rates at its ends.
func cubic(u, h, p0, v0, p1, v1 float64) (p, v float64) {
	m0, m1 := v0*h, v1*h
	p = (2*u*u*u-3*u*u+1)*p0 + (u*u*u-2*u*u+u)*m0 + (-2*u*u*u+3*u*u)*p1 + (u*u*u-u*u)*m1
	v = ((6*u*u-6*u)*p0 + (3*u*u-4*u+1)*m0 + (-6*u*u+6*u)*p1 + (3*u*u-2*u)*m1) / h
	return p, v
}

// hermite returns the state at t on the cubic between two states, which has the
// places and velocities of both at its ends. It is for short steps: see arc.
func hermite(a, b State, t float64) State {
	h := b.T - a.T
	u := (t - a.T) / h
	s := State{T: t}
	s.X, s.VX = cubic(u, h, a.X, a.VX, b.X, b.VX)
	s.Y, s.VY = cubic(u, h, a.Y, a.VY, b.Y, b.VY)
	return s
}

// arc does what hermite does with distance and angle, for a way so far around
// Earth, less than a turn, that a cubic in the plane would cut through the air.
func arc(a, b State, t float64) State {
	h := b.T - a.T
	u := (t - a.T) / h
	r0, dr0, w0 := a.turning()
	r1, dr1, w1 := b.turning()
	start := math.Atan2(a.Y, a.X)
	swept := math.Mod(math.Atan2(b.Y, b.X)-start+4*math.Pi, 2*math.Pi)
	r, dr := cubic(u, h, r0, dr0, r1, dr1)
	angle, w := cubic(u, h, start, w0, start+swept, w1)
	return polar(t, r, dr, angle, w)
}

// turning returns the distance from Earth, its rate, and that of the angle.
func (s State) turning() (r, dr, w float64) {
	r = s.DistanceEarth()
	return r, (s.X*s.VX + s.Y*s.VY) / r, (s.X*s.VY - s.Y*s.VX) / (r * r)
}

// ellipse returns the state at t on an orbit around Earth with its perigee at an
// angle, passed at a time. Kepler's equation is solved by Newton's method.
func ellipse(perigee, apogee, angle, passed, t float64) State {
	a := (perigee + apogee) / 2
	e := (apogee - perigee) / (apogee + perigee)
	n := math.Sqrt(EarthGM / (a * a * a))
	mean := n * (t - passed)
	ecc := mean
	for range 40 {
		step := (ecc - e*math.Sin(ecc) - mean) / (1 - e*math.Cos(ecc))
		ecc -= step
		if math.Abs(step) < 1e-13 {
			break
		}
	}
	sinE, cosE := math.Sincos(ecc)
	b := a * math.Sqrt(1-e*e)
	rate := n / (1 - e*cosE)
	x, y := a*(cosE-e), b*sinE
	vx, vy := -a*sinE*rate, b*cosE*rate
	sin, cos := math.Sincos(angle)
	return State{T: t, X: x*cos - y*sin, Y: x*sin + y*cos, VX: vx*cos - vy*sin, VY: vx*sin + vy*cos}
}
