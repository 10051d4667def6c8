//go:build faults

package faults

import (
	"bufio"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"artemis.example/catalog"
)

// knock opens one connection after the other from a rogue's pod to a port of which
// the waypoint sees bytes only, and says for each whether it was answered.
const knock = `while :; do
  answer=
  if { exec 3<>/dev/tcp/guidance-nav-second-tcp/8080; } 2>/dev/null; then
    printf 'GET /position HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3 2>/dev/null
    read -r -t 2 answer <&3 2>/dev/null
    exec 3>&-
  fi
  echo "${answer:-nothing}"
done`

// TestTwentyStageSwitchesUnderARoguesConnections changes the stage under a rogue's
// loop of TCP connections: the suite lives, the operator's calls and the calls that
// they cause are answered, every one, and at zero-trust the rogue is never.
func TestTwentyStageSwitchesUnderARoguesConnections(t *testing.T) {
	s := start(t, options{})
	s.until("all are ready", 20*time.Second, s.allReady)
	s.until("calls work", 20*time.Second, s.works)

	rogue := exec.Command(s.options.artemis, "--root", s.root, "--state-dir", s.state, "exec", "orion/adversary", "--",
		"bash", "-c", knock)
	out, err := rogue.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := rogue.Start(); err != nil {
		t.Fatal(err)
	}
	var tries, letIn atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), " 200 ") {
				letIn.Add(1)
			}
			tries.Add(1)
		}
	})
	stop := make(chan struct{})
	var calls, lost atomic.Int64
	var first atomic.Pointer[string]
	for i := range 3 {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				calls.Add(1)
				code, body, err := 0, []byte(nil), error(nil)
				if i == 0 {
					code, body, err = s.call(http.MethodPost, "/flight-director-http/uplink/command",
						`{"type":"telemetry-request"}`)
				} else {
					code, body, err = s.call(http.MethodGet, "/flight-director-http/mission/status", "")
				}
				if err != nil || code != http.StatusOK {
					lost.Add(1)
					why := fmt.Sprintf("%d, %v: %.300s", code, err, body)
					first.CompareAndSwap(nil, &why)
				}
			}
		})
	}
	more := func(n int64) {
		before, calledBefore := tries.Load(), calls.Load()
		s.until("more of both", 30*time.Second, func() bool {
			return tries.Load() >= before+n && calls.Load() >= calledBefore+100
		})
	}
	for i := range 20 {
		stage := []string{catalog.MTLS, catalog.ZeroTrust, catalog.Open, catalog.ZeroTrust}[i%4]
		if out, err := s.ask("stage", stage); err != nil {
			t.Fatalf("stage %s: %v: %s", stage, err, out)
		}
		more(2) // what was under way before
		let := letIn.Load()
		more(5)
		if got := letIn.Load() - let; stage == catalog.ZeroTrust && got > 0 {
			t.Errorf("switch %d: the rogue was let in %d times at zero-trust", i+1, got)
		}
	}
	close(stop)
	_ = rogue.Process.Kill()
	done.Wait()
	_ = rogue.Wait()
	t.Logf("20 switches: %d connections of the rogue, %d let in at open and mtls; %d calls, %d lost", tries.Load(),
		letIn.Load(), calls.Load(), lost.Load())
	if n := lost.Load(); n > 0 {
		t.Errorf("%d calls were lost, the first by %s", n, *first.Load())
	}
	if letIn.Load() == 0 {
		t.Error("the rogue was never let in, not even where nothing forbids it: its loop proves nothing")
	}
	s.until("all are ready", 20*time.Second, s.allReady)
}
