package role

import (
	"errors"
	"math"
	"sync"

	"artemis.example/service/mission"
	"artemis.example/service/problem"
)

// This file is where the roles ask the mission model: what follows from the
// mission time and the maneuvers, in the words of the answers.

// chart is a service's view of the flight: the planned one, and the one with
// the maneuvers that it has been told. The zero value is ready; it is safe for
// concurrent use.
type chart struct {
	once    sync.Once
	planned *mission.Flight

	mu    sync.Mutex
	known []Maneuver
	flown *mission.Flight
}

// plan gives the flight as planned.
func (c *chart) plan() *mission.Flight {
	c.once.Do(func() {
		// Without maneuvers there is nothing that could not be flown.
		c.planned, _ = mission.Fly(nil)
	})
	return c.planned
}

// with gives the flight with maneuvers, in the order of their times, and
// computes it anew only when they have changed.
func (c *chart) with(all []Maneuver) (*mission.Flight, error) {
	if len(all) == 0 {
		return c.plan(), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flown != nil && same(all, c.known) {
		return c.flown, nil
	}
	flown, err := fly(all)
	if err != nil {
		return nil, err
	}
	c.known, c.flown = all, flown
	return flown, nil
}

// latest gives the flight with maneuvers, or as far as it was known before when
// they make no flight.
func (c *chart) latest(all []Maneuver) *mission.Flight {
	if f, err := c.with(all); err == nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flown != nil {
		return c.flown
	}
	return c.plan()
}

func same(a, b []Maneuver) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// fly computes a flight; its errors are problems.
func fly(all []Maneuver) (*mission.Flight, error) {
	maneuvers := make([]mission.Maneuver, len(all))
	for i, m := range all {
		maneuvers[i] = mission.Maneuver{At: m.At, DeltaV: m.DeltaVMS, Abort: m.Type == abort}
	}
	f, err := mission.Fly(maneuvers)
	switch {
	case errors.Is(err, mission.ErrOutOfRange):
		return nil, problem.New(problem.OutOfRange, "%v", err).In("deltaV")
	case errors.Is(err, mission.ErrPhase):
		return nil, problem.New(problem.WrongPhase, "%v", err)
	}
	return f, err
}

// now gives the mission time to ask the model for: before lift-off, a time
// before it.
func (k Kit) now() float64 {
	if t, flying := k.Clock.MissionTime(); flying {
		return t
	}
	return -1
}

func positionOf(f *mission.Flight, t float64, all []Maneuver) Position {
	s, phase := f.At(t), f.Phase(t)
	p := Position{
		Phase: phase.ID, PhaseTitle: phase.Title, Mode: mode(all),
		X: s.X, Y: s.Y, VX: s.VX, VY: s.VY,
		DistanceEarthKm: s.DistanceEarth(), DistanceMoonKm: s.DistanceMoon(), AltitudeKm: s.Altitude(),
		SpeedKmS: s.Speed(), OneWayLightTimeS: s.LightTime(), LoadG: f.Load(t),
	}
	if t >= 0 {
		p.MissionTime = &t
	}
	return p
}

// state gives the model's state of a position that came down.
func (p Position) state() mission.State {
	s := mission.State{X: p.X, Y: p.Y, VX: p.VX, VY: p.VY}
	if p.MissionTime != nil {
		s.T = *p.MissionTime
	}
	return s
}

func points(f *mission.Flight, n int) []Point {
	out := make([]Point, 0, n)
	for _, s := range f.Sample(n) {
		out = append(out, Point{T: s.T, X: s.X, Y: s.Y})
	}
	return out
}

func moonAt(t float64) MoonAnswer {
	s := mission.MoonAt(t)
	return MoonAnswer{X: s.X, Y: s.Y, OrbitKm: mission.MoonOrbit, RadiusKm: mission.MoonRadius}
}

func distance(a, b mission.State) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }

func vitalsOf(t, load float64, seed uint64) []CrewVitals {
	var all []CrewVitals
	for _, v := range mission.VitalsOf(t, load, seed) {
		all = append(all, CrewVitals(v))
	}
	return all
}

func storesOf(s mission.Stores) Consumables {
	oxygen, nitrogen, water, _ := s.Percent()
	return Consumables{
		OxygenKg: s.OxygenKg, OxygenPercent: oxygen, NitrogenKg: s.NitrogenKg, NitrogenPercent: nitrogen,
		WaterKg: s.WaterKg, WaterPercent: water,
	}
}

// moduleOf gives the service module of a flight.
func moduleOf(f *mission.Flight, t float64, seed uint64, burns int) ServiceModule {
	m, stores := f.ModuleAt(t, seed), f.StoresAt(t)
	_, _, _, propellant := stores.Percent()
	tanks := storesOf(stores)
	return ServiceModule{
		Propulsion: &Propulsion{
			PropellantKg: stores.PropellantKg, PropellantPercent: propellant, TankPressureBar: m.TankPressure,
			DeltaVMS: f.DeltaV(t), Corrections: burns,
		},
		Solar:   &SolarArrays{PowerW: m.SolarPowerW, Deployed: m.Deployed, BatteryPercent: m.BatteryPc},
		Thermal: &Thermal{RadiatorC: m.RadiatorC, CoolantC: m.CoolantC},
		Tanks:   &tanks,
	}
}
