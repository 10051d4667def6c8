package process

import (
	"io"
	"net/http"
	"testing"
	"time"

	"artemis.example/service/config"
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
			s, err := newService(b.Context(), cfg, Options{Log: io.Discard, Version: "test"})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Clock.Observe("liftoff=" + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano) +
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
