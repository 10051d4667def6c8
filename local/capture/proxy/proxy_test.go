package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/proxy"
	"github.com/google/go-cmp/cmp"
)

var (
	commsIP   = netip.MustParseAddr("10.244.0.7")
	serviceIP = netip.MustParseAddr("10.96.0.8")
	otherIP   = netip.MustParseAddr("10.96.0.9")
)

func newPod(t *testing.T) (*proxy.Node, capture.Pod) {
	t.Helper()
	n, err := proxy.NewNode()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	p, err := n.AddPod(capture.PodSpec{
		Namespace: "orion", Name: "comms-system", IP: commsIP, Ports: []uint16{8080, 9090},
		Resolve: func(name string) ([]netip.Addr, bool) {
			switch name {
			case "guidance-nav":
				return []netip.Addr{serviceIP}, true
			case "life-support":
				return []netip.Addr{otherIP}, true
			}
			return nil, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, p
}

func environ(p capture.Pod, name string) string {
	for _, e := range p.Environ() {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// client is what net/http makes of the pod's environment.
func client(t *testing.T, p capture.Pod) *http.Client {
	t.Helper()
	u, err := url.Parse(environ(p, "HTTP_PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(u)}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// nodeProxy serves captured connections with a handler and remembers where they
// wanted to go.
func nodeProxy(t *testing.T, p capture.Pod, h http.Handler) (dsts func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	conns := make(chan net.Conn)
	go func() {
		for {
			c, err := p.Accept()
			if err != nil {
				close(conns)
				return
			}
			mu.Lock()
			seen = append(seen, c.Dst.String())
			mu.Unlock()
			conns <- c.Conn
		}
	}()
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(&chanListener{conns: conns, closed: make(chan struct{})}) }()
	t.Cleanup(func() { _ = s.Close() })
	return func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), seen...) }
}

type chanListener struct {
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c, ok := <-l.conns:
		if ok {
			return c, nil
		}
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

func (l *chanListener) Close() error   { l.closing.Do(func() { close(l.closed) }); return nil }
func (l *chanListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestRequestsReachTheirDestinationsOverOneClientConnection(t *testing.T) {
	_, p := newPod(t)
	dsts := nodeProxy(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q", r.Host, r.Method, r.RequestURI, body)
	}))
	c := client(t, p)
	var got []string
	for _, r := range []struct{ method, url, body string }{
		{"GET", "http://guidance-nav:8080/position?x=1", ""},
		{"POST", "http://guidance-nav:8080/maneuver", "burn"},
		{"GET", "http://life-support:8080/crew/vitals", ""},
		{"GET", "http://10.244.0.9:8080/", ""},
	} {
		req, err := http.NewRequest(r.method, r.url, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got = append(got, string(b))
	}
	want := []string{
		`guidance-nav:8080 GET /position?x=1 ""`,
		`guidance-nav:8080 POST /maneuver "burn"`,
		`life-support:8080 GET /crew/vitals ""`,
		`10.244.0.9:8080 GET / ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.96.0.8:8080", "10.96.0.9:8080", "10.244.0.9:8080"}, dsts()); diff != "" {
		t.Errorf("connections to the node proxy (-want +got):\n%s", diff)
	}
}

// raw sends bytes to the pod's outbound listener and gives the connection.
func raw(t *testing.T, p capture.Pod, request string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(environ(p, "http_proxy"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheHeadGoesOnAsItCame(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"path bytes are untouched",
			"GET http://guidance-nav:8080//a/%2e%2e/\\b;c=d?q=%zz HTTP/1.1\r\nHost: other\r\nX-CASE: a\r\nx-case: " +
				"b\r\n\r\n",
			"GET //a/%2e%2e/\\b;c=d?q=%zz HTTP/1.1\r\nHost: other\r\nX-CASE: a\r\nx-case: b\r\n\r\n"},
		{"fields for the proxy stay with it",
			"GET http://guidance-nav:8080/ HTTP/1.1\r\nHost: guidance-nav\r\nProxy-Connection: " +
				"keep-alive\r\nproxy-authorization: x\r\nA: b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: guidance-nav\r\nA: b\r\n\r\n"},
		{"no path is the root", "GET http://guidance-nav:8080 HTTP/1.1\r\nHost: g\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: g\r\n\r\n"},
		{"a strange method", "get http://guidance-nav:8080/x HTTP/1.1\r\nHost: g\r\n\r\n",
			"get /x HTTP/1.1\r\nHost: g\r\n\r\n"},
		{"what net/http would not parse", "GET http://guidance-nav:8080/x HTTP/1.1\r\nHost: g\r\nbad header\r\n\r\n",
			"GET /x HTTP/1.1\r\nHost: g\r\nbad header\r\n\r\n"},
		{"a tunnel's bytes", "CONNECT guidance-nav:8080 HTTP/1.1\r\n\r\nanything at all", "anything at all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := newPod(t)
			raw(t, p, c.sent)
			captured, err := p.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer captured.Close()
			if err := captured.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(captured, got); err != nil {
				t.Fatalf("after %q: %v", got, err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNoProxyRequestIsRefused(t *testing.T) {
	for _, c := range []struct{ name, sent, status string }{
		{"origin form", "GET / HTTP/1.1\r\nHost: g\r\n\r\n", "400 Bad Request"},
		{"another scheme", "GET ftp://guidance-nav/ HTTP/1.1\r\nHost: g\r\n\r\n", "400 Bad Request"},
		{"no HTTP", "hello\r\n\r\n", "400 Bad Request"},
		{"unknown name", "GET http://example.org/ HTTP/1.1\r\nHost: g\r\n\r\n", "502 Bad Gateway"},
		{"unknown name in a tunnel", "CONNECT example.org:443 HTTP/1.1\r\n\r\n", "502 Bad Gateway"},
		{"malformed port", "GET http://guidance-nav:99999/ HTTP/1.1\r\nHost: g\r\n\r\n", "502 Bad Gateway"},
		{"a head without end", "GET http://guidance-nav:8080/ HTTP/1.1\r\nA: " + strings.Repeat("a", 70<<10),
			"431 Request Header Fields Too Large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := newPod(t)
			line, err := bufio.NewReader(raw(t, p, c.sent)).ReadString('\n')
			if want := "HTTP/1.1 " + c.status + "\r\n"; line != want {
				t.Errorf("got %q, %v; want %q", line, err, want)
			}
		})
	}
}

func TestBodiesOfEveryFramingPassWhole(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for name, h := range map[string]http.HandlerFunc{
		"length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, _ = w.Write(big)
		},
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(big[:100])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(big[100:])
		},
		"to the end": func(w http.ResponseWriter, _ *http.Request) {
			c, rw, _ := http.NewResponseController(w).Hijack()
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			_, _ = rw.Write(big)
			_ = rw.Flush()
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := newPod(t)
			nodeProxy(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if b, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(b, big) {
					t.Errorf("the request's body: %d bytes, %v", len(b), err)
				}
				h(w, r)
			}))
			c := client(t, p)
			for range 2 { // the second shows that the first left nothing behind
				// chunked
				resp, err := c.Post("http://guidance-nav:8080/", "text/plain", io.MultiReader(bytes.NewReader(big)))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || !bytes.Equal(got, big) {
					t.Fatalf("the response's body: %d bytes, %v", len(got), err)
				}
			}
		})
	}
}

func TestAResetByTheNodeProxyIsAResetForTheProgram(t *testing.T) {
	_, p := newPod(t)
	go func() {
		c, err := p.Accept()
		if err != nil {
			return
		}
		_ = c.Conn.(interface{ SetLinger(int) error }).SetLinger(0)
		_ = c.Close()
	}()
	_, err := client(t, p).Get("http://guidance-nav:8080/")
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestTheNodeCarriesBetweenPodAddressesAndCanBeTapped(t *testing.T) {
	n, _ := newPod(t)
	addr := netip.MustParseAddrPort("10.244.0.8:15008")
	ln, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen(addr); err == nil {
		t.Error("the same address can be listened on twice")
	}
	ctx, stop := context.WithCancel(t.Context())
	heard := make(chan string, 10)
	wait, err := n.Tap(ctx, func(s capture.Segment) {
		heard <- s.Src.Addr().String() + ">" + s.Dst.String() + " " +
			string(s.Data)
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		peer <- c.RemoteAddr().(*net.TCPAddr).IP.String() + ">" + c.LocalAddr().String()
	}()
	c, err := n.Dial(t.Context(), commsIP, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "secret"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-peer, "10.244.0.7>10.244.0.8:15008"; got != want {
		t.Errorf("the server saw %s, want %s", got, want)
	}
	if got, want := <-heard, "10.244.0.7>10.244.0.8:15008 secret"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	stop()
	if err := wait(); err != nil {
		t.Error(err)
	}
	if _, err := n.Dial(t.Context(), commsIP, netip.MustParseAddrPort("10.244.0.99:15008")); !errors.Is(err,
		syscall.ECONNREFUSED) {
		t.Errorf("an address without listener: %v, want a refusal", err)
	}
}

func TestTheEnvironmentPlacesThePodsProgram(t *testing.T) {
	_, p := newPod(t)
	if got := environ(p, "LISTEN_ADDRESS"); got != "127.0.0.1" {
		t.Errorf("LISTEN_ADDRESS %q", got)
	}
	for i, name := range []string{"PORT", "ADMIN_PORT"} {
		ln, err := net.Listen("tcp", "127.0.0.1:"+environ(p, name))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c, err := p.DialApp(t.Context(), commsIP, []uint16{8080, 9090}[i])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = c.Close()
	}
	if _, err := p.DialApp(t.Context(), commsIP, 8081); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port that the manifests do not name: %v, want a refusal", err)
	}
}

// TestProcessesEndWithTheNode starts a process by a node that is then closed.
func TestProcessesEndWithTheNode(t *testing.T) {
	n, err := proxy.NewNode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.AddPod(capture.PodSpec{Namespace: "orion", Name: "x", IP: commsIP, Ports: []uint16{8080}})
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "300")
	cmd.Stdout = write
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, read); err != nil { // ends when the process does
		t.Fatal(err)
	}
	_ = cmd.Wait()
}
