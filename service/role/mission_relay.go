package role

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// RelayStatus is how the way to Houston is.
type RelayStatus struct {
	Relayed     int        `json:"relayed"`
	Failed      int        `json:"failed"`
	LastRelayed *time.Time `json:"lastRelayed"`
	// ServiceModule is what the relay's own check of the monitor said.
	ServiceModule string `json:"serviceModuleMonitor"`
}

// Relayed is the answer when Houston has it.
type Relayed struct {
	Status    string     `json:"status"`
	Maneuvers []Maneuver `json:"maneuvers"`
}

// missionRelay carries what ESA has to say to Houston, and checks that the
// monitor that says it is alive.
func missionRelay(kit Kit) Program {
	m := &relayRole{Kit: kit, monitor: "unknown"}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Post("/relay/telemetry", m.telemetry),
			endpoint.Post("/relay/alert", m.alert),
			endpoint.Get("/relay/status", m.status),
		},
		Loops: []func(context.Context){every(kit, 2*kit.Config.Cycle, "monitor check", m.check)},
	}
}

type relayRole struct {
	Kit
	mu      sync.Mutex
	relayed int
	failed  int
	last    *time.Time
	monitor string
}

func (m *relayRole) telemetry(ctx context.Context, in ServiceModule) (any, error) {
	if err := endpoint.Required("sampledAt", !in.SampledAt.IsZero()); err != nil {
		return nil, err
	}
	return m.relay(ctx, Ingest{ServiceModule: &in})
}

func (m *relayRole) alert(ctx context.Context, in Alert) (any, error) {
	if err := cmp.Or(endpoint.Text("text", in.Text, maxTextLength),
		endpoint.OneOf("severity", in.Severity, severities()...)); err != nil {
		return nil, err
	}
	return m.relay(ctx, Ingest{Alert: &in})
}

func severities() []string { return []string{"info", "caution", "warning"} }

func (m *relayRole) relay(ctx context.Context, in Ingest) (any, error) {
	in.TraceID, in.Hops = telemetry.TraceID(ctx), trace.RecorderFrom(ctx).Hops()
	var out Ingested
	err := m.Peers.Post(ctx, "telemetry-monitor", "/ingest", in, &out)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed++
		return nil, err
	}
	now := m.Clock.Now().UTC()
	m.relayed, m.last = m.relayed+1, &now
	return Relayed{Status: "relayed", Maneuvers: slices.Clip(out.Maneuvers)}, nil
}

func (m *relayRole) status(context.Context) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return RelayStatus{Relayed: m.relayed, Failed: m.failed, LastRelayed: m.last, ServiceModule: m.monitor}, nil
}

func (m *relayRole) check(ctx context.Context) {
	monitor := "answers"
	for _, path := range []string{"/propulsion/status", "/power/solar-arrays", "/consumables", "/thermal"} {
		if m.Peers.Get(ctx, "service-module-monitor", path, nil) != nil {
			monitor = "does not answer " + path
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.monitor = monitor
}
