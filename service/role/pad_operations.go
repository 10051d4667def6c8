package role

import (
	"context"

	"artemis.example/service/endpoint"
)

// PadStatus is who is still on LC-39B.
type PadStatus struct {
	Status string `json:"status"`
	Clear  bool   `json:"clear"`
	People int    `json:"people"`
}

// Cameras says what the pad's cameras see.
type Cameras struct {
	Cameras []Camera `json:"cameras"`
}

// Camera is one of them.
type Camera struct {
	Name string `json:"name"`
	Sees string `json:"sees"`
}

// padCrew is how many close out the spacecraft before they leave.
const padCrew = 12

// padOperations clears the pad before the launch.
func padOperations(kit Kit) Program {
	p := &padRole{work: padWork{Kit: kit}}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/pad/status", p.status),
			endpoint.Get("/pad/cameras", p.cameras),
			endpoint.Post("/pad/clear", p.clear),
		},
		NewMission: p.work.newMission,
	}
}

type padRole struct{ work padWork }

// people returns how many are still there: they leave within a part of the count.
func (p *padRole) people() (n int, gone bool) {
	done, gone := p.work.done()
	if gone {
		return 0, true
	}
	return padCrew - int(done*padCrew), false
}

func (p *padRole) status(context.Context) (any, error) {
	var a PadStatus
	a.People, _ = p.people()
	switch {
	case a.People == 0:
		a.Status, a.Clear = "clear", true
	case a.People == padCrew:
		a.Status = "close-out crew at work"
	default:
		a.Status = "close-out crew leaving"
	}
	return a, nil
}

func (p *padRole) cameras(context.Context) (any, error) {
	rocket, people := "SLS on the mobile launcher", "nobody"
	n, gone := p.people()
	if gone {
		rocket = "an empty launcher"
	}
	if n > 0 {
		people = "the close-out crew"
	}
	return Cameras{Cameras: []Camera{{"LC-39B north", rocket}, {"crew access arm", people}, {"flame trench", "clear"}}},
		nil
}

func (p *padRole) clear(ctx context.Context, _ struct{}) (any, error) {
	p.work.begin()
	return p.status(ctx)
}
