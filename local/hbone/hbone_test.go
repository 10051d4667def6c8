//lint:file-ignore SA1019 golang.org/x/net/http2 is the other implementation that these tests are against.

package hbone_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/local/hbone"
	"artemis.example/local/identity"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/net/http2"
)

var (
	clientID = spiffeid.RequireFromString("spiffe://cluster.local/ns/a/sa/client")
	serverID = spiffeid.RequireFromString("spiffe://cluster.local/ns/b/sa/server")
)

type rig struct {
	t    testing.TB
	ca   *identity.CA
	srv  *hbone.Server
	addr string
	pool *hbone.Pool
}

func newRig(t testing.TB, handle func(*hbone.Stream)) *rig {
	t.Helper()
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ca: ca, addr: ln.Addr().String()}
	r.srv = &hbone.Server{Identity: ca.Source(serverID), Handle: handle}
	go func() { _ = r.srv.Serve(ln) }()
	t.Cleanup(r.srv.Close)
	r.pool = r.newPool(r.addr)
	return r
}

func (r *rig) newPool(addr string) *hbone.Pool {
	p := hbone.NewPool(func(ctx context.Context, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp4", addr)
	})
	r.t.Cleanup(p.Close)
	return p
}

func (r *rig) open(authority string) (*hbone.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return r.pool.Open(ctx, hbone.Target{Source: r.ca.Source(clientID), Peer: serverID}, authority, "")
}

// echo sends back what it receives, until the end.
func echo(st *hbone.Stream) {
	if st.Accept() != nil {
		return
	}
	_, _ = io.Copy(st, st)
	_ = st.CloseWrite()
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// TestAHandlerThatPanicsCostsItsOwnStream has one tunnel's handler panic beside
// another tunnel of the same connection.
func TestAHandlerThatPanicsCostsItsOwnStream(t *testing.T) {
	var log lockedBuffer
	r := newRig(t, func(st *hbone.Stream) {
		if st.Authority() == "10.0.0.1:81" {
			_ = st.Accept()
			panic("the handler's own fault")
		}
		echo(st)
	})
	r.srv.Logger = slog.New(slog.NewTextHandler(&log, nil))
	whole, err := r.open("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	for range 3 {
		broken, err := r.open("10.0.0.1:81")
		if err == nil {
			_, err = broken.Read(make([]byte, 1))
		}
		if !errors.Is(err, hbone.ErrReset) {
			t.Errorf("the panic's stream ended with %v, want %v", err, hbone.ErrReset)
		}
	}
	if _, err := whole.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if _, err := io.ReadFull(whole, got); err != nil || string(got) != "still here" {
		t.Errorf("the other stream read %q, %v", got, err)
	}
	if n := r.pool.Connections(); n != 1 {
		t.Errorf("%d connections, want the one", n)
	}
	if n := strings.Count(log.String(), "the handler's own fault"); n != 3 || !strings.Contains(log.String(),
		"hbone_test.go") {
		t.Errorf("the log names the panic %d times, want 3 with the place:\n%s", n, log.String())
	}
}

func TestTunnelsCarryBytesBothWaysAndEndOneWayAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo)
	var wg sync.WaitGroup
	for i := range 150 { // more than one connection takes
		wg.Go(func() {
			st, err := r.open("10.0.0.1:80")
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			sent := make([]byte, 100<<10+i)
			_, _ = rand.Read(sent)
			go func() {
				_, _ = st.Write(sent)
				_ = st.CloseWrite()
			}()
			got, err := io.ReadAll(st)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("stream %d: %d of %d bytes came back, %v", i, len(got), len(sent), err)
			}
		})
	}
	wg.Wait()
	if n := r.pool.Connections(); n < 1 || n > 4 {
		t.Errorf("%d connections", n)
	}
}

func TestASlowReaderHoldsUpNobodyElse(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(st *hbone.Stream) {
		if st.Accept() != nil {
			return
		}
		if st.Authority() == "slow:1" {
			<-release
		}
		_, _ = io.Copy(st, st)
		_ = st.CloseWrite()
	})
	defer close(release)
	slow, err := r.open("slow:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := slow.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 8<<20 {
		t.Errorf("%d bytes were taken ahead, %v", n, err)
	}
	fast, err := r.open("fast:1")
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	go func() { _, _ = fast.Write(make([]byte, 4<<20)); _ = fast.CloseWrite() }()
	if n, err := io.Copy(io.Discard, fast); n != 4<<20 || err != nil {
		t.Errorf("the other stream got %d bytes, %v", n, err)
	}
	if r.pool.Connections() != 1 {
		t.Error("they were not on one connection")
	}
}

func TestAnswersAndEndings(t *testing.T) {
	r := newRig(t, func(st *hbone.Stream) {
		switch st.Authority() {
		case "refuse:1":
			_ = st.Refuse(401)
		case "reset:1":
			_ = st.Accept()
			_ = st.Reset()
		case "vanish:1":
		default:
			_ = st.Accept()
			fmt.Fprint(st, st.Peer(), " ", st.Authority(), " ", st.Malformed())
		}
	})
	var status *hbone.StatusError
	if _, err := r.open("refuse:1"); !errors.As(err, &status) || status.Code != 401 {
		t.Errorf("refused: %v", err)
	}
	if _, err := r.open("vanish:1"); !errors.Is(err, hbone.ErrReset) {
		t.Errorf("a handler that says nothing: %v", err)
	}
	st, err := r.open("reset:1")
	if err == nil {
		_, err = st.Read(make([]byte, 1))
	}
	if !errors.Is(err, hbone.ErrReset) {
		t.Errorf("reset: %v", err)
	}
	st, err = r.open("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := st.Read(b)
	if got, want := string(b[:n]), clientID.String()+" 10.0.0.1:80 false"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// TestWhoAsksLateIsToldOfABreak has a stream break before anybody has asked to be told.
func TestWhoAsksLateIsToldOfABreak(t *testing.T) {
	told := make(chan bool, 1)
	r := newRig(t, func(st *hbone.Stream) {
		_ = st.Accept()
		_ = st.Await() // the break
		called := false
		st.OnBreak(func() { called = true })
		told <- called
	})
	st, err := r.open("x:1")
	if err != nil {
		t.Fatal(err)
	}
	_ = st.Reset()
	if !<-told {
		t.Error("it is not told")
	}
}

func TestTheContextBoundsOpening(t *testing.T) {
	r := newRig(t, func(st *hbone.Stream) { _, _ = st.Read(make([]byte, 1)) })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := r.pool.Open(ctx, hbone.Target{Source: r.ca.Source(clientID), Peer: serverID}, "x:1", "")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAServerThatCameBackIsReached(t *testing.T) {
	r := newRig(t, echo)
	if _, err := r.open("x:1"); err != nil {
		t.Fatal(err)
	}
	r.srv.Close()
	ln, err := net.Listen("tcp4", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := &hbone.Server{Identity: r.ca.Source(serverID), Handle: echo}
	go func() { _ = again.Serve(ln) }()
	t.Cleanup(again.Close)
	if _, err := r.open("x:1"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// TestAnotherClient speaks to our server with the standard library's HTTP/2.
func TestAnotherClient(t *testing.T) {
	r := newRig(t, func(st *hbone.Stream) {
		if st.Malformed() {
			_ = st.Refuse(400)
			return
		}
		echo(st)
	})
	tr := &http2.Transport{TLSClientConfig: r.ca.Source(clientID).ClientConfig(serverID)}
	defer tr.CloseIdleConnections()
	do := func(method, host string, header http.Header, body io.Reader) (int, string) {
		req, err := http.NewRequest(method, "https://"+r.addr+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Header = host, header
		if method == "CONNECT" {
			req.URL.Path = ""
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return res.StatusCode, err.Error()
		}
		return res.StatusCode, string(b)
	}
	type answer struct {
		Status int
		Body   string
	}
	baggage := http.Header{"Baggage": {"k8s.namespace.name=x"}, "Forwarded": {"for=1"}, "Traceparent": {"00-1-2-3"}}
	for _, c := range []struct {
		name, method, host string
		header             http.Header
		want               answer
	}{
		{"CONNECT", "CONNECT", "10.0.0.1:80", http.Header{}, answer{200, "hello"}},
		{"CONNECT with ztunnel's headers", "CONNECT", "10.0.0.1:80", baggage, answer{200, "hello"}},
		{"GET", "GET", "10.0.0.1:80", http.Header{}, answer{400, ""}},
		{"extended CONNECT", "CONNECT", "10.0.0.1:80", http.Header{":protocol": {"websocket"}}, answer{0, ""}},
		{"headers beyond the bound", "CONNECT", "10.0.0.1:80",
			http.Header{"A": {string(bytes.Repeat([]byte("a"), 20<<10))}}, answer{0, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got answer
			got.Status, got.Body = do(c.method, c.host, c.header, bytes.NewReader([]byte("hello")))
			if c.want.Status == 0 {
				if got.Status == 200 {
					t.Errorf("it was answered: %+v", got)
				}
				return
			}
			if c.want.Status != 200 {
				got.Body = ""
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnotherServer speaks to the standard library's HTTP/2 server with our
// client.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo)
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", r.ca.Source(serverID).ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != "CONNECT" || req.Host != "10.0.0.1:80" {
			w.WriteHeader(400)
			return
		}
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 32<<10)
		for {
			n, err := req.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})}
	if err := http2.ConfigureServer(srv, &http2.Server{MaxConcurrentStreams: 10}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	r.pool = r.newPool(ln.Addr().String())
	var wg sync.WaitGroup
	for range 30 { // more streams than one connection allows
		wg.Go(func() {
			st, err := r.open("10.0.0.1:80")
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			sent := make([]byte, 400<<10) // more than a stream may send ahead
			_, _ = rand.Read(sent)
			go func() { _, _ = st.Write(sent); _ = st.CloseWrite() }()
			if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestDeadlinesWakeAReader(t *testing.T) {
	r := newRig(t, func(st *hbone.Stream) { _ = st.Accept(); _, _ = io.Copy(io.Discard, st) })
	st, err := r.open("x:1")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_ = st.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = st.SetReadDeadline(time.Time{})
	if !st.Alive() {
		t.Error("the stream died of it")
	}
}

// TestAnExpiredPeerIsAskedToConnectAnew has a tunnel open for longer than its
// client's certificate is valid: it goes on, and the next begins on a connection
// of its own. A client that is another implementation learns that by GOAWAY.
func TestAnExpiredPeerIsAskedToConnectAnew(t *testing.T) {
	t.Parallel()
	ca, err := identity.NewCA(identity.Options{TTL: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &hbone.Server{Identity: ca.Source(serverID), Handle: echo}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	nc, err := tls.Dial("tcp4", ln.Addr().String(), ca.Source(clientID).ClientConfig(serverID))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nc)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append([]byte{0x42, 7},
		"CONNECT\x41\x03x:1"...), EndHeaders: true})
	expired := time.After(6 * time.Second)
	_ = fr.WriteData(1, false, []byte("before"))
	next := func() http2.Frame {
		t.Helper()
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	echoed := func(want string) {
		t.Helper()
		for {
			if d, ok := next().(*http2.DataFrame); ok {
				if string(d.Data()) != want {
					t.Fatalf("got %q, want %q", d.Data(), want)
				}
				return
			}
		}
	}
	echoed("before")
	<-expired
	srv.Tick()
	srv.Tick() // says it once
	var gone []*http2.GoAwayFrame
	_ = fr.WritePing(false, [8]byte{1})
	for {
		f := next()
		if g, ok := f.(*http2.GoAwayFrame); ok {
			gone = append(gone, g)
		}
		if p, ok := f.(*http2.PingFrame); ok && p.IsAck() && p.Data == [8]byte{1} {
			break
		}
	}
	if len(gone) != 1 || gone[0].LastStreamID != 1 || gone[0].ErrCode != http2.ErrCodeNo {
		t.Errorf("got %v, want one GOAWAY after stream 1", gone)
	}
	_ = fr.WriteData(1, false, []byte("after"))
	echoed("after")
}

// FuzzServer sends arbitrary bytes behind a good handshake: the server must not
// panic, and still serves another client afterwards.
func FuzzServer(f *testing.F) {
	var frames bytes.Buffer
	fr := http2.NewFramer(&frames, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append([]byte{0x42, 7},
		"CONNECT\x41\x03x:1"...), EndHeaders: true})
	_ = fr.WriteData(1, false, []byte("hello"))
	_ = fr.WriteWindowUpdate(1, 100)
	_ = fr.WritePing(false, [8]byte{})
	_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = fr.WriteGoAway(0, 0, nil)
	f.Add(frames.Bytes())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	_ = fr.WriteContinuation(3, true, []byte{0x82})
	_ = fr.WriteDataPadded(5, true, []byte("x"), make([]byte, 10))
	f.Add(frames.Bytes())
	r := newRig(f, echo)
	f.Fuzz(func(t *testing.T, b []byte) {
		nc, err := tls.Dial("tcp4", r.addr, r.ca.Source(clientID).ClientConfig(serverID))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = nc.Write(append([]byte(http2.ClientPreface), b...))
		_ = nc.CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
		st, err := r.open("x:1")
		if err != nil {
			t.Fatalf("another client: %v", err)
		}
		_ = st.Close()
	})
}

// FuzzClient answers a client with arbitrary bytes behind a good handshake: what
// the client asked for ends, one way or another, and nothing else.
func FuzzClient(f *testing.F) {
	var frames bytes.Buffer
	fr := http2.NewFramer(&frames, nil)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
	_ = fr.WriteData(1, false, []byte("hello"))
	f.Add(bytes.Clone(frames.Bytes()))
	_ = fr.WriteRSTStream(1, http2.ErrCodeRefusedStream)
	f.Add(bytes.Clone(frames.Bytes()))
	_ = fr.WriteGoAway(1, 0, nil)
	_ = fr.WriteWindowUpdate(0, 1<<31-1)
	_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
	f.Add(bytes.Clone(frames.Bytes()))
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pool := hbone.NewPool(func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				nc := tls.Server(theirs, ca.Source(serverID).ServerConfig())
				defer nc.Close()
				if nc.Handshake() != nil {
					return
				}
				go func() { _, _ = io.Copy(io.Discard, nc) }()
				_, _ = nc.Write(b)
			}()
			return ours, nil
		})
		defer pool.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		st, err := pool.Open(ctx, hbone.Target{Source: ca.Source(clientID), Peer: serverID}, "x:1", "")
		if ctx.Err() != nil {
			t.Fatalf("hangs over %q", b)
		}
		if err != nil {
			return
		}
		defer st.Close()
		_ = st.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, st); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a stream outlives its connection after %q", b)
		}
	})
}
