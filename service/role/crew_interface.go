package role

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
)

// CrewInput is what arrives at the crew's panel.
type CrewInput struct {
	Input   string `json:"input"` // abort or antenna
	Antenna string `json:"antenna,omitempty"`
	Text    string `json:"text,omitempty"`
}

// CrewLog is what capcom says to the crew.
type CrewLog struct {
	From string `json:"from"`
	Text string `json:"text"`
}

// Logged is the crew's answer. The reply itself goes down by the radio.
type Logged struct {
	Status  string `json:"status"`
	Entries int    `json:"entries"`
	Reply   string `json:"reply"` // sent, or waiting for a station
}

// AlertsAnswer lists the alerts on the crew's panel.
type AlertsAnswer struct {
	Alerts []Alert `json:"alerts"`
}

// Displays is what the crew sees.
type Displays struct {
	PhaseTitle      string   `json:"phaseTitle"`
	DistanceEarthKm *float64 `json:"distanceEarthKm"`
	SpeedKmS        *float64 `json:"speedKmS"`
	CabinPressure   *float64 `json:"cabinPressureKPa"`
	LastVoice       string   `json:"lastVoice"`
	LogEntries      int      `json:"logEntries"`
	MessagesWaiting int      `json:"messagesWaiting"`
}

func (m CrewMessage) check() error {
	return cmp.Or(endpoint.Text("from", m.From, 80), endpoint.AtMost("id", m.ID, maxIDLength),
		endpoint.Text("text", m.Text, maxTextLength))
}

// Bounds of what the crew's computer keeps.
const (
	maxWaiting = 16
	maxLog     = 100
)

// crewInterface is the crew's panel: it shows what the spacecraft's computers
// say, takes what capcom says, and sends what the crew has to say.
func crewInterface(kit Kit) Program {
	c := &crewRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/alerts", c.showAlerts),
			endpoint.Get("/displays", c.show),
			endpoint.Post("/crew/log", c.log),
			endpoint.Post("/crew/input", c.input),
		},
		Loops: []func(context.Context){every(kit, kit.Config.Cycle, "crew watch", c.watch)},
		NewMission: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.entries, c.waiting, c.alerts, c.phase, c.lastVoice = 0, nil, nil, "", ""
		},
	}
}

type crewRole struct {
	Kit
	mu        sync.Mutex
	entries   int
	messages  int
	lastVoice string
	waiting   []CrewMessage
	alerts    []Alert
	phase     string
	position  *Position
	pressure  *float64
}

func (c *crewRole) showAlerts(context.Context) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return AlertsAnswer{Alerts: append([]Alert{}, c.alerts...)}, nil
}

func (c *crewRole) show(context.Context) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := Displays{LastVoice: c.lastVoice, LogEntries: c.entries, MessagesWaiting: len(c.waiting),
		CabinPressure: c.pressure}
	if c.position != nil {
		d.PhaseTitle, d.DistanceEarthKm, d.SpeedKmS = c.position.PhaseTitle, &c.position.DistanceEarthKm,
			&c.position.SpeedKmS
	}
	return d, nil
}

func (c *crewRole) log(ctx context.Context, in CrewLog) (any, error) {
	if err := cmp.Or(endpoint.Text("from", in.From, 80), endpoint.Text("text", in.Text, maxTextLength)); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.entries = min(c.entries+1, maxLog)
	c.lastVoice = in.Text
	c.mu.Unlock()
	return Logged{Status: "logged", Entries: c.entries, Reply: c.say(ctx, "Integrity copies: "+in.Text)}, nil
}

func (c *crewRole) input(ctx context.Context, in CrewInput) (any, error) {
	switch in.Input {
	case antenna:
		if err := endpoint.OneOf("antenna", in.Antenna, highGain, lowGain); err != nil {
			return nil, err
		}
		return passOn[Oriented](ctx, c.Kit, "comms-system", "/antenna/orient", AntennaOrder{Antenna: in.Antenna})
	case abort:
		if err := endpoint.Text("text", in.Text, maxTextLength); err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.raise("abort", "warning", "guidance-nav", "Abort: "+in.Text)
		c.mu.Unlock()
		return Logged{Status: "acknowledged", Reply: c.say(ctx, "Integrity copies the abort")}, nil
	}
	return nil, endpoint.OneOf("input", in.Input, antenna, abort)
}

// raise puts an alert up once; the lock is held.
func (c *crewRole) raise(id, severity, source, text string) {
	if !slices.ContainsFunc(c.alerts, func(a Alert) bool { return a.ID == id }) {
		c.alerts = append(c.alerts, Alert{ID: id, At: c.Clock.Now().UTC(), Severity: severity, Source: source,
			Text: text})
	}
}

func (c *crewRole) lower(id string) {
	c.alerts = slices.DeleteFunc(c.alerts, func(a Alert) bool { return a.ID == id })
}

// say sends a message down, or keeps it until a station has the spacecraft.
func (c *crewRole) say(ctx context.Context, text string) string {
	c.mu.Lock()
	c.messages++
	now := c.Clock.Now().UTC()
	m := CrewMessage{ID: fmt.Sprintf("crew-%d-%d", now.UnixMilli(), c.messages), At: now, From: "Integrity", Text: text}
	if len(m.Text) > maxTextLength {
		m.Text = m.Text[:maxTextLength]
	}
	c.mu.Unlock()
	if c.send(ctx, m) == nil {
		return "sent"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting = append(c.waiting, m); len(c.waiting) > maxWaiting {
		c.waiting = c.waiting[1:]
	}
	return "waiting for a station"
}

func (c *crewRole) send(ctx context.Context, m CrewMessage) error {
	err := c.Peers.Post(ctx, "comms-system", "/crew/message", m, nil)
	if err != nil {
		c.Log.DebugContext(ctx, "message waits", "error", err)
	}
	return err
}

// watch reads the spacecraft's computers and sends what waits.
func (c *crewRole) watch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Config.PeerTimeout)
	defer cancel()
	var (
		position    Position
		trajectory  OnboardTrajectory
		vitals      VitalsAnswer
		atmosphere  mission.Air
		consumables Consumables
	)
	errs := c.askAll(ctx,
		question{"guidance-nav", "/position", &position},
		question{"guidance-nav", "/trajectory", &trajectory},
		question{"life-support", "/crew/vitals", &vitals},
		question{"life-support", "/cabin/atmosphere", &atmosphere},
		question{"life-support", "/consumables", &consumables},
	)
	c.mu.Lock()
	var news string
	c.position, c.pressure = nil, nil
	if errs[0] == nil {
		c.position = &position
		if c.phase != "" && c.phase != position.Phase {
			news = "Integrity, " + position.PhaseTitle
		}
		c.phase = position.Phase
		if position.Mode == modeAborting {
			c.raise("abort", "warning", "guidance-nav", "Abort in progress")
		}
	}
	if errs[3] == nil {
		c.pressure = &atmosphere.PressureKPa
	}
	for i, part := range map[int]string{0: "guidance-nav", 2: "life-support"} {
		if errs[i] != nil {
			c.raise("silent-"+part, "warning", part, part+" does not answer")
		} else {
			c.lower("silent-" + part)
		}
	}
	if errs[4] == nil {
		for _, low := range consumables.Low() {
			c.raise("low-"+low, "caution", "life-support", low+" is low")
		}
	}
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for i, m := range waiting {
		if c.send(ctx, m) != nil {
			c.mu.Lock()
			c.waiting = append(waiting[i:len(waiting):len(waiting)], c.waiting...)
			c.mu.Unlock()
			break
		}
	}
	if news != "" {
		c.say(ctx, news)
	}
}
