package role

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
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
	Status string `json:"status"` // acknowledged, repeated or turned
	Type   string `json:"type"`
	DeltaV string `json:"deltaV,omitempty"` // of a course correction, with its unit
	// Executed is the maneuver as it was flown; nil for one that waits, and Note
	// says for what.
	Executed *Maneuver    `json:"executed,omitempty"`
	Note     string       `json:"note,omitempty"`
	Attitude *StarTracker `json:"attitude,omitempty"`
}

// guidanceNav flies the spacecraft: where it is follows from the flight's model
// and the burns made so far. It forgets them when it restarts, and gets them
// back from comms-system with the next telemetry frame.
func guidanceNav(kit Kit) Program {
	g := &guidanceRole{Kit: kit}
	kit.Metrics.Gauge("distance_earth_km", "Distance from Earth's centre.",
		func() float64 { return g.where().DistanceEarthKm })
	kit.Metrics.Gauge("speed_km_s", "Speed, Earth-centred.", func() float64 { return g.where().SpeedKmS })
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/position", g.position),
			endpoint.Get("/trajectory", g.trajectory),
			endpoint.Get("/star-tracker", g.starTracker),
			endpoint.PostOr("/maneuver", bareManeuver, g.maneuver),
		},
		NewMission: func() {
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
	chart chart

	mu               sync.Mutex
	roll, pitch, yaw float64
	count            int
	waiting          []Maneuver // corrections for when the phase takes a burn
}

// soFar returns what was flown, corrections among it whose time has come.
func (g *guidanceRole) soFar() []Maneuver {
	g.flyWaiting()
	return g.flown.all()
}

func (g *guidanceRole) where() Position {
	all := g.soFar()
	return positionOf(g.chart.latest(all), g.now(), all)
}

func (g *guidanceRole) position(context.Context) (any, error) { return g.where(), nil }

func (g *guidanceRole) trajectory(context.Context) (any, error) {
	all := g.soFar()
	f, t := g.chart.latest(all), g.now()
	a := OnboardTrajectory{Phase: f.Phase(t).ID, Mode: mode(all), Maneuvers: all, Ahead: []Point{}}
	const step = 3 * 3600
	for ahead := t; t >= 0 && ahead < min(f.End(), t+8*step); ahead += step {
		s := f.At(ahead)
		a.Ahead = append(a.Ahead, Point{T: round(ahead, 1), X: round(s.X, 1), Y: round(s.Y, 1)})
	}
	return a, nil
}

func (g *guidanceRole) starTracker(context.Context) (any, error) { return g.attitude(), nil }

func (g *guidanceRole) attitude() StarTracker {
	stars := g.chart.latest(g.flown.all()).StarsAt(g.now(), g.Config.Seed)
	g.mu.Lock()
	defer g.mu.Unlock()
	return StarTracker{RollDeg: g.roll, PitchDeg: g.pitch, YawDeg: g.yaw, Stars: stars.Tracked,
		ErrorArcS: round(stars.ErrorArcSecond, 2)}
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
		return Maneuvered{Status: "turned", Type: attitude, Attitude: &now}, nil
	case courseCorrection, abort:
	default:
		return nil, endpoint.OneOf("type", in.Type, courseCorrection, abort, attitude)
	}
	if known, again := g.flown.find(in.ID); again {
		return maneuvered("repeated", known, &known), nil
	}
	g.flyWaiting()
	at := t
	if in.ExecutedAt != nil {
		// Told again by who remembers: it was flown then.
		if at = *in.ExecutedAt; !ok || at < 0 || at > t {
			return nil, problem.New(problem.OutOfRange, "executedAt: want a mission time that has passed, have %g",
				at).In("executedAt")
		}
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
	if in.whenever && g.waits(m, ok) {
		return g.wait(m)
	}
	if err := g.flyable(m, ok); err != nil {
		return nil, err
	}
	if !g.flown.add(m) {
		return nil, computerFull()
	}
	return maneuvered("acknowledged", m, &m), nil
}

func computerFull() error {
	return problem.New(problem.OutOfRange, "the computer holds %d maneuvers and no more", maxManeuvers)
}

func maneuvered(status string, m Maneuver, executed *Maneuver) Maneuvered {
	out := Maneuvered{Status: status, Type: m.Type, Executed: executed}
	if m.Type == courseCorrection {
		out.DeltaV = fmt.Sprintf("%.1f m/s", m.DeltaVMS)
	}
	return out
}

// waits reports whether a correction is for later: the engine cannot burn for it
// yet, as before lift-off, below the raised apogee and while another burns.
func (g *guidanceRole) waits(m Maneuver, flying bool) bool {
	if !flying {
		return true
	}
	all := g.flown.all()
	f := g.chart.latest(all)
	phase := f.Phase(m.At)
	return !f.Correctable(m.At) && phase != mission.Entry && !phase.Over && mode(all) != modeAborting
}

func (g *guidanceRole) wait(m Maneuver) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := slices.ContainsFunc(g.waiting, func(w Maneuver) bool { return w.ID == m.ID })
	if !known && len(g.waiting) >= maxManeuvers {
		return nil, computerFull()
	}
	if !known {
		g.waiting = append(g.waiting, m)
	}
	out := maneuvered("acknowledged", m, nil)
	out.Note = "flown after lift-off, as soon as the spacecraft can burn"
	return out, nil
}

// flyWaiting flies the corrections that waited, each once the engine can burn for
// it. One that has become impossible is dropped, and the log says so.
func (g *guidanceRole) flyWaiting() {
	t, flying := g.Clock.MissionTime()
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 {
		m := g.waiting[0]
		m.At = t
		if g.waits(m, flying) {
			return
		}
		g.waiting = g.waiting[1:]
		if err := g.flyable(m, true); err != nil {
			g.Log.Warn("a correction that waited cannot be flown", "maneuver", m.ID, "error", err)
			continue
		}
		g.flown.add(m)
	}
}

// flyable reports whether a maneuver could be flown besides those that were.
func (g *guidanceRole) flyable(m Maneuver, flying bool) error {
	all := g.flown.all()
	phase := g.chart.latest(all).Phase(m.At)
	switch {
	case !flying && m.Type == abort:
		return problem.New(problem.WrongPhase, "nothing to abort before lift-off: scrub the countdown")
	case !flying:
		return problem.New(problem.WrongPhase, "no burn before lift-off")
	case phase.Over:
		return problem.New(problem.WrongPhase, "the flight is over: %s", phase.Title)
	case m.Type == abort && mode(all) == modeAborting:
		return problem.New(problem.WrongPhase, "the spacecraft is aborting already")
	case m.Type == courseCorrection && !phase.Correctable && mode(all) == modeAborting:
		return problem.New(problem.WrongPhase, "the spacecraft is aborting already: no burn during %s", phase.Title)
	case m.Type == courseCorrection && !phase.Correctable:
		return problem.New(problem.WrongPhase, "no burn during %s", phase.Title)
	}
	if _, err := g.chart.with(inOrder(append(all, m))); err != nil {
		if mode(all) == modeAborting {
			return problem.New(problem.WrongPhase, "the spacecraft is aborting already: %v", err)
		}
		return err
	}
	return nil
}
