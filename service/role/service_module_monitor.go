package role

import (
	"context"
	"fmt"
	"math"
	"sync"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
)

// serviceModuleMonitor watches the European Service Module: power, heat and
// tanks follow from the flight, and the burns from what Houston has seen.
func serviceModuleMonitor(kit Kit) Program {
	s := &moduleRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/propulsion/status", func(context.Context) (any, error) { return *s.sample().Propulsion, nil }),
			endpoint.Get("/power/solar-arrays", func(context.Context) (any, error) { return *s.sample().Solar, nil }),
			endpoint.Get("/consumables", func(context.Context) (any, error) { return *s.sample().Tanks, nil }),
			endpoint.Get("/thermal", func(context.Context) (any, error) { return *s.sample().Thermal, nil }),
		},
		Loops: []func(context.Context){every(kit, kit.Config.Cycle, "service module report", s.report)},
		NewMission: func(missionclock.Reading) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.deltaV, s.burns = 0, 0
		},
	}
}

type moduleRole struct {
	Kit
	mu     sync.Mutex
	deltaV float64 // m/s burned in corrections, as Houston has seen them
	burns  int
}

func (s *moduleRole) sample() ServiceModule {
	t, ok := s.Clock.MissionTime()
	s.mu.Lock()
	defer s.mu.Unlock()
	m := moduleAt(t, ok, s.deltaV, s.burns)
	m.SampledAt = s.Clock.Now().UTC()
	return m
}

func (s *moduleRole) report(ctx context.Context) {
	var status RelayStatus
	if s.Peers.Get(ctx, "mission-relay", "/relay/status", &status) != nil {
		return
	}
	var out Relayed
	if s.Peers.Post(ctx, "mission-relay", "/relay/telemetry", s.sample(), &out) != nil {
		return
	}
	total := 0.0
	burns := 0
	for _, m := range out.Maneuvers {
		if m.Type == courseCorrection {
			total += math.Abs(m.DeltaVMS)
			burns++
		}
	}
	s.mu.Lock()
	news := burns > s.burns
	s.deltaV, s.burns = total, burns
	s.mu.Unlock()
	if news {
		_ = s.Peers.Post(ctx, "mission-relay", "/relay/alert", Alert{
			ID: fmt.Sprintf("burn-%d", burns), At: s.Clock.Now().UTC(), Severity: "info", Source: s.Service,
			Text: fmt.Sprintf("%d corrections burned %.1f m/s", burns, total),
		}, nil)
	}
}
