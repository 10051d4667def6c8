package role

import (
	"context"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
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
	p := &padRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/pad/status", p.status),
			endpoint.Get("/pad/cameras", p.cameras),
			endpoint.Post("/pad/clear", p.clear),
		},
		NewMission: func(missionclock.Reading) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.since = time.Time{}
		},
	}
}

type padRole struct {
	Kit
	mu    sync.Mutex
	since time.Time // when people were told to leave
}

// gone reports whether the rocket has left: a count that began after the last
// lift-off has another.
func (p *padRole) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Clock.Reading().Known() && p.since.IsZero()
}

// people returns how many are still there: they leave within a part of the count.
func (p *padRole) people() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.since.IsZero() && p.Clock.Reading().Known():
		return 0 // the rocket has left
	case p.since.IsZero():
		return padCrew
	}
	gone := float64(p.Clock.Now().Sub(p.since)) / (0.3 * float64(p.Config.Countdown))
	return max(0, padCrew-int(gone*padCrew))
}

func (p *padRole) status(context.Context) (any, error) {
	a := PadStatus{People: p.people()}
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
	rocket := "SLS on the mobile launcher"
	if p.gone() {
		rocket = "an empty launcher"
	}
	people := "nobody"
	if p.people() > 0 {
		people = "the close-out crew"
	}
	return Cameras{Cameras: []Camera{{"LC-39B north", rocket}, {"crew access arm", people}, {"flame trench", "clear"}}},
		nil
}

func (p *padRole) clear(ctx context.Context, _ struct{}) (any, error) {
	p.mu.Lock()
	if p.since.IsZero() {
		p.since = p.Clock.Now()
	}
	p.mu.Unlock()
	return p.status(ctx)
}
