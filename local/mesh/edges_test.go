package mesh

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"artemis.example/policy/decision"
	"github.com/google/go-cmp/cmp"
)

// way is a way to a program: through a waypoint or through the gateway too.
type httpWay struct {
	name, url string
	pod       string // whose program answers: cell/component
	dial      func() (net.Conn, error)
}

func (r *rig) httpWays() []httpWay {
	r.t.Helper()
	to, err := r.resolve(app("orion", "comms-system"), "guidance-nav:8080")
	if err != nil {
		r.t.Fatal(err)
	}
	return []httpWay{
		{"waypoint", "http://guidance-nav/position", "orion/guidance-nav",
			func() (net.Conn, error) { return r.dial(app("orion", "comms-system"), to) }},
		{"gateway", "http://" + gatewayHost + "/flight-director-http/mission/status", "houston/flight-director",
			func() (net.Conn, error) { return net.Dial("tcp4", r.gate) }},
	}
}

// serveBehind runs the program at the end of a way.
func (r *rig) serveBehind(w httpWay, h http.HandlerFunc) {
	cell, component, _ := strings.Cut(w.pod, "/")
	r.serve(r.pods[app(cell, component)], 8080, h)
}

// http2Client speaks HTTP/2 by prior knowledge.
func (w httpWay) http2Client(t *testing.T) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DisableCompression: true, DialContext: func(context.Context, string,
		string) (net.Conn, error) {
		return w.dial()
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func TestHTTP2ByPriorKnowledge(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for _, way := range r.httpWays() {
		t.Run(way.name, func(t *testing.T) {
			r.serveBehind(way, func(w http.ResponseWriter, req *http.Request) {
				body, err := io.ReadAll(req.Body)
				w.Header().Set("Trailer", "Grpc-Status")
				w.Header().Set("Seen", fmt.Sprintf("%s %s %s %s te=%q", req.Method, req.RequestURI, req.Host, req.Proto,
					req.Header["Te"]))
				fmt.Fprintf(w, "%d bytes, %v, trailer %q", len(body), err, req.Trailer.Get("X-Sum"))
				w.Header().Set("Grpc-Status", "0")
			})
			client := way.http2Client(t)
			do := func(method, url string, body io.Reader, header, trailer http.Header) (*http.Response, string) {
				t.Helper()
				req, err := http.NewRequest(method, url, body)
				if err != nil {
					t.Fatal(err)
				}
				for k, v := range header {
					req.Header[k] = v
				}
				req.Trailer = trailer
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				b, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				return res, string(b)
			}
			res, body := do("GET", way.url+"?a=b", nil, http.Header{"Te": {"trailers"}}, nil)
			target := "/position?a=b"
			if way.name == "gateway" {
				target = "/mission/status?a=b"
			}
			host := strings.Split(way.url, "/")[2]
			want := fmt.Sprintf("GET %s %s HTTP/1.1 te=[\"trailers\"]", target, host)
			if res.ProtoMajor != 2 || res.StatusCode != 200 || body != "0 bytes, <nil>, trailer \"\"" ||
				res.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("%s %d %q, trailer %v", res.Proto, res.StatusCode, body, res.Trailer)
			}
			if diff := cmp.Diff(want, res.Header.Get("Seen")); diff != "" {
				t.Errorf("the program saw (-want +got):\n%s", diff)
			}
			if got := res.Header["Server"]; !cmp.Equal(got, []string{"istio-envoy"}) {
				t.Errorf("server: %q", got)
			}
			t.Run("refused", func(t *testing.T) {
				forbidden := strings.Replace(strings.Replace(way.url, "/position", "/secret", 1), "/mission/status",
					"/secret", 1)
				if res, body := do("GET", forbidden, nil, nil, nil); res.StatusCode != 403 ||
					body != "RBAC: access denied" {
					t.Errorf("%d %q", res.StatusCode, body)
				}
				r.awaitRecord("the refusal", func(d decision.Record) bool {
					return d.Hop == decision.HopWaypoint && d.Verdict == decision.DeniedL7 && d.Path == "/secret"
				})
				res, _ := do("POST", forbidden, strings.NewReader("\x00\x00\x00\x00\x00"),
					http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}, nil)
				status, message := res.Header.Get("Grpc-Status")+res.Trailer.Get("Grpc-Status"),
					res.Header.Get("Grpc-Message")+res.Trailer.Get("Grpc-Message")
				if res.StatusCode != 200 || status != "7" || message != "RBAC: access denied" {
					t.Errorf("gRPC is told %d, %v, %v", res.StatusCode, res.Header, res.Trailer)
				}
			})
			if way.name == "gateway" {
				return
			}
			sum := http.Header{"X-Sum": {"42"}}
			_, body = do("POST", "http://guidance-nav/maneuver", io.MultiReader(bytes.NewReader(make([]byte, 1<<20))),
				nil, sum)
			if want := "1048576 bytes, <nil>, trailer \"42\""; body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
	r.wellServed()
}

// TestStreamsOfHTTP2AreJudgedOneByOne has allowed and forbidden requests on one
// connection side by side.
func TestStreamsOfHTTP2AreJudgedOneByOne(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	way := r.httpWays()[0]
	client := way.http2Client(t)
	got := make(chan string)
	const each = 40
	for range each {
		for _, path := range []string{"/position", "/secret", "/%70osition", "//position"} {
			go func() {
				res, err := client.Get("http://guidance-nav" + path)
				if err != nil {
					got <- path + " " + err.Error()
					return
				}
				defer res.Body.Close()
				_, _ = io.Copy(io.Discard, res.Body)
				got <- fmt.Sprint(path, " ", res.StatusCode)
			}()
		}
	}
	counts := map[string]int{}
	for range 4 * each {
		counts[<-got]++
	}
	if diff := cmp.Diff(map[string]int{"/position 200": each, "/secret 403": each, "/%70osition 200": each,
		"//position 403": each}, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAConnectionThatIsAskedToCloseEndsInOrder has many callers ask for the end of
// the connection with the answer, as `curl -H 'Connection: close'` does, some with
// more behind the request: each gets the whole answer and then the end, no reset.
func TestAConnectionThatIsAskedToCloseEndsInOrder(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	answer := strings.Repeat("artemis ", 16<<10)
	for _, way := range r.httpWays() {
		t.Run(way.name, func(t *testing.T) {
			r.serveBehind(way, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
				_, _ = io.WriteString(w, answer)
			})
			host, path, _ := strings.Cut(strings.TrimPrefix(way.url, "http://"), "/")
			for i := range 60 {
				for _, path := range []string{"/" + path, "/secret"} {
					c, err := way.dial()
					if err != nil {
						t.Fatal(err)
					}
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					request := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
					if i%3 == 0 {
						request += request // nobody will read that
					}
					if _, err := io.WriteString(c, request); err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(c)
					_ = c.Close()
					if err != nil || path != "/secret" && !bytes.HasSuffix(b, []byte("artemis ")) {
						t.Fatalf("%s, try %d: %d bytes, %v", path, i, len(b), err)
					}
				}
			}
		})
	}
}

// TestAnAnswerArrivesWholeWhateverFollows has a program answer and break its
// connection at once, with a part of the request unread, and the caller read
// slowly.
func TestAnAnswerArrivesWholeWhateverFollows(t *testing.T) {
	answer := bytes.Repeat([]byte("artemis "), 64<<10) // more than one window of a stream
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: stage}))
			for _, ending := range []string{"end", "reset"} {
				t.Run(ending, func(t *testing.T) {
					r.serveRaw(r.pods[app("orion", "guidance-nav")], 8080, func(c net.Conn) {
						if ending == "reset" {
							_, _ = c.Read(make([]byte, 64)) // the rest stays unread
						} else if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
							t.Error(err)
						}
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(answer))
						_, _ = c.Write(answer)
						if ending == "reset" {
							flush(c)
							_ = c.(*net.TCPConn).SetLinger(0)
						}
						_ = c.Close()
					})
					for range 10 {
						c, br := r.connect()
						_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
						fmt.Fprint(c, "GET /position HTTP/1.1\r\nHost: x\r\nA: ", strings.Repeat("a", 1000), "\r\n\r\n")
						res, err := http.ReadResponse(br, nil)
						if err != nil {
							t.Fatal(err)
						}
						got := 0
						for buf := make([]byte, 16<<10); err == nil; {
							var n int
							n, err = res.Body.Read(buf)
							got += n
						}
						if got != len(answer) || !errors.Is(err, io.EOF) {
							t.Fatalf("%d of %d bytes, %v", got, len(answer), err)
						}
						_ = c.Close()
					}
				})
			}
		})
	}
}

// TestTheFaultIsTheCallers has broken messages in place of a request's body: the
// answer is the caller's 400, and no pod is named unreachable.
func TestTheFaultIsTheCallers(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for _, chunks := range []string{"g\r\n", "5\r\nhelloX\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n"} {
		t.Run(fmt.Sprintf("%q", chunks), func(t *testing.T) {
			r.records()
			c, br := r.connect()
			fmt.Fprint(c, "POST /maneuver HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunks)
			res, err := http.ReadResponse(br, nil)
			if err != nil || res.StatusCode != http.StatusBadRequest {
				t.Fatalf("%v, %v", res, err)
			}
			rec := r.awaitRecord("the fault", func(d decision.Record) bool { return d.Hop == decision.HopWaypoint })
			if rec.Verdict != decision.Failed || rec.Status != 400 || !strings.HasPrefix(rec.Reason, "bad request: ") {
				t.Errorf("recorded as %+v", rec)
			}
		})
	}
	t.Run("a caller that goes away", func(t *testing.T) {
		r.records()
		c, _ := r.connect()
		fmt.Fprint(c, "POST /maneuver HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		rec := r.awaitRecord("the end", func(d decision.Record) bool { return d.Hop == decision.HopWaypoint })
		if rec.Verdict != decision.Failed || rec.Status != 0 || !strings.Contains(rec.Reason, "the caller went away") {
			t.Errorf("recorded as %+v", rec)
		}
	})
}

// TestATraceIsRecordedWhenItIsOne has callers claim traces that are none.
func TestATraceIsRecordedWhenItIsOne(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, c := range []struct{ traceparent, want string }{
		{"00-" + trace + "-" + span + "-01", trace},
		{"01-" + trace + "-" + span + "-01-later", trace},
		{"00-" + trace + "-" + span + "-01-more", ""},
		{"ff-" + trace + "-" + span + "-01", ""},
		{"00-" + strings.Repeat("0", 32) + "-" + span + "-01", ""},
		{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"00-" + strings.ToUpper(trace) + "-" + span + "-01", ""},
		{"00-" + strings.Repeat("\x9b", 32) + "-" + span + "-01", ""},
		{"00-" + trace + "-" + span, ""},
		{"zz-" + trace + "-" + span + "-01", ""},
		{strings.Repeat("-", 55), ""},
		{"", ""},
	} {
		if got := traceID(c.traceparent); got != c.want {
			t.Errorf("%q: %q, want %q", c.traceparent, got, c.want)
		}
	}
}

// TestTheGatewayWatchesItsClients has a client leave a stream of events that has
// nothing to say: the program is told.
func TestTheGatewayWatchesItsClients(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	left := make(chan struct{})
	way := r.httpWays()[1]
	r.serveBehind(way, func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-req.Context().Done()
		close(left)
	})
	res, err := r.ingress("GET", "/flight-director-http/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the program still serves a client that is gone")
	}
}

// TestAnswersOfTheGatewayNameTheServerOnce has answers from behind it and its own.
func TestAnswersOfTheGatewayNameTheServerOnce(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for path, status := range map[string]int{"/flight-director-http/mission/status": 200, "/nowhere": 404,
		"/flight-director-http/handoff": 403} {
		res, err := r.ingress("GET", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != status || len(res.Header["Server"]) != 1 {
			t.Errorf("%s: %d, %q", path, res.StatusCode, res.Header["Server"])
		}
	}
}

// TestASilentEndIsNoReset keeps the two apart as a caller sees them.
func TestASilentEndIsNoReset(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	c, br := r.connect()
	fmt.Fprint(c, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(br).ReadByte(); errors.Is(err, syscall.ECONNRESET) || !errors.Is(err, io.EOF) {
		t.Errorf("a kept connection that the caller ends, ends with %v", err)
	}
}

// TestACallerThatLeavesIsNoFaultOfThePod has callers go away while the program
// thinks: the program is told, and the record blames nobody else.
func TestACallerThatLeavesIsNoFaultOfThePod(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for _, way := range r.httpWays() {
		t.Run(way.name, func(t *testing.T) {
			began, left := make(chan struct{}, 8), make(chan struct{}, 8)
			r.serveBehind(way, func(_ http.ResponseWriter, req *http.Request) {
				began <- struct{}{}
				<-req.Context().Done()
				left <- struct{}{}
			})
			c, err := way.dial()
			if err != nil {
				t.Fatal(err)
			}
			r.records()
			host, path, _ := strings.Cut(strings.TrimPrefix(way.url, "http://"), "/")
			fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
			<-began
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			<-left
			rec := r.awaitRecord("the end", func(d decision.Record) bool {
				return d.Hop == decision.HopWaypoint && d.Verdict != decision.Allowed || d.Hop == decision.HopGateway
			})
			if rec.Status != 0 || !strings.Contains(rec.Reason, "the caller went away") {
				t.Errorf("recorded as %+v", rec)
			}
		})
	}
}

// TestGRPCPassesEndToEnd has programs that speak nothing but HTTP/2, as gRPC's do: a
// call streams both ways at once and ends with a trailer, through the waypoint and
// through the gateway, behind a waypoint and without.
func TestGRPCPassesEndToEnd(t *testing.T) {
	for _, stage := range []string{"mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			set := *suite(t, options{stage: stage})
			set.Services = slices.Clone(set.Services)
			h2c := "kubernetes.io/h2c"
			for i, s := range set.Services {
				set.Services[i] = s.DeepCopy()
				for j := range s.Spec.Ports {
					set.Services[i].Spec.Ports[j].AppProtocol = &h2c
				}
			}
			r := newRig(t, Config{}, &set)
			for _, way := range r.httpWays() {
				t.Run(way.name, func(t *testing.T) {
					cell, component, _ := strings.Cut(way.pod, "/")
					r.serveHTTP2(r.pods[app(cell, component)], 8080, func(w http.ResponseWriter, req *http.Request) {
						w.Header().Set("Content-Type", "application/grpc")
						w.Header().Set("Seen", req.Proto+" "+req.RequestURI+" "+req.Header.Get("Te"))
						w.WriteHeader(http.StatusOK)
						flush := http.NewResponseController(w)
						_ = flush.Flush()
						for buf := make([]byte, 64); ; {
							n, err := req.Body.Read(buf)
							_, _ = w.Write(buf[:n])
							_ = flush.Flush()
							if err != nil {
								break
							}
						}
						w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
					})
					method, url := http.MethodPost, "http://guidance-nav/maneuver"
					if way.name == "gateway" {
						url = "http://" + gatewayHost + "/flight-director-http/trajectory/correction"
					}
					body, in := io.Pipe()
					req, err := http.NewRequest(method, url, body)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "application/grpc")
					req.Header.Set("Te", "trailers")
					res, err := way.http2Client(t).Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					for _, word := range []string{"one", "two", "three"} { // each comes back before the next is sent
						if _, err := io.WriteString(in, word); err != nil {
							t.Fatal(err)
						}
						got := make([]byte, len(word))
						if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word {
							t.Fatalf("%q, %v; want %q", got, err, word)
						}
					}
					_ = in.Close()
					rest, err := io.ReadAll(res.Body)
					if err != nil || len(rest) > 0 || res.Trailer.Get("Grpc-Status") != "0" {
						t.Errorf("%q, %v, trailer %v", rest, err, res.Trailer)
					}
					target, _ := strings.CutPrefix(url, "http://guidance-nav")
					target = strings.TrimPrefix(target, "http://"+gatewayHost+"/flight-director-http")
					if want, got := "HTTP/2.0 "+target+" trailers", res.Header.Get("Seen"); got != want {
						t.Errorf("the program saw %q, want %q", got, want)
					}
				})
			}
		})
	}
}

// serveHTTP2 runs a program that speaks HTTP/2 without TLS, and nothing else.
func (r *rig) serveHTTP2(pod *testPod, port uint16, h http.HandlerFunc) {
	r.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: protocols}
	go func() { _ = srv.Serve(ln) }()
	r.t.Cleanup(func() { srv.Close() })
	pod.mu.Lock()
	pod.apps[port] = ln.Addr().String()
	pod.mu.Unlock()
}
