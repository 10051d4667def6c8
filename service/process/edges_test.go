package process_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"artemis.example/catalog"
	"artemis.example/service/role"
)

// TestEveryEdgeOfTheTableIsTracedAndNoOther lets the operator do everything that
// an operator can, and compares who called whom with the table.
func TestEveryEdgeOfTheTableIsTracedAndNoOther(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	env := fast(40)
	env["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
	env["OTEL_BSP_SCHEDULE_DELAY"] = "50"
	s := start(t, env)
	warmUp(s, c)
	s.stopAll() // sends what is left

	want := map[string]bool{}
	for _, e := range catalog.Edges() {
		want[e.From.String()+" -> "+e.To.String()] = true
	}
	got, routes := map[string]bool{}, map[string]bool{}
	spans := c.all()
	byID := map[string]span{}
	for _, s := range spans {
		byID[string(s.SpanId)] = s
	}
	for _, s := range spans {
		if s.Kind != tracev1.Span_SPAN_KIND_SERVER {
			continue
		}
		callee, _ := catalog.Lookup(s.service)
		caller := catalog.Ingress
		if len(s.ParentSpanId) > 0 {
			parent, ok := byID[string(s.ParentSpanId)]
			if !ok {
				t.Fatalf("span %q of %s has lost its parent", s.Name, s.service)
			}
			from, _ := catalog.Lookup(parent.service)
			caller = from.Caller()
		}
		got[caller.String()+" -> "+callee.Caller().String()] = true
		method, route, _ := strings.Cut(s.Name, " ")
		routes[s.service+" "+s.Name] = true
		if !callee.Allows(caller, method, strings.TrimSuffix(route, "*")+strings.Repeat("x", strings.Count(route,
			"*"))) {
			t.Errorf("%s called %s of %s: not in the table", caller, s.Name, callee.Caller())
		}
	}
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("edges of the table (-) and in the traces (+):\n%s", diff)
	}
	wantRoutes := map[string]bool{}
	for _, service := range catalog.Services() {
		for _, r := range service.Rules {
			for _, p := range r.Paths {
				wantRoutes[service.Name+" "+r.Method+" "+p] = true
			}
		}
	}
	if diff := cmp.Diff(sorted(wantRoutes), sorted(routes)); diff != "" {
		t.Errorf("endpoints of the table (-) and in the traces (+):\n%s", diff)
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// warmUp goes through everything that makes services call each other.
func warmUp(s *suite, c *collector) {
	for _, path := range []string{"/", "/assets/style.css", "/mission/graph", "/trajectory", "/downlink/telemetry"} {
		if status, body := s.call("GET", "flight-director", path, ""); status != 200 {
			s.t.Fatalf("GET %s: %d %s", path, status, body)
		}
	}
	s.listen()
	must[role.Countdown](s, "POST", "launch-control", "/countdown/start", "")
	must[role.Countdown](s, "POST", "launch-control", "/countdown/hold", `{"reason":"a look at the valve"}`)
	must[role.Countdown](s, "POST", "launch-control", "/countdown/resume", "")
	must[role.Countdown](s, "POST", "launch-control", "/countdown/scrub", "")
	must[role.Decision](s, "POST", "flight-director", "/decision/go-nogo", "")
	s.launch()
	s.until("a course correction is flown", func() (bool, string) {
		code, body := s.call("POST", "flight-director", "/trajectory/correction", `{"deltaV":1.5,"execute":true}`)
		return code == 200, fmt.Sprint(code, body)
	})
	s.until("the service module's monitor tells of the burn", func() (bool, string) {
		got := s.status()
		return slices.ContainsFunc(got.Alerts, func(a role.Alert) bool { return a.Source == "service-module-monitor" }),
			fmt.Sprintf("%+v", got.Alerts)
	})
	for _, command := range []string{
		`{"type":"antenna","antenna":"low-gain"}`, `{"type":"attitude","rollDeg":12}`, `{"type":"telemetry-request"}`,
		`{"type":"crew-message","message":"Integrity, you look good"}`,
	} {
		must[role.Acknowledged](s, "POST", "flight-director", "/uplink/command", command)
	}
	handed := map[string]bool{}
	s.until("frames by all three stations, a crew's message among them", func() (bool, string) {
		got := s.status()
		if got.Station != nil {
			handed[*got.Station] = true
		}
		return len(handed) == 3 && len(got.Messages) > 0, fmt.Sprint(handed, len(got.Messages))
	})
	// Earth turns, and each gives the spacecraft away.
	s.until("a hand-over by each station", func() (bool, string) {
		gave := map[string]bool{}
		for _, span := range c.all() {
			if span.Kind == tracev1.Span_SPAN_KIND_CLIENT && span.Name == "POST /handover" {
				gave[span.service] = true
			}
		}
		return len(gave) == 3, fmt.Sprint(sorted(gave))
	})
	must[role.Acknowledged](s, "POST", "flight-director", "/decision/abort", `{"reason":"the end of the warm-up"}`)
	s.until("the abort comes down", func() (bool, string) {
		got := s.status()
		return got.Mode != nil && *got.Mode == "aborting", fmt.Sprintf("%+v", got.Mode)
	})
}
