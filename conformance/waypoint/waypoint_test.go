package waypoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	istiolog "istio.io/istio/pkg/log"

	"artemis.example/catalog"
	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/local/capture"
	"artemis.example/local/identity"
	"artemis.example/local/mesh"
	"artemis.example/local/xds"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

const root = "../.."

const inside = "CONFORMANCE_INSIDE_NETWORK"

// TestMain runs the tests in a network namespace of their own, in which every
// address of pods and waypoints is local: so Envoy, the node proxies and the
// configuration have the addresses that they have in the manifests' world.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	for _, s := range istiolog.Scopes() {
		s.SetOutputLevel(istiolog.NoneLevel)
	}
	if err := makeNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "make the pods' network:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func again() int {
	// What has to come from the network comes before there is none.
	if _, err := envoy.Path(context.Background(), root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1", "PILOT_ENABLE_AMBIENT=true")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "start in a network of its own:", err)
		return 1
	}
	return 0
}

func makeNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	_, pods, err := net.ParseCIDR("10.244.0.0/16")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: pods, Type: unix.RTN_LOCAL,
		Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
}

// plainNode is a node whose addresses are what they are called.
type plainNode struct{}

func (plainNode) Name() string { return "test" }
func (plainNode) Listen(addr netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp4", addr.String())
}
func (plainNode) Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))}
	return d.DialContext(ctx, "tcp4", dst.String())
}
func (plainNode) TapSource() string { return "" }
func (plainNode) Tap(context.Context, func(capture.Segment)) (func() error, error) {
	return nil, errors.New("nobody listens here")
}
func (plainNode) AddPod(capture.PodSpec) (capture.Pod, error) {
	return nil, errors.New("pods are made by the test")
}
func (plainNode) Close() error { return nil }

// pod is a pod whose program is the test.
type pod struct {
	ln  net.Listener
	app string
	mu  sync.Mutex
	dst chan netip.AddrPort
}

func (p *pod) Accept() (capture.Captured, error) {
	c, err := p.ln.Accept()
	if err != nil {
		return capture.Captured{}, err
	}
	return capture.Captured{Conn: c, Dst: <-p.dst}, nil
}

func (p *pod) DialApp(ctx context.Context, _ netip.Addr, _ uint16) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", p.app)
}
func (p *pod) Environ() []string     { return nil }
func (p *pod) Start(*exec.Cmd) error { return errors.New("no programs here") }
func (p *pod) Close() error          { return p.ln.Close() }

// open connects the pod's program to somewhere.
func (p *pod) open(dst netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := net.Dial("tcp4", p.ln.Addr().String())
	if err == nil {
		p.dst <- dst
	}
	return c, err
}

// answer is what a caller gets: the status, and what the service saw.
type answer struct{ Status, Seen string }

// call sends a request as a pod's program.
func (p *pod) call(dst netip.AddrPort, line, host string) answer {
	c, err := p.open(dst)
	if err != nil {
		return answer{Status: "no connection"}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Client-Cert: "+
		"URI=spiffe://cluster.local/ns/forged/sa/forged\r\nConnection: close\r\n\r\n", line, host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return answer{Status: "reset"}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{Status: "reset"}
	}
	return answer{resp.Status[:3], string(b)}
}

type suite struct {
	mesh  *mesh.Mesh
	world *topology.World
	pods  map[topology.Ref]*pod
}

// start runs a mesh of the suite's pods, with waypoints of its own or with
// Envoys.
func start(t *testing.T, bin string) *suite {
	t.Helper()
	set, err := manifest.LoadStage(root, "zero-trust", true)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, bin, set)
	if waypoints := len(s.world.Waypoints); waypoints != 5 {
		t.Fatalf("%d waypoints, want 5", waypoints)
	}
	return s
}

// run runs a mesh of the pods of some manifests, with waypoints of its own or with
// Envoys.
func run(t *testing.T, bin string, set *manifest.Set) *suite {
	t.Helper()
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mesh.New(mesh.Config{Node: plainNode{}, CA: ca, ExternalWaypoints: bin != ""})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	if err := m.Apply("zero-trust", w); err != nil {
		t.Fatal(err)
	}
	s := &suite{m, w, map[topology.Ref]*pod{}}
	for _, p := range w.Pods {
		if p.Kind != topology.App {
			continue
		}
		app := newServer(t, p.Ref)
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		s.pods[p.Ref] = &pod{ln: ln, app: app, dst: make(chan netip.AddrPort, 1)}
		if err := m.AttachPod(p.Ref, s.pods[p.Ref]); err != nil {
			t.Fatal(err)
		}
	}
	if bin == "" {
		return s
	}
	configs, err := Generate(w)
	if err != nil {
		t.Fatal(err)
	}
	if len(configs) != len(w.Waypoints) {
		t.Fatalf("istiod configures %d waypoints, want %d", len(configs), len(w.Waypoints))
	}
	for _, c := range configs {
		s.envoy(t, bin, c)
		m.SetWaypointReady(c.Waypoint)
	}
	return s
}

// envoy runs an Envoy with a configuration, as whom it is for.
func (s *suite) envoy(t *testing.T, bin string, c xds.Config) {
	t.Helper()
	src, err := s.mesh.Source(c.Waypoint)
	if err != nil {
		t.Fatal(err)
	}
	server := xds.NewServer(src.PEM)
	server.Set(c)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	discovery := &http.Server{Handler: server}
	go func() { _ = discovery.Serve(ln) }()
	t.Cleanup(func() { discovery.Close() })
	b, err := xds.Bootstrap(c.Waypoint, s.world.Pod(c.Waypoint).IP, ln.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	e, err := envoy.Start(t.Context(), bin, t.TempDir(), []byte(b), 1)
	if err != nil {
		t.Fatalf("%s: %v", c.Waypoint, err)
	}
	t.Cleanup(e.Stop)
}

// program, if set, is what every pod runs.
var program http.HandlerFunc

func newServer(t *testing.T, ref topology.Ref) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if program != nil {
			program(w, r)
			return
		}
		fmt.Fprintf(w, "%s %s %s xfcc %q", ref.Name, r.Method, r.RequestURI, r.Header["X-Forwarded-Client-Cert"])
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// calls makes, for every endpoint of the suite, the allowed calls, some with a
// wrong method, path or caller, and calls past the waypoint.
func (s *suite) calls(t *testing.T) map[string]answer {
	t.Helper()
	out := map[string]answer{}
	refs := map[catalog.Caller]topology.Ref{}
	for _, p := range s.world.Pods {
		if p.Kind == topology.App {
			refs[catalog.Caller{Cell: p.Cell, Component: p.Component}] = p.Ref
		}
	}
	do := func(from catalog.Caller, to *topology.Service, line string) {
		ref, ok := refs[from]
		if !ok {
			return
		}
		dst := netip.AddrPortFrom(to.VIP, 8080)
		out[fmt.Sprintf("%s to %s %s", from, to.Name, line)] = s.pods[ref].call(dst, line, to.Name)
	}
	for _, svc := range catalog.Services() {
		ref, ok := refs[svc.Caller()]
		if !ok {
			t.Fatalf("%s is not in the manifests", svc.Name)
		}
		to := s.world.Service(topology.Ref{Namespace: ref.Namespace, Name: svc.Name})
		for _, r := range svc.Rules {
			for _, p := range r.Paths {
				path := strings.Replace(p, "*", "x", 1)
				for _, c := range r.Callers {
					do(c, to, r.Method+" "+path)
					do(c, to, "DELETE "+path)
					do(c, to, r.Method+" "+path+"%2f")
					do(c, to, r.Method+" /x/..;a=b"+path+"?q=1")
				}
				do(catalog.Caller{Cell: "houston", Component: "flight-dynamics"}, to, r.Method+" "+path)
				do(svc.Caller(), to, r.Method+" "+path)
			}
		}
		from := catalog.Caller{Cell: "orion", Component: "crew-interface"}
		out["past the waypoint to "+svc.Name] = s.pods[refs[from]].call(netip.AddrPortFrom(s.world.Pod(ref).IP, 8080),
			"GET /", "pod")
	}
	return out
}

// TestEnvoyWaypoints runs the suite's node proxies, HBONE at both ends, through
// the Envoys that istiod's code configures, and through our own waypoints: each
// call has the same end, and the service sees the same.
func TestEnvoyWaypoints(t *testing.T) {
	bin, err := envoy.Path(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours map[string]answer
	t.Run("Envoy", func(t *testing.T) { theirs = start(t, bin).calls(t) })
	t.Run("built in", func(t *testing.T) { ours = start(t, "").calls(t) })
	wrong := 0
	statuses := map[string]int{}
	for what, want := range theirs {
		statuses[want.Status]++
		if diff := cmp.Diff(want, ours[what]); diff != "" {
			if wrong++; wrong < 10 {
				t.Errorf("%s (-Envoy +ours):\n%s", what, diff)
			}
		}
	}
	for what, a := range theirs {
		if a.Status == "200" && !strings.Contains(a.Seen, "sa/waypoint;URI=spiffe://cluster.local/ns/dp-") {
			t.Errorf("%s: the service did not see who called: %s", what, a.Seen)
		}
	}
	t.Logf("%d calls: %v", len(theirs), statuses)
	if len(theirs) != len(ours) || statuses["200"] < 40 || statuses["403"] < 100 || statuses["reset"] == 0 {
		t.Errorf("%d and %d calls, %v: too little was tried", len(theirs), len(ours), statuses)
	}
	v, err := envoy.Version(t.Context(), bin)
	if err != nil {
		t.Error(err)
	}
	notes := []string{}
	for s, n := range statuses {
		notes = append(notes, fmt.Sprintf("%d %s", n, s))
	}
	slices.Sort(notes)
	if err := figures.Keep(figures.Figure{Order: 20, What: "calls through Envoy waypoints", Engine: "Envoy " + v +
		", configured by istiod's code",
		Comparisons: len(theirs), Disagreements: wrong, Notes: strings.Join(notes, ", ")}); err != nil {
		t.Error(err)
	}
}
