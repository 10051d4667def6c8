package process_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/missionclock"
	"artemis.example/service/role"
	"artemis.example/service/trace"
)

// What design section 10 asks of one service.
const (
	wantRatio     = 0.8
	wantBinaryMB  = 16
	wantIdleMiB   = 16
	wantLoadedMiB = 32
	wantFirst     = 15 * time.Millisecond
)

// BenchmarkAgainstABareHandler compares a service, metrics on, with a net/http
// handler that encodes the same value and sets the same headers, and does
// nothing else: no routing, no metrics, no trace, no model. The same client and
// the same connections, in turns within one run; each is a process of its own.
func BenchmarkAgainstABareHandler(b *testing.B) {
	if os.Getenv("ARTEMIS_BARE") != "" {
		b.Skip("this process is the bare handler")
	}
	path := binary(b)
	service := run(b, path, "life-support", nil)
	const endpoint = "/crew/vitals"
	// In flight, ten days in ten minutes: its answers are new ones all the time.
	fly, err := http.NewRequest("GET", "http://"+service.mission+endpoint, nil)
	if err != nil {
		b.Fatal(err)
	}
	fly.Header.Set(missionclock.Header, "liftoff="+time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano)+
		";scale=1440")
	response, err := http.DefaultClient.Do(fly)
	if err != nil {
		b.Fatal(err)
	}
	response.Body.Close()
	if took := response.Header.Get(missionclock.Header); !strings.HasSuffix(took, ";scale=1440") {
		b.Fatalf("the service's clock is %q", took)
	}
	_, answer, err := fetch("http://" + service.mission + endpoint)
	if err != nil {
		b.Fatal(err)
	}
	bare, barePID := startBare(b, answer)
	addresses := map[string]string{"service": "http://" + service.mission + endpoint, "bare": "http://" + bare +
		endpoint}
	pids := map[string]int{"service": service.Process.Pid, "bare": barePID}
	for b.Loop() {
		// Short turns and many: what else the host does falls on both.
		const rounds, lasts = 25, 200 * time.Millisecond
		var ratios []float64
		served, used := map[string]float64{}, map[string]time.Duration{}
		for round := range rounds {
			order := []string{"service", "bare"}
			if round%2 == 1 {
				slices.Reverse(order)
			}
			rate := map[string]float64{}
			for _, name := range order {
				before := cpu(b, pids[name])
				rate[name] = requestsPerSecond(b, addresses[name], 16, lasts)
				used[name] += cpu(b, pids[name]) - before
				served[name] += rate[name] * lasts.Seconds()
			}
			ratios = append(ratios, rate["service"]/rate["bare"])
		}
		slices.Sort(ratios)
		each := func(name string) float64 { return float64(used[name].Microseconds()) / served[name] }
		b.Logf("service %.0f/s and %.1f µs of CPU each, bare %.0f/s and %.1f µs; ratio by turns %.2f to %.2f",
			served["service"]/(rounds*lasts.Seconds()), each("service"), served["bare"]/(rounds*lasts.Seconds()),
			each("bare"), ratios[0], ratios[rounds-1])
		b.ReportMetric(each("bare")/each("service"), "of-bare-by-CPU")
		b.ReportMetric(ratios[rounds/2], "of-bare")
		if ratios[rounds/2] < wantRatio && !testing.Short() {
			b.Errorf("%.2f of a bare handler's requests, want %.2f", ratios[rounds/2], wantRatio)
		}
	}
}

func fetch(url string) (int, []byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// startBare runs this test binary again as the bare handler.
func startBare(b *testing.B, answer []byte) (string, int) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	file := filepath.Join(b.TempDir(), "answer")
	if err := os.WriteFile(file, answer, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestMain")
	cmd.Env = append(os.Environ(), "ARTEMIS_BARE="+address, "ARTEMIS_BARE_ANSWER="+file)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(5 * time.Second); ; {
		if status, _, err := fetch("http://" + address); err == nil && status == 200 {
			return address, cmd.Process.Pid
		}
		if time.Now().After(deadline) {
			b.Fatal("the bare handler does not answer")
		}
		runtime.Gosched()
	}
}

// TestMain is the bare handler when it is asked to be.
func TestMain(m *testing.M) {
	if address := os.Getenv("ARTEMIS_BARE"); address != "" {
		answer, err := os.ReadFile(os.Getenv("ARTEMIS_BARE_ANSWER"))
		if err != nil {
			panic(err)
		}
		var value struct {
			role.VitalsAnswer
			Trace trace.Trace `json:"trace"`
		}
		if err := json.Unmarshal(answer, &value); err != nil {
			panic(err)
		}
		panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if err := json.NewEncoder(w).Encode(value); err != nil {
				panic(err)
			}
		})))
	}
	code := m.Run()
	if dir, err := builds(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// requestsPerSecond loads an address over kept connections.
func requestsPerSecond(b *testing.B, url string, connections int, lasts time.Duration) float64 {
	b.Helper()
	host := strings.TrimPrefix(url, "http://")
	host, path, _ := strings.Cut(host, "/")
	request := []byte("GET /" + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	var all sync.WaitGroup
	counts := make([]int, connections)
	began := time.Now()
	for i := range connections {
		all.Go(func() {
			c, err := net.Dial("tcp", host)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			// The least work that still reads answers whole, so that the
			// servers and not the client are measured.
			buffer := make([]byte, 8192)
			for time.Since(began) < lasts {
				if _, err := c.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(c, buffer); err != nil {
					b.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	all.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(began).Seconds()
}

func readAnswer(c net.Conn, buffer []byte) error {
	have := 0
	for {
		n, err := c.Read(buffer[have:])
		if err != nil {
			return err
		}
		have += n
		head, body, ok := strings.Cut(string(buffer[:have]), "\r\n\r\n")
		if !ok {
			continue
		}
		_, length, ok := strings.Cut(head, "Content-Length: ")
		if !ok || !strings.HasPrefix(head, "HTTP/1.1 200") {
			return fmt.Errorf("answer %q", head)
		}
		length, _, _ = strings.Cut(length, "\r\n")
		if want, err := strconv.Atoi(length); err != nil || len(body) >= want {
			return err
		}
	}
}

// BenchmarkSize measures the stripped binary, the first answer after the start,
// and the memory of every role idle and of one under load.
func BenchmarkSize(b *testing.B) {
	path := binary(b)
	for b.Loop() {
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		size := float64(info.Size()) / 1e6
		b.ReportMetric(size, "MB-binary")
		if size > wantBinaryMB {
			b.Errorf("binary of %.1f MB, want %d", size, wantBinaryMB)
		}
		first := firstAnswer(b, path)
		b.ReportMetric(float64(first.Microseconds())/1000, "ms-first-answer")
		if first > wantFirst && !testing.Short() {
			b.Errorf("first answer after %s, want %s", first, wantFirst)
		}
		worst := 0.0
		for _, s := range catalog.Services() {
			p := run(b, path, s.Name, nil)
			fetch("http://" + p.mission + "/")
			if idle := resident(b, p.Process.Pid); idle > worst {
				worst = idle
			}
			p.Process.Kill()
		}
		b.ReportMetric(worst, "MiB-idle")
		if worst > wantIdleMiB {
			b.Errorf("%.1f MiB idle, want %d", worst, wantIdleMiB)
		}
		p := run(b, path, "guidance-nav", map[string]string{"GOMEMLIMIT": "57MiB"})
		requestsPerSecond(b, "http://"+p.mission+"/position", 64, 2*time.Second)
		loaded := resident(b, p.Process.Pid)
		b.ReportMetric(loaded, "MiB-loaded")
		if loaded > wantLoadedMiB {
			b.Errorf("%.1f MiB after load, want %d", loaded, wantLoadedMiB)
		}
	}
}

// firstAnswer is the median time from the start of a process to its first 200.
func firstAnswer(b *testing.B, path string) time.Duration {
	b.Helper()
	var all []time.Duration
	for range 9 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		_, port, _ := net.SplitHostPort(address)
		cmd := exec.Command(path)
		cmd.Env = []string{"SERVICE_ROLE=life-support", "LISTEN_ADDRESS=127.0.0.1", "ADMIN_PORT=0", "PORT=" + port}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for {
			if status, _, err := fetch("http://" + address + "/crew/vitals"); err == nil && status == 200 {
				break
			}
			if time.Since(began) > 5*time.Second {
				b.Fatal("no answer")
			}
			runtime.Gosched()
		}
		all = append(all, time.Since(began))
		cmd.Process.Kill()
		cmd.Wait()
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// cpu returns the processor time that a process has used; its clock ticks 100
// times a second (proc_pid_stat(5)).
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("processor time is read from /proc")
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("stat %s", stat)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resident returns a process's resident memory in MiB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("memory is read from /proc")
	}
	_, rss, ok := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rss)
	kb, err := strconv.Atoi(fields[0])
	if !ok || err != nil {
		b.Fatalf("no VmRSS in %s", status)
	}
	return float64(kb) / 1024
}
