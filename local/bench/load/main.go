// Command load asks one URL over kept-alive connections for a while and prints
// requests per second and percentiles. The benchmark runs it inside a pod, as
// one of its programs, so that every request goes the way of the pod's own.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

func main() {
	connections := flag.Int("c", 1, "connections")
	lasts := flag.Duration("d", 3*time.Second, "how long")
	flag.Parse()
	if flag.NArg() != 1 || *connections < 1 {
		fmt.Fprintln(os.Stderr, "usage: load [-c CONNECTIONS] [-d DURATION] URL")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *connections, *lasts); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(url string, connections int, lasts time.Duration) error {
	// A tenth of the time warms up and is not counted.
	warm := time.Now().Add(lasts / 10)
	end := warm.Add(lasts)
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(10*time.Second))
	defer cancel()
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		times  []time.Duration
		errors int
		first  error
	)
	for range connections {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 1,
				DisableCompression: true}}
			var own []time.Duration
			var failed int
			var why error
			for now := time.Now(); now.Before(end); {
				err := get(ctx, client, url)
				done := time.Now()
				switch {
				case err != nil:
					failed++
					why = err
				case now.After(warm):
					own = append(own, done.Sub(now))
				}
				now = done
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			errors += failed
			if first == nil {
				first = why
			}
		})
	}
	all.Wait()
	if len(times) == 0 {
		return fmt.Errorf("no answer at all: %w", first)
	}
	slices.Sort(times)
	at := func(p float64) float64 {
		return float64(times[int(p*float64(len(times)-1))].Microseconds()) / 1000
	}
	fmt.Printf("%.0f %.3f %.3f %d\n", float64(len(times))/lasts.Seconds(), at(0.5), at(0.99), errors)
	return nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
