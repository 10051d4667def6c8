package role

import (
	"context"

	"artemis.example/service/endpoint"
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
	g := &groundRole{work: padWork{Kit: kit}}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/fuel/status", g.fuel),
			endpoint.Get("/umbilical/status", g.umbilical),
			endpoint.Post("/fuel/pressurize", g.pressurize),
		},
		NewMission: g.work.newMission,
	}
}

type groundRole struct{ work padWork }

func (g *groundRole) fuel(context.Context) (any, error) {
	done, gone := g.work.done()
	if gone {
		return FuelStatus{Status: "the rocket has left"}, nil
	}
	a := FuelStatus{Pressurized: done}
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
	if _, gone := g.work.done(); gone {
		return UmbilicalStatus{Status: "retracted at lift-off"}, nil
	}
	return UmbilicalStatus{Status: "connected, ready to release", Ready: true, Connected: true}, nil
}

func (g *groundRole) pressurize(ctx context.Context, _ struct{}) (any, error) {
	// Only launch-control asks, and it does so when a count may begin.
	g.work.begin()
	return g.fuel(ctx)
}
