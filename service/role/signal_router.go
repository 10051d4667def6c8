package role

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/problem"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// Routed is the router's answer: what it did, and which station has the spacecraft, if
// any.
type Routed struct {
	Status  string `json:"status"`
	Station string `json:"station"`
}

// maxUndelivered bounds the frames that wait while Houston does not answer:
// what is older is lost, and counted as such by the gap.
const maxUndelivered = 16

func stations() []string { return []string{"goldstone", "madrid", "canberra"} }

// signalRouter has the spacecraft tracked by a station that sees it, and carries
// its frames and its crew's messages to Houston.
func signalRouter(kit Kit) Program {
	s := &routerRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Post("/route", s.route),
			endpoint.Post("/handover", s.handover),
		},
		Loops: []func(context.Context){every(kit, kit.Config.Cycle, "telemetry cycle", s.cycle)},
		NewMission: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.current, s.lastSeq, s.undelivered, s.flown = "", 0, nil, nil
		},
	}
}

type routerRole struct {
	Kit
	// choosing is held while a station is looked for, so that a hand-over
	// and the cycle do not choose against each other.
	choosing sync.Mutex

	mu          sync.Mutex
	current     string
	lastSeq     uint64
	unseen      int // cycles in which the current station did not see it
	undelivered []Ingest
	flown       []Maneuver // as the last frame said
}

func (s *routerRole) station() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *routerRole) order() TrackOrder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return TrackOrder{Track: true, Maneuvers: s.flown}
}

func (s *routerRole) route(ctx context.Context, in CrewMessage) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	current := s.station()
	if current == "" {
		return nil, problem.New(problem.WrongPhase, "no station has the spacecraft")
	}
	if err := s.Peers.Get(ctx, current, "/signal", nil); err != nil {
		return nil, err
	}
	if err := s.Peers.Post(ctx, "telemetry-monitor", "/ingest", Ingest{
		Message: &in, TraceID: telemetry.TraceID(ctx), Hops: trace.RecorderFrom(ctx).Hops(),
	}, nil); err != nil {
		return nil, err
	}
	return Routed{Status: "delivered", Station: current}, nil
}

func (s *routerRole) handover(ctx context.Context, in Handover) (any, error) {
	if err := cmp.Or(endpoint.OneOf("station", in.Station, stations()...),
		endpoint.Text("reason", in.Reason, 200)); err != nil {
		return nil, err
	}
	s.choosing.Lock()
	defer s.choosing.Unlock()
	if current := s.station(); current != in.Station {
		return Routed{Status: "already", Station: current}, nil
	}
	next := s.choose(ctx, s.survey(ctx, in.Station))
	s.Log.InfoContext(ctx, "hand-over", "from", in.Station, "to", next, "reason", in.Reason)
	if next == "" {
		return Routed{Status: "lost"}, nil
	}
	return Routed{Status: "handed over", Station: next}, nil
}

// survey asks the stations what they see, but not the one that has just said.
func (s *routerRole) survey(ctx context.Context, but string) map[string]AntennaStatus {
	var mu sync.Mutex
	var all sync.WaitGroup
	seen := map[string]AntennaStatus{}
	for _, name := range stations() {
		if name == but {
			continue
		}
		all.Go(func() {
			var status AntennaStatus
			if s.Peers.Get(ctx, name, "/antenna/status", &status) == nil {
				mu.Lock()
				defer mu.Unlock()
				seen[name] = status
			}
		})
	}
	all.Wait()
	return seen
}

// choose has the highest of the stations track the spacecraft; the lock
// choosing is held.
func (s *routerRole) choose(ctx context.Context, seen map[string]AntennaStatus) string {
	names := slices.DeleteFunc(stations(), func(name string) bool {
		status, ok := seen[name]
		return !ok || !status.Visible || status.ElevationDeg == nil
	})
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(*seen[b].ElevationDeg, *seen[a].ElevationDeg)
	})
	next := ""
	for _, name := range names {
		if s.Peers.Post(ctx, name, "/track", s.order(), nil) == nil {
			next = name
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.unseen = next, 0
	return next
}

// acquire returns the station that has the spacecraft in this cycle, if any. It
// looks for one itself only when there is none, or the one that there is has
// been silent or blind for three cycles: giving away is the station's to do.
func (s *routerRole) acquire(ctx context.Context) string {
	s.choosing.Lock()
	defer s.choosing.Unlock()
	seen := s.survey(ctx, "")
	current := s.station()
	if current != "" {
		status, ok := seen[current]
		if ok && status.Visible {
			s.mu.Lock()
			s.unseen = 0
			s.mu.Unlock()
			if s.Peers.Post(ctx, current, "/track", s.order(), nil) == nil {
				return current
			}
		}
		s.mu.Lock()
		s.unseen++
		patience := s.unseen < 3
		s.mu.Unlock()
		if patience && ok {
			return ""
		}
	}
	// Whoever still believes to have it, lets go.
	next := s.choose(ctx, seen)
	for name, status := range seen {
		if status.Tracking && name != next {
			_ = s.Peers.Post(ctx, name, "/track", TrackOrder{Track: false}, nil)
		}
	}
	return next
}

// cycle brings one frame down. Before lift-off there is none, but the radio is
// asked: it is from the spacecraft that this Cell hears of the lift-off.
func (s *routerRole) cycle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.Config.PeerTimeout)
	defer cancel()
	defer s.deliver(ctx) // what there is, however far this cycle comes
	if !s.Clock.Reading().IsSet() {
		s.survey(ctx, "")
	}
	var radio SignalStrength
	if s.Peers.Get(ctx, "comms-system", "/signal/strength", &radio) != nil || !radio.Carrier {
		return
	}
	station := s.acquire(ctx)
	if station == "" {
		return
	}
	var signal SignalAnswer
	if s.Peers.Get(ctx, station, "/signal", &signal) != nil {
		return
	}
	s.mu.Lock()
	request := DownlinkRequest{Station: station, LastSeq: s.lastSeq}
	s.mu.Unlock()
	var frame Frame
	if s.Peers.Post(ctx, "comms-system", "/downlink", request, &frame) != nil {
		return
	}
	frame.Signal = &signal.Link
	s.mu.Lock()
	s.lastSeq = max(s.lastSeq, frame.Sequence)
	if frame.Maneuvers != nil {
		s.flown = frame.Maneuvers
	}
	s.undelivered = append(s.undelivered, Ingest{
		Frame: &frame, TraceID: telemetry.TraceID(ctx), Hops: trace.RecorderFrom(ctx).Hops(),
	})
	if len(s.undelivered) > maxUndelivered {
		s.undelivered = s.undelivered[1:]
	}
	s.mu.Unlock()
}

// deliver sends what waits, the oldest first. What Houston refuses is not sent
// again; what it could not hear is.
func (s *routerRole) deliver(ctx context.Context) {
	s.mu.Lock()
	waiting := s.undelivered
	s.undelivered = nil
	s.mu.Unlock()
	for i, in := range waiting {
		var out Ingested
		err := s.Peers.Post(ctx, "telemetry-monitor", "/ingest", in, &out)
		if err != nil && problem.From(err).Code.IsUpstream() {
			s.mu.Lock()
			s.undelivered = append(waiting[i:len(waiting):len(waiting)], s.undelivered...)
			s.mu.Unlock()
			return
		}
		if err == nil {
			s.mu.Lock()
			s.lastSeq = max(s.lastSeq, out.LastSeq)
			s.mu.Unlock()
		}
	}
}
