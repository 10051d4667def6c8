package role

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/peer"
	"artemis.example/service/problem"
	"artemis.example/service/trace"
)

const (
	maxFrames  = 200 // how many frames the ground keeps
	framesPage = 25  // and how many go into one answer
)

// Received is a frame as it arrived, with the calls that brought it.
type Received struct {
	Frame
	ReceivedAt time.Time `json:"receivedAt"`
	Late       bool      `json:"late"`
	Trace      Journey   `json:"trace"`
}

// Journey is how something came to telemetry-monitor.
type Journey struct {
	Service string      `json:"service"`
	TraceID string      `json:"traceId"`
	Hops    []trace.Hop `json:"hops"`
}

// FramesAnswer holds frames in the order of their sequence numbers, at most
// framesPage of them: an answer does not grow with the age of the flight. More
// reports whether there are later ones to ask for.
type FramesAnswer struct {
	Frames []Received `json:"frames"`
	More   bool       `json:"more"`
	Contact
}

// Contact is the state of the link as the ground counts it. Counts are since
// Since: a restarted monitor does not invent what it has not seen.
type Contact struct {
	State       string     `json:"state"` // live, late, lost or none
	LastSeq     *uint64    `json:"lastFrameSeq"`
	LastFrameAt *time.Time `json:"lastFrameAt"`
	Received    uint64     `json:"received"`
	Lost        uint64     `json:"lost"`
	Late        uint64     `json:"late"`
	Since       time.Time  `json:"since"`
}

// States of the contact.
const (
	contactLive = "live"
	contactLate = "late"
	contactLost = "lost"
	contactNone = "none"
)

// Board is what the monitor's console shows.
type Board struct {
	Contact       Contact        `json:"contact"`
	Frame         *Received      `json:"frame"`
	ServiceModule *ServiceModule `json:"serviceModule"`
	Relay         *Journey       `json:"serviceModuleJourney"`
	Messages      []HeardMessage `json:"messages"`
	Alerts        []Alert        `json:"alerts"`
}

// HeardMessage is a crew's message as it arrived.
type HeardMessage struct {
	CrewMessage
	ReceivedAt time.Time `json:"receivedAt"`
	Trace      Journey   `json:"trace"`
}

// telemetryMonitor is Houston's memory of what came down. It counts what is
// missing and what is late, and makes nothing up.
func telemetryMonitor(kit Kit) Program {
	m := &monitorRole{Kit: kit, since: kit.Clock.Now().UTC()}
	kit.Metrics.Gauge("frames_received", "Frames received in this flight.",
		func() float64 { return float64(m.contact().Received) })
	kit.Metrics.Gauge("frames_lost", "Frames that never arrived.", func() float64 { return float64(m.contact().Lost) })
	kit.Metrics.Gauge("frames_late", "Frames that arrived late.", func() float64 { return float64(m.contact().Late) })
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Post("/ingest", m.ingest),
			endpoint.Get("/dashboard", m.board),
			endpoint.Get("/alerts", m.showAlerts),
			endpoint.GetRequest("/frames", m.showFrames),
		},
		NewMission: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.frames, m.received, m.late, m.lost, m.module, m.journey, m.messages, m.alerts = nil, 0, 0, 0, nil, nil,
				nil, nil
			m.since = kit.Clock.Now().UTC()
		},
	}
}

type monitorRole struct {
	Kit
	mu                   sync.Mutex
	since                time.Time
	frames               []Received // by sequence number
	received, late, lost uint64
	module               *ServiceModule
	journey              *Journey
	messages             []HeardMessage
	alerts               []Alert
}

func (m *monitorRole) ingest(_ context.Context, in Ingest) (any, error) {
	kinds := 0
	for _, given := range []bool{in.Frame != nil, in.Message != nil, in.ServiceModule != nil, in.Alert != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, problem.New(problem.OutOfRange, "want exactly one of frame, message, serviceModule and alert")
	}
	now := m.Clock.Now().UTC()
	journey := Journey{TraceID: in.TraceID, Hops: in.Hops}
	if journey.Hops == nil {
		journey.Hops = []trace.Hop{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	status := "recorded"
	switch {
	case in.Frame != nil:
		if err := cmp.Or(endpoint.Required("frame.seq", in.Frame.Sequence > 0),
			endpoint.OneOf("frame.station", in.Frame.Station, stations()...)); err != nil {
			return nil, err
		}
		journey.Service = "signal-router"
		status = m.take(Received{Frame: *in.Frame, ReceivedAt: now, Trace: journey})
	case in.Message != nil:
		if err := in.Message.check(); err != nil {
			return nil, err
		}
		journey.Service = "signal-router"
		if in.Message.ID != "" && slices.ContainsFunc(m.messages,
			func(k HeardMessage) bool { return k.ID == in.Message.ID }) {
			status = "duplicate"
			break
		}
		m.messages = last(append(m.messages, HeardMessage{CrewMessage: *in.Message, ReceivedAt: now, Trace: journey}),
			50)
	case in.ServiceModule != nil:
		journey.Service = "mission-relay"
		m.module, m.journey = in.ServiceModule, &journey
	case in.Alert != nil:
		if err := cmp.Or(endpoint.OneOf("alert.severity", in.Alert.Severity, severities()...),
			endpoint.Text("alert.text", in.Alert.Text, maxTextLength)); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(m.alerts, func(a Alert) bool { return a.ID == in.Alert.ID }); i >= 0 {
			m.alerts[i] = *in.Alert
		} else {
			m.alerts = last(append(m.alerts, *in.Alert), 50)
		}
	}
	out := Ingested{Status: status, Maneuvers: []Maneuver{}}
	if n := len(m.frames); n > 0 {
		out.LastSeq = m.frames[n-1].Sequence
		out.Maneuvers = append(out.Maneuvers, m.frames[n-1].Maneuvers...)
	}
	return out, nil
}

func last[T any](list []T, n int) []T {
	if len(list) > n {
		return slices.Clone(list[len(list)-n:])
	}
	return list
}

// take records a frame; the lock is held. A gap in the numbers counts as lost
// until what was missing arrives after all.
func (m *monitorRole) take(r Received) string {
	status := "recorded"
	n := len(m.frames)
	at, known := slices.BinarySearchFunc(m.frames, r.Sequence, func(f Received, seq uint64) int {
		return cmp.Compare(f.Sequence, seq)
	})
	switch {
	case known, n == maxFrames && at == 0:
		return "duplicate"
	case at < n:
		if at > 0 && m.lost > 0 {
			m.lost--
		}
		r.Late = true
	case n > 0:
		m.lost += r.Sequence - m.frames[n-1].Sequence - 1
	}
	if r.ReceivedAt.Sub(r.SampledAt) > 2*m.Config.Cycle {
		r.Late = true
	}
	if r.Late {
		m.late++
		status = "late"
	}
	m.received++
	m.frames = slices.Insert(m.frames, at, r)
	if len(m.frames) > maxFrames {
		m.frames = slices.Delete(m.frames, 0, 1)
	}
	return status
}

func (m *monitorRole) contact() Contact {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.contactLocked()
}

func (m *monitorRole) contactLocked() Contact {
	c := Contact{State: contactNone, Received: m.received, Lost: m.lost, Late: m.late, Since: m.since}
	if n := len(m.frames); n > 0 {
		newest := m.frames[n-1]
		at := newest.ReceivedAt
		c.LastSeq, c.LastFrameAt = &newest.Sequence, &at
		switch age := m.Clock.Now().Sub(at); {
		case age > 6*m.Config.Cycle:
			c.State = contactLost
		case age > 5*m.Config.Cycle/2 || newest.Late:
			c.State = contactLate
		default:
			c.State = contactLive
		}
	}
	return c
}

func (m *monitorRole) board(context.Context) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := Board{
		Contact: m.contactLocked(), ServiceModule: m.module, Relay: m.journey,
		Messages: append([]HeardMessage{}, m.messages...), Alerts: m.alertsLocked(),
	}
	if n := len(m.frames); n > 0 {
		newest := m.frames[n-1]
		b.Frame = &newest
	}
	return b, nil
}

func (m *monitorRole) showAlerts(context.Context) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return AlertsAnswer{Alerts: m.alertsLocked()}, nil
}

// alertsLocked returns the alerts that were relayed, those that came down with
// the newest frame, and what the link itself has to say.
func (m *monitorRole) alertsLocked() []Alert {
	all := append([]Alert{}, m.alerts...)
	n := len(m.frames)
	if n == 0 {
		return all
	}
	newest := m.frames[n-1]
	all = append(all, newest.Alerts...)
	for _, missing := range newest.Missing {
		all = append(all, Alert{
			ID: "missing-" + missing.Service, At: newest.SampledAt, Severity: "caution", Source: "comms-system",
			Text: fmt.Sprintf("%s is missing from frame %d (%s)", missing.Service, newest.Sequence, missing.Code),
		})
	}
	if c := m.contactLocked(); c.State == contactLost {
		all = append(all, Alert{ID: "contact-lost", At: *c.LastFrameAt, Severity: "warning", Source: m.Service,
			Text: "no frame since then"})
	}
	return all
}

// showFrames returns the latest frames or, with ?since=SEQ, the next after that
// sequence number.
func (m *monitorRole) showFrames(_ context.Context, r *http.Request) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := max(0, len(m.frames)-framesPage)
	if s := r.URL.Query().Get("since"); s != "" {
		since, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, problem.New(problem.OutOfRange, "since: want a sequence number").In("since")
		}
		from = slices.IndexFunc(m.frames, func(f Received) bool { return f.Sequence > since })
		if from < 0 {
			from = len(m.frames)
		}
	}
	to := min(from+framesPage, len(m.frames))
	return FramesAnswer{
		Frames: append([]Received{}, m.frames[from:to]...), More: to < len(m.frames), Contact: m.contactLocked(),
	}, nil
}

// framesSince asks telemetry-monitor for all frames after a sequence number, page by
// page, and hands each to take.
func framesSince(ctx context.Context, peers *peer.Client, since uint64, take func(Received)) error {
	for {
		var page FramesAnswer
		if err := peers.Get(ctx, "telemetry-monitor", fmt.Sprintf("/frames?since=%d", since), &page); err != nil {
			return err
		}
		for _, f := range page.Frames {
			since = f.Sequence
			take(f)
		}
		if !page.More || len(page.Frames) == 0 {
			return nil
		}
	}
}
