package role

import (
	"errors"
	"math"
	"slices"
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
	heard []Maneuver
	known []Maneuver // those of flown
	flown *mission.Flight
}

// hear replaces the maneuvers that the service has been told.
func (c *chart) hear(all []Maneuver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = all
}

// told returns the maneuvers that the service has been told.
func (c *chart) told() []Maneuver {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// flight returns the flight with the maneuvers that the service has been told.
func (c *chart) flight() *mission.Flight { return c.latest(c.told()) }

// plan returns the flight as planned.
func (c *chart) plan() *mission.Flight {
	c.once.Do(func() {
		// Without maneuvers there is nothing that could not be flown.
		c.planned, _ = mission.Fly(nil)
	})
	return c.planned
}

// with returns the flight with maneuvers, in the order of their times, and
// computes it anew only when they have changed.
func (c *chart) with(all []Maneuver) (*mission.Flight, error) {
	if len(all) == 0 {
		return c.plan(), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flown != nil && slices.Equal(all, c.known) {
		return c.flown, nil
	}
	flown, err := fly(all)
	if err != nil {
		return nil, err
	}
	c.known, c.flown = all, flown
	return flown, nil
}

// latest returns the flight with maneuvers, or as far as it was known before when
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

// now returns the mission time to ask the model for: before lift-off, a time
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
		X: round(s.X, 3), Y: round(s.Y, 3), VX: round(s.VX, 6), VY: round(s.VY, 6),
		DistanceEarthKm: round(s.DistanceEarth(), 3), DistanceMoonKm: round(s.DistanceMoon(), 3),
		AltitudeKm: round(s.Altitude(), 3),
		SpeedKmS:   round(s.Speed(), 6), OneWayLightTimeS: round(s.LightTime(), 6), LoadG: round(f.Load(t), 3),
	}
	if t >= 0 {
		t = round(t, 3)
		p.MissionTime = &t
	}
	return p
}

// round keeps the decimals that a figure deserves.
func round(x float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(x*p) / p
}

func points(f *mission.Flight, n int) []Point {
	out := make([]Point, 0, n)
	for _, s := range f.Sample(n) {
		out = append(out, Point{T: round(s.T, 1), X: round(s.X, 1), Y: round(s.Y, 1)})
	}
	return out
}

func moonAt(t float64) MoonAnswer {
	s := mission.MoonAt(t)
	return MoonAnswer{X: round(s.X, 1), Y: round(s.Y, 1), OrbitKm: mission.MoonOrbit, RadiusKm: mission.MoonRadius}
}

func distance(a, b mission.State) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }

func vitalsOf(t, load float64, seed uint64) []mission.Vitals {
	all := mission.VitalsOf(t, load, seed)
	for i, v := range all {
		all[i] = mission.Vitals{
			Name: v.Name, HeartRateBpm: round(v.HeartRateBpm, 1), SpO2Percent: round(v.SpO2Percent, 1),
			TemperatureC: round(v.TemperatureC, 2), BreathsMin: round(v.BreathsMin, 1),
		}
	}
	return all
}

func storesOf(s mission.Stores) Consumables {
	oxygen, nitrogen, water, _ := s.Percent()
	return Consumables{
		OxygenKg: round(s.OxygenKg, 3), OxygenPercent: round(oxygen, 2), NitrogenKg: round(s.NitrogenKg, 3),
		NitrogenPercent: round(nitrogen, 2),
		WaterKg:         round(s.WaterKg, 3), WaterPercent: round(water, 2),
	}
}

// moduleOf returns the service module of a flight.
func moduleOf(f *mission.Flight, t float64, seed uint64, burns int) ServiceModule {
	m, stores := f.ModuleAt(t, seed), f.StoresAt(t)
	_, _, _, propellant := stores.Percent()
	tanks := storesOf(stores)
	return ServiceModule{
		Propulsion: &Propulsion{
			PropellantKg: round(stores.PropellantKg, 2), PropellantPercent: round(propellant, 2),
			TankPressureBar: round(m.TankPressure, 2),
			DeltaVMS:        round(f.DeltaV(t), 2), Corrections: burns,
		},
		Solar: &mission.SolarArrays{PowerW: round(m.Solar.PowerW, 1), Deployed: m.Solar.Deployed,
			BatteryPercent: round(m.Solar.BatteryPercent, 1)},
		Thermal: &mission.Thermal{RadiatorC: round(m.Thermal.RadiatorC, 1), CoolantC: round(m.Thermal.CoolantC, 1)},
		Tanks:   &tanks,
	}
}
