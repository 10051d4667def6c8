package role

import (
	"context"
	"slices"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
	"artemis.example/service/problem"
)

// Antennas of the spacecraft.
const (
	highGain = "high-gain"
	lowGain  = "low-gain"
)

// SignalStrength is what the spacecraft's radio says of itself.
type SignalStrength struct {
	Antenna string `json:"antenna"`
	// Carrier is on when there is something to receive: not on the pad.
	Carrier bool   `json:"carrier"`
	Mode    string `json:"spacecraftMode"`
	LastSeq uint64 `json:"lastSeq"`
}

// DownlinkRequest asks for the next frame. LastSeq is the last that the ground
// has, so that a restarted radio goes on counting.
type DownlinkRequest struct {
	Station string `json:"station"`
	LastSeq uint64 `json:"lastSeq"`
}

// Oriented is the answer of the antenna.
type Oriented struct {
	Status  string `json:"status"`
	Antenna string `json:"antenna"`
}

// AntennaOrder turns the antenna.
type AntennaOrder struct {
	Antenna string `json:"antenna"`
}

// commsSystem is the spacecraft's radio: commands come in by it, frames and the
// crew's messages go out by it. It remembers what was flown, for guidance-nav.
func commsSystem(kit Kit) Program {
	c := &commsRole{Kit: kit, antenna: highGain}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.PostOr("/uplink", bareUplink, c.uplink),
			endpoint.PostUnder("/uplink/*", c.uplinkKind),
			endpoint.Post("/downlink", c.downlink),
			endpoint.Get("/signal/strength", c.strength),
			endpoint.Post("/crew/message", c.message),
			endpoint.Post("/antenna/orient", c.orient),
		},
		NewMission: func() {
			c.flown.reset()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.seq, c.antenna = 0, highGain
		},
	}
}

type commsRole struct {
	Kit
	flown maneuvers

	mu      sync.Mutex
	seq     uint64
	antenna string
}

// Uplink is what /uplink/* takes: a command, or the text of a voice.
type Uplink struct {
	Command
	Text string `json:"text,omitempty"`
}

func (c *commsRole) uplinkKind(ctx context.Context, kind string, in Uplink) (any, error) {
	switch kind {
	case "voice":
		if in.Command != (Command{}) {
			return nil, problem.New(problem.OutOfRange, "voice has the field text, and no other")
		}
		if err := endpoint.Text("text", in.Text, maxTextLength); err != nil {
			return nil, err
		}
		all := c.flown.all()
		return VoiceReply{Status: "heard", Reply: "Integrity has you loud and clear", Mode: mode(all), Maneuvers: all},
			nil
	case abort:
		if in.Text != "" {
			return nil, problem.New(problem.OutOfRange, "an abort has no text").In("text")
		}
		in.Type = abort
		return c.uplink(ctx, in.Command)
	}
	return nil, problem.New(problem.NotFound, "comms-system has no uplink %.40q", kind)
}

func (c *commsRole) uplink(ctx context.Context, in Command) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	ack := Acknowledged{Status: "acknowledged", Type: in.Type, ID: in.ID}
	switch in.Type {
	case courseCorrection, abort, attitude:
		var out Maneuvered
		if err := c.Peers.Post(ctx, "guidance-nav", "/maneuver", in, &out); err != nil {
			return nil, err
		}
		ack.DeltaV, ack.Note = out.DeltaV, out.Note
		if out.Executed != nil {
			c.flown.add(*out.Executed)
			ack.ID, ack.Executed = out.Executed.ID, out.Executed
		}
		if in.Type == abort && in.ExecutedAt == nil {
			// The crew hears of it; the abort stands whether or not they answer.
			_ = c.Peers.Post(ctx, "crew-interface", "/crew/input", CrewInput{Input: "abort", Text: in.Reason}, nil)
		}
		ack.Mode = mode(c.flown.all())
	case antenna:
		var out Oriented
		if err := c.Peers.Post(ctx, "crew-interface", "/crew/input", CrewInput{Input: antenna, Antenna: in.Antenna},
			&out); err != nil {
			return nil, err
		}
		ack.Reply = out.Antenna
	case crewMessage:
		var out Logged
		if err := c.Peers.Post(ctx, "crew-interface", "/crew/log", CrewLog{From: "capcom", Text: in.Message},
			&out); err != nil {
			return nil, err
		}
		ack.Reply = out.Reply
	case telemetryRequest:
		ack.Report = c.sample(ctx)
	}
	return ack, nil
}

func (c *commsRole) strength(context.Context) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return SignalStrength{
		Antenna: c.antenna, Carrier: c.Clock.Reading().IsSet(), Mode: mode(c.flown.all()), LastSeq: c.seq,
	}, nil
}

func (c *commsRole) orient(_ context.Context, in AntennaOrder) (any, error) {
	if err := endpoint.OneOf("antenna", in.Antenna, highGain, lowGain); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.antenna = in.Antenna
	return Oriented{Status: "oriented", Antenna: in.Antenna}, nil
}

func (c *commsRole) message(ctx context.Context, in CrewMessage) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return passOn[Routed](ctx, c.Kit, "signal-router", "/route", in)
}

func (c *commsRole) downlink(ctx context.Context, in DownlinkRequest) (any, error) {
	if err := endpoint.Text("station", in.Station, 40); err != nil {
		return nil, err
	}
	if !c.Clock.Reading().IsSet() {
		return nil, problem.New(problem.WrongPhase, "no downlink before lift-off")
	}
	frame := c.sample(ctx)
	c.mu.Lock()
	c.seq = max(c.seq, in.LastSeq) + 1
	frame.Sequence = c.seq
	c.mu.Unlock()
	frame.Station = in.Station
	c.reconcile(ctx, frame)
	return frame, nil
}

// reconcile brings this memory and guidance-nav's together: whichever of the
// two was restarted gets back from the other what was flown.
func (c *commsRole) reconcile(ctx context.Context, frame *Frame) {
	if frame.Maneuvers == nil {
		return
	}
	c.flown.add(frame.Maneuvers...)
	for _, m := range c.flown.missingFrom(frame.Maneuvers) {
		if err := c.Peers.Post(ctx, "guidance-nav", "/maneuver", m.command(), nil); err != nil {
			c.Log.WarnContext(ctx, "guidance-nav could not be told again", "maneuver", m.ID, "error", err)
		}
	}
}

// sample asks the whole spacecraft at once. What does not answer within half of
// the time that there is, is missing from the frame, and named.
func (c *commsRole) sample(ctx context.Context) *Frame {
	frame := &Frame{SampledAt: c.Clock.Now().UTC(), Missing: []Missing{}, Alerts: []Alert{}}
	within := c.Config.PeerTimeout / 2
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	ask := func(service, path string, out any, take func()) {
		all.Go(func() {
			err := c.Peers.Get(ctx, service, path, out)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				take()
				return
			}
			missing := Missing{Service: service, Code: string(problem.From(err).Code)}
			if !slices.Contains(frame.Missing, missing) {
				frame.Missing = append(frame.Missing, missing)
			}
		})
	}
	var (
		position    Position
		trajectory  OnboardTrajectory
		tracker     StarTracker
		vitals      VitalsAnswer
		atmosphere  mission.Air
		consumables Consumables
		alerts      AlertsAnswer
		displays    Displays
	)
	ask("guidance-nav", "/position", &position, func() { frame.Position = &position })
	ask("guidance-nav", "/trajectory", &trajectory, func() {
		frame.Maneuvers = append([]Maneuver{}, trajectory.Maneuvers...)
	})
	ask("guidance-nav", "/star-tracker", &tracker, func() { frame.StarTracker = &tracker })
	ask("life-support", "/crew/vitals", &vitals, func() { frame.Crew = vitals.Crew })
	ask("life-support", "/cabin/atmosphere", &atmosphere, func() { frame.Atmosphere = &atmosphere })
	ask("life-support", "/consumables", &consumables, func() { frame.Consumables = &consumables })
	ask("crew-interface", "/alerts", &alerts, func() { frame.Alerts = alerts.Alerts })
	ask("crew-interface", "/displays", &displays, func() { frame.Displays = &displays })
	all.Wait()
	return frame
}
