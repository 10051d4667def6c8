//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestEveryServiceMayDie(t *testing.T) {
	s := start(t, options{})
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w := s.watch()
	before, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	order := rand.Perm(len(before.Pods))
	for _, i := range order {
		s.kill(before.Pods[i].name())
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
	s := start(t, options{state: state})
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
	again := start(t, options{state: state})
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
	s := start(t, options{root: project})
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
	s := start(t, options{state: state})
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
	s := start(t, options{prefix: []string{"prlimit", "--nofile=700:700"}})
	var held []net.Conn
	for range 900 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+s.port, time.Second)
		if err != nil {
			break
		}
		// and nothing more
		fmt.Fprintf(c, "GET /flight-director-http/mission/status HTTP/1.1\r\nHost: %s\r\nX-Slow: ", host)
		held = append(held, c)
	}
	t.Logf("%d half-finished requests are held", len(held))
	if out := s.attack(); strings.HasSuffix(out, "\n200") {
		t.Errorf("let in while the descriptors were used up: %s", out)
	}
	for _, c := range held {
		c.Close()
	}
	s.until("calls work again", 20*time.Second, s.works)
}

func TestSlowAndHalfClosedClientsHarmNobody(t *testing.T) {
	s := start(t, options{})
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
			fmt.Fprintf(c, "POST /flight-director-http/uplink/command HTTP/1.1\r\nHost: %s\r\nContent-Type: "+
				"application/json\r\nContent-Length: 1000\r\n\r\n{", host)
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
	s := start(t, options{state: state})
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
	t.Logf("whole suite, resident: %d MiB in the second quarter, %d MiB in the last, of %v", early>>10, late>>10,
		duration)
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
