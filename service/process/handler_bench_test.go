package process

import (
	"io"
	"net/http"
	"testing"
	"time"

	"artemis.example/service/config"
	"artemis.example/service/telemetry"
)

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkHandler is what a service adds to net/http for one request.
func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct{ role, path string }{{"life-support", "/crew/vitals"},
		{"life-support", "/cabin/atmosphere"}, {"guidance-nav", "/position"}} {
		b.Run(c.role+c.path, func(b *testing.B) {
			cfg, err := config.Load([]string{"SERVICE_ROLE=" + c.role})
			if err != nil {
				b.Fatal(err)
			}
			tracing, err := telemetry.NewTracing(b.Context(), nil, "orion", c.role, "test")
			if err != nil {
				b.Fatal(err)
			}
			s := newService(cfg, "orion", telemetry.NewLogger(io.Discard, cfg.LogLevel, "orion", c.role), tracing,
				telemetry.NewMetrics("orion", c.role, "test"))
			if err := s.build(); err != nil {
				b.Fatal(err)
			}
			if err := s.clock.Observe("liftoff=" + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano) +
				";scale=1440"); err != nil {
				b.Fatal(err)
			}
			r, err := http.NewRequest("GET", c.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.handler.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
