package role

import (
	"context"
	"math"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
)

// FuelStatus is the tanks' of the rocket on the pad.
type FuelStatus struct {
	Status string `json:"status"`
	Ready  bool   `json:"ready"`
	// Flight pressure reached, from 0 to 1.
	Pressurized float64 `json:"pressurized"`
}

// UmbilicalStatus is the arms' that hold the lines to the rocket.
type UmbilicalStatus struct {
	Status    string `json:"status"`
	Ready     bool   `json:"ready"`
	Connected bool   `json:"connected"`
}

// groundSystems fuels the rocket. Pressurizing the tanks takes a part of the
// count; both are kept only until the lift-off.
func groundSystems(kit Kit) Program {
	g := &groundRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/fuel/status", g.fuel),
			endpoint.Get("/umbilical/status", g.umbilical),
			endpoint.Post("/fuel/pressurize", g.pressurize),
		},
		NewMission: func(missionclock.Reading) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.since = time.Time{}
		},
	}
}

type groundRole struct {
	Kit
	mu    sync.Mutex
	since time.Time // when pressurizing began
}

// gone reports whether the rocket has left: a count that began after the last
// lift-off has another.
func (g *groundRole) gone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Clock.Reading().Known() && g.since.IsZero()
}

func (g *groundRole) pressure() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since.IsZero() {
		return 0
	}
	return math.Min(1, float64(g.Clock.Now().Sub(g.since))/(0.3*float64(g.Config.Countdown)))
}

func (g *groundRole) fuel(context.Context) (any, error) {
	if g.gone() {
		return FuelStatus{Status: "the rocket has left"}, nil
	}
	a := FuelStatus{Pressurized: g.pressure()}
	switch {
	case a.Pressurized == 0:
		a.Status = "tanks at replenish, not pressurized"
	case a.Pressurized < 1:
		a.Status = "pressurizing"
	default:
		a.Status, a.Ready = "at flight pressure", true
	}
	return a, nil
}

func (g *groundRole) umbilical(context.Context) (any, error) {
	if g.gone() {
		return UmbilicalStatus{Status: "retracted at lift-off"}, nil
	}
	return UmbilicalStatus{Status: "connected, ready to release", Ready: true, Connected: true}, nil
}

func (g *groundRole) pressurize(ctx context.Context, _ struct{}) (any, error) {
	// Only launch-control asks, and it does so when a count may begin.
	g.mu.Lock()
	if g.since.IsZero() {
		g.since = g.Clock.Now()
	}
	g.mu.Unlock()
	return g.fuel(ctx)
}
