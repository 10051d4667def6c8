package role_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"artemis.example/catalog"
	"artemis.example/service/config"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/role"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

func TestTheRoutesAreThoseOfTheTableAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, service := range catalog.Services() {
		metrics := telemetry.NewMetrics(service.Cell, service.Name, "test")
		clock := missionclock.New(time.Now, nil)
		program, err := role.New(role.Kit{
			Service: service.Name, Cell: service.Cell, Clock: clock, Metrics: metrics,
			Log:    slog.New(slog.DiscardHandler),
			Config: config.Config{Cycle: time.Second, PeerTimeout: time.Second, Countdown: time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		tracing, err := telemetry.NewTracing(t.Context(), nil, service.Cell, service.Name, "test")
		if err != nil {
			t.Fatal(err)
		}
		server := &endpoint.Server{
			Service: service.Name, Cell: service.Cell, Clock: clock, Tracing: tracing, Metrics: metrics,
			Evidence: trace.NewEvidence(time.Now, time.Second, false), Log: slog.New(slog.DiscardHandler),
			Budget: time.Second,
		}
		got, want := map[string]bool{}, map[string]bool{}
		if err := chi.Walk(server.Handler(program.Endpoints), func(method, route string, _ http.Handler,
			_ ...func(http.Handler) http.Handler) error {
			got[method+" "+route] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, r := range service.Rules {
			for _, p := range r.Paths {
				want[r.Method+" "+p] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: table (-) and routes (+):\n%s", service.Name, diff)
		}
	}
}

func TestAnUnknownRoleIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := role.New(role.Kit{Service: "hal-9000"}); err == nil || !strings.Contains(err.Error(),
		`SERVICE_ROLE: there is no role "hal-9000"`) {
		t.Errorf("got %v", err)
	}
}
