package mesh

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkCall measures one GET with a small JSON answer over kept connections,
// straight to the program and at each stage, at one and at sixteen connections.
// Ratios within one run count, not figures. The run with the name
// direct is what the others compare with.
func BenchmarkCall(b *testing.B) {
	for _, conns := range []int{1, 16} {
		for _, stage := range []string{"direct", "open", "mtls", "zero-trust"} {
			b.Run(fmt.Sprintf("%s/%d", stage, conns), func(b *testing.B) { benchmarkCall(b, stage, conns) })
		}
	}
}

func benchmarkCall(b *testing.B, stage string, conns int) {
	set := stage
	if set == "direct" {
		set = "open"
	}
	r := newRig(b, Config{}, suite(b, options{stage: set}))
	target, answer := app("orion", "guidance-nav"), []byte(`{"status":"nominal","distanceKm":384400.1,"speedKmS":1.02}`)
	r.serve(r.pods[target], 8080, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(answer)
	}))
	from := app("orion", "comms-system")
	url := endpoint(orion, "guidance-nav", "/position")
	call := func(c *http.Client) time.Duration {
		start := time.Now()
		res, err := c.Get(url)
		if err != nil {
			b.Error(err)
			return 0
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			b.Errorf("status %d, %v", res.StatusCode, err)
		}
		res.Body.Close()
		return time.Since(start)
	}
	clients := make([]*http.Client, conns)
	for i := range clients {
		if stage == "direct" {
			url = "http://" + r.pods[target].apps[8080] + "/position"
			clients[i] = &http.Client{Transport: &http.Transport{DisableCompression: true}}
		} else {
			clients[i] = r.client(from)
		}
		call(clients[i])
		defer clients[i].CloseIdleConnections()
	}
	took := make([][]time.Duration, conns)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		wg.Go(func() {
			took[i] = make([]time.Duration, 0, n)
			for range n {
				took[i] = append(took[i], call(clients[i]))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "req/s")
}
