package role_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/catalog"
	"artemis.example/service/config"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/peer"
	"artemis.example/service/role"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// mission is all services in this process, with a clock that stands until a test
// moves it, and loops that make a round when a test says so.
type mission struct {
	t        *testing.T
	mu       sync.Mutex
	time     time.Time
	programs []role.Program
	servers  map[string]*httptest.Server
}

var onThePad = time.Date(2026, 4, 1, 22, 0, 0, 0, time.UTC)

func newMission(t *testing.T) *mission {
	t.Helper()
	m := &mission{t: t, time: onThePad, servers: map[string]*httptest.Server{}}
	handlers, addresses := map[string]http.Handler{}, map[string]*url.URL{}
	for _, s := range catalog.Services() {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
			r *http.Request) {
			handlers[s.Name].ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		address, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		m.servers[s.Name], addresses[s.Name] = server, address
	}
	for _, s := range catalog.Services() {
		handlers[s.Name] = m.start(s, addresses)
	}
	return m
}

// start makes one service of the mission, whose peers are those of its row.
func (m *mission) start(s catalog.Service, addresses map[string]*url.URL) http.Handler {
	m.t.Helper()
	peers := map[string]*url.URL{}
	for _, p := range catalog.Dependencies(s.Name) {
		peers[p.Name] = addresses[p.Name]
	}
	var program role.Program
	clock := missionclock.New(m.now, func(r missionclock.Reading) {
		if program.NewMission != nil {
			program.NewMission()
		}
	})
	tracing, err := telemetry.NewTracing(m.t.Context(), nil, s.Cell, s.Name, "test")
	if err != nil {
		m.t.Fatal(err)
	}
	metrics, evidence := telemetry.NewMetrics(s.Cell, s.Name, "test"), trace.NewEvidence(m.now, time.Second, false)
	client := peer.New(peer.Config{Self: s.Caller(), Addresses: peers, Timeout: 5 * time.Second, Clock: clock,
		Tracing: tracing, Metrics: metrics, Evidence: evidence})
	m.t.Cleanup(client.Close)
	log := slog.New(slog.DiscardHandler)
	program, err = role.New(role.Kit{
		Service: s.Name, Cell: s.Cell, Clock: clock, Peers: client, Metrics: metrics, Log: log,
		Config: config.Config{Cycle: time.Second, PeerTimeout: 5 * time.Second, Countdown: 10 * time.Second,
			TimeScale: 1440, Seed: 20260401},
		Round: func(ctx context.Context, _ string, do func(context.Context)) { do(ctx) },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if program.Close != nil {
		m.t.Cleanup(program.Close)
	}
	m.programs = append(m.programs, program)
	return (&endpoint.Server{
		Service: s.Name, Cell: s.Cell, Clock: clock, Tracing: tracing, Metrics: metrics, Evidence: evidence, Log: log,
		Budget: 5 * time.Second,
	}).Handler(program.Endpoints)
}

func (m *mission) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.time
}

// pass lets time pass, and every loop make a round afterwards.
func (m *mission) pass(d time.Duration) {
	m.mu.Lock()
	m.time = m.time.Add(d)
	m.mu.Unlock()
	ended, cancel := context.WithCancel(m.t.Context())
	cancel() // a loop makes one round, and then sees that it is to end
	for _, p := range m.programs {
		for _, loop := range p.Loops {
			loop(ended)
		}
	}
}

func (m *mission) call(service, method, path, body string) (int, string) {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), method, m.servers[service].URL+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		m.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// What an endpoint answers on the pad, and eleven hours into the flight.
type expected struct {
	status int
	says   string // somewhere in the answer
}

func TestEveryEndpointOnThePadAndInFlight(t *testing.T) {
	const liftOff = `{"liftOff":"2026-04-01T22:00:10Z","timeScale":1440,"vehicle":"Integrity"}`
	rows := []struct {
		service, endpoint, path, body string
		pad, flight                   expected
	}{
		{"flight-director", "GET /", "", "", expected{200, "<!doctype html>"}, expected{200, "<!doctype html>"}},
		{"flight-director", "GET /assets/*", "/assets/icon.svg", "", expected{200, "<svg"}, expected{200, "<svg"}},
		{"flight-director", "GET /mission/status", "", "", expected{200, `"phase":"pre-launch"`},
			expected{200, `"phase":"earth-orbit"`}},
		{"flight-director", "GET /mission/graph", "", "", expected{200, `"from":"comms-system","to":"guidance-nav"`},
			expected{200, `"edges"`}},
		{"flight-director", "GET /downlink/telemetry", "", "", expected{200, `"frames":[]`},
			expected{200, `"frames":[{"seq":1`}},
		{"flight-director", "GET /trajectory", "", "", expected{200, `"nominal"`}, expected{200, `"orbit"`}},
		{"flight-director", "POST /uplink/command", "", `{"type":"attitude","rollDeg":30}`,
			expected{409, "before lift-off"}, expected{200, `"status":"acknowledged"`}},
		{"flight-director", "POST /trajectory/correction", "", `{"deltaV":1.5}`, expected{409, "wrong-phase"},
			expected{200, `"deltaVMs":1.5`}},
		{"flight-director", "POST /decision/go-nogo", "", `{"question":"standby"}`,
			expected{200, `"decision":"STANDBY"`}, expected{200, `"decision":"STANDBY"`}},
		{"flight-director", "POST /handoff", "", liftOff, expected{422, "ahead"}, expected{409, "in flight since"}},
		{"capcom", "POST /uplink/command", "", `{"type":"telemetry-request"}`, expected{200, `"report"`},
			expected{200, `"report"`}},
		{"capcom", "POST /uplink/voice", "", `{"text":"comm check"}`, expected{200, "loud and clear"},
			expected{200, `"spacecraftMode":"nominal"`}},
		{"telemetry-monitor", "POST /ingest", "",
			`{"message":{"id":"m-1","at":"2026-04-01T22:00:00Z","from":"Integrity","text":"hello"}}`,
			expected{200, `"status":"recorded"`}, expected{200, `"status":"recorded"`}},
		{"telemetry-monitor", "GET /dashboard", "", "", expected{200, `"state":"none"`},
			expected{200, `"state":"live"`}},
		{"telemetry-monitor", "GET /alerts", "", "", expected{200, `"alerts":[`}, expected{200, `"alerts":[`}},
		{"telemetry-monitor", "GET /frames", "/frames?since=1", "", expected{200, `"frames":[]`},
			expected{200, `"more":false`}},
		{"flight-dynamics", "GET /trajectory/current", "", "", expected{200, `"nominal"`}, expected{200, `"flown":[{`}},
		{"flight-dynamics", "GET /orbital-mechanics", "", "", expected{200, `"eccentricity":null`},
			expected{200, `"eccentricity":0.`}},
		{"flight-dynamics", "POST /trajectory/correction", "", `{"deltaV":1.5}`, expected{409, "wrong-phase"},
			expected{200, `"deltaVMs":1.5`}},
		{"launch-control", "GET /countdown/status", "", "", expected{200, `"state":"idle"`},
			expected{200, `"state":"launched"`}},
		{"launch-control", "POST /countdown/start", "", "", expected{200, `"state":"counting"`},
			expected{409, "in flight"}},
		{"launch-control", "POST /countdown/hold", "", `{"reason":"a valve"}`, expected{200, `"holdReason":"a valve"`},
			expected{409, "no count to hold"}},
		{"launch-control", "POST /countdown/resume", "", "", expected{200, `"state":"counting"`},
			expected{409, "does not hold"}},
		{"launch-control", "POST /countdown/scrub", "", "", expected{200, `"state":"scrubbed"`},
			expected{409, "no count to scrub"}},
		{"ground-systems", "GET /fuel/status", "", "", expected{200, "tanks at replenish"},
			expected{200, "the rocket has left"}},
		{"ground-systems", "GET /umbilical/status", "", "", expected{200, "connected, ready to release"},
			expected{200, "retracted at lift-off"}},
		{"ground-systems", "POST /fuel/pressurize", "", "", expected{200, `"status"`}, expected{200, `"status"`}},
		{"weather-station", "GET /conditions", "", "", expected{200, `"windMs"`}, expected{200, `"windMs"`}},
		{"weather-station", "GET /forecast", "", "", expected{200, `"forecast":[{"at":"2026-04-01T23:00:00Z"`},
			expected{200, `"forecast"`}},
		{"weather-station", "GET /launch-criteria", "", "", expected{200, `"go":true`},
			expected{200, `"violations":[]`}},
		{"pad-operations", "GET /pad/status", "", "", expected{200, `"people":12`}, expected{200, `"people":0`}},
		{"pad-operations", "GET /pad/cameras", "", "", expected{200, "SLS on the mobile launcher"},
			expected{200, "an empty launcher"}},
		{"pad-operations", "POST /pad/clear", "", "", expected{200, `"status"`}, expected{200, `"status"`}},
		{"comms-system", "POST /uplink", "", "", expected{200, `"type":"telemetry-request"`},
			expected{200, `"heartRateBpm"`}},
		{"comms-system", "POST /uplink/*", "/uplink/voice", `{"text":"comm check"}`, expected{200, "loud and clear"},
			expected{200, "loud and clear"}},
		{"comms-system", "POST /downlink", "", `{"station":"madrid","lastSeq":100000}`,
			expected{409, "no downlink before lift-off"}, expected{200, `"seq":100001`}},
		{"comms-system", "GET /signal/strength", "", "", expected{200, `"carrier":false`},
			expected{200, `"carrier":true`}},
		{"comms-system", "POST /crew/message", "", `{"id":"m-2","from":"Integrity","text":"hello"}`,
			expected{409, "no station"}, expected{200, `"status"`}},
		{"comms-system", "POST /antenna/orient", "", `{"antenna":"low-gain"}`, expected{200, `"antenna":"low-gain"`},
			expected{200, `"status":"oriented"`}},
		{"guidance-nav", "GET /position", "", "", expected{200, `"phase":"pre-launch"`},
			expected{200, `"phase":"earth-orbit"`}},
		{"guidance-nav", "GET /trajectory", "", "", expected{200, `"ahead":[]`}, expected{200, `"ahead":[{`}},
		{"guidance-nav", "GET /star-tracker", "", "", expected{200, `"rollDeg":0`}, expected{200, `"rollDeg":30`}},
		{"guidance-nav", "POST /maneuver", "", "", expected{200, "flown after lift-off"},
			expected{200, `"deltaV":"2.3 m/s","executed":{`}},
		{"life-support", "GET /crew/vitals", "", "", expected{200, "Reid Wiseman"}, expected{200, "Christina Koch"}},
		{"life-support", "GET /cabin/atmosphere", "", "", expected{200, `"oxygenKPa":21.`},
			expected{200, `"oxygenKPa":21.`}},
		{"life-support", "GET /consumables", "", "", expected{200, `"oxygenPercent":100`},
			expected{200, `"oxygenPercent":97.46`}},
		{"crew-interface", "GET /alerts", "", "", expected{200, `"alerts":[`}, expected{200, `"alerts":[`}},
		{"crew-interface", "GET /displays", "", "", expected{200, `"distanceEarthKm":null`},
			expected{200, `"phaseTitle":"High Earth orbit"`}},
		{"crew-interface", "POST /crew/log", "", `{"from":"capcom","text":"looking good"}`, expected{200, `"reply"`},
			expected{200, `"reply"`}},
		{"crew-interface", "POST /crew/input", "", `{"input":"antenna","antenna":"high-gain"}`,
			expected{200, `"antenna":"high-gain"`}, expected{200, `"antenna":"high-gain"`}},
		{"signal-router", "POST /route", "", `{"id":"m-3","from":"Integrity","text":"hello"}`,
			expected{409, "no station"}, expected{200, `"status"`}},
		{"signal-router", "POST /handover", "", `{"station":"madrid","reason":"elevation 5.9 degrees"}`,
			expected{200, `"status"`}, expected{200, `"status"`}},
		{"goldstone", "GET /antenna/status", "", "", expected{200, `"elevationDeg":null`},
			expected{200, `"elevationDeg":-15.59`}},
		{"goldstone", "GET /signal", "", "", expected{409, "wrong-phase"}, expected{0, ""}},
		{"goldstone", "POST /track", "", `{"track":false}`, expected{200, `"tracking":false`},
			expected{200, `"tracking":false`}},
		{"service-module-monitor", "GET /propulsion/status", "", "", expected{200, `"propellantPercent":100`},
			expected{200, `"corrections":0`}},
		{"service-module-monitor", "GET /power/solar-arrays", "", "", expected{200, `"deployed":false`},
			expected{200, `"deployed":true`}},
		{"service-module-monitor", "GET /consumables", "", "", expected{200, `"waterKg":240`},
			expected{200, `"waterPercent":97.99`}},
		{"service-module-monitor", "GET /thermal", "", "", expected{200, `"radiatorC"`}, expected{200, `"radiatorC"`}},
		{"mission-relay", "POST /relay/telemetry", "",
			`{"propulsion":null,"solarArrays":null,"thermal":null,"consumables":null,"sampledAt":"2026-04-01T22:00:00Z"}`, expected{200, `"status":"relayed"`}, expected{200, `"status":"relayed"`}},
		{"mission-relay", "POST /relay/alert", "",
			`{"id":"a-1","at":"2026-04-01T22:00:00Z","severity":"info","source":"service-module-monitor","text":"a test"}`, expected{200, `"status":"relayed"`}, expected{200, `"status":"relayed"`}},
		{"flight-director", "POST /decision/abort", "", "", expected{200, "the next poll for launch is a NO-GO"},
			expected{200, `"type":"abort"`}},
		{"mission-relay", "GET /relay/status", "", "", expected{200, `"serviceModuleMonitor":"unknown"`},
			expected{200, `"serviceModuleMonitor":"answers"`}},
	}
	// events have a test of their own
	asked, want := map[string]bool{"flight-director GET /events": true}, map[string]bool{}
	for _, s := range catalog.Services() {
		for _, r := range s.Rules {
			for _, p := range r.Paths {
				if s.Name != "madrid" && s.Name != "canberra" { // as goldstone
					want[s.Name+" "+r.Method+" "+p] = true
				}
			}
		}
	}
	for _, at := range []string{"on the pad", "in flight"} {
		m := newMission(t)
		if at == "in flight" {
			m.call("flight-director", "POST", "/handoff",
				`{"liftOff":"2026-04-01T22:00:00Z","timeScale":1440,"vehicle":"Integrity"}`)
			for range 5 {
				m.pass(5 * time.Second) // two hours each
			}
		}
		for _, row := range rows {
			method, path, _ := strings.Cut(row.endpoint, " ")
			if row.path != "" {
				path = row.path
			}
			expect := row.pad
			if at == "in flight" {
				expect = row.flight
			}
			asked[row.service+" "+row.endpoint] = true
			status, body := m.call(row.service, method, path, row.body)
			if expect.status != 0 && status != expect.status || !strings.Contains(body, expect.says) {
				t.Errorf("%s, %s of %s: %d, want %d with %s:\n%.600s", at, row.endpoint, row.service, status,
					expect.status, expect.says, body)
			}
		}
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("endpoints of the table (-) and asked here (+):\n%s", diff)
	}
}
