package role

import (
	"context"
	"fmt"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
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
	FromFrame *uint64  `json:"fromFrame"`
	Phase     string   `json:"phase"`
	EnergyKJ  *float64 `json:"specificEnergyKJPerKg"`
	SpeedKmS  *float64 `json:"speedKmS"`
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
	// AfterDayKm is how far from the plan it leads within a day.
	AfterDayKm float64 `json:"displacementAfterDayKm"`
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
		NewMission: func(missionclock.Reading) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.flown, f.latest, f.burns = nil, nil, nil
		},
	}
}

// maxFlown bounds the points of the flown trajectory: when there are more, every
// other one is dropped.
const maxFlown = 800

type dynamicsRole struct {
	Kit
	mu     sync.Mutex
	flown  []Point
	seq    uint64
	latest *Frame
	burns  []Maneuver
}

func (f *dynamicsRole) follow(ctx context.Context) {
	f.mu.Lock()
	since := f.seq
	if f.latest == nil {
		since = 0
	}
	f.mu.Unlock()
	var frames FramesAnswer
	if f.Peers.Get(ctx, "telemetry-monitor", fmt.Sprintf("/frames?since=%d", since), &frames) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range frames.Frames {
		f.seq, f.latest = r.Sequence, &r.Frame
		if r.Maneuvers != nil {
			f.burns = r.Maneuvers
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
	f.mu.Lock()
	defer f.mu.Unlock()
	a := TrajectoryAnswer{Nominal: nominal(), Flown: append([]Point{}, f.flown...), Burns: append([]Maneuver{}, f.burns...)}
	t, _ := f.Clock.MissionTime()
	a.Moon = moon(t)
	if f.latest != nil {
		a.Position = f.latest.Position
	}
	return a, nil
}

func (f *dynamicsRole) orbit(context.Context) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := Orbit{Phase: f.phase().ID}
	if f.latest != nil && f.latest.Position != nil && f.latest.Position.MissionTime != nil {
		p := f.latest.Position
		energy := specificEnergy(*p)
		deviation := deviationKm(*p)
		a.FromFrame, a.EnergyKJ, a.SpeedKmS, a.DeviationKm = &f.latest.Sequence, &energy, &p.SpeedKmS, &deviation
	}
	return a, nil
}

func (f *dynamicsRole) correction(_ context.Context, in Correction) (any, error) {
	t, ok := f.Clock.MissionTime()
	if err := correctable(t, ok); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	plan := CorrectionPlan{Status: "planned"}
	total := 0.0
	for _, b := range f.burns {
		total += b.DeltaVMS
	}
	if f.latest != nil && f.latest.Position != nil && f.latest.Position.MissionTime != nil {
		deviation := deviationKm(*f.latest.Position)
		plan.DeviationKm = &deviation
	}
	if in.DeltaV != nil {
		if err := (Command{Type: courseCorrection, DeltaV: in.DeltaV}).check(); err != nil {
			return nil, err
		}
		plan.DeltaVMS = *in.DeltaV
	} else {
		// Back to the planned speed: what was burned so far, undone.
		plan.DeltaVMS = -total
		if total == 0 {
			plan.Status = "none needed"
		}
	}
	plan.DeltaV = fmt.Sprintf("%.1f m/s", plan.DeltaVMS)
	plan.AfterDayKm = (total + plan.DeltaVMS) * 86400 / 1000
	return plan, nil
}

// correctable gives a problem where no course correction can be flown.
func correctable(t float64, flying bool) error {
	if !flying {
		return problem.New(problem.WrongPhase, "no burn before lift-off")
	}
	if phase := phaseAt(t, true); !phase.Correctable {
		return problem.New(problem.WrongPhase, "no burn during %s", phase.Title)
	}
	return nil
}
