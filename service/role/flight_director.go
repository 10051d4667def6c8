package role

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
	"artemis.example/service/missionclock"
	"artemis.example/service/problem"
	"artemis.example/service/trace"
)

// Status is the flight as the director sees it: the clock is its own, all else
// came down by telemetry or is null.
type Status struct {
	Phase            string           `json:"phase"`
	PhaseTitle       string           `json:"phaseTitle"`
	MissionTime      *float64         `json:"missionTime"` // s; negative while counting
	LiftOff          *time.Time       `json:"liftOff"`
	TimeScale        *float64         `json:"timeScale"`
	Countdown        string           `json:"countdown"` // launch-control's state, as it last said
	DistanceEarthKm  *float64         `json:"distanceEarthKm"`
	DistanceMoonKm   *float64         `json:"distanceMoonKm"`
	SpeedKmS         *float64         `json:"speedKmS"`
	OneWayLightTimeS *float64         `json:"oneWayLightTimeS"`
	Station          *string          `json:"station"`
	Signal           *mission.Link    `json:"signal"`
	Mode             *string          `json:"spacecraftMode"`
	Contact          Contact          `json:"contact"`
	Consumables      *Consumables     `json:"consumables"`
	Atmosphere       *mission.Air     `json:"atmosphere"`
	Crew             []mission.Vitals `json:"crew"`
	Attitude         *StarTracker     `json:"attitude"`
	Displays         *Displays        `json:"displays"`
	ServiceModule    *ServiceModule   `json:"serviceModule"`
	Maneuvers        []Maneuver       `json:"maneuvers"`
	Messages         []HeardMessage   `json:"messages"`
	Alerts           []Alert          `json:"alerts"`
	// Unavailable says why nothing is known, in an event; an answer is that
	// problem itself.
	Unavailable *problem.Problem `json:"unavailable,omitempty"`
}

// Graph is the table of who may call whom.
type Graph struct {
	Cells    []string       `json:"cells"`
	Services []GraphService `json:"services"`
	Edges    []GraphEdge    `json:"edges"`
}

// GraphService is one service of the graph.
type GraphService struct {
	Name string `json:"name"`
	Cell string `json:"cell"`
}

// GraphEdge is one declared way; from is "ingress" for the operator.
type GraphEdge struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
}

// flightDirector leads: it asks Houston's consoles, sends commands by capcom,
// and shows the operator what is going on.
func flightDirector(kit Kit) Program {
	f := &directorRole{Kit: kit, hub: newHub()}
	return Program{
		Endpoints: append(f.page(),
			endpoint.Get("/mission/status", f.status),
			endpoint.Get("/mission/graph", f.graph),
			endpoint.Get("/downlink/telemetry", f.telemetry),
			endpoint.Get("/trajectory", f.trajectory),
			endpoint.Post("/uplink/command", f.command),
			endpoint.Post("/decision/abort", f.abort),
			endpoint.Post("/trajectory/correction", f.correction),
			endpoint.Post("/decision/go-nogo", f.goNoGo),
			endpoint.Post("/handoff", f.handoff),
		),
		Loops: []func(context.Context){
			every(kit, kit.Config.Cycle, "flight watch", f.watch),
			every(kit, kit.Config.Cycle, "voice loop", f.keepVoiceLoop),
		},
		Watch: func(t trace.Trace) {
			if len(t.Hops) > 0 {
				f.hub.publish("trace", traceEvent{At: t.At, Trace: t})
			}
		},
		Close: f.hub.close,
		NewMission: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seq, f.alerted, f.count = 0, nil, GoNoGo{}
			f.chart.hear(nil)
		},
	}
}

type traceEvent struct {
	At    time.Time   `json:"at"`
	Trace trace.Trace `json:"trace"`
}

type directorRole struct {
	Kit
	hub   *hub
	chart chart // with the maneuvers that the last frame told of

	mu    sync.Mutex
	count GoNoGo    // as launch-control last said
	heard time.Time // when it did
	// aborted is the reason for which the next launch is a NO-GO, before lift-off.
	aborted string
	// What has been sent as events.
	seq     uint64
	alerted map[string]bool
}

// phase returns where the flight is, by the clock and what came down.
func (f *directorRole) phase() mission.Phase { return f.chart.flight().Phase(f.now()) }

func (f *directorRole) flightOver() bool { return f.phase().Over }

// noteManeuvers takes note of what a board says of the flight.
func (f *directorRole) noteManeuvers(board Board) {
	if board.Frame != nil && board.Frame.Maneuvers != nil {
		f.chart.hear(board.Frame.Maneuvers)
	}
}

func (f *directorRole) status(ctx context.Context) (any, error) {
	var board Board
	if err := f.Peers.Get(ctx, "telemetry-monitor", "/dashboard", &board); err != nil {
		return nil, err
	}
	f.noteManeuvers(board)
	return f.statusFrom(board), nil
}

// statusFrom makes the status of what telemetry-monitor has.
func (f *directorRole) statusFrom(board Board) Status {
	s := Status{
		Contact: board.Contact, ServiceModule: board.ServiceModule, Messages: board.Messages, Alerts: board.Alerts,
		Maneuvers: []Maneuver{},
	}
	phase := f.phase()
	s.Phase, s.PhaseTitle = phase.ID, phase.Title
	f.mu.Lock()
	if f.Clock.Now().Sub(f.heard) < 5*f.Config.Cycle {
		s.Countdown = f.count.State
		if left := f.count.TMinusS; left != nil {
			now := *left
			if f.count.State == countCounting {
				now = max(0, now-f.Clock.Now().Sub(f.heard).Seconds())
			}
			now = -now
			s.MissionTime = &now
		}
	}
	f.mu.Unlock()
	if r := f.Clock.Reading(); r.IsSet() && (s.MissionTime == nil || !phase.Over) {
		t, _ := f.Clock.MissionTime()
		s.MissionTime, s.LiftOff, s.TimeScale = &t, &r.LiftOff, &r.Scale
	}
	if r := board.Frame; r != nil {
		s.Station, s.Signal, s.Attitude, s.Displays, s.Crew = &r.Station, r.Signal, r.StarTracker, r.Displays, r.Crew
		s.Consumables, s.Atmosphere = r.Consumables, r.Atmosphere
		if r.Maneuvers != nil {
			s.Maneuvers = r.Maneuvers
		}
		if p := r.Position; p != nil {
			s.DistanceEarthKm, s.DistanceMoonKm, s.SpeedKmS, s.OneWayLightTimeS = &p.DistanceEarthKm, &p.DistanceMoonKm,
				&p.SpeedKmS, &p.OneWayLightTimeS
			s.Mode = &p.Mode
		}
	}
	return s
}

func (f *directorRole) graph(context.Context) (any, error) {
	g := Graph{Cells: catalog.Cells()}
	for _, s := range catalog.Services() {
		g.Services = append(g.Services, GraphService{Name: s.Name, Cell: s.Cell})
		for _, r := range s.Rules {
			for _, c := range r.Callers {
				g.Edges = addEdge(g.Edges, c.Component, s.Name, r.Method, r.Paths)
			}
		}
	}
	return g, nil
}

func addEdge(edges []GraphEdge, from, to, method string, paths []string) []GraphEdge {
	for i := range edges {
		if e := &edges[i]; e.From == from && e.To == to {
			if e.Methods[len(e.Methods)-1] != method {
				e.Methods = append(e.Methods, method)
			}
			e.Paths = append(e.Paths, paths...)
			return edges
		}
	}
	return append(edges, GraphEdge{From: from, To: to, Methods: []string{method}, Paths: append([]string{}, paths...)})
}

func (f *directorRole) telemetry(ctx context.Context) (any, error) {
	var frames FramesAnswer
	if err := f.Peers.Get(ctx, "telemetry-monitor", "/frames", &frames); err != nil {
		return nil, err
	}
	return frames, nil
}

func (f *directorRole) trajectory(ctx context.Context) (any, error) {
	var (
		current TrajectoryAnswer
		orbit   Orbit
	)
	if err := f.Peers.Get(ctx, "flight-dynamics", "/trajectory/current", &current); err != nil {
		return nil, err
	}
	if err := f.Peers.Get(ctx, "flight-dynamics", "/orbital-mechanics", &orbit); err != nil {
		return nil, err
	}
	return struct {
		TrajectoryAnswer
		Orbit Orbit `json:"orbit"`
	}{current, orbit}, nil
}

func (f *directorRole) command(ctx context.Context, in Command) (any, error) {
	if in.Type == abort {
		return nil, problem.New(problem.OutOfRange, "an abort is decided at /decision/abort").In("type")
	}
	if in.ID != "" || in.ExecutedAt != nil {
		return nil, endpointNotForOperator("id, executedAt")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	return f.uplink(ctx, in)
}

func (f *directorRole) uplink(ctx context.Context, in Command) (any, error) {
	in.ID = fmt.Sprintf("%s-%d", in.Type, f.Clock.Now().UnixMilli())
	return passOn[Acknowledged](ctx, f.Kit, "capcom", "/uplink/command", in)
}

func (f *directorRole) abort(ctx context.Context, in struct {
	Reason string `json:"reason"`
}) (any, error) {
	c := Command{Type: abort, Reason: in.Reason}
	if err := c.check(); err != nil {
		return nil, err
	}
	if !f.Clock.Reading().IsSet() {
		f.mu.Lock()
		f.aborted = "the mission was aborted: " + cmp.Or(in.Reason, "no reason was given")
		f.mu.Unlock()
		return Acknowledged{Status: "acknowledged", Type: abort,
			Note: "nothing flies yet: the next poll for launch is a NO-GO"}, nil
	}
	return f.uplink(ctx, c)
}

func (f *directorRole) correction(ctx context.Context, in struct {
	DeltaV  *float64 `json:"deltaV"`
	Execute bool     `json:"execute"`
}) (any, error) {
	var plan CorrectionPlan
	if err := f.Peers.Post(ctx, "flight-dynamics", "/trajectory/correction", Correction{DeltaV: in.DeltaV},
		&plan); err != nil {
		return nil, err
	}
	out := struct {
		CorrectionPlan
		Command any `json:"command"`
	}{CorrectionPlan: plan}
	if in.Execute && plan.DeltaVMS != 0 {
		ack, err := f.uplink(ctx, Command{Type: courseCorrection, DeltaV: &plan.DeltaVMS})
		if err != nil {
			return nil, err
		}
		out.Command = ack
	}
	return out, nil
}

// goNoGo asks Houston's consoles at once: one that does not answer in time is a
// NO-GO with the reason.
func (f *directorRole) goNoGo(ctx context.Context, in GoNoGo) (any, error) {
	if in.Question == "" {
		in.Question = "launch"
	}
	if err := endpoint.OneOf("question", in.Question, "launch", "standby"); err != nil {
		return nil, err
	}
	if in.State != "" {
		if err := endpoint.OneOf("state", in.State, countIdle, countCounting, countHolding, countScrubbed,
			countLaunched); err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.count, f.heard = in, f.Clock.Now()
		f.mu.Unlock()
	}
	d := Decision{Decision: "STANDBY", Polls: []Poll{}, Phase: f.phase().ID, Over: f.flightOver()}
	if in.Question == "standby" {
		return d, nil
	}
	if f.Clock.Reading().IsSet() && !f.flightOver() {
		return nil, problem.New(problem.WrongPhase, "the spacecraft is in flight")
	}
	// A console has no more than a good part of the time that the asker has.
	within := f.Config.PeerTimeout
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline)*9/10)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	consoles := []struct {
		position string
		ask      func() error
	}{
		{"flight-dynamics", func() error { return f.Peers.Get(ctx, "flight-dynamics", "/orbital-mechanics", nil) }},
		{"telemetry-monitor", func() error { return f.Peers.Get(ctx, "telemetry-monitor", "/dashboard", nil) }},
		{"capcom", func() error {
			return f.Peers.Post(ctx, "capcom", "/uplink/voice", Voice{Text: "Integrity, Houston, go for launch?"}, nil)
		}},
	}
	d.Polls = make([]Poll, len(consoles))
	var all sync.WaitGroup
	for i, console := range consoles {
		all.Go(func() { d.Polls[i] = position(console.position, true, "", console.ask()) })
	}
	all.Wait()
	f.mu.Lock()
	if f.aborted != "" { // one count is stopped by it; the next begins anew
		d.Polls = append(d.Polls, Poll{Position: "flight-director", Decision: noGoDecision, Reason: f.aborted})
		f.aborted = ""
	}
	f.mu.Unlock()
	d.Decision = goDecision
	if noGo(d.Polls) != nil {
		d.Decision = noGoDecision
	}
	return d, nil
}

func (l Lifted) clock() missionclock.Reading {
	return missionclock.Reading{LiftOff: l.LiftOff, Scale: l.TimeScale}
}

func (f *directorRole) handoff(ctx context.Context, in Lifted) (any, error) {
	if err := endpoint.Required("liftOff", !in.LiftOff.IsZero()); err != nil {
		return nil, err
	}
	if r := f.Clock.Reading(); r.IsSet() && !f.flightOver() && !in.LiftOff.Equal(r.LiftOff) {
		return nil, problem.New(problem.WrongPhase, "the spacecraft is in flight since %s",
			r.LiftOff.Format(time.RFC3339))
	}
	if _, err := f.Clock.Set(in.clock()); err != nil {
		return nil, problem.New(problem.OutOfRange, "%v", err).In("liftOff")
	}
	// The spacecraft hears at once; if not now, the voice loop tells it.
	_ = f.Peers.Post(ctx, "capcom", "/uplink/voice", Voice{Text: "Integrity, Houston has the flight"}, nil)
	return HandoffAnswer{Status: "Houston has the flight", Phase: f.phase().ID}, nil
}

// keepVoiceLoop keeps the loop to the spacecraft open: with it go the clock and what
// the spacecraft may have forgotten.
func (f *directorRole) keepVoiceLoop(ctx context.Context) {
	_ = f.Peers.Post(ctx, "capcom", "/uplink/voice", Voice{Text: "Integrity, Houston, comm check"}, nil)
}

// watch looks at the consoles and sends the page what is new.
func (f *directorRole) watch(ctx context.Context) {
	var (
		board  Board
		alerts AlertsAnswer
	)
	f.mu.Lock()
	since := f.seq
	f.mu.Unlock()
	if err := f.Peers.Get(ctx, "telemetry-monitor", "/dashboard", &board); err != nil {
		s := f.statusFrom(Board{Contact: Contact{State: contactNone}})
		s.Unavailable = problem.From(err)
		f.hub.publish("status", s)
		return
	}
	f.noteManeuvers(board)
	f.hub.publish("status", f.statusFrom(board))
	if newest := board.Contact.LastSeq; newest == nil || *newest < since {
		since = 0 // another flight, or a monitor that forgot
	}
	// An error leaves since where it is: the next round asks again.
	_ = framesSince(ctx, f.Peers, since, func(frame Received) {
		since = frame.Sequence
		f.hub.publish("frame", frame)
	})
	if f.Peers.Get(ctx, "telemetry-monitor", "/alerts", &alerts) == nil {
		f.publishAlerts(alerts.Alerts)
	}
	f.mu.Lock()
	f.seq = since
	f.mu.Unlock()
}

func (f *directorRole) publishAlerts(alerts []Alert) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := map[string]bool{}
	for _, a := range alerts {
		now[a.ID] = true
		if !f.alerted[a.ID] {
			f.hub.publish("alert", a)
		}
	}
	f.alerted = now
}
