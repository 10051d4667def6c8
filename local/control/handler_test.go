package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/control"
	"artemis.example/local/mesh"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

type suite struct {
	mu      sync.Mutex
	state   control.State
	changed chan struct{}
	calls   []control.Calls
	flights int
	world   *topology.World
}

func newSuite() *suite {
	return &suite{
		state: control.State{Stage: "open", Capture: "proxy",
			Pods: []control.Pod{{Cell: "orion", Component: "comms-system"}}},
		changed: make(chan struct{}),
	}
}

func (s *suite) State() control.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *suite) InForce() (string, *topology.World) { return s.State().Stage, s.world }

func (s *suite) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *suite) NewFlight(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights++
	return nil
}

func (s *suite) Calls() []control.Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *suite) Listen(_ context.Context, pod string) (control.Heard, error) {
	if pod != "orion/comms-system" {
		return control.Heard{}, errors.New("there is no such pod")
	}
	return control.Heard{Stage: "open", Pod: pod, Source: "a test"}, nil
}

func (s *suite) Apply(_ context.Context, acceptLoss bool) error {
	if !acceptLoss {
		return errors.New("istio/cells/orion.yaml: at stage zero-trust: no waypoint for orion")
	}
	return nil
}

func (s *suite) SetStage(_ context.Context, stage string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stage == "mtls" {
		return errors.New("istio/cells/orion.yaml:3: unknown field")
	}
	s.state.Stage = stage
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// attacks plays one attack, maneuver, which is refused by the waypoint.
type attacks struct{ events chan control.AttackEvent }

func newAttacks() *attacks { return &attacks{events: make(chan control.AttackEvent, 2)} }

func (a *attacks) List(context.Context) control.AttackList { return control.AttackList{} }

func (a *attacks) Play(_ context.Context, id string) (adversary.Result, bool) {
	if id != "maneuver" {
		return adversary.Result{}, false
	}
	r := adversary.Result{ID: id, Stage: "zero-trust", Judgement: adversary.Judgement{Verdict: adversary.DeniedL7,
		Layer: 3}}
	a.events <- control.AttackEvent{ID: id, Stage: "zero-trust"}
	a.events <- control.AttackEvent{ID: id, Stage: "zero-trust", Result: &r}
	return r, true
}

func (a *attacks) Follow(context.Context) <-chan control.AttackEvent { return a.events }

func TestTheHandlerRefusesWhatItShould(t *testing.T) {
	const jsonType, form = "application/json", "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, method, path, body, kind string
		status                         int
		code                           string
	}{
		{"a stage", "POST", "/_artemis/stage", `{"stage":"zero-trust"}`, jsonType, 200, ""},
		{"a form", "POST", "/_artemis/stage", "stage=open", form, 415, "unsupported-media-type"},
		{"no content type", "POST", "/_artemis/stage", `{"stage":"open"}`, "", 415, "unsupported-media-type"},
		{"an unknown stage", "POST", "/_artemis/stage", `{"stage":"chaos"}`, jsonType, 400, "unknown-stage"},
		{"an unknown field", "POST", "/_artemis/stage", `{"stage":"open","x":1}`, jsonType, 400, "malformed"},
		{"two documents", "POST", "/_artemis/stage", `{"stage":"open"}{}`, jsonType, 400, "malformed"},
		{"a body without end", "POST", "/_artemis/stage", `{"stage":"` + strings.Repeat("a", 5000) + `"}`, jsonType,
			400, "malformed"},
		{"manifests that cannot be loaded", "POST", "/_artemis/stage", `{"stage":"mtls"}`, jsonType, 409,
			"stage-refused"},
		{"manifests that lose protection", "POST", "/_artemis/apply", `{"acceptLoss":false}`, jsonType, 409,
			"not-put-in-force"},
		{"a loss that is accepted", "POST", "/_artemis/apply", `{"acceptLoss":true}`, jsonType, 200, ""},
		{"a loss accepted by a form", "POST", "/_artemis/apply", "acceptLoss=true", form, 415,
			"unsupported-media-type"},
		{"a loss accepted in other words", "POST", "/_artemis/apply", `{"accept":true}`, jsonType, 400, "malformed"},
		{"the wrong method", "GET", "/_artemis/stage", "", "", 405, "method-not-allowed"},
		{"a write where there is only reading", "POST", "/_artemis/state", "{}", jsonType, 405, "method-not-allowed"},
		{"an attack of the campaign", "POST", "/_artemis/attacks/maneuver", "", "", 200, ""},
		{"an attack that nobody wrote", "POST", "/_artemis/attacks/shutdown", "", "", 404, "not-found"},
		{"an attack by reading", "GET", "/_artemis/attacks/maneuver", "", "", 405, "method-not-allowed"},
		{"an unknown path", "GET", "/_artemis/shutdown", "", "", 404, "not-found"},
		{"a malformed number", "GET", "/_artemis/decisions?since=-1", "", "", 400, "malformed"},
		{"too many at once", "GET", "/_artemis/decisions?limit=1001", "", "", 400, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := control.NewHandler(newSuite(), mesh.NewDecisionLog(10), newAttacks())
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := struct{ Code string }{}
			if w.Code != 200 {
				decode(t, w.Body.String(), &got)
			}
			if w.Code != c.status || got.Code != c.code {
				t.Errorf("got %d %q, want %d %q: %s", w.Code, got.Code, c.status, c.code, w.Body)
			}
			if c.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("no Allow with a 405")
			}
		})
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func TestDecisionsAreReadOnFromANumber(t *testing.T) {
	log := mesh.NewDecisionLog(10)
	for _, v := range []decision.Verdict{decision.Allowed, decision.DeniedL7, decision.DeniedL4} {
		log.Append(decision.Record{Verdict: v})
	}
	w := httptest.NewRecorder()
	control.NewHandler(newSuite(), log, newAttacks()).ServeHTTP(w, httptest.NewRequest("GET",
		"/_artemis/decisions?since=1&limit=1", nil))
	var got struct {
		Decisions []decision.Record
		Next      uint64
	}
	decode(t, w.Body.String(), &got)
	want := got
	want.Decisions, want.Next = []decision.Record{{Seq: 2, Verdict: decision.DeniedL7}}, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsTellTheStateItsChangesAndEveryDecision(t *testing.T) {
	s, log := newSuite(), mesh.NewDecisionLog(10)
	log.Append(decision.Record{Verdict: decision.Allowed, Path: "/old"})
	played := newAttacks()
	server := httptest.NewServer(control.NewHandler(s, log, played))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/_artemis/events?since=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (event string, data map[string]any) {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				decode(t, v, &data)
				return event, data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", nil
	}
	expect := func(event, field string, want any) {
		t.Helper()
		e, data := next()
		if e != event || data[field] != want {
			t.Errorf("got %s with %s %v, want %s with %v", e, field, data[field], event, want)
		}
	}
	expect("state", "stage", "open")
	expect("decision", "path", "/old")
	log.Append(decision.Record{Path: "/new"})
	expect("decision", "path", "/new")
	if err := s.SetStage(t.Context(), "zero-trust"); err != nil {
		t.Fatal(err)
	}
	expect("state", "stage", "zero-trust")
	if _, ok := played.Play(t.Context(), "maneuver"); !ok {
		t.Fatal("there is no such attack")
	}
	expect("attack", "result", nil)
	if event, data := next(); event != "attack" || data["result"] == nil {
		t.Errorf("got %s %v, want the attack with its result", event, data)
	}
}

func TestEventsOfAnotherSuiteAreSentFromTheFirst(t *testing.T) {
	s, log := newSuite(), mesh.NewDecisionLog(10)
	s.state.StartedAt = time.Date(2026, 4, 1, 12, 0, 0, 5, time.UTC)
	for _, path := range []string{"/1", "/2", "/3"} {
		log.Append(decision.Record{Path: path})
	}
	server := httptest.NewServer(control.NewHandler(s, log, newAttacks()))
	defer server.Close()
	for query, want := range map[string]string{
		"since=2&epoch=2026-04-01T12:00:00.000000005Z":   "/3",
		"since=2&epoch=2026-03-31T12:00:00Z":             "/1",
		"since=9000&epoch=2026-03-31T12:00:00.00000001Z": "/1",
	} {
		func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/_artemis/events?"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var events []string
			for lines := bufio.NewScanner(resp.Body); len(events) < 2 && lines.Scan(); {
				if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					var data struct{ Stage, Path string }
					decode(t, v, &data)
					events = append(events, data.Stage+data.Path)
				}
			}
			if diff := cmp.Diff([]string{"open", want}, events); diff != "" {
				t.Errorf("%s: the state, then decisions (-want +got):\n%s", query, diff)
			}
		}()
	}
}

func TestEventsTellHowManyCallsWereAnswered(t *testing.T) {
	s := newSuite()
	pair := control.Calls{From: "houston/capcom", To: "orion/comms-system", Encrypted: true, Answered: 7}
	s.calls = []control.Calls{pair}
	server := httptest.NewServer(control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks()))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/_artemis/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return v
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
	next() // the state
	pair.Answered = 9
	s.mu.Lock()
	s.calls = []control.Calls{pair, {From: "orion/comms-system", To: "orion/guidance-nav", Answered: 1}}
	s.mu.Unlock()
	var got []control.Calls
	decode(t, next(), &got)
	pair.Answered = 2
	if diff := cmp.Diff([]control.Calls{pair, {From: "orion/comms-system", To: "orion/guidance-nav", Answered: 1}},
		got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestThePageAsksForANewFlightAndListens(t *testing.T) {
	s := newSuite()
	handler := control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks())
	ask := func(path, body string) (int, string) {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := ask("/_artemis/new-flight", "{}"); code != 200 || s.flights != 1 {
		t.Errorf("a new flight: %d %s, %d begun", code, body, s.flights)
	}
	code, body := ask("/_artemis/listen", `{"pod":"orion/comms-system"}`)
	var heard control.Heard
	decode(t, body, &heard)
	if diff := cmp.Diff(control.Heard{Stage: "open", Pod: "orion/comms-system", Source: "a test"},
		heard); code != 200 || diff != "" {
		t.Errorf("listening: %d (-want +got):\n%s", code, diff)
	}
	for body, want := range map[string]int{`{"pod":"moon/base"}`: 409, `{"pod":""}`: 400, `{"all":true}`: 400,
		``: 400} {
		if code, answer := ask("/_artemis/listen", body); code != want {
			t.Errorf("listening with %q: %d %s, want %d", body, code, answer, want)
		}
	}
}
