package mesh

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

// keptCaller sends requests over one connection, one after the other, for as long
// as that stays open, and never one twice: whatever happens to a request shows.
type keptCaller struct {
	name        string
	dial        func() (net.Conn, error)
	request     string
	calls, lost atomic.Int64
	ended       atomic.Int64 // connections that ended between two requests, or were announced to
	first       atomic.Pointer[string]
}

func (k *keptCaller) run(stop <-chan struct{}) {
	for {
		c, err := k.dial()
		if err != nil {
			k.lose("dial: " + err.Error())
			return
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		r := bufio.NewReader(c)
		for open := true; open; {
			select {
			case <-stop:
				c.Close()
				return
			default:
			}
			open = k.call(c, r)
		}
		c.Close()
	}
}

// call reports whether the connection goes on.
func (k *keptCaller) call(c net.Conn, r *bufio.Reader) bool {
	k.calls.Add(1)
	if _, err := io.WriteString(c, k.request); err != nil {
		k.lose("write: " + err.Error())
		return false
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		k.lose("read: " + err.Error())
		return false
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		k.lose(fmt.Sprintf("status %d, %v, %.80q", res.StatusCode, err, body))
		return false
	}
	if res.Close {
		k.ended.Add(1)
	}
	return !res.Close
}

func (k *keptCaller) lose(why string) {
	k.lost.Add(1)
	k.first.CompareAndSwap(nil, &why)
}

// TestAStageSwitchLosesNoCall goes through the stages while callers that may call
// at each of them do so without a pause, over connections that they keep: within a
// Cell and between Cells, with and without a body, and through the gateway.
func TestAStageSwitchLosesNoCall(t *testing.T) {
	t.Parallel()
	sets := map[string]options{"open": {stage: "open"}, "mtls": {stage: "mtls"}, "zero-trust": {}}
	r := newRig(t, Config{Log: NewDecisionLog(1 << 17)}, suite(t, sets["zero-trust"]))
	pod := func(from topology.Ref, addr, request string) *keptCaller {
		return &keptCaller{name: from.Name + " to " + addr, request: request, dial: func() (net.Conn, error) {
			to, err := r.resolve(from, addr)
			if err != nil {
				return nil, err
			}
			return r.dial(from, to)
		}}
	}
	const get = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
	const post = "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\nContent-Type: text/plain\r\n\r\n%s"
	body := strings.Repeat("a burn of 2.3 m/", 256)
	callers := []*keptCaller{
		pod(app("orion", "comms-system"), "guidance-nav."+orion+":8080", fmt.Sprintf(get, "/position")),
		pod(app("orion", "comms-system"), "guidance-nav."+orion+":8080", fmt.Sprintf(post, "/maneuver", body)),
		pod(app("houston", "capcom"), "comms-system."+orion+":8080", fmt.Sprintf(post, "/uplink", body)),
		{name: "operator", dial: func() (net.Conn, error) { return net.Dial("tcp4", r.gate) },
			request: "GET /flight-director-http/mission/status HTTP/1.1\r\nHost: " + gatewayHost + "\r\n\r\n"},
		{name: "operator with a body", dial: func() (net.Conn, error) { return net.Dial("tcp4", r.gate) },
			request: strings.Replace(fmt.Sprintf(post, "/flight-director-http/decision/abort", body), "Host: x",
				"Host: "+gatewayHost, 1)},
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, k := range callers {
		wg.Go(func() { k.run(stop) })
	}
	for i := range 20 {
		stage := []string{"mtls", "open", "zero-trust"}[i%3]
		r.apply(stage, suite(t, sets[stage]))
		enough := make([]int64, len(callers))
		for i, k := range callers {
			enough[i] = k.calls.Load() + 15
		}
		for i, k := range callers {
			eventually(t, "calls of "+k.name+" at "+stage, func() bool {
				return k.calls.Load() > enough[i] || k.lost.Load() > 0
			})
		}
	}
	close(stop)
	wg.Wait()
	total := int64(0)
	for _, k := range callers {
		total += k.calls.Load()
		t.Logf("%s: %d calls, %d lost, %d connections ended as announced", k.name, k.calls.Load(), k.lost.Load(),
			k.ended.Load())
		if n := k.lost.Load(); n > 0 {
			t.Errorf("%s lost %d of %d calls, the first by %s", k.name, n, k.calls.Load(), *k.first.Load())
		}
	}
	t.Logf("%d calls over 20 switches", total)
	for _, rec := range r.records() {
		if t.Failed() && rec.Verdict != decision.Allowed {
			t.Logf("%s at %s: %s from %s to %s: %s", rec.Verdict, rec.Stage, rec.Hop, rec.From.Component,
				rec.To.Component, rec.Reason)
		}
	}
}

// TestAKeptConnectionIsJudgedByItsNewWay has a caller that may call still, but not
// everything, go on over the connection that it had before: each request is decided
// where a new connection's would be.
func TestAKeptConnectionIsJudgedByItsNewWay(t *testing.T) {
	for _, row := range []struct{ name, request, want string }{
		{"allowed", "GET /position HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"},
		{"another method", "DELETE /position HTTP/1.1\r\nHost: x\r\n\r\n", "403 Forbidden"},
		{"behind empty lines", "\r\n\r\nDELETE /position HTTP/1.1\r\nHost: x\r\n\r\n", "403 Forbidden"},
		{"a method that few know", "PROPFIND /position HTTP/1.1\r\nHost: x\r\n\r\n", "403 Forbidden"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: "mtls"}))
			comms := app("orion", "comms-system")
			to, err := r.resolve(comms, "guidance-nav:8080")
			if err != nil {
				t.Fatal(err)
			}
			c, err := r.dial(comms, to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			in := bufio.NewReader(c)
			ask := func(request string) string {
				if _, err := io.WriteString(c, request); err != nil {
					return err.Error()
				}
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					return err.Error()
				}
				_, _ = io.Copy(io.Discard, res.Body)
				return res.Status
			}
			if got := ask("DELETE /position HTTP/1.1\r\nHost: x\r\n\r\n"); got != "200 OK" {
				t.Fatalf("at mtls: %s", got)
			}
			r.apply("zero-trust", suite(t, options{}))
			if got := ask(row.request); got != row.want {
				t.Errorf("at zero-trust, over the connection of before: %s, want %s", got, row.want)
			}
			if got := ask("GET /position HTTP/1.1\r\nHost: x\r\n\r\n"); got != "200 OK" {
				t.Errorf("and then: %s", got)
			}
		})
	}
}

// TestTheRestOfARequestHidesNoOtherForLong has a caller begin a request before the
// change, and send after it what is left of it, with another request behind: what
// the waypoint never saw does not reach the pod once the old way is over.
func TestTheRestOfARequestHidesNoOtherForLong(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{stage: "mtls"}))
	var hidden atomic.Bool
	r.serve(r.pods[app("orion", "guidance-nav")], 8080, http.HandlerFunc(func(w http.ResponseWriter,
		req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		hidden.Store(hidden.Load() || req.Method == http.MethodDelete)
	}))
	comms := app("orion", "comms-system")
	to, err := r.resolve(comms, "guidance-nav:8080")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.dial(comms, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c,
		"POST /maneuver HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf."); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the half request at the pod", func() bool { return len(r.mesh.links.snapshot()) == 2 })
	r.apply("zero-trust", suite(t, options{}))
	over := time.Now().Add(2 * drainAfter)
	eventually(t, "the end of the old way", func() bool { return time.Now().After(over) })
	_, _ = io.WriteString(c, "half.DELETE /position HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the connection ended in order")
	}
	if hidden.Load() {
		t.Error("a request that the waypoint never saw reached the pod")
	}
}
