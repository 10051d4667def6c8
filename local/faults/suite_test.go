//go:build faults

// Package faults breaks a running suite in every way that a machine breaks, and
// watches two things all the while: nobody gets in who may not, and whoever may
// gets an answer in time, be it an error. Run by `make faults`; it takes the
// programs from bin/ and DURATION for its last and longest part.
package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	host = "development-default.openchoreoapis.localhost"
	// patience bounds an answer: the peer time-outs of a whole chain.
	patience = 12 * time.Second
)

// options of a suite; the zero value is the project as it is, at zero-trust.
type options struct {
	root    string // of the project
	state   string // directory
	artemis string // the programs, default those in bin/
	service string
	prefix  []string // what artemis is started by
	share   string   // a directory that pods see too
	flags   []string // more of `up`
}

type suite struct {
	options
	t      *testing.T
	port   string
	client *http.Client
	last   string // answer to what until waits for
}

type pod struct {
	Cell, Component string
	Address         string
	PID, Restarts   int
	Ready           bool
}

func (p pod) name() string { return p.Cell + "/" + p.Component }

type status struct {
	Stage, Problem string
	Pods           []pod
}

func start(t *testing.T, o options) *suite {
	t.Helper()
	if o.root == "" {
		o.root = absolute(t, ".")
	}
	if o.state == "" {
		o.state = t.TempDir()
	}
	if o.artemis == "" {
		o.artemis = absolute(t, "bin/artemis")
	}
	if o.service == "" {
		o.service = absolute(t, "bin/service")
	}
	s := &suite{options: o, t: t, client: &http.Client{Timeout: patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
	args := slices.Concat(o.prefix, []string{o.artemis, "up", "--detach", "--stage", "zero-trust", "--root", o.root,
		"--state-dir", o.state,
		"--gateway", "127.0.0.1:0", "--service-binary", o.service}, o.flags)
	if o.share != "" {
		args = append(args, "--share", o.share)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	t.Cleanup(s.stop)
	page := missionControl.FindSubmatch(out)
	if page == nil {
		t.Fatalf("up does not say where mission control is:\n%s", out)
	}
	s.port = string(page[1])
	return s
}

var missionControl = regexp.MustCompile(`(?m)^mission control +http://[^/]+:(\d+)/`)

// absolute returns the path of a file of this project.
func absolute(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *suite) ask(args ...string) ([]byte, error) {
	args = append([]string{"--root", s.root, "--state-dir", s.state}, args...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, s.options.artemis, args...).CombinedOutput()
}

func (s *suite) stop() { s.ask("down") }

func (s *suite) status() (status, error) {
	var now status
	out, err := s.ask("status", "--json")
	if err != nil {
		return now, fmt.Errorf("status: %w: %s", err, out)
	}
	return now, json.Unmarshal(out, &now)
}

func (s *suite) until(what string, within time.Duration, ok func() bool) {
	s.t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	began, deadline := time.Now(), time.After(within)
	defer func() { s.t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond)) }()
	for !ok() {
		select {
		case <-deadline:
			now, err := s.status()
			s.t.Fatalf("not within %v: %s\nlast answer: %s\nfailed of late:\n%s\n%+v, %v", within, what, s.last,
				s.failures(), now, err)
		case <-ticker.C:
		}
	}
}

// failures returns the latest calls that came to nothing, but for the attacks.
func (s *suite) failures() string {
	out, err := s.ask("decisions", "--json", "--last", "300")
	if err != nil {
		return err.Error()
	}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool {
		return !strings.Contains(l, `"verdict":"failed"`)
	})
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

func (s *suite) allReady() bool {
	now, err := s.status()
	if err != nil || len(now.Pods) < 18 {
		return false
	}
	for _, p := range now.Pods {
		if !p.Ready {
			return false
		}
	}
	return true
}

// call is an operator's request. It must be answered in time: status 0 never
// counts as well.
func (s *suite) call(method, path, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, "http://127.0.0.1:"+s.port+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Host = host
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (s *suite) works() bool {
	code, body, err := s.call(http.MethodPost, "/flight-director-http/uplink/command", `{"type":"telemetry-request"}`)
	s.last = fmt.Sprintf("%d, %v: %s", code, err, body)
	return err == nil && code == http.StatusOK
}

// live reports whether frames come down from the spacecraft.
func (s *suite) live() bool {
	code, body, err := s.call(http.MethodGet, "/flight-director-http/mission/status", "")
	s.last = fmt.Sprintf("%d, %v: %s", code, err, body)
	return err == nil && strings.Contains(string(body), `"state":"live"`)
}

// attack is what is never allowed: life-support may not ask guidance-nav
// anything. It gives the answer and, on a line of its own, its status; 000 for
// none.
func (s *suite) attack() string {
	return s.curl("orion/life-support", "http://guidance-nav:8080/position")
}

// curl asks as a program in a pod does.
func (s *suite) curl(pod, url string) string {
	// a refusal is an error too
	out, _ := s.ask("exec", pod, "--", "curl", "-s", "-m", "2", "-w", "\n%{http_code}", url)
	return string(out)
}

// watch attacks and operates until it is stopped.
type watch struct {
	stop                  chan struct{}
	done                  sync.WaitGroup
	attacks, let          atomic.Int64
	calls, hung, answered atomic.Int64
	mu                    sync.Mutex
	first                 string
}

func (s *suite) watch() *watch {
	w := &watch{stop: make(chan struct{})}
	loop := func(do func()) {
		w.done.Go(func() {
			for {
				select {
				case <-w.stop:
					return
				default:
					do()
				}
			}
		})
	}
	loop(func() {
		out := s.attack()
		w.attacks.Add(1)
		if strings.HasSuffix(out, "\n200") {
			w.let.Add(1)
			w.note("let in: " + out)
		}
	})
	for range 3 {
		loop(func() {
			began := time.Now()
			code, _, err := s.call(http.MethodGet, "/flight-director-http/mission/status", "")
			w.calls.Add(1)
			switch {
			case err == nil && code == http.StatusOK:
				w.answered.Add(1)
			case time.Since(began) >= patience:
				w.hung.Add(1)
				w.note(fmt.Sprintf("no answer in %v: %v", patience, err))
			}
		})
	}
	return w
}

func (w *watch) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == "" {
		w.first = what
	}
}

// halt stops the watch: nobody was let in, and every call was answered in time.
func (w *watch) halt(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	t.Logf("%d attacks, %d let in; %d calls, %d answered with 200, %d hung", w.attacks.Load(), w.let.Load(),
		w.calls.Load(), w.answered.Load(), w.hung.Load())
	if w.let.Load() > 0 || w.hung.Load() > 0 {
		t.Error(w.first)
	}
	if w.attacks.Load() == 0 || w.calls.Load() == 0 {
		t.Error("nothing was tried: the watch proves nothing")
	}
}

// end is halt for a suite in which calls work, if not all the time.
func (w *watch) end(t *testing.T) {
	t.Helper()
	w.halt(t)
	if w.answered.Load() == 0 {
		t.Error("no call was answered with 200: the watch proves nothing")
	}
}

func (s *suite) launch() {
	s.t.Helper()
	if code, body, err := s.call(http.MethodPost, "/launch-control-http/countdown/start", "{}"); err != nil ||
		code/100 != 2 {
		s.t.Fatalf("countdown: %d %s %v", code, body, err)
	}
}

// pod returns the pod of that name, CELL/COMPONENT.
func (s *suite) pod(name string) (pod, bool) {
	now, err := s.status()
	i := slices.IndexFunc(now.Pods, func(p pod) bool { return p.name() == name })
	if err != nil || i < 0 {
		return pod{}, false
	}
	return now.Pods[i], true
}

// kill ends a pod's process and waits until the next one is ready.
func (s *suite) kill(name string) {
	s.t.Helper()
	p, ok := s.pod(name)
	if !ok {
		s.t.Fatalf("there is no pod of %s", name)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		s.t.Fatalf("kill %s: %v", name, err)
	}
	s.until(name+" is back", 20*time.Second, func() bool {
		q, ok := s.pod(name)
		return ok && q.Ready && q.Restarts > p.Restarts && q.PID != p.PID
	})
}

// copyOf makes a project of the manifests alone, to be spoilt.
func copyOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"openchoreo/rendered", "istio/cells", "istio/stages", "adversary/manifests"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(absolute(t, part))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program builds one and gives its path.
func program(t *testing.T, dir, name, pkg string, flags ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{pkg})...)
	cmd.Dir = absolute(t, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// visible makes a directory for options.share, which pods can read too.
func visible(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "artemis-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// put writes a file in one step: whoever reads it finds the old text or the new.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}
