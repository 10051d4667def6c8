package role

import (
	"context"
	"sync"

	"artemis.example/service/endpoint"
)

// Command is what the operator, or a crew's answer, wants of the spacecraft.
// Which fields it takes depends on its type.
type Command struct {
	ID   string `json:"id,omitempty"`
	Type string `json:"type"`
	// DeltaV is in m/s along the velocity, for a course-correction.
	DeltaV *float64 `json:"deltaV,omitempty"`
	// Attitude in degrees.
	RollDeg  *float64 `json:"rollDeg,omitempty"`
	PitchDeg *float64 `json:"pitchDeg,omitempty"`
	YawDeg   *float64 `json:"yawDeg,omitempty"`
	// Antenna is high-gain or low-gain.
	Antenna string `json:"antenna,omitempty"`
	// Message is what is said to the crew, Reason why an abort is called.
	Message string `json:"message,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// ExecutedAt is set when a command is repeated that the spacecraft has
	// flown before: the mission time, in s, at which it did.
	ExecutedAt *float64 `json:"executedAt,omitempty"`
	// whenever it is possible will do: nobody can ask for that over the wire.
	whenever bool
}

// Types of commands.
const (
	courseCorrection = "course-correction"
	attitude         = "attitude"
	antenna          = "antenna"
	crewMessage      = "crew-message"
	telemetryRequest = "telemetry-request"
	abort            = "abort"
)

// Acknowledged is the spacecraft's answer to a command.
type Acknowledged struct {
	Status string `json:"status"`
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"`
	DeltaV string `json:"deltaV,omitempty"` // with its unit
	// Executed is what guidance-nav made of a course correction or an abort. Note
	// says what became of an order that changes nothing in the sky yet.
	Executed *Maneuver `json:"executed,omitempty"`
	Note     string    `json:"note,omitempty"`
	// Maneuvers are all that the spacecraft remembers.
	Maneuvers []Maneuver `json:"maneuvers,omitempty"`
	Report    *Frame     `json:"report,omitempty"`
	Mode      string     `json:"spacecraftMode,omitempty"`
	Reply     string     `json:"reply,omitempty"`
}

// Voice is what one says over the loop.
type Voice struct {
	Text string `json:"text"`
}

// VoiceReply is what comes back from the spacecraft's radio.
type VoiceReply struct {
	Status    string     `json:"status"`
	Reply     string     `json:"reply"`
	Mode      string     `json:"spacecraftMode"`
	Maneuvers []Maneuver `json:"maneuvers"`
}

// capcom is the only voice to the spacecraft: it relays commands of the
// flight director and remembers those that changed the flight, so that a
// spacecraft whose computers all restarted hears of them again.
func capcom(kit Kit) Program {
	c := &capcomRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Post("/uplink/command", c.command),
			endpoint.Post("/uplink/voice", c.voice),
		},
		NewMission: func() { c.flown.reset() },
	}
}

type capcomRole struct {
	Kit
	flown     maneuvers
	repeating sync.Mutex
}

func (c *capcomRole) command(ctx context.Context, in Command) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if in.ExecutedAt != nil {
		return nil, endpointNotForOperator("executedAt")
	}
	var out Acknowledged
	if err := c.send(ctx, in, &out); err != nil {
		return nil, err
	}
	if out.Executed != nil {
		c.flown.add(*out.Executed)
	}
	return out, nil
}

func (c *capcomRole) voice(ctx context.Context, in Voice) (any, error) {
	if err := endpoint.Text("text", in.Text, 500); err != nil {
		return nil, err
	}
	var out VoiceReply
	if err := c.Peers.Post(ctx, "comms-system", "/uplink/voice", in, &out); err != nil {
		return nil, err
	}
	if c.repeating.TryLock() {
		defer c.repeating.Unlock()
		for _, m := range c.flown.missingFrom(out.Maneuvers) {
			if err := c.send(ctx, m.command(), nil); err != nil {
				c.Log.WarnContext(ctx, "the spacecraft could not be told again", "maneuver", m.ID, "error", err)
			}
		}
	}
	c.flown.add(out.Maneuvers...)
	return out, nil
}

// send sends a command up, to where one of its kind is taken; out may be nil.
func (c *capcomRole) send(ctx context.Context, command Command, out any) error {
	path := "/uplink"
	if command.Type == abort {
		path = "/uplink/abort"
	}
	return c.Peers.Post(ctx, "comms-system", path, command, out)
}
