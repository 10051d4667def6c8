package role

import (
	"context"
	"fmt"
	"math"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/problem"
)

// OnboardTrajectory is the flight as guidance-nav flies it.
type OnboardTrajectory struct {
	Phase     string     `json:"phase"`
	Mode      string     `json:"spacecraftMode"`
	Maneuvers []Maneuver `json:"maneuvers"`
	Ahead     []Point    `json:"ahead"`
}

// Maneuvered is guidance-nav's answer to a command.
type Maneuvered struct {
	Status   string       `json:"status"` // executed, repeated or turned
	Executed *Maneuver    `json:"executed,omitempty"`
	Attitude *StarTracker `json:"attitude,omitempty"`
}

// guidanceNav flies the spacecraft: where it is follows from the flight's model
// and the burns made so far. It forgets them when it restarts, and gets them
// back from comms-system with the next telemetry frame.
func guidanceNav(kit Kit) Program {
	g := &guidanceRole{Kit: kit}
	kit.Metrics.Gauge("distance_earth_km", "Distance from Earth's centre.", func() float64 { return g.where().DistanceEarthKm })
	kit.Metrics.Gauge("speed_km_s", "Speed, Earth-centred.", func() float64 { return g.where().SpeedKmS })
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/position", g.position),
			endpoint.Get("/trajectory", g.trajectory),
			endpoint.Get("/star-tracker", g.starTracker),
			endpoint.Post("/maneuver", g.maneuver),
		},
		NewMission: func(missionclock.Reading) {
			g.flown.reset()
			g.mu.Lock()
			defer g.mu.Unlock()
			g.roll, g.pitch, g.yaw, g.count = 0, 0, 0, 0
		},
	}
}

type guidanceRole struct {
	Kit
	flown maneuvers

	mu               sync.Mutex
	roll, pitch, yaw float64
	count            int
}

func (g *guidanceRole) where() Position {
	t, ok := g.Clock.MissionTime()
	return positionAt(t, ok, g.flown.all())
}

func (g *guidanceRole) position(context.Context) (any, error) { return g.where(), nil }

func (g *guidanceRole) trajectory(context.Context) (any, error) {
	t, ok := g.Clock.MissionTime()
	all := g.flown.all()
	a := OnboardTrajectory{Phase: phaseAt(t, ok).ID, Mode: mode(all), Maneuvers: all, Ahead: []Point{}}
	if ok {
		for i := range 8 {
			ahead := positionAt(t+float64(i)*3*3600, true, all)
			a.Ahead = append(a.Ahead, Point{T: *ahead.MissionTime, X: ahead.X, Y: ahead.Y})
		}
	}
	return a, nil
}

func (g *guidanceRole) starTracker(context.Context) (any, error) { return g.attitude(), nil }

func (g *guidanceRole) attitude() StarTracker {
	t, ok := g.Clock.MissionTime()
	g.mu.Lock()
	defer g.mu.Unlock()
	return starTrackerAt(t, ok, g.Config.Seed, g.roll, g.pitch, g.yaw)
}

func (g *guidanceRole) maneuver(_ context.Context, in Command) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	t, ok := g.Clock.MissionTime()
	switch in.Type {
	case attitude:
		if !ok {
			return nil, problem.New(problem.WrongPhase, "no attitude to change before lift-off")
		}
		g.mu.Lock()
		for _, turn := range []struct {
			to *float64
			of *float64
		}{{in.RollDeg, &g.roll}, {in.PitchDeg, &g.pitch}, {in.YawDeg, &g.yaw}} {
			if turn.to != nil {
				*turn.of = *turn.to
			}
		}
		g.mu.Unlock()
		now := g.attitude()
		return Maneuvered{Status: "turned", Attitude: &now}, nil
	case courseCorrection, abort:
	default:
		return nil, endpoint.OneOf("type", in.Type, courseCorrection, abort, attitude)
	}
	if known, again := g.flown.find(in.ID); again {
		return Maneuvered{Status: "repeated", Executed: &known}, nil
	}
	at := t
	if in.ExecutedAt != nil {
		// Told again by who remembers: it was flown then.
		if at = *in.ExecutedAt; !ok || at < 0 || at > t {
			return nil, problem.New(problem.OutOfRange, "executedAt: want a mission time that has passed, have %g", at).In("executedAt")
		}
	}
	if err := g.flyable(in, at, ok); err != nil {
		return nil, err
	}
	m := Maneuver{ID: in.ID, Type: in.Type, At: at, Reason: in.Reason}
	if in.DeltaV != nil {
		m.DeltaVMS = *in.DeltaV
	}
	if m.ID == "" {
		g.mu.Lock()
		g.count++
		m.ID = fmt.Sprintf("%s-%.0f-%d", m.Type, at, g.count)
		g.mu.Unlock()
	}
	if !g.flown.add(m) {
		return nil, problem.New(problem.OutOfRange, "no propellant for more than %d maneuvers", maxManeuvers)
	}
	return Maneuvered{Status: "executed", Executed: &m}, nil
}

// flyable tells whether a maneuver could be flown at a mission time.
func (g *guidanceRole) flyable(in Command, at float64, flying bool) error {
	if in.Type == abort {
		switch phase := phaseAt(at, flying); {
		case !flying:
			return problem.New(problem.WrongPhase, "nothing to abort before lift-off: scrub the countdown")
		case phase.Over:
			return problem.New(problem.WrongPhase, "nothing to abort: %s", phase.Title)
		}
		return nil
	}
	if err := correctable(at, flying); err != nil {
		return err
	}
	total := math.Abs(*in.DeltaV)
	for _, m := range g.flown.all() {
		total += math.Abs(m.DeltaVMS)
	}
	if total > maxTotalDeltaVMS {
		return problem.New(problem.OutOfRange, "deltaV: the propellant has %d m/s for corrections, this would make it %.1f", maxTotalDeltaVMS, total).In("deltaV")
	}
	return nil
}

// maxTotalDeltaVMS is what the service module has for corrections, in m/s.
const maxTotalDeltaVMS = 400
