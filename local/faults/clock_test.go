//go:build faults

package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// steppable builds the suite's programs with a wall clock that can be set: the
// same source but for time.Now, which adds the seconds that a file says, and
// leaves the monotonic clock alone, as a machine does whose clock is set.
type steppable struct {
	t                *testing.T
	file             string
	artemis, service string
}

func newSteppable(t *testing.T) *steppable {
	t.Helper()
	dir := visible(t)
	c := &steppable{t: t, file: filepath.Join(dir, "step")}
	c.set(0)
	const name, reading = "time.go", "sec, nsec, mono := runtimeNow()\n"
	source := filepath.Join(runtime.GOROOT(), "src/time", name)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), "func Now() Time {\n\t"+reading)
	if !found {
		t.Fatalf("%s of %s is another than the one that this test knows how to change", source, runtime.Version())
	}
	put(t, filepath.Join(dir, name), before+"func Now() Time {\n\t"+reading+"\tsec += step.Load()\n"+after)
	// Timers read the clock where no call into the kernel may be made: a goroutine
	// keeps up with the file.
	put(t, filepath.Join(dir, "step.go"), fmt.Sprintf(`package time

import "sync/atomic"

var step atomic.Int64

func init() {
	readStep()
	go func() {
		for {
			Sleep(5 * Millisecond)
			readStep()
		}
	}()
}

func readStep() {
	fd, err := open(%q)
	if err != nil {
		panic("the step of the clock: " + err.Error())
	}
	defer closefd(fd)
	var text [24]byte
	n, err := read(fd, text[:])
	if err != nil {
		panic("the step of the clock: " + err.Error())
	}
	sign, s := int64(1), int64(0)
	for _, c := range text[:n] {
		if c == '-' {
			sign = -1
		} else {
			s = 10*s + int64(c-'0')
		}
	}
	step.Store(sign * s)
}
`, c.file))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: filepath.Join(dir, name), filepath.Join(filepath.Dir(source), "step.go"): filepath.Join(dir,
			"step.go")}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "overlay.json"), string(overlay))
	c.artemis = program(t, dir, "artemis", "./local", "-overlay", filepath.Join(dir, "overlay.json"))
	c.service = program(t, dir, "service", "./service", "-overlay", filepath.Join(dir, "overlay.json"))
	return c
}

// set puts the clock of every process of the suite that far from the machine's,
// within a few milliseconds.
func (c *steppable) set(step time.Duration) { put(c.t, c.file, fmt.Sprint(int64(step.Seconds()))) }

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// TestTheClockMayBeSet sets the wall clock under a flying suite, forth and back,
// by more than a certificate lives and by more than the authority's root does. New
// handshakes find certificates that are valid, and nobody gets in meanwhile. Each
// time the flight is over, or has not begun by that clock: so the next may begin.
func TestTheClockMayBeSet(t *testing.T) {
	clock := newSteppable(t)
	s := start(t, options{artemis: clock.artemis, service: clock.service, share: filepath.Dir(clock.file)})
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	w := s.watch()
	for _, step := range []time.Duration{30 * time.Hour, 0, -day, 20 * year, 0} {
		clock.set(step)
		// Pods that start again have no connections yet: everything about them is new.
		s.kill("orion/comms-system")
		s.kill("houston/telemetry-monitor")
		s.until(fmt.Sprintf("calls work with the clock %v off", step), 20*time.Second, s.works)
		if got := s.attack(); strings.HasSuffix(got, "\n200") {
			t.Errorf("let in with the clock %v off: %s", step, got)
		}
		s.until(fmt.Sprintf("a flight begins with the clock %v off", step), 20*time.Second, func() bool {
			code, _, err := s.call(http.MethodPost, "/launch-control-http/countdown/start", "{}")
			return err == nil && code/100 == 2
		})
		s.until(fmt.Sprintf("it sends frames with the clock %v off", step), 40*time.Second, s.live)
	}
	w.end(t)
}
