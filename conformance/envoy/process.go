package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Process is a running Envoy.
type Process struct {
	cmd    *exec.Cmd
	admin  string
	output *tail
	done   chan struct{}
}

// Start runs an Envoy with the bootstrap, in JSON, and returns when it is
// ready. Files go to dir. Envoy ends with this process, where the system can do
// that, and with Stop.
func Start(ctx context.Context, bin, dir string, bootstrap []byte, concurrency int) (*Process, error) {
	conf, adminFile := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(conf, bootstrap, 0o600); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	_ = os.Remove(adminFile)
	p := &Process{output: &tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(bin, "-c", conf, "--admin-address-path", adminFile, "--disable-hot-restart",
		"--concurrency", strconv.Itoa(concurrency), "--log-level", "warn", "--file-flush-interval-msec", "20",
		"--drain-time-s", "1")
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	endWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return nil, fmt.Errorf("start Envoy: it ended with %v:\n%s", p.cmd.ProcessState, p.output)
		case <-ctx.Done():
			p.Stop()
			return nil, fmt.Errorf("start Envoy: not ready: %w\n%s", ctx.Err(), p.output)
		case <-tick.C:
		}
		if a, err := os.ReadFile(adminFile); err == nil && len(a) > 0 {
			p.admin = "http://" + strings.TrimSpace(string(a))
			if _, err := p.get(ctx, "/ready"); err == nil {
				return p, nil
			}
		}
	}
}

// Stop ends Envoy and waits for its end.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Log returns the last of what Envoy wrote.
func (p *Process) Log() string { return p.output.String() }

// Ports returns the port that each listener got, by the listener's name.
func (p *Process) Ports(ctx context.Context) (map[string]uint16, error) {
	b, err := p.get(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Listeners []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Port uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read Envoy's listeners: %w", err)
	}
	ports := map[string]uint16{}
	for _, l := range list.Listeners {
		ports[l.Name] = l.Local.Socket.Port
	}
	return ports, nil
}

func (p *Process) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for %s: %w", path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Envoy for %s: %s: %s", path, resp.Status, b)
	}
	return b, nil
}

// tail keeps the last 64 KiB that were written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - 64<<10; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
