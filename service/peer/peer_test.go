package peer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/peer"
	"artemis.example/service/problem"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// capcom makes a client of capcom whose comms-system is at an address.
func capcom(t *testing.T, address string, timeout time.Duration) (*peer.Client, *missionclock.Clock) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	tracing, err := telemetry.NewTracing(t.Context(), nil, "houston", "capcom", "test")
	if err != nil {
		t.Fatal(err)
	}
	clock := missionclock.New(time.Now, nil)
	c := peer.New(peer.Config{
		Self:      catalog.Caller{Cell: "houston", Component: "capcom"},
		Addresses: map[string]*url.URL{"comms-system": u}, Timeout: timeout, Clock: clock, Tracing: tracing,
		Metrics:  telemetry.NewMetrics("houston", "capcom", "test"),
		Evidence: trace.NewEvidence(time.Now, time.Second, false),
	})
	t.Cleanup(c.Close)
	return c, clock
}

func problemBody(code problem.Code, peer string) string {
	p := problem.New(code, "because")
	p.Peer = peer
	b, _ := json.Marshal(p)
	return strings.TrimSuffix(string(b), "}") + `,"trace":{"service":"comms-system"}}`
}

func TestEveryWayToFailHasItsName(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); io.WriteString(w, body) }
	}
	rawAnswer := func(answer string, reset bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, answer)
			if reset {
				c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		code    problem.Code
		peer    string
		status  int // in the hop
	}{
		{"denied by a waypoint", answer(403, "RBAC: access denied"), problem.UpstreamDenied, "orion/comms-system", 403},
		{"nobody behind the gateway", answer(503, "upstream connect error"), problem.UpstreamUnreachable,
			"orion/comms-system", 503},
		{"the gateway waited in vain", answer(504, "upstream request timeout"), problem.UpstreamTimeout,
			"orion/comms-system", 504},
		{"silent", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}, problem.UpstreamTimeout, "orion/comms-system", 0},
		{"silent in mid-answer", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"status":`)
			http.NewResponseController(w).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}, problem.UpstreamTimeout, "orion/comms-system", 200},
		{"reset", rawAnswer("", true), problem.UpstreamReset, "orion/comms-system", 0},
		{"closed", rawAnswer("", false), problem.UpstreamReset, "orion/comms-system", 0},
		{"cut in mid-answer", rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", false),
			problem.UpstreamReset, "orion/comms-system", 200},
		{"another protocol", func(w http.ResponseWriter, r *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mission\r\n\r\n")
			<-release
		}, problem.UpstreamNonsense, "orion/comms-system", 101},
		{"no HTTP", rawAnswer("SSH-2.0-OpenSSH_9.9\r\n", false), problem.UpstreamNonsense, "orion/comms-system", 0},
		{"no JSON", answer(200, "hello"), problem.UpstreamNonsense, "orion/comms-system", 200},
		{"JSON of somebody else", answer(200, `{"status":"acknowledged","trace":{"service":"adversary"}}`),
			problem.UpstreamNonsense, "orion/comms-system", 200},
		{"no trace", answer(200, `{"status":"acknowledged"}`), problem.UpstreamNonsense, "orion/comms-system", 200},
		{"a field of another kind", answer(200, `{"status":7,"trace":{"service":"comms-system"}}`),
			problem.UpstreamNonsense, "orion/comms-system", 200},
		{"too much", answer(200, strings.Repeat(" ", peer.MaxAnswer+1)), problem.UpstreamNonsense, "orion/comms-system",
			200},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere/", http.StatusTemporaryRedirect)
		}, problem.UpstreamNonsense, "orion/comms-system", 307},
		{"an error of its own", answer(500, problemBody(problem.Internal, "")), problem.UpstreamError,
			"orion/comms-system", 500},
		{"our mistake", answer(400, problemBody(problem.UnknownField, "")), problem.UpstreamError, "orion/comms-system",
			400},
		{"the operator's mistake", answer(422, problemBody(problem.OutOfRange, "")), problem.OutOfRange,
			"orion/comms-system", 422},
		{"the wrong phase", answer(409, problemBody(problem.WrongPhase, "orion/guidance-nav")), problem.WrongPhase,
			"orion/guidance-nav", 409},
		{"denied further on", answer(502, problemBody(problem.UpstreamDenied, "orion/guidance-nav")),
			problem.UpstreamDenied, "orion/guidance-nav", 502},
	} {
		server := httptest.NewServer(c.handler)
		timeout := 20 * time.Second
		if strings.HasPrefix(c.name, "silent") {
			timeout = 400 * time.Millisecond
		}
		client, _ := capcom(t, server.URL, timeout)
		recorder := new(trace.Recorder)
		var out struct{ Status string }
		err := client.Post(trace.WithRecorder(t.Context(), recorder), "comms-system", "/uplink", struct{}{}, &out)
		server.CloseClientConnections()
		var p *problem.Problem
		if !errors.As(err, &p) || p.Code != c.code || p.Peer != c.peer || strings.Contains(p.Detail, "127.0.0.1") {
			t.Errorf("%s: %v, want %s of %s", c.name, err, c.code, c.peer)
		}
		hops := recorder.Hops()
		if len(hops) != 1 || hops[0].Error != string(c.code) || hops[0].Status != c.status ||
			hops[0].To != "comms-system" {
			t.Errorf("%s: hops %+v", c.name, hops)
		}
	}
}

func TestNobodyThereIsUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, address := range []string{"http://" + l.Addr().String(), "http://no-such-host.invalid:8080"} {
		client, _ := capcom(t, address, 2*time.Second)
		err := client.Post(t.Context(), "comms-system", "/uplink", struct{}{}, nil)
		if got := problem.From(err).Code; got != problem.UpstreamUnreachable {
			t.Errorf("%s: %s (%v)", address, got, err)
		}
	}
}

func TestNoCallIsMadeThatTheTableDoesNotHave(t *testing.T) {
	t.Parallel()
	called := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer server.Close()
	client, _ := capcom(t, server.URL, time.Second)
	for _, c := range []struct{ peer, method, path string }{
		{"comms-system", "GET", "/signal/strength"}, {"comms-system", "POST", "/downlink"}, {"guidance-nav", "GET",
			"/position"}, {"nobody", "GET", "/"},
	} {
		var err error
		if c.method == "GET" {
			err = client.Get(t.Context(), c.peer, c.path, nil)
		} else {
			err = client.Post(t.Context(), c.peer, c.path, nil, nil)
		}
		if problem.From(err).Code != problem.Internal || called {
			t.Errorf("%+v: %v, called: %v", c, err, called)
		}
	}
}

func TestACallCarriesTraceClockBudgetAndARandomIdentity(t *testing.T) {
	t.Parallel()
	liftOff := time.Now().Add(-time.Hour).UTC().Round(0)
	var got []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		w.Header().Set(missionclock.Header, missionclock.Reading{LiftOff: liftOff, Scale: 1440}.String())
		io.WriteString(w,
			`{"trace":{"service":"comms-system","hops":[{"from":"comms-system","to":"guidance-nav","status":200}],
			"caller":{"identity":"spiffe://cluster.local/ns/houston/sa/capcom","claimed":true,"proof":"none"}}}`)
	}))
	defer server.Close()
	client, clock := capcom(t, server.URL, 20*time.Second)
	recorder := new(trace.Recorder)
	ctx, cancel := context.WithTimeout(trace.WithRecorder(t.Context(), recorder), 10*time.Second)
	defer cancel()
	for range 2 {
		if err := client.Post(ctx, "comms-system", "/uplink/voice", struct{}{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if r := clock.Reading(); !r.LiftOff.Equal(liftOff) || r.Scale != 1440 {
		t.Errorf("clock after the answer: %+v", r)
	}
	if got[0].Get(missionclock.Header) != "" || got[1].Get(missionclock.Header) != clock.Header() {
		t.Errorf("clock sent: %q, then %q", got[0].Get(missionclock.Header), got[1].Get(missionclock.Header))
	}
	first, second := got[0].Get(trace.IdentityHeader), got[1].Get(trace.IdentityHeader)
	if first == second || !strings.HasPrefix(first, "Nonce=") || !strings.HasPrefix(second, "Nonce=") {
		t.Errorf("identities %q, %q", first, second)
	}
	if len(got[0].Get("Traceparent")) != 55 || got[0].Get(endpoint.BudgetHeader) == "" ||
		got[0].Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", got[0])
	}
	hops := recorder.Hops()
	if len(hops) != 2 || len(hops[0].Hops) != 1 || hops[0].Hops[0].To != "guidance-nav" ||
		hops[0].Proof != trace.ProofWaypoint ||
		hops[0].SeenAs != "spiffe://cluster.local/ns/houston/sa/capcom" {
		t.Errorf("hops %+v", hops)
	}
}
