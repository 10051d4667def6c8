package mesh

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// anyProgram lets comms-system through to the Services of extraServices that the
// waypoint takes for bytes.
const anyProgram = extraServices + `
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tcp-authz, namespace: dp-default-orion-development-1bced798}
spec:
  action: ALLOW
  targetRefs: [{group: "", kind: Service, name: second-tcp}, {group: "", kind: Service, name: second-unnamed}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/dp-default-orion-development-1bced798/sa/comms-system]}}]`

// echoes makes guidance-nav's program one that sends back what it reads.
func (r *rig) echoes() {
	r.serveRaw(r.pods[app("orion", "guidance-nav")], 8080, func(c net.Conn) { defer c.Close(); _, _ = io.Copy(c, c) })
}

// tcp opens a connection to a Service of Orion.
func (r *rig) tcp(from topology.Ref, service string) net.Conn {
	r.t.Helper()
	to, err := r.resolve(from, service+"."+orion+":8080")
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.dial(from, to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// answered reports whether an echo comes back; it fails when neither that nor the
// connection's end is seen in time.
func answered(t *testing.T, c net.Conn) bool {
	t.Helper()
	_, err := c.Write([]byte{0x16, 3, 1, 0, 1})
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("neither an answer nor an end")
	}
	return err == nil
}

// TestAChangeOfStateWhileAWaypointWaitsForTheFirstBytes applies manifests while a
// connection to a port without a name is sniffed: who may not call gets no
// answer, and the mesh lives.
func TestAChangeOfStateWhileAWaypointWaitsForTheFirstBytes(t *testing.T) {
	for _, row := range []struct {
		name          string
		from          topology.Ref
		before, after options
		want          bool
	}{
		{"refused before and after", rogue(orion), options{extra: anyProgram}, options{extra: anyProgram}, false},
		{"allowed when it was opened, not when it speaks", rogue(orion), options{noDefaultDeny: true,
			extra: extraServices}, options{extra: anyProgram}, false},
		{"refused when it was opened, allowed when it speaks", rogue(orion), options{extra: anyProgram},
			options{noDefaultDeny: true, extra: extraServices}, true},
		{"allowed before and after", app("orion", "comms-system"), options{extra: anyProgram},
			options{extra: anyProgram}, true},
	} {
		for _, service := range []string{"second-unnamed", "second-tcp"} {
			t.Run(row.name+", "+service, func(t *testing.T) {
				r := newRig(t, Config{}, suite(t, row.before))
				r.echoes()
				c := r.tcp(row.from, service)
				// The caller's link and the waypoint's; on a port for bytes also the one
				// to the pod and the one at it.
				links := map[string]int{"second-unnamed": 2, "second-tcp": 4}[service]
				eventually(t, "the waypoint's waiting", func() bool { return len(r.mesh.links.snapshot()) == links })
				r.records()
				r.apply("next", suite(t, row.after))
				if got := answered(t, c); got != row.want {
					t.Errorf("answered: %t, want %t", got, row.want)
				}
				rec := r.awaitRecord("the decision",
					func(rec decision.Record) bool { return rec.Hop == decision.HopWaypoint })
				if rec.Stage != "next" || (rec.Verdict == decision.Allowed) != row.want {
					t.Errorf("decided %s in state %s", rec.Verdict, rec.Stage)
				}
			})
		}
	}
}

// TestAPolicyChangeCutsBytesThroughAWaypoint takes the permission for a connection
// away that has been decided upon.
func TestAPolicyChangeCutsBytesThroughAWaypoint(t *testing.T) {
	for _, service := range []string{"second-unnamed", "second-tcp"} {
		t.Run(service, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{noDefaultDeny: true, extra: extraServices}))
			r.echoes()
			allowed, refused := r.tcp(app("orion", "comms-system"), service), r.tcp(rogue(orion), service)
			if !answered(t, allowed) || !answered(t, refused) {
				t.Fatal("no policy forbids this, and there is no answer")
			}
			r.records()
			r.apply("next", suite(t, options{extra: anyProgram}))
			if n, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the forbidden connection goes on: %d, %v", n, err)
			}
			if !answered(t, allowed) {
				t.Error("the connection that is still allowed has ended")
			}
			rec := r.awaitRecord("the cut", func(rec decision.Record) bool { return rec.Verdict == decision.DeniedL7 })
			want := decision.Record{
				Stage: "next", Capture: "test", Hop: decision.HopWaypoint, Layer: 3, Verdict: decision.DeniedL7,
				Encrypted: true,
				From: decision.Peer{Identity: "spiffe://cluster.local/ns/" + orion + "/sa/adversary",
					Namespace: orion, Cell: "orion", Component: "adversary"},
				To: decision.Peer{Identity: "spiffe://cluster.local/ns/" + orion + "/sa/guidance-nav",
					Namespace: orion, Cell: "orion", Component: "guidance-nav", Service: service},
				Policy: orion + "/default-deny, " + orion + "/tcp-authz",
				Reason: "connection closed due to policy change: ALLOW policies apply, but none of their rules matches",
			}
			if diff := cmp.Diff(want, rec, cmpopts.IgnoreFields(decision.Record{}, "Seq", "At"),
				cmpopts.IgnoreFields(decision.Peer{}, "Address")); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnEndWithoutAByteIsDecidedUpon has a caller that closes its half at once: what
// the program says to that is no caller's who is refused.
func TestAnEndWithoutAByteIsDecidedUpon(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{extra: anyProgram}))
	r.serveRaw(r.pods[app("orion", "guidance-nav")], 8080, func(c net.Conn) {
		defer c.Close()
		if _, err := io.Copy(io.Discard, c); err == nil {
			_, _ = io.WriteString(c, "the cabin's secrets")
		}
	})
	for _, row := range []struct {
		from topology.Ref
		want string
	}{{app("orion", "comms-system"), "the cabin's secrets"}, {rogue(orion), ""}} {
		c := r.tcp(row.from, "second-tcp")
		_ = c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || string(got) != row.want {
			t.Errorf("%s heard %q, %v; want %q", row.from, got, err, row.want)
		}
	}
}

// TestTwentyStageSwitchesUnderALoopOfTCPConnections has a rogue open one connection
// after the other to ports of which the waypoint sees bytes only, while the stage
// changes: the mesh lives, a caller that may call loses nothing, and in a stage
// that forbids it the rogue is never let in.
func TestTwentyStageSwitchesUnderALoopOfTCPConnections(t *testing.T) {
	t.Parallel()
	sets := map[string]options{
		"open": {stage: "open", noNetwork: true, extra: anyProgram}, "mtls": {stage: "mtls", noNetwork: true,
			extra: anyProgram}, "zero-trust": {noNetwork: true, extra: anyProgram},
	}
	r := newRig(t, Config{}, suite(t, sets["zero-trust"]))
	// Only HTTP comes to life-support, only bytes to guidance-nav.
	r.echoes()
	var epoch atomic.Int64 // odd while a stage is being put in force
	var forbidden atomic.Bool
	forbidden.Store(true)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var opened, letIn, wrongly atomic.Int64
	for _, service := range []string{"second-tcp", "second-unnamed"} {
		to, err := r.resolve(rogue("intruder"), service+"."+orion+":8080")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				before := epoch.Load()
				no := forbidden.Load()
				c, err := r.dial(rogue(orion), to)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				if i%3 > 0 { // every third says nothing and goes
					_, _ = io.WriteString(c, "\x16\x03\x01")
					if _, err := io.ReadFull(c, make([]byte, 3)); err == nil {
						letIn.Add(1)
						if no && before%2 == 0 && epoch.Load() == before {
							wrongly.Add(1)
						}
					} else if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("a connection that nobody ends")
					}
				}
				c.Close()
				opened.Add(1)
			}
		})
	}
	legit := r.traffic(app("orion", "comms-system"), endpoint(orion, "life-support", "/crew/vitals"),
		2*time.Millisecond)
	for i := range 20 {
		stage := []string{"mtls", "zero-trust", "open", "zero-trust"}[i%4]
		epoch.Add(1)
		r.apply(stage, suite(t, sets[stage]))
		forbidden.Store(stage == "zero-trust")
		epoch.Add(1)
		calls, tcp := legit.total.Load(), opened.Load()
		eventually(t, "traffic at "+stage, func() bool {
			return legit.total.Load() >= calls+20 && opened.Load() >= tcp+
				6
		})
	}
	close(stop)
	wg.Wait()
	results := legit.end()
	t.Logf("%d connections of the rogue, %d let in where that is allowed; the caller: %v", opened.Load(),
		letIn.Load()-wrongly.Load(), results)
	if wrongly.Load() > 0 || letIn.Load() == 0 {
		t.Errorf("the rogue was let in %d times, %d of them in a stage that forbids it", letIn.Load(), wrongly.Load())
	}
	lost := 0
	for got, n := range results {
		if got != "200" {
			lost += n
		}
	}
	if lost > 0 {
		t.Errorf("the caller lost %d calls over 20 switches: %v", lost, results)
	}
}
