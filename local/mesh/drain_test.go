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
			request: strings.Replace(fmt.Sprintf(post, "/flight-director-http/decision/abort", body), "Host: x", "Host: "+gatewayHost, 1)},
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, k := range callers {
		wg.Go(func() { k.run(stop) })
	}
	for i := range 20 {
		stage := []string{"mtls", "open", "zero-trust"}[i%3]
		r.apply(stage, suite(t, sets[stage]))
		for _, k := range callers {
			n := k.calls.Load()
			eventually(t, "calls of "+k.name+" at "+stage, func() bool { return k.calls.Load() > n+15 || k.lost.Load() > 0 })
		}
	}
	close(stop)
	wg.Wait()
	total := int64(0)
	for _, k := range callers {
		total += k.calls.Load()
		t.Logf("%s: %d calls, %d lost, %d connections ended as announced", k.name, k.calls.Load(), k.lost.Load(), k.ended.Load())
		if n := k.lost.Load(); n > 0 {
			t.Errorf("%s lost %d of %d calls, the first by %s", k.name, n, k.calls.Load(), *k.first.Load())
		}
	}
	t.Logf("%d calls over 20 switches", total)
	for _, rec := range r.records() {
		if t.Failed() && rec.Verdict != decision.Allowed {
			t.Logf("%s at %s: %s from %s to %s: %s", rec.Verdict, rec.Stage, rec.Hop, rec.From.Component, rec.To.Component, rec.Reason)
		}
	}
}
