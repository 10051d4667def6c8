package role

import (
	"context"
	"fmt"

	"artemis.example/service/endpoint"
)

// serviceModuleMonitor watches the European Service Module: power, heat and
// tanks follow from the flight, and the burns from what Houston has seen.
func serviceModuleMonitor(kit Kit) Program {
	s := &moduleRole{Kit: kit}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/propulsion/status", func(context.Context) (any, error) {
				return *s.sample().Propulsion, nil
			}),
			endpoint.Get("/power/solar-arrays", func(context.Context) (any, error) { return *s.sample().Solar, nil }),
			endpoint.Get("/consumables", func(context.Context) (any, error) { return *s.sample().Tanks, nil }),
			endpoint.Get("/thermal", func(context.Context) (any, error) { return *s.sample().Thermal, nil }),
		},
		Loops:      []func(context.Context){every(kit, kit.Config.Cycle, "service module report", s.report)},
		NewMission: func() { s.chart.hear(nil) },
	}
}

type moduleRole struct {
	Kit
	chart chart // with the maneuvers that Houston has seen come down
}

func (s *moduleRole) sample() ServiceModule {
	m := moduleOf(s.chart.flight(), s.now(), s.Config.Seed, corrections(s.chart.told()))
	m.SampledAt = s.Clock.Now().UTC()
	return m
}

func corrections(all []Maneuver) int {
	n := 0
	for _, m := range all {
		if m.Type == courseCorrection {
			n++
		}
	}
	return n
}

// report sends what the module does to Houston, and hears of burns in return.
func (s *moduleRole) report(ctx context.Context) {
	var status RelayStatus
	if s.Peers.Get(ctx, "mission-relay", "/relay/status", &status) != nil {
		return
	}
	var out Relayed
	if s.Peers.Post(ctx, "mission-relay", "/relay/telemetry", s.sample(), &out) != nil {
		return
	}
	known := s.chart.told()
	s.chart.hear(out.Maneuvers)
	if len(out.Maneuvers) <= len(known) {
		return
	}
	newest := out.Maneuvers[len(out.Maneuvers)-1]
	alert := Alert{
		ID: "module-" + newest.ID, At: s.Clock.Now().UTC(), Severity: "info", Source: s.Service,
		Text: fmt.Sprintf("engine fired: %s of %.1f m/s", newest.Type, newest.DeltaVMS),
	}
	if err := s.Peers.Post(ctx, "mission-relay", "/relay/alert", alert, nil); err != nil {
		s.Log.WarnContext(ctx, "Houston does not hear of the burn", "error", err)
	}
}
