package role

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
	"artemis.example/service/problem"
)

// Point is a place in the plane of the flight: km, Earth-centred; T is the
// mission time in s.
type Point struct {
	T float64 `json:"t"`
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// TrajectoryAnswer is the flight as planned and as flown.
type TrajectoryAnswer struct {
	Nominal  []Point    `json:"nominal"`
	Flown    []Point    `json:"flown"`
	Moon     MoonAnswer `json:"moon"`
	Position *Position  `json:"position"` // the last that came down
	Burns    []Maneuver `json:"burns"`
}

// MoonAnswer is where the Moon is now, and its orbit.
type MoonAnswer struct {
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
	OrbitKm  float64 `json:"orbitKm"`
	RadiusKm float64 `json:"radiusKm"`
}

// Orbit is what the last position that came down says of the orbit.
type Orbit struct {
	// FromFrame is the sequence number of the frame; null when none came.
	FromFrame *uint64 `json:"fromFrame"`
	Phase     string  `json:"phase"`
	// EnergyKJ is against Earth alone, kJ/kg.
	EnergyKJ        *float64 `json:"specificEnergyKJPerKg"`
	SpeedKmS        *float64 `json:"speedKmS"`
	SemiMajorAxisKm *float64 `json:"semiMajorAxisKm"`
	Eccentricity    *float64 `json:"eccentricity"`
	PerigeeKm       *float64 `json:"perigeeKm"` // from Earth's centre
	// SplashdownAt is the mission time, in s, at which the flight ends; null
	// when it does not come back.
	SplashdownAt *float64 `json:"splashdownAt"`
	// DeviationKm is the distance between the flown and the planned position.
	DeviationKm *float64 `json:"deviationKm"`
}

// Correction asks what burn is needed; with a deltaV, what it would do.
type Correction struct {
	DeltaV *float64 `json:"deltaV,omitempty"` // m/s along the velocity
}

// CorrectionPlan is what flight-dynamics proposes.
type CorrectionPlan struct {
	Status      string   `json:"status"`
	DeltaV      string   `json:"deltaV"`
	DeltaVMS    float64  `json:"deltaVMs"`
	DeviationKm *float64 `json:"deviationKm"`
	// ClosestMoonKm is the pericynthion of the flight with the burn, from the
	// Moon's centre; SplashdownAt its end, null when nobody comes back.
	ClosestMoonKm float64  `json:"closestMoonKm"`
	SplashdownAt  *float64 `json:"splashdownAt"`
}

// flightDynamics computes the flight: the plan from the model, the flown part
// from the frames that telemetry-monitor has.
func flightDynamics(kit Kit) Program {
	f := &dynamicsRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/trajectory/current", f.trajectory),
			endpoint.Get("/orbital-mechanics", f.orbit),
			endpoint.Post("/trajectory/correction", f.correction),
		},
		Loops: []func(context.Context){every(kit, kit.Config.Cycle, "orbit determination", f.follow)},
		NewMission: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.flown, f.latest = nil, nil
			f.chart.hear(nil)
		},
	}
}

// maxFlown bounds the points of the flown trajectory: when there are more, every
// other one is dropped.
const maxFlown = 800

type dynamicsRole struct {
	Kit
	chart  chart // with the maneuvers that the frames told of
	mu     sync.Mutex
	flown  []Point
	seq    uint64
	latest *Frame
}

func (f *dynamicsRole) follow(ctx context.Context) {
	f.mu.Lock()
	since := f.seq
	if f.latest == nil {
		since = 0
	}
	f.mu.Unlock()
	var frames []Received
	if framesSince(ctx, f.Peers, since, func(r Received) { frames = append(frames, r) }) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range frames {
		f.seq, f.latest = r.Sequence, &r.Frame
		if r.Maneuvers != nil {
			f.chart.hear(r.Maneuvers)
		}
		if p := r.Position; p != nil && p.MissionTime != nil {
			f.flown = append(f.flown, Point{T: *p.MissionTime, X: p.X, Y: p.Y})
		}
	}
	if len(f.flown) > maxFlown {
		kept := f.flown[:0]
		for i := 0; i < len(f.flown); i += 2 {
			kept = append(kept, f.flown[i])
		}
		f.flown = kept
	}
}

func (f *dynamicsRole) trajectory(context.Context) (any, error) {
	nominal := points(f.chart.plan(), 240)
	f.mu.Lock()
	defer f.mu.Unlock()
	a := TrajectoryAnswer{
		Nominal: nominal, Flown: append([]Point{}, f.flown...), Burns: append([]Maneuver{}, f.chart.told()...),
		Moon: moonAt(f.now()),
	}
	if f.latest != nil {
		a.Position = f.latest.Position
	}
	return a, nil
}

func (f *dynamicsRole) orbit(context.Context) (any, error) {
	flight := f.chart.flight()
	a := Orbit{Phase: flight.Phase(f.now()).ID}
	s, seq, known := f.state()
	if !known {
		return a, nil
	}
	energy, speed, orbit := s.SpecificEnergy(), s.Speed(), s.Orbit()
	deviation := distance(s, f.chart.plan().At(s.T))
	a.FromFrame, a.EnergyKJ, a.SpeedKmS, a.DeviationKm = &seq, &energy, &speed, &deviation
	for _, e := range []struct {
		to *(*float64)
		is float64
	}{{&a.SemiMajorAxisKm, orbit.SemiMajorAxis}, {&a.Eccentricity, orbit.Eccentricity}, {&a.PerigeeKm, orbit.Perigee}} {
		if !math.IsNaN(e.is) && !math.IsInf(e.is, 0) {
			*e.to = &e.is
		}
	}
	a.SplashdownAt = splashdown(flight)
	return a, nil
}

// state returns where the spacecraft was by the last frame, whose sequence number it
// returns as well, and whether there is such a frame.
func (f *dynamicsRole) state() (s mission.State, seq uint64, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest == nil || f.latest.Position == nil || f.latest.Position.MissionTime == nil {
		return s, 0, false
	}
	p := f.latest.Position
	return mission.State{T: *p.MissionTime, X: p.X, Y: p.Y, VX: p.VX, VY: p.VY}, f.latest.Sequence, true
}

func splashdown(f *mission.Flight) *float64 {
	end := f.End()
	if f.Phase(end).ID != mission.Splashdown.ID {
		return nil
	}
	return &end
}

func (f *dynamicsRole) correction(_ context.Context, in Correction) (any, error) {
	flown, t := f.chart.told(), f.now()
	phase := f.chart.latest(flown).Phase(t)
	if !phase.Correctable {
		return nil, problem.New(problem.WrongPhase, "no burn during %s", phase.Title)
	}
	plan := CorrectionPlan{Status: "planned"}
	if s, _, known := f.state(); known {
		deviation := distance(s, f.chart.plan().At(s.T))
		plan.DeviationKm = &deviation
	}
	if in.DeltaV != nil {
		if err := (Command{Type: courseCorrection, DeltaV: in.DeltaV}).check(); err != nil {
			return nil, err
		}
		plan.DeltaVMS = *in.DeltaV
	} else {
		// Back to the planned speed: what was burned so far, undone.
		for _, m := range flown {
			plan.DeltaVMS -= m.DeltaVMS
		}
		plan.DeltaVMS = max(-maxDeltaVMS, min(maxDeltaVMS, plan.DeltaVMS))
	}
	then := slices.Clone(flown)
	if plan.DeltaVMS == 0 {
		plan.Status = "none needed"
	} else {
		then = append(then, Maneuver{Type: courseCorrection, At: t, DeltaVMS: plan.DeltaVMS})
	}
	flight, err := fly(then)
	if err != nil {
		return nil, err
	}
	plan.DeltaV = fmt.Sprintf("%.1f m/s", plan.DeltaVMS)
	plan.SplashdownAt = splashdown(flight)
	plan.ClosestMoonKm = math.Inf(1)
	for _, s := range flight.Sample(400) {
		plan.ClosestMoonKm = min(plan.ClosestMoonKm, s.DistanceMoon())
	}
	return plan, nil
}
