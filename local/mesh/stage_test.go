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

	"artemis.example/local/identity"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// traffic calls again and again until stopped and counts what came back.
type traffic struct {
	stop    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	results map[string]int
	last    string
	total   atomic.Int64
}

func (r *rig) traffic(from topology.Ref, url string, pause time.Duration) *traffic {
	tr := &traffic{stop: make(chan struct{}), results: map[string]int{}}
	client := r.client(from)
	tr.wg.Go(func() {
		defer client.CloseIdleConnections()
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tr.stop:
				return
			case <-tick.C:
			}
			got := outcomeOf(client.Get(url))
			tr.mu.Lock()
			tr.results[got]++
			tr.last = got
			tr.mu.Unlock()
			tr.total.Add(1)
		}
	})
	return tr
}

func (tr *traffic) latest() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.last
}

func (tr *traffic) end() map[string]int {
	close(tr.stop)
	tr.wg.Wait()
	return tr.results
}

// TestStagesSwitchUnderTraffic goes through the stages while an allowed caller,
// an adversary of the Cell and a pod outside of the mesh keep calling over kept
// connections.
func TestStagesSwitchUnderTraffic(t *testing.T) {
	sets := map[string]options{
		"open": {stage: "open", noNetwork: true}, "mtls": {stage: "mtls", noNetwork: true},
		"zero-trust": {noNetwork: true},
	}
	r := newRig(t, Config{}, suite(t, sets["zero-trust"]))
	addresses := func() map[topology.Ref]string {
		out := map[topology.Ref]string{}
		for _, p := range r.world.Pods {
			out[p.Ref] = p.IP.String()
		}
		for _, s := range r.world.Services {
			out[s.Ref] = s.VIP.String()
		}
		return out
	}
	before := addresses()
	nav := endpoint(orion, "guidance-nav", "/position")
	legit := r.traffic(app("orion", "comms-system"), nav, 2*time.Millisecond)
	adversary := r.traffic(rogue(orion), nav, 2*time.Millisecond)
	outside := r.traffic(rogue("dark-side"), nav, 2*time.Millisecond)
	switches := 0
	for _, step := range []struct{ stage, adversary, outside string }{
		{"zero-trust", "403", "reset"}, {"mtls", "200", "reset"}, {"open", "200", "200"}, {"mtls", "200", "reset"},
		{"zero-trust", "403", "reset"}, {"open", "200", "200"}, {"zero-trust", "403", "reset"},
	} {
		set := suite(t, sets[step.stage])
		start := time.Now()
		r.apply(step.stage, set)
		switches++
		eventually(t, step.stage+" for everybody", func() bool {
			return adversary.latest() == step.adversary && outside.latest() == step.outside && legit.latest() == "200"
		})
		t.Logf("%s is in effect for everybody after %v", step.stage, time.Since(start))
		n := legit.total.Load()
		eventually(t, "more traffic", func() bool { return legit.total.Load() >= n+50 })
	}
	results := legit.end()
	adversary.end()
	outside.end()
	lost := 0
	for result, n := range results {
		if result != "200" {
			lost += n
		}
	}
	if lost > 0 {
		t.Errorf("the legitimate caller lost %d of %d requests over %d switches: %v", lost, legit.total.Load(),
			switches, results)
	}
	t.Logf("legitimate caller: %v over %d switches", results, switches)
	if diff := cmp.Diff(before, addresses()); diff != "" {
		t.Errorf("addresses moved (-before +after):\n%s", diff)
	}
}

// TestAPolicyChangeCutsWhatItForbids keeps a connection open to a pod and takes
// the permission away: the pod loses it at once, and the next request is refused.
func TestAPolicyChangeCutsWhatItForbids(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{stage: "mtls"}))
	to, err := r.resolve(rogue(orion), "guidance-nav:8080")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.dial(rogue(orion), to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	r.records()
	r.apply("zero-trust", suite(t, options{}))
	rec := r.awaitRecord("the cut", func(rec decision.Record) bool { return rec.Verdict == decision.DeniedL4 })
	// It has ended, or the way of what comes next is another.
	_, _ = io.WriteString(c, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n")
	answer := make([]byte, len("HTTP/1.1 403"))
	if _, err := io.ReadFull(c, answer); errors.Is(err, os.ErrDeadlineExceeded) ||
		err == nil && string(answer) != "HTTP/1.1 403" {
		t.Errorf("the connection goes on with %q, %v", answer, err)
	}
	want := decision.Record{
		Stage: "zero-trust", Capture: "test", Hop: decision.HopNodeProxyInbound, Layer: 2, Verdict: decision.DeniedL4,
		Encrypted: true,
		From: decision.Peer{Identity: "spiffe://cluster.local/ns/" + orion + "/sa/adversary", Namespace: orion,
			Cell: "orion", Component: "adversary"},
		To: decision.Peer{Identity: "spiffe://cluster.local/ns/" + orion + "/sa/guidance-nav", Namespace: orion,
			Cell: "orion", Component: "guidance-nav"},
		Reason: "connection closed due to policy change: ALLOW policies apply, but none of their rules matches",
	}
	rec.Seq, rec.At, rec.From.Address, rec.To.Address = 0, time.Time{}, "", ""
	if diff := cmp.Diff(want, rec); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// TestCertificatesRotateUnderTraffic has certificates that live so briefly that
// each is replaced while calls go on, and replaced again.
func TestCertificatesRotateUnderTraffic(t *testing.T) {
	ca, err := identity.NewCA(identity.Options{TTL: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{CA: ca}, suite(t, options{}))
	comms := app("orion", "comms-system")
	serial := func() string {
		svid, err := ca.Source(r.world.Pod(comms).ID).GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		return svid.Certificates[0].SerialNumber.String()
	}
	seen := map[string]bool{}
	kept := r.traffic(comms, endpoint(orion, "guidance-nav", "/position"), 2*time.Millisecond)
	eventually(t, "three certificates", func() bool {
		if got := r.call(comms, "GET", endpoint(orion, "life-support", "/crew/vitals")); got != "200" {
			t.Fatalf("a fresh call got %s", got)
		}
		seen[serial()] = true
		return len(seen) >= 3
	})
	total := int(kept.total.Load())
	if diff := cmp.Diff([]string{"200"}, keys(kept.end())); diff != "" {
		t.Errorf("outcomes of about %d calls (-want +got):\n%s", total, diff)
	}
}

func keys(m map[string]int) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestARefusalMayBeASilence(t *testing.T) {
	r := newRig(t, Config{NetworkPolicyAction: Drop, DropTimeout: 300 * time.Millisecond},
		suite(t, options{stage: "open"}))
	start := time.Now()
	got := r.call(rogue(houston), "GET", endpoint(orion, "guidance-nav", "/position"))
	if took := time.Since(start); got != "reset" || took < 300*time.Millisecond {
		t.Errorf("got %s after %v, want a silence of 300 ms", got, took)
	}
}

// TestAServerThatSpeaksFirst is heard by a refused caller behind a TCP port of a
// waypoint, as on a live mesh, and not where the node proxy refuses.
func TestAServerThatSpeaksFirst(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{extra: extraServices}))
	pod := r.pods[app("orion", "guidance-nav")]
	const banner = "220 guidance ready\r\n"
	received := make(chan string, 16)
	r.serveRaw(pod, 8080, func(c net.Conn) {
		defer c.Close()
		_, _ = io.WriteString(c, banner)
		b, _ := io.ReadAll(c)
		received <- string(b)
	})
	read := func(service string) (first string, after error) {
		to, err := r.resolve(rogue("intruder"), service+"."+orion+":8080")
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.dial(rogue(orion), to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, len(banner))
		n, err := io.ReadFull(c, b)
		if err != nil {
			return string(b[:n]), err
		}
		_, _ = io.WriteString(c, "QUIT\r\n")
		_, after = c.Read(b)
		return string(b[:n]), after
	}
	if first, after := read("second-tcp"); first != banner || after == nil {
		t.Errorf("behind the waypoint: %q, then %v; want the banner and an end", first, after)
	}
	if got := <-received; got != "" {
		t.Errorf("the server received %q", got)
	}
	if first, err := read("headless"); first != "" || err == nil {
		t.Errorf("at the node proxy: %q, %v; want nothing", first, err)
	}
}

func TestPoolsAreKeptPerIdentity(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for range 10 {
		r.call(app("orion", "comms-system"), "GET", endpoint(orion, "guidance-nav", "/position"))
		r.call(rogue(orion), "GET", endpoint(orion, "guidance-nav", "/position"))
	}
	// Each caller to the waypoint, and the waypoint to the pod.
	if n := r.mesh.pool.Connections(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

func TestAPodThatIsDetachedIsGone(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	ref := app("orion", "guidance-nav")
	r.mesh.DetachPod(ref)
	if got := r.call(app("orion", "comms-system"), "GET", endpoint(orion, "guidance-nav", "/position")); got != "503" {
		t.Errorf("got %s, want 503", got)
	}
	if err := r.mesh.AttachPod(ref, r.pods[ref]); err != nil {
		t.Fatal(err)
	}
	if got := r.call(app("orion", "comms-system"), "GET", endpoint(orion, "guidance-nav", "/position")); got != "200" {
		t.Errorf("attached again: %s", got)
	}
	if err := r.mesh.AttachPod(topology.Ref{Namespace: "x", Name: "y"}, r.pods[ref]); err == nil {
		t.Error("a pod that no manifest names was attached")
	}
}
