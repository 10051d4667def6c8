package role

import (
	"context"
	"fmt"
	"sync/atomic"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
	"artemis.example/service/problem"
)

// AntennaStatus is what a station says of its dish.
type AntennaStatus struct {
	Station string `json:"station"`
	// ElevationDeg is the spacecraft's above the horizon; null on the pad.
	ElevationDeg *float64 `json:"elevationDeg"`
	// Visible: high enough for the dish, and the spacecraft not behind the Moon.
	Visible  bool `json:"visible"`
	Tracking bool `json:"tracking"`
}

// TrackOrder asks a station to track the spacecraft, or to let go of it.
type TrackOrder struct {
	Track bool `json:"track"`
	// Maneuvers are those of the last frame: the dish points where they lead.
	Maneuvers []Maneuver `json:"maneuvers,omitempty"`
}

// SignalAnswer is the link as the station measures it now.
type SignalAnswer struct {
	Station string `json:"station"`
	Locked  bool   `json:"locked"`
	mission.Link
}

// Handover is how a station gives the spacecraft away.
type Handover struct {
	Station string `json:"station"`
	Reason  string `json:"reason"`
}

// station is one complex of the Deep Space Network: its place on a turning
// Earth decides when it sees the spacecraft. One that loses it says so.
func station(kit Kit) Program {
	s := &stationRole{Kit: kit}
	kit.Metrics.Gauge("elevation_degrees", "Elevation of the spacecraft.", func() float64 {
		sky, ok := s.look()
		if !ok {
			return 0
		}
		return sky.ElevationDeg
	})
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/antenna/status", s.status),
			endpoint.Get("/signal", s.signal),
			endpoint.Post("/track", s.track),
		},
		Loops: []func(context.Context){every(kit, kit.Config.Cycle/2, "station watch", s.watch)},
		NewMission: func() {
			s.tracking.Store(false)
			s.chart.hear(nil)
		},
	}
}

type stationRole struct {
	Kit
	chart    chart
	tracking atomic.Bool
}

// look returns the link to the spacecraft, if there is a flight.
func (s *stationRole) look() (mission.Link, bool) {
	place, ok := mission.StationNamed(s.Service)
	t, flying := s.Clock.MissionTime()
	if !ok || !flying {
		return mission.Link{}, false
	}
	link := place.Hears(s.chart.flight().At(t))
	link.DBm, link.DataRateBps = round(link.DBm, 2), round(link.DataRateBps, 0)
	link.ElevationDeg, link.PathLossDB = round(link.ElevationDeg, 2), round(link.PathLossDB, 2)
	return link, true
}

func (s *stationRole) status(context.Context) (any, error) {
	a := AntennaStatus{Station: s.Service, Tracking: s.tracking.Load()}
	if sky, ok := s.look(); ok {
		a.ElevationDeg, a.Visible = &sky.ElevationDeg, sky.Visible
	}
	return a, nil
}

func (s *stationRole) signal(context.Context) (any, error) {
	sky, ok := s.look()
	if !ok || !sky.Visible || !s.tracking.Load() {
		return nil, problem.New(problem.WrongPhase, "%s does not track the spacecraft", s.Service)
	}
	return SignalAnswer{Station: s.Service, Locked: true, Link: sky}, nil
}

func (s *stationRole) track(ctx context.Context, in TrackOrder) (any, error) {
	if len(in.Maneuvers) > maxManeuvers {
		return nil, problem.New(problem.OutOfRange, "maneuvers: at most %d", maxManeuvers).In("maneuvers")
	}
	if in.Track {
		if _, err := s.chart.with(in.Maneuvers); err != nil {
			return nil, err
		}
		s.chart.hear(in.Maneuvers)
		if sky, ok := s.look(); !ok || !sky.Visible {
			s.tracking.Store(false)
			return nil, problem.New(problem.WrongPhase, "%s does not see the spacecraft", s.Service)
		}
	}
	s.tracking.Store(in.Track)
	return s.status(ctx)
}

// watch hands the spacecraft over when it goes down.
func (s *stationRole) watch(ctx context.Context) {
	if !s.tracking.Load() {
		return
	}
	sky, ok := s.look()
	if !ok || sky.Visible {
		return
	}
	var out Routed
	if err := s.Peers.Post(ctx, "signal-router", "/handover", Handover{
		Station: s.Service, Reason: fmt.Sprintf("elevation %.1f degrees, %s", sky.ElevationDeg, sky.Reason),
	}, &out); err != nil {
		s.Log.WarnContext(ctx, "nobody took the spacecraft over", "error", err)
		return
	}
	s.Log.InfoContext(ctx, "handed over", "to", out.Station, "elevationDeg", sky.ElevationDeg)
	s.tracking.Store(false)
}
