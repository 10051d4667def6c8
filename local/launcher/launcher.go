package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/control"
	"artemis.example/local/identity"
	"artemis.example/local/mesh"
	"artemis.example/local/xds"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

const (
	// endLimit bounds the drain when everything ends: somebody waits for it.
	endLimit = 1200 * time.Millisecond
	// noLimit leaves a pod its own grace period.
	noLimit = time.Duration(math.MaxInt64)
)

// keptDecisions is how many decisions are remembered for who asks late.
const keptDecisions = 20_000

// Options are what a person chooses. They are handed into the node as JSON.
type Options struct {
	Stage               string
	Waypoint            string // "builtin" or "envoy"
	NetworkPolicyAction string // "reject" or "drop"
	Adversary           bool   // run the attacker's manifests too, where there are some
	Gateway             string // address of the gateway's port, to be shown
	Command             string // how artemis is called here, for hints
	CaptureNote         string // why the capture is not netns
	AcceptLoss          bool   // start in spite of protection that Cells lack
	// mission seconds per second after lift-off, instead of what the manifests say; 0 leaves it to
	// them
	TimeScale float64
	StartedAt time.Time
}

// Resources are what the launcher has to work with: opened outside, where a node may
// not walk to them.
type Resources struct {
	Node    capture.Node
	Gateway net.Listener
	Control net.Listener
	Execs   *net.UnixListener
	Service string // path of the services' program
	Envoy   string // path of Envoy, for Options.Waypoint "envoy"
	Config  string // path of the program that configures it
	Logs    string // directory
	Root    string // the project's directory
	Token   string // makes a browser the operator's
}

type launcher struct {
	options   Options
	resources Resources
	mesh      *mesh.Mesh
	envoys    *envoys // nil when the mesh itself is the waypoints
	alloc     *topology.Allocator

	applying    sync.Mutex        // one change of the world at a time
	project     *manifest.Project // in force; changed while applying
	mu          sync.Mutex
	problem     string
	unprotected []string // what Cells lack, on purpose
	processes   []*process
	changed     chan struct{}
}

// Run starts the suite and keeps it running until ctx ends; then it drains and
// stops everything.
func Run(ctx context.Context, o Options, r Resources) error {
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		return fmt.Errorf("make the certificate authority: %w", err)
	}
	m, err := mesh.New(mesh.Config{
		Node: r.Node, CA: ca, Log: mesh.NewDecisionLog(keptDecisions),
		Logger:              slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		NetworkPolicyAction: mesh.Action(o.NetworkPolicyAction),
		ExternalWaypoints:   o.Waypoint == "envoy",
	})
	if err != nil {
		return err
	}
	defer m.Close()
	l := &launcher{
		options: o, resources: r, mesh: m, alloc: topology.NewAllocator(), changed: make(chan struct{}),
	}
	if _, err := os.Stat(filepath.Join(r.Root, "adversary", "manifests")); err != nil {
		l.options.Adversary = false
	}
	if o.Waypoint == "envoy" {
		l.envoys = &envoys{
			envoy: r.Envoy, config: r.Config, alloc: l.alloc, mesh: m,
			servers: map[topology.Ref]*xds.Server{}, now: map[topology.Ref]xds.Config{},
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	// The suite outlives ctx by its drain.
	if err := l.apply(context.WithoutCancel(ctx), change{stage: o.Stage, acceptLoss: o.AcceptLoss}); err != nil {
		l.stopAll()
		return err
	}
	stopServing, err := l.serve()
	if err != nil {
		l.stopAll()
		return err
	}
	defer stopServing()
	watching := make(chan error, 1)
	go func() { watching <- l.watch(ctx) }()
	select {
	case <-ctx.Done():
	case err := <-watching:
		if err != nil { // editing will not be noticed: all else works
			l.setProblem("manifest files are not watched: " + err.Error())
		}
		<-ctx.Done()
	}
	l.stopAll()
	return nil
}

// reconcile makes what runs what the workloads ask for.
func (l *launcher) reconcile(ctx context.Context, w *topology.World, loads []workload) error {
	l.mu.Lock()
	old := l.processes
	l.mu.Unlock()
	var next []*process
	var gone []*process
	for _, p := range old {
		i := slices.IndexFunc(loads, func(load workload) bool { return load.key() == p.workload.key() })
		if i < 0 || !loads[i].same(p.workload) {
			gone = append(gone, p)
		}
	}
	l.stop(gone, noLimit)
	for _, load := range loads {
		i := slices.IndexFunc(old, func(p *process) bool { return p.workload.same(load) })
		if i >= 0 {
			next = append(next, old[i])
			continue
		}
		p, err := l.add(w, load)
		if err != nil {
			l.stop(next, noLimit)
			return err
		}
		next = append(next, p)
		l.mu.Lock()
		l.processes = append(slices.Clone(next), missing(old, next)...)
		l.mu.Unlock()
		p.start(ctx) // admit knows it by then
	}
	l.mu.Lock()
	l.processes = next
	l.mu.Unlock()
	l.notify()
	return nil
}

// missing returns those of old that are still running and not yet in next.
func missing(old, next []*process) []*process {
	return slices.DeleteFunc(slices.Clone(old), func(p *process) bool {
		return slices.Contains(next, p) || slices.ContainsFunc(next,
			func(n *process) bool { return n.workload.key() == p.workload.key() })
	})
}

func (l *launcher) add(w *topology.World, load workload) (*process, error) {
	ref := load.ref()
	pod := w.Pod(ref)
	if pod == nil {
		return nil, fmt.Errorf("pod %v has no place in the world", ref)
	}
	network, err := l.resources.Node.AddPod(capture.PodSpec{
		Namespace: load.Namespace, Name: load.Deployment, IP: pod.IP, Ports: load.Ports,
		Resolve: func(name string) ([]netip.Addr, bool) { return l.world().Resolve(load.Namespace, name) },
	})
	if err != nil {
		return nil, err
	}
	p := &process{
		workload: load, pod: network, probeIP: capture.NodeIP, changed: l.notify,
		hostPID: func(pid int) int { return pid },
		output:  func(log io.Writer, from io.Reader) { _, _ = io.Copy(log, from) }, // it ends with the pipe
		ready:   func() {},
	}
	if n, ok := l.resources.Node.(capture.HostPIDs); ok {
		p.hostPID = n.HostPID
	}
	if load.Role == roleWaypoint {
		err = l.envoys.attach(ref, network)
		p.command = func() (*exec.Cmd, error) { return l.envoys.command(ref, pod.IP) }
		p.output = func(log io.Writer, from io.Reader) { l.envoys.output(ref, log, from) }
		p.ready = func() { l.mesh.SetWaypointReady(ref) }
	} else {
		err = l.mesh.AttachPod(ref, network)
		p.command = func() (*exec.Cmd, error) {
			return &exec.Cmd{
				Path: l.resources.Service, Args: []string{"service"},
				Env: p.environ(),
			}, nil
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect pod %v to the mesh: %w", ref, err), network.Close())
	}
	log := fmt.Sprintf("%s_%s.log", load.Cell, load.Component)
	p.openLog = func() (*os.File, error) {
		return os.OpenFile(filepath.Join(l.resources.Logs, log), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	}
	p.view = control.Pod{
		Cell: load.Cell, Component: load.Component, Namespace: load.Namespace, Role: load.Role,
		Address: pod.IP.String(), State: "starting", Log: log,
	}
	return p, nil
}

// stop drains processes at the same time and takes their pods away. None has
// more than limit.
func (l *launcher) stop(processes []*process, limit time.Duration) {
	var all sync.WaitGroup
	for _, p := range processes {
		all.Go(func() {
			p.stop(limit)
			l.mesh.DetachPod(p.workload.ref())
			// Its process is gone: what closing could say changes nothing.
			_ = p.pod.Close()
		})
	}
	all.Wait()
}

func (l *launcher) stopAll() {
	l.applying.Lock()
	defer l.applying.Unlock()
	l.mu.Lock()
	processes := l.processes
	l.mu.Unlock()
	l.stop(processes, endLimit)
}

// serve answers on the control socket and on the gateway's port.
func (l *launcher) serve() (stop func(), err error) {
	here := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	own := capture.NewHanded(here) // the launcher's way to its own gateway, whose port belongs to the host's network
	dial := func(ctx context.Context) (net.Conn, error) { return own.Dial(ctx, here) }
	attacks, err := newAttacks(l, dial)
	if err != nil {
		return nil, err
	}
	operator := &control.Operator{
		Token: l.resources.Token, Port: portOf(l.options.Gateway),
		Control: control.NewHandler(l, l.mesh.Decisions(), attacks), Dial: dial,
	}
	// Whoever may open the socket is the operator.
	inside := http.NewServeMux()
	inside.HandleFunc("/", operator.ServeRoutes)
	inside.Handle("/_artemis/", operator.Control)
	inside.HandleFunc("GET /_artemis/wiretap", l.wiretap)
	inside.HandleFunc("GET /_artemis/operator", operator.Tell)
	server := &http.Server{Handler: inside, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(controlListener{l.resources.Control}) }()
	go func() {
		_ = l.mesh.ServeGateway(l.resources.Gateway, mesh.Edge{Own: control.IsOperatorHost, Handler: operator,
			Admit: l.admit})
	}()
	go func() { _ = l.mesh.ServeGateway(own, mesh.Edge{}) }()
	go l.serveExec(l.resources.Execs)
	return func() {
		_ = server.Close()
		_ = l.resources.Execs.Close()
	}, nil
}

// roleConsole is the attacker's console: whoever reaches its route has attacks
// made.
const roleConsole = "adversary-console"

// admit keeps from the public origin what other pages would have a browser send,
// and the attacker's console.
func (l *launcher) admit(method, host string, header http.Header, to *topology.Service) *mesh.Refusal {
	if detail := control.ForeignOrigin(method, host, header); detail != "" {
		return &mesh.Refusal{Code: control.CodeForeignOrigin, Detail: detail}
	}
	for _, port := range to.Ports {
		for _, b := range to.Backends(port.Number) {
			if p := l.processOf(b.Pod.Namespace, b.Pod.Component); p != nil && p.workload.Role == roleConsole {
				return &mesh.Refusal{Code: control.CodeNotTheOperator, Detail: control.OperatorHint}
			}
		}
	}
	return nil
}

// controlListener turns away who is not to steer.
type controlListener struct{ net.Listener }

func (c controlListener) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if unix, ok := conn.(*net.UnixConn); !ok || fromOutside(unix) == nil {
			return conn, nil
		}
		_ = conn.Close()
	}
}

func (l *launcher) world() *topology.World {
	_, w := l.mesh.World()
	return w
}

func (l *launcher) stage() string {
	stage, _ := l.mesh.World()
	return stage
}

func (l *launcher) setProblem(text string) {
	l.mu.Lock()
	l.problem = text
	l.mu.Unlock()
	l.notify()
}

// find returns the process of a workload, nil where there is none.
func (l *launcher) find(is func(workload) bool) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.processes, func(p *process) bool { return is(p.workload) }); i >= 0 {
		return l.processes[i]
	}
	return nil
}

func (l *launcher) processOf(namespace, component string) *process {
	return l.find(func(w workload) bool { return w.Namespace == namespace && w.Component == component })
}

// runs reports whether a waypoint's process is there to take a configuration.
func (l *launcher) runs(ref topology.Ref) bool {
	p := l.find(func(w workload) bool { return w.ref() == ref })
	return p != nil && p.snapshot().Ready
}

func (l *launcher) notify() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// InForce returns the world that calls are judged by, and its stage.
func (l *launcher) InForce() (stage string, w *topology.World) { return l.mesh.World() }

// Changed is closed at the next change of the State.
func (l *launcher) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// State shows the suite as it is.
func (l *launcher) State() control.State {
	stage, world := l.mesh.World()
	l.mu.Lock()
	s := control.State{
		Stage: stage, Capture: l.resources.Node.Name(), CaptureNote: l.options.CaptureNote,
		Waypoint:  l.options.Waypoint,
		StartedAt: l.options.StartedAt, Gateway: l.options.Gateway, Problem: l.problem, Unprotected: l.unprotected,
		Pods: []control.Pod{},
	}
	processes := slices.Clone(l.processes)
	l.mu.Unlock()
	for _, p := range processes {
		view := p.snapshot()
		view.Protocol = "TCP"
		if pod := world.Pod(p.workload.ref()); pod != nil && (pod.Meshed || p.workload.Role == roleWaypoint) {
			view.Protocol, view.Identity = "HBONE", pod.Identity
		}
		s.Pods = append(s.Pods, view)
	}
	return s
}
