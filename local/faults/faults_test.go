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
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	root = "../.."
	host = "development-default.openchoreoapis.localhost"
	// patience bounds an answer: the peer time-outs of a whole chain.
	patience = 12 * time.Second
)

type suite struct {
	t      *testing.T
	root   string
	state  string
	port   string
	client *http.Client
}

type pod struct {
	Cell, Component string
	PID, Restarts   int
	Ready           bool
}

type status struct {
	Stage, Problem string
	Pods           []pod
}

func start(t *testing.T, projectRoot, state string, prefix ...string) *suite {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &suite{t: t, root: projectRoot, state: state, port: port, client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
	args := append(prefix, s.binary(), "up", "--detach", "--stage", "zero-trust", "--root", projectRoot, "--state-dir", state, "--gateway", "127.0.0.1:"+port, "--service-binary", s.absolute("bin/service"))
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	t.Cleanup(s.stop)
	return s
}

func (s *suite) absolute(path string) string {
	p, err := filepath.Abs(filepath.Join(root, path))
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *suite) binary() string { return s.absolute("bin/artemis") }

func (s *suite) artemis(args ...string) ([]byte, error) {
	args = append([]string{"--root", s.root, "--state-dir", s.state}, args...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, s.binary(), args...).CombinedOutput()
}

func (s *suite) stop() { s.artemis("down") }

func (s *suite) status() (status, error) {
	var now status
	out, err := s.artemis("status", "--json")
	if err != nil {
		return now, fmt.Errorf("status: %w: %s", err, out)
	}
	return now, json.Unmarshal(out, &now)
}

func (s *suite) until(what string, within time.Duration, ok func() bool) {
	s.t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(within)
	for !ok() {
		select {
		case <-deadline:
			now, err := s.status()
			s.t.Fatalf("not within %v: %s (%+v, %v)", within, what, now, err)
		case <-ticker.C:
		}
	}
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
	code, _, err := s.call(http.MethodPost, "/flight-director-http/uplink/command", `{"type":"telemetry-request"}`)
	return err == nil && code == http.StatusOK
}

// live tells whether frames come down from the spacecraft.
func (s *suite) live() bool {
	_, body, err := s.call(http.MethodGet, "/flight-director-http/mission/status", "")
	return err == nil && strings.Contains(string(body), `"state":"live"`)
}

// watch attacks and operates until it is stopped. life-support may not ask
// guidance-nav anything: whatever is broken, it must not get an answer.
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
		out, err := s.artemis("exec", "orion/life-support", "--", "curl", "-s", "-m", "5", "-w", "\n%{http_code}", "http://guidance-nav:8080/position")
		w.attacks.Add(1)
		if err == nil && strings.HasSuffix(string(out), "\n200") {
			w.let.Add(1)
			w.note("let in: " + string(out))
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

func (w *watch) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	t.Logf("%d attacks, %d let in; %d calls, %d answered with 200, %d hung", w.attacks.Load(), w.let.Load(), w.calls.Load(), w.answered.Load(), w.hung.Load())
	if w.let.Load() > 0 || w.hung.Load() > 0 {
		t.Error(w.first)
	}
	if w.attacks.Load() == 0 || w.answered.Load() == 0 {
		t.Error("nothing was tried: the watch proves nothing")
	}
}

func (s *suite) launch() {
	s.t.Helper()
	if code, body, err := s.call(http.MethodPost, "/launch-control-http/countdown/start", "{}"); err != nil || code/100 != 2 {
		s.t.Fatalf("countdown: %d %s %v", code, body, err)
	}
}

func TestEveryServiceMayDie(t *testing.T) {
	s := start(t, s0(t), t.TempDir())
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w := s.watch()
	before, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	order := rand.Perm(len(before.Pods))
	for _, i := range order {
		p := before.Pods[i]
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", p.Component, err)
		}
		s.until(p.Component+" is back", 20*time.Second, func() bool {
			now, err := s.status()
			if err != nil {
				return false
			}
			for _, q := range now.Pods {
				if q.Cell == p.Cell && q.Component == p.Component {
					return q.Ready && q.Restarts > p.Restarts && q.PID != p.PID
				}
			}
			return false
		})
	}
	w.end(t)
	s.until("the mission goes on", 20*time.Second, s.works)
	code, body, err := s.call(http.MethodGet, "/flight-director-http/mission/status", "")
	if err != nil || code != http.StatusOK || !strings.Contains(string(body), `"liftOff":"2`) {
		t.Errorf("after every service died once the lift-off is forgotten: %d %.200s %v", code, body, err)
	}
}

func TestTheLauncherMayDie(t *testing.T) {
	state := t.TempDir()
	s := start(t, s0(t), state)
	now, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	launchers := descendantsOf(t, state)
	if len(launchers) == 0 {
		t.Fatal("no process of the launcher found")
	}
	for _, pid := range launchers {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.until("nothing is left", 10*time.Second, func() bool {
		for _, p := range now.Pods {
			if syscall.Kill(p.PID, 0) == nil {
				return false
			}
		}
		return len(descendantsOf(t, state)) == 0
	})
	again := start(t, s0(t), state)
	again.until("ready again", 20*time.Second, again.allReady)
}

// descendantsOf finds the processes whose command line names a state directory.
func descendantsOf(t *testing.T, state string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), state) || !strings.Contains(string(line), "artemis") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestGarbageInAPolicyFileChangesNothing(t *testing.T) {
	project := copyOf(t)
	s := start(t, project, t.TempDir())
	w := s.watch()
	file := filepath.Join(project, "istio/cells/orion.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"garbage":          "\x00\xff not yaml: [",
		"half of it":       string(good[:len(good)/2]) + "\n  x",
		"an unknown field": strings.Replace(string(good), "action: ALLOW", "actoin: ALLOW", 1),
		"an unknown kind":  strings.Replace(string(good), "kind: AuthorizationPolicy", "kind: AuthorisationPolicy", 1),
	} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		s.until(name+" is reported", 10*time.Second, func() bool {
			now, err := s.status()
			return err == nil && strings.Contains(now.Problem, "orion.yaml")
		})
		if err := os.WriteFile(file, good, 0o644); err != nil {
			t.Fatal(err)
		}
		s.until("the good file is in force again", 10*time.Second, func() bool {
			now, err := s.status()
			return err == nil && now.Problem == ""
		})
	}
	w.end(t)
	s.until("calls work", 10*time.Second, s.works)
}

func TestAFullDiskForLogsStopsNobody(t *testing.T) {
	state := t.TempDir()
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=512k,mode=0777"); err != nil {
		if os.Getenv("CI") != "" || os.Geteuid() == 0 {
			t.Fatalf("a small disk cannot be mounted: %v", err)
		}
		t.Skip("a small disk takes root to mount")
	}
	t.Cleanup(func() { syscall.Unmount(state, syscall.MNT_DETACH) })
	s := start(t, s0(t), state)
	w := s.watch()
	filler, err := os.Create(filepath.Join(state, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if _, err := io.Copy(filler, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w.end(t)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAFullDescriptorTableHealsItself(t *testing.T) {
	s := start(t, s0(t), t.TempDir(), "prlimit", "--nofile=700:700")
	var held []net.Conn
	for range 900 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+s.port, time.Second)
		if err != nil {
			break
		}
		fmt.Fprintf(c, "GET /flight-director-http/mission/status HTTP/1.1\r\nHost: %s\r\nX-Slow: ", host) // and nothing more
		held = append(held, c)
	}
	t.Logf("%d half-finished requests are held", len(held))
	if out, err := s.artemis("exec", "orion/life-support", "--", "curl", "-s", "-m", "5", "-w", "\n%{http_code}", "http://guidance-nav:8080/position"); err == nil && strings.HasSuffix(string(out), "\n200") {
		t.Errorf("let in while the descriptors were used up: %s", out)
	}
	for _, c := range held {
		c.Close()
	}
	s.until("calls work again", 20*time.Second, s.works)
}

func TestSlowAndHalfClosedClientsHarmNobody(t *testing.T) {
	s := start(t, s0(t), t.TempDir())
	w := s.watch()
	var held []net.Conn
	for i := range 200 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+s.port, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // says nothing
		case 1:
			fmt.Fprintf(c, "POST /flight-director-http/uplink/command HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", host)
		case 2:
			fmt.Fprintf(c, "GET /flight-director-http/mission/status HTTP/1.1\r\nHost: %s\r\n\r\n", host)
			c.(*net.TCPConn).CloseWrite()
		case 3:
			fmt.Fprintf(c, "GARBAGE\x00\x01\x02\r\n\r\n")
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			continue
		}
		held = append(held, c)
	}
	s.until("calls work beside them", 10*time.Second, s.works)
	for _, c := range held {
		c.Close()
	}
	w.end(t)
}

// TestMemoryIsFlatUnderLoad flies the mission under load for DURATION.
func TestMemoryIsFlatUnderLoad(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("DURATION"))
	if err != nil {
		duration = time.Minute
	}
	state := t.TempDir()
	s := start(t, s0(t), state)
	s.launch()
	w := s.watch()
	var samples []int
	ticker := time.NewTicker(duration / 20)
	defer ticker.Stop()
	for range 20 {
		<-ticker.C
		samples = append(samples, s.memory())
	}
	w.end(t)
	early, late := average(samples[5:10]), average(samples[15:])
	t.Logf("whole suite, resident: %d MiB in the second quarter, %d MiB in the last, of %v", early>>10, late>>10, duration)
	if float64(late) > 1.25*float64(early) {
		t.Errorf("memory grows: %v KiB", samples)
	}
}

// memory is the resident memory of all pods, in KiB, and of the launcher.
func (s *suite) memory() (sum int) {
	now, err := s.status()
	if err != nil {
		s.t.Error(err)
	}
	pids := descendantsOf(s.t, s.state)
	for _, p := range now.Pods {
		pids = append(pids, p.PID)
	}
	for _, pid := range pids {
		file, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(file)) {
			var kib int
			if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
				sum += kib
			}
		}
	}
	return sum
}

func average(list []int) int {
	sum := 0
	for _, v := range list {
		sum += v
	}
	return sum / len(list)
}

func s0(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// copyOf makes a project of the manifests alone, to be spoilt.
func copyOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"openchoreo/rendered", "istio/cells", "istio/stages", "adversary/manifests"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
