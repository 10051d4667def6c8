package process_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"artemis.example/catalog"
	"artemis.example/service/problem"
)

// builds is where the service is built for all tests that run it; TestMain
// removes it.
var builds = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "artemis-service-") })

var build = sync.OnceValues(func() (string, error) {
	dir, err := builds()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "service")
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -X main.version=test", "-o", path,
		"artemis.example/service").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// binary returns the service as it is released, built once.
func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build the service: %v", err)
	}
	return path
}

// counted adds to the environment of a service where it writes what of it was run,
// when scripts/cover.sh asks for that.
func counted(env []string) []string {
	if dir := os.Getenv("ARTEMIS_COVERDIR"); dir != "" {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}

// command is the service as a process of its own.
type command struct {
	*exec.Cmd
	mission, admin string // host:port
	log            *lines
}

func run(t testing.TB, path, name string, env map[string]string) *command {
	t.Helper()
	c := &command{Cmd: exec.Command(path), log: &lines{}}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"SERVICE_ROLE": name, "PORT": "0", "ADMIN_PORT": "0", "LISTEN_ADDRESS": "127.0.0.1"}
	for _, d := range catalog.Dependencies(name) {
		all[catalog.URLVariable(d.Name)] = "http://127.0.0.1:1"
	}
	for k, v := range env {
		all[k] = v
	}
	c.Env, c.Stderr = counted(environ(all)), write
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	// The first line says where it listens; the rest is for a failing test.
	decoder := json.NewDecoder(io.TeeReader(read, c.log))
	var first struct{ Mission, Admin string }
	if err := decoder.Decode(&first); err != nil || first.Mission == "" {
		t.Fatalf("%s did not start: %v %s", name, err, c.log.all.String())
	}
	c.mission, c.admin = first.Mission, first.Admin
	go func() { io.Copy(c.log, read); read.Close() }()
	return c
}

// TestTerminationUnderLoadLosesNoRequestAndNoSpan sends SIGTERM to a process
// under load. As a load balancer does, the load stops once the process is
// unready; until then every request is answered, and every answer has its span.
func TestTerminationUnderLoadLosesNoRequestAndNoSpan(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	p := run(t, binary(t), "guidance-nav", map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_BSP_MAX_QUEUE_SIZE": "65536", "SHUTDOWN_GRACE": "60s",
	})
	var answered atomic.Int64
	var stop atomic.Bool
	var load sync.WaitGroup
	failures := make(chan string, 64)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	body := `{"type":"attitude","rollDeg":1}`
	for i := range 6 {
		load.Go(func() {
			for n := 0; !stop.Load(); n++ {
				method, path, want := "GET", "/position", http.StatusOK
				var in io.Reader
				if (n+i)%2 == 0 { // a POST is not repeated by the client behind our back
					method, path, in, want = "POST", "/maneuver", strings.NewReader(body), http.StatusConflict
				}
				r, err := http.NewRequest(method, "http://"+p.mission+path, in)
				if err != nil {
					failures <- err.Error()
					return
				}
				r.Header.Set("Content-Type", "application/json")
				response, err := client.Do(r)
				if err != nil {
					failures <- err.Error()
					return
				}
				answer, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != want {
					failures <- fmt.Sprint(err, response.Status, string(answer))
					return
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 500 && len(failures) == 0 {
		ready(t, p.admin)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for ready(t, p.admin) {
	}
	// Unready, and still serving those who do not know it yet.
	for after := answered.Load(); answered.Load() < after+200 && len(failures) == 0; {
		if ready(t, p.admin) {
			t.Fatal("ready again")
		}
	}
	stop.Store(true)
	load.Wait()
	if err := p.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, p.log.all.String())
	}
	close(failures)
	for f := range failures {
		t.Errorf("lost request: %s", f)
	}
	spans := int64(0)
	for _, s := range c.all() {
		if s.Kind == tracev1.Span_SPAN_KIND_SERVER {
			spans++
		}
	}
	if spans != answered.Load() {
		t.Errorf("%d spans of %d answers", spans, answered.Load())
	}
}

func ready(t *testing.T, admin string) bool {
	response, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// TestARequestUnderWayIsAnsweredAfterTheSignal holds a request at a peer until
// the process has been told to stop.
func TestARequestUnderWayIsAnsweredAfterTheSignal(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	comms := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, `{"status":"acknowledged","type":"telemetry-request","trace":{"service":"comms-system"}}`)
	}))
	defer comms.Close()
	p := run(t, binary(t), "capcom", map[string]string{"COMMS_SYSTEM_URL": comms.URL})
	type result struct {
		status int
		body   string
	}
	got := make(chan result, 1)
	go func() {
		response, err := http.Post("http://"+p.mission+"/uplink/command", "application/json",
			strings.NewReader(`{"type":"telemetry-request"}`))
		if err != nil {
			got <- result{0, err.Error()}
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		got <- result{response.StatusCode, string(body)}
	}()
	<-arrived
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for ready(t, p.admin) {
	}
	close(release)
	if r := <-got; r.status != http.StatusOK || !strings.HasPrefix(r.body, `{"status":"acknowledged"`) {
		t.Errorf("answer: %+v", r)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, p.log.all.String())
	}
}

// TestAStreamDoesNotHoldUpTheExit has a listener that never goes away.
func TestAStreamDoesNotHoldUpTheExit(t *testing.T) {
	t.Parallel()
	// A stream that held up the stop would do so for all of the grace.
	p := run(t, binary(t), "flight-director", map[string]string{"SHUTDOWN_GRACE": "10m"})
	response, err := http.Get("http://" + p.mission + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("exit: %v", err)
		}
	case <-time.After(2 * time.Minute):
		_ = p.Process.Kill()
		t.Error("the stream holds up the stop")
	}
}

func TestTheStartStopsWithOneLineThatNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := binary(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"no role", nil, "SERVICE_ROLE"},
		{"unknown role", []string{"SERVICE_ROLE=houston", "PORT=0", "ADMIN_PORT=0"},
			`SERVICE_ROLE: there is no role "houston"`},
		{"no peer", []string{"SERVICE_ROLE=capcom"}, "COMMS_SYSTEM_URL: required, but not set"},
		{"a peer that is no address", []string{"SERVICE_ROLE=capcom", "COMMS_SYSTEM_URL=comms:8080"},
			"COMMS_SYSTEM_URL: want http://HOST:PORT"},
		{"a port that is none", []string{"SERVICE_ROLE=life-support", "PORT=http"}, "PORT: not a uint16"},
		{"a busy port", []string{"SERVICE_ROLE=life-support", "LISTEN_ADDRESS=127.0.0.1", "PORT=" + port},
			"address already in use"},
		{"an unknown exporter", []string{"SERVICE_ROLE=life-support", "PORT=0", "ADMIN_PORT=0",
			"OTEL_TRACES_EXPORTER=zipkin"}, "OTEL_TRACES_EXPORTER"},
	} {
		cmd := exec.Command(path)
		cmd.Env = counted(c.env)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		line := stderr.String()
		if err == nil || strings.Count(line, "\n") != 1 || !strings.Contains(line, c.want) {
			t.Errorf("%s: %v, %q does not say %q in one line", c.name, err, line, c.want)
		}
	}
}

func TestProblemsComeAsProblems(t *testing.T) {
	t.Parallel()
	p := run(t, binary(t), "capcom", nil)
	response, err := http.Post("http://"+p.mission+"/uplink/command", "application/json",
		strings.NewReader(`{"type":"telemetry-request"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got problem.Problem
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Code != problem.UpstreamUnreachable || got.Peer != "orion/comms-system" ||
		response.StatusCode != got.Status ||
		response.Header.Get("Content-Type") != problem.MediaType {
		t.Errorf("%s: %+v", response.Status, got)
	}
}
