package mesh

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"artemis.example/policy/decision"
	"github.com/google/go-cmp/cmp"
)

// program returns guidance-nav another program for this test.
func (r *rig) program(h http.HandlerFunc) { r.serve(r.pods[app("orion", "guidance-nav")], 8080, h) }

// connect opens a connection of comms-system to guidance-nav.
func (r *rig) connect() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	to, err := r.resolve(app("orion", "comms-system"), "guidance-nav:8080")
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.dial(app("orion", "comms-system"), to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c, bufio.NewReader(c)
}

func TestConnectionsAreKeptThroughTheWaypoint(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	ports := map[string]bool{}
	r.program(func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, req.RemoteAddr) })
	c, br := r.connect()
	for _, line := range []string{"GET /position", "GET /trajectory", "GET /forbidden", "GET /star-tracker"} {
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\n\r\n", line)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		switch {
		case line == "GET /forbidden" && res.StatusCode == 403:
		case res.StatusCode == 200:
			ports[string(body)] = true
		default:
			t.Errorf("%s: %d %s", line, res.StatusCode, body)
		}
	}
	if len(ports) != 1 {
		t.Errorf("the pod saw connections from %v, want one", ports)
	}
}

func TestPipelinedRequestsAreJudgedOneByOne(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	c, br := r.connect()
	fmt.Fprint(c, strings.Repeat("GET /position HTTP/1.1\r\nHost: x\r\n\r\nGET /secret HTTP/1.1\r\nHost: x\r\n\r\n", 3))
	var got []int
	for range 6 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		got = append(got, res.StatusCode)
	}
	if diff := cmp.Diff([]int{200, 403, 200, 403, 200, 403}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBodiesStreamBothWays(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	r.program(func(w http.ResponseWriter, req *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "X-Count")
		n, err := io.Copy(w, req.Body)
		w.Header().Set("X-Count", fmt.Sprint(n, err, req.Trailer.Get("X-Request")))
	})
	body := make([]byte, 3<<20)
	_, _ = rand.Read(body)
	for _, chunked := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunked %v", chunked), func(t *testing.T) {
			var from io.Reader = bytes.NewReader(body)
			if chunked {
				from = io.MultiReader(from)
			}
			req, err := http.NewRequest("POST", endpoint(orion, "guidance-nav", "/maneuver"), from)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprint(len(body), error(nil))
			if chunked {
				req.Trailer = http.Header{"X-Request": {"end"}}
				want += "end"
			}
			res, err := r.client(app("orion", "comms-system")).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			back, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(back, body) {
				t.Errorf("%d bytes came back, %v", len(back), err)
			}
			if got := res.Trailer.Get("X-Count"); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ",
				"") {
				t.Errorf("trailer %q, want %q", got, want)
			}
		})
	}
}

func TestEventsArriveAsTheyAreSent(t *testing.T) {
	for _, way := range []string{"waypoint", "gateway"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{}))
			next := make(chan struct{})
			stream := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-next:
					case <-req.Context().Done():
						return
					}
				}
			})
			var res *http.Response
			var err error
			if way == "waypoint" {
				r.serve(r.pods[app("orion", "guidance-nav")], 8080, stream)
				res, err = r.client(app("orion", "comms-system")).Get(endpoint(orion, "guidance-nav", "/position"))
			} else {
				r.serve(r.pods[app("houston", "flight-director")], 8080, stream)
				res, err = r.ingress("GET", "/flight-director-http/events", nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			br := bufio.NewReader(res.Body)
			for i := range 3 {
				line, err := br.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
					t.Fatalf("got %q, %v; want %q before the next is sent", line, err, want)
				}
				_, _ = br.ReadString('\n')
				next <- struct{}{}
			}
		})
	}
}

func TestUpgradesPass(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	r.program(func(w http.ResponseWriter, req *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
		_ = rw.Flush()
		_, _ = io.Copy(c, rw)
	})
	c, br := r.connect()
	fmt.Fprint(c, "GET /position HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	fmt.Fprint(c, "world")
	got := make([]byte, len("hello world"))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
	t.Run("a forbidden one does not", func(t *testing.T) {
		status, _ := r.raw(rogue(orion), "guidance-nav:8080",
			"GET /position HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if status != "403" {
			t.Errorf("got %s, want 403", status)
		}
	})
}

// TestAChangeOfProtocolThatNobodyAskedFor would make of a connection a pipe, with
// the caller's next requests past every policy and in a pod's hands. What the
// waypoint does instead is what Envoy 1.40.0 was seen to do.
func TestAChangeOfProtocolThatNobodyAskedFor(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	var asked atomic.Int64
	switching := func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mission\r\n\r\nraw")
		_ = rw.Flush()
		if rest, _ := io.ReadAll(rw); len(rest) > 0 {
			t.Errorf("the pod got %q", rest)
		}
	}
	r.program(switching)
	c, br := r.connect()
	for range 2 {
		fmt.Fprint(c, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n")
		status, err := br.ReadString('\n')
		if err != nil || status != "HTTP/1.1 101 Switching Protocols\r\n" {
			t.Fatalf("%q, %v", status, err)
		}
		for line := ""; line != "\r\n"; {
			if line, err = br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(strings.ToLower(line), "upgrade") {
				t.Errorf("passed on: %q", line)
			}
		}
	}
	fmt.Fprint(c, "GET /secret HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusForbidden || asked.Load() != 2 {
		t.Errorf("%v, %v after %d answers", res, err, asked.Load())
	}
	t.Run("behind the gateway", func(t *testing.T) {
		r.serve(r.pods[app("houston", "flight-director")], 8080, http.HandlerFunc(switching))
		res, err := r.ingress(http.MethodGet, "/flight-director-http/mission/status", nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "" {
			t.Errorf("%v, %v", res, err)
		}
	})
}

func TestExpectContinueIsAnsweredByThePod(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	c, br := r.connect()
	fmt.Fprint(c, "POST /maneuver HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 100 {
		t.Fatalf("%v, %v", res, err)
	}
	fmt.Fprint(c, "burn")
	res, err = http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeEcho(t, res); got.Body != "burn" || got.Header.Get("Expect") != "100-continue" {
		t.Errorf("the pod saw %+v", got)
	}
}

func TestARefusedUploadIsNotWaitedFor(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	c, br := r.connect()
	fmt.Fprint(c, "POST /position HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 403 || !res.Close {
		t.Errorf("%+v, %v; want 403 and the end of the connection", res, err)
	}
}

func TestAPodThatAnswersNonsense(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"nothing", "", "503"},
		{"no HTTP", "hello\r\n\r\n", "503"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "503"},
		{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"503"},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nall of it", "200"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nall of it", "200"},
		{"an early hint", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{}))
			r.serveRaw(r.pods[app("orion", "guidance-nav")], 8080, func(conn net.Conn) {
				defer conn.Close()
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, c.answer)
			})
			if got := r.call(app("orion", "comms-system"), "GET", endpoint(orion, "guidance-nav",
				"/position")); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAPodThatEndsIdleConnectionsCostsNoCall(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	r.serveRaw(r.pods[app("orion", "guidance-nav")], 8080, func(conn net.Conn) {
		defer conn.Close()
		br := bufio.NewReader(conn)
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") // and ends without a word
		}
	})
	client := r.client(app("orion", "comms-system"))
	for i := range 200 {
		if got := outcomeOf(client.Get(endpoint(orion, "guidance-nav", "/position"))); got != "200" {
			t.Fatalf("call %d: %s", i, got)
		}
	}
}

func TestGatewayRoutes(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	get := func(host, path string) (int, string) {
		c, err := net.Dial("tcp", r.gate)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 {
			return res.StatusCode, ""
		}
		return 200, decodeEcho(t, res).Target
	}
	type answer struct {
		Status int
		Target string
	}
	for _, c := range []struct {
		name, host, path string
		want             answer
	}{
		{"with the port", gatewayHost + ":19080", "/flight-director-http/mission/status?x=%2f",
			answer{200, "/mission/status?x=%2f"}},
		{"without the port", gatewayHost, "/flight-director-http/mission/status", answer{200, "/mission/status"}},
		{"case of the host", strings.ToUpper(gatewayHost), "/flight-director-http/mission/status",
			answer{200, "/mission/status"}},
		{"the prefix alone", gatewayHost, "/flight-director-http", answer{200, "/"}},
		{"the prefix and a slash", gatewayHost, "/flight-director-http/", answer{200, "/"}},
		{"another host", "elsewhere.example", "/flight-director-http/", answer{404, ""}},
		{"an unknown path", gatewayHost, "/capcom-http/", answer{404, ""}},
		{"a longer word", gatewayHost, "/flight-director-https/", answer{404, ""}},
		{"dots out of the prefix", gatewayHost, "/flight-director-http/../capcom-http/", answer{404, ""}},
		{"escaped dots", gatewayHost, "/flight-director-http/x/%2e%2e/mission/status", answer{200, "/mission/status"}},
		{"an escaped slash stays", gatewayHost, "/flight-director-http/assets/a%2fb", answer{200, "/assets/a%2fb"}},
		{"a NUL", gatewayHost, "/flight-director-http/%00", answer{400, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got answer
			got.Status, got.Target = get(c.host, c.path)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordsNameWhatDecided(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	r.apply("zero-trust", suite(t, options{}))
	client := r.client(app("orion", "comms-system"))
	req, err := http.NewRequest("GET", endpoint(orion, "guidance-nav", "/./position?x=1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if got := outcomeOf(client.Do(req)); got != "200" {
		t.Fatal(got)
	}
	rec := r.awaitRecord("the call", func(rec decision.Record) bool { return rec.Hop == decision.HopWaypoint })
	if rec.DurationUS <= 0 || rec.At.IsZero() || rec.From.Address == "" {
		t.Errorf("incomplete: %+v", rec)
	}
	rec.Seq, rec.At, rec.DurationUS, rec.From.Address, rec.To.Address = 0, time.Time{}, 0, "", ""
	id := func(sa string) string { return "spiffe://cluster.local/ns/" + orion + "/sa/" + sa }
	want := decision.Record{
		Stage: "zero-trust", Capture: "test", Hop: decision.HopWaypoint, Layer: 3, Verdict: decision.Allowed,
		Encrypted: true,
		From: decision.Peer{Identity: id("comms-system"), Namespace: orion, Cell: "orion",
			Component: "comms-system"},
		To: decision.Peer{Identity: id("guidance-nav"), Namespace: orion, Cell: "orion", Component: "guidance-nav",
			Service: "guidance-nav"},
		Method: "GET", Path: "/position", Status: 200,
		Policy: orion + "/guidance-nav-authz", Rule: "ns[" + orion + "]-policy[guidance-nav-authz]-rule[0]",
		Reason:  "an ALLOW rule matches",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	if diff := cmp.Diff(want, rec); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheWireShowsNothingFromMTLSOn(t *testing.T) {
	const secret = "spoken-in-confidence"
	for _, c := range []struct {
		stage string
		heard bool
	}{{"open", true}, {"mtls", false}, {"zero-trust", false}} {
		t.Run(c.stage, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: c.stage}))
			wire := make(chan []byte, 4096)
			r.node.mu.Lock()
			r.node.tap = func(b []byte) { wire <- bytes.Clone(b) }
			r.node.mu.Unlock()
			status, _ := r.raw(app("orion", "comms-system"), "guidance-nav:8080",
				"GET /position HTTP/1.1\r\nHost: x\r\nX: "+secret+"\r\nConnection: close\r\n\r\n")
			if status != "200" {
				t.Fatal(status)
			}
			var all []byte
			for len(wire) > 0 {
				all = append(all, <-wire...)
			}
			if len(all) == 0 {
				t.Fatal("nothing was heard at all")
			}
			if heard := bytes.Contains(all, []byte(secret)); heard != c.heard {
				t.Errorf("heard: %v, want %v", heard, c.heard)
			}
		})
	}
}
