package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/identity"
	"artemis.example/policy/decision"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// loopback is a capture.Node whose addresses are listeners on 127.0.0.1. A
// connection's source is told to the one who accepts it beside the wire.
type loopback struct {
	mu      sync.Mutex
	changed *sync.Cond
	at      map[netip.AddrPort]string
	sources map[way]netip.AddrPort
	// tap, if set, sees what is written on the node's network.
	tap func([]byte)
}

// way names a connection: the kernel gives one local port to several callees.
type way struct{ from, to string }

func newLoopback() *loopback {
	n := &loopback{at: map[netip.AddrPort]string{}, sources: map[way]netip.AddrPort{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

func (n *loopback) Name() string { return "test" }

func (n *loopback) Listen(addr netip.AddrPort) (net.Listener, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.at[addr]; ok {
		ln.Close()
		return nil, fmt.Errorf("%s is in use", addr)
	}
	n.at[addr] = ln.Addr().String()
	return &loopbackListener{ln, n, addr}, nil
}

func (n *loopback) Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	real, ok := n.at[dst]
	tap := n.tap
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("dial %s: %w", dst, syscall.ECONNREFUSED)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", real)
	if err != nil {
		return nil, err
	}
	n.tell(c, netip.AddrPortFrom(src, addrPort(c.LocalAddr()).Port()))
	if tap != nil {
		return &tapped{c.(*net.TCPConn), tap}, nil
	}
	return c, nil
}

// tell says to the one who accepts c what it cannot see.
func (n *loopback) tell(c net.Conn, what netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sources[way{c.LocalAddr().String(), c.RemoteAddr().String()}] = what
	n.changed.Broadcast()
}

func (n *loopback) ask(c net.Conn) netip.AddrPort {
	from := way{c.RemoteAddr().String(), c.LocalAddr().String()}
	expired := false
	timer := time.AfterFunc(5*time.Second, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		expired = true
		n.changed.Broadcast()
	})
	defer timer.Stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !expired {
		if what, ok := n.sources[from]; ok {
			delete(n.sources, from)
			return what
		}
		n.changed.Wait()
	}
	return netip.AddrPort{}
}

func (n *loopback) AddPod(capture.PodSpec) (capture.Pod, error) {
	return nil, errors.New("pods are made by the rig")
}
func (n *loopback) Close() error      { return nil }
func (n *loopback) TapSource() string { return "" }
func (n *loopback) Tap(context.Context, func(capture.Segment)) (func() error, error) {
	return nil, errors.New("the rig has a tap of its own")
}

type loopbackListener struct {
	net.Listener
	node *loopback
	addr netip.AddrPort
}

func (l *loopbackListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &known{c.(*net.TCPConn), net.TCPAddrFromAddrPort(l.node.ask(c))}, nil
}

func (l *loopbackListener) Close() error {
	l.node.mu.Lock()
	delete(l.node.at, l.addr)
	l.node.mu.Unlock()
	return l.Listener.Close()
}

type known struct {
	*net.TCPConn
	remote net.Addr
}

func (k *known) RemoteAddr() net.Addr { return k.remote }

type tapped struct {
	*net.TCPConn
	tap func([]byte)
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.TCPConn.Read(p)
	t.tap(p[:n])
	return n, err
}

func (t *tapped) Write(p []byte) (int, error) {
	t.tap(p)
	return t.TCPConn.Write(p)
}

// testPod is a capture.Pod whose program is whatever the test listens with.
type testPod struct {
	node *loopback
	ref  topology.Ref
	ln   net.Listener
	mu   sync.Mutex
	apps map[uint16]string
}

func (p *testPod) Accept() (capture.Captured, error) {
	c, err := p.ln.Accept()
	if err != nil {
		return capture.Captured{}, err
	}
	return capture.Captured{Conn: c, Dst: p.node.ask(c)}, nil
}

func (p *testPod) DialApp(ctx context.Context, _ netip.Addr, port uint16) (net.Conn, error) {
	p.mu.Lock()
	addr, ok := p.apps[port]
	p.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", addr)
}

func (p *testPod) Environ() []string     { return nil }
func (p *testPod) Start(*exec.Cmd) error { return errors.New("no programs here") }
func (p *testPod) Close() error          { return p.ln.Close() }

// rig is a mesh on loopback with a pod for every Deployment.
type rig struct {
	t     testing.TB
	node  *loopback
	mesh  *Mesh
	ca    *identity.CA
	alloc *topology.Allocator
	pods  map[topology.Ref]*testPod
	world *topology.World
	gate  string
	seen  uint64
}

// echo is what the program in a pod answers with: the request as it saw it.
type echo struct {
	Pod    string
	Method string
	Target string
	Header http.Header
	Body   string
	Host   string
}

func newRig(t testing.TB, cfg Config, set *manifest.Set) *rig {
	t.Helper()
	node := newLoopback()
	return newRigOn(t, node, node, cfg, set)
}

// newRigOn makes the mesh on a node that stands on a loopback.
func newRigOn(t testing.TB, node capture.Node, on *loopback, cfg Config, set *manifest.Set) *rig {
	t.Helper()
	r := &rig{t: t, node: on, alloc: topology.NewAllocator(), pods: map[topology.Ref]*testPod{}}
	var err error
	if r.ca = cfg.CA; r.ca == nil {
		if r.ca, err = identity.NewCA(identity.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Node, cfg.CA = node, r.ca
	if r.mesh, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.mesh.Close(); err != nil {
			t.Errorf("close the mesh: %v", err)
		}
	})
	r.apply("test", set)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.gate = ln.Addr().String()
	go func() { _ = r.mesh.ServeGateway(ln, Edge{}) }()
	return r
}

// apply puts a set in force and attaches the pods that are new.
func (r *rig) apply(stage string, set *manifest.Set) {
	r.t.Helper()
	w, err := topology.Build(set, r.alloc)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.mesh.Apply(stage, w); err != nil {
		r.t.Fatal(err)
	}
	r.world = w
	for _, p := range w.Pods {
		if p.Kind == topology.App && r.pods[p.Ref] == nil {
			r.attach(p)
		}
	}
}

func (r *rig) attach(p *topology.Pod) {
	r.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	pod := &testPod{node: r.node, ref: p.Ref, ln: ln, apps: map[uint16]string{}}
	r.pods[p.Ref] = pod
	r.t.Cleanup(func() { ln.Close() })
	for _, port := range p.Ports {
		r.serve(pod, port, echoHandler(p.Ref))
	}
	if err := r.mesh.AttachPod(p.Ref, pod); err != nil {
		r.t.Fatal(err)
	}
}

func echoHandler(ref topology.Ref) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Header().Set("content-type", "application/json")
		_ = json.NewEncoder(w).Encode(echo{ref.Name, req.Method, req.RequestURI, req.Header, string(body), req.Host})
	})
}

// serve runs a pod's program on a port.
func (r *rig) serve(pod *testPod, port uint16, h http.Handler) {
	r.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(ln) }()
	r.t.Cleanup(func() { srv.Close() })
	pod.mu.Lock()
	pod.apps[port] = ln.Addr().String()
	pod.mu.Unlock()
}

// serveRaw runs a program that speaks no HTTP.
func (r *rig) serveRaw(pod *testPod, port uint16, serve func(net.Conn)) {
	r.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	pod.mu.Lock()
	pod.apps[port] = ln.Addr().String()
	pod.mu.Unlock()
}

// dial opens a connection as a pod's program.
func (r *rig) dial(from topology.Ref, to netip.AddrPort) (net.Conn, error) {
	pod := r.pods[from]
	if pod == nil {
		return nil, fmt.Errorf("no pod %s", from)
	}
	c, err := net.DialTimeout("tcp4", pod.ln.Addr().String(), 5*time.Second)
	if err != nil {
		return nil, err
	}
	pod.node.tell(c, to)
	return c, nil
}

// client is an HTTP client in a pod, with the cluster's names.
func (r *rig) client(from topology.Ref) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 64,
			DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
				to, err := r.resolve(from, addr)
				if err != nil {
					return nil, err
				}
				return r.dial(from, to)
			},
		},
	}
}

func (r *rig) resolve(from topology.Ref, addr string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	_, w := r.mesh.World()
	ips, ok := w.Resolve(from.Namespace, host)
	if !ok || len(ips) == 0 {
		return netip.AddrPort{}, fmt.Errorf("no such host: %s", host)
	}
	return netip.ParseAddrPort(net.JoinHostPort(ips[0].String(), port))
}

// outcome is what a caller saw: a status, or "reset" for a connection that broke
// or ended without an answer.
func (r *rig) call(from topology.Ref, method, url string) string {
	r.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	c := r.client(from)
	defer c.CloseIdleConnections()
	return outcomeOf(c.Do(req))
}

func outcomeOf(res *http.Response, err error) string {
	if err != nil {
		var ne net.Error
		switch {
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
			strings.Contains(err.Error(), "EOF"), strings.Contains(err.Error(), "broken pipe"),
			errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), net.ErrClosed.Error()):
			return "reset"
		case errors.As(err, &ne) && ne.Timeout():
			return "timeout"
		}
		return "error: " + err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusForbidden && string(body) != "RBAC: access denied" {
		return "403 with " + string(body)
	}
	return fmt.Sprint(res.StatusCode)
}

// raw sends bytes to a Service and gives the first line of the answer and the
// echo behind it.
func (r *rig) raw(from topology.Ref, addr, request string) (status string, seen echo) {
	r.t.Helper()
	to, err := r.resolve(from, addr)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.dial(from, to)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return "reset", seen
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "reset", seen
	}
	defer res.Body.Close()
	_ = json.NewDecoder(res.Body).Decode(&seen)
	return fmt.Sprint(res.StatusCode), seen
}

// ingress calls through the gateway.
func (r *rig) ingress(method, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+r.gate+path, nil)
	if err != nil {
		return nil, err
	}
	req.Host = gatewayHost
	for k, v := range header {
		req.Header[k] = v
	}
	tr := &http.Transport{DisableKeepAlives: true}
	return (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
}

// records returns the decisions since the last time it was asked.
func (r *rig) records() []decision.Record {
	recs, next := r.mesh.Decisions().Since(r.seen, 0)
	r.seen = next
	return recs
}

// awaitRecord waits for a decision that matches.
func (r *rig) awaitRecord(what string, match func(decision.Record) bool) decision.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var all []decision.Record
	for {
		for _, rec := range r.records() {
			if match(rec) {
				return rec
			}
			all = append(all, rec)
		}
		if err := r.mesh.Decisions().Wait(ctx, r.seen); err != nil {
			r.t.Fatalf("no record of %s; there are %+v", what, all)
		}
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
		<-tick.C
	}
}

func decodeEcho(t testing.TB, res *http.Response) echo {
	t.Helper()
	var e echo
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		t.Fatalf("status %d, not an echo: %v", res.StatusCode, err)
	}
	return e
}
