package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/process"
	"artemis.example/service/role"
)

// suite is the whole mission in this process, on real listeners, wired by the
// environment as the manifests do it.
type suite struct {
	t       *testing.T
	mu      sync.Mutex
	running map[string]*running
	address map[string]string
	env     map[string]string
	log     *lines
}

type running struct {
	stop context.CancelFunc
	done chan error
}

// lines is a log that several services write, kept for a failing test.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// start starts all eighteen. Env is given to each.
func start(t *testing.T, env map[string]string) *suite {
	t.Helper()
	s := &suite{t: t, running: map[string]*running{}, address: map[string]string{}, env: env, log: &lines{}}
	t.Cleanup(func() {
		s.stopAll()
		if t.Failed() {
			all := s.log.all.String()
			if len(all) > 20000 {
				all = "…" + all[len(all)-20000:]
			}
			t.Log(all)
		}
	})
	listeners := map[string]net.Listener{}
	for _, service := range catalog.Services() {
		l := listenAt(t, "127.0.0.1:0")
		listeners[service.Name], s.address[service.Name] = l, l.Addr().String()
	}
	for name, l := range listeners {
		s.run(name, l)
	}
	return s
}

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *suite) run(name string, l net.Listener) {
	env := maps.Clone(s.env)
	if env == nil {
		env = map[string]string{}
	}
	env["SERVICE_ROLE"] = name
	for _, d := range catalog.Dependencies(name) {
		env[catalog.URLVariable(d.Name)] = "http://" + s.address[d.Name]
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, done: make(chan error, 1)}
	started := make(chan struct{})
	admin := listenAt(s.t, "127.0.0.1:0")
	go func() {
		r.done <- process.Run(ctx, process.Options{
			Environ: environ(env), Log: s.log, Version: "test", Mission: l, Admin: admin,
			Started: func(_, _ net.Addr) { close(started) },
		})
	}()
	select {
	case <-started:
	case err := <-r.done:
		s.t.Fatalf("%s did not start: %v", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[name] = r
}

func environ(env map[string]string) []string {
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}

func (s *suite) stop(name string) {
	s.t.Helper()
	s.mu.Lock()
	r := s.running[name]
	delete(s.running, name)
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.stop()
	if err := <-r.done; err != nil {
		s.t.Errorf("%s: %v", name, err)
	}
}

func (s *suite) stopAll() {
	s.mu.Lock()
	names := []string{}
	for name := range s.running {
		names = append(names, name)
	}
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() { s.stop(name) })
	}
	all.Wait()
}

// call makes a request as the operator does, and gives the status and body.
func (s *suite) call(method, service, path, body string) (int, string) {
	s.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, "http://"+s.address[service]+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	out, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(out)
}

// must is call that succeeds, read into a value.
func must[T any](s *suite, method, service, path, body string) T {
	s.t.Helper()
	status, out := s.call(method, service, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s of %s: %d %s", method, path, service, status, out)
	}
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("%s %s of %s: %v in %s", method, path, service, err, out)
	}
	return v
}

// until waits for a condition; the last thing that it said is in the failure.
// patience is how long a test waits for what must come: long, since a busy
// machine is no fault of what is tested.
const patience = time.Minute

func (s *suite) until(what string, holds func() (bool, string)) {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		ok, saw := holds()
		if ok {
			return
		}
		select {
		case <-deadline.C:
			s.t.Fatalf("not within %s: %s; saw %s", patience, what, saw)
		case <-again.C:
		}
	}
}

func (s *suite) status() role.Status {
	s.t.Helper()
	return must[role.Status](s, "GET", "flight-director", "/mission/status", "")
}

func (s *suite) launch() {
	s.t.Helper()
	must[role.Countdown](s, "POST", "launch-control", "/countdown/start", "")
	s.until("lift-off", func() (bool, string) {
		c := must[role.Countdown](s, "GET", "launch-control", "/countdown/status", "")
		return c.State == "launched", fmt.Sprintf("%+v", c)
	})
}

// fast flies ten days in some seconds. Most of them are waited for: tests that use it
// run beside each other.
func fast(seconds float64) map[string]string {
	return map[string]string{
		"MISSION_TIME_SCALE":      fmt.Sprint(10 * 24 * 3600 / seconds),
		"MISSION_TELEMETRY_CYCLE": "80ms",
		"MISSION_COUNTDOWN":       "2s",
		"SHUTDOWN_GRACE":          "5s",
		"PEER_TIMEOUT":            "20s",
	}
}

// listen joins the events of flight-director until the first has come.
func (s *suite) listen() {
	s.t.Helper()
	response, err := http.Get("http://" + s.address["flight-director"] + "/events")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		s.t.Fatalf("content type %q of /events", got)
	}
	seen := ""
	buffer := make([]byte, 4096)
	for !strings.Contains(seen, "event: status\ndata: {") {
		n, err := response.Body.Read(buffer)
		seen += string(buffer[:n])
		if err != nil {
			s.t.Fatalf("no event: %v after %q", err, seen)
		}
	}
}
