package launcher

import (
	"bufio"
	"bytes"
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
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/identity"
	"artemis.example/local/mesh"
	"artemis.example/local/xds"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

const (
	// configLimit bounds how long istiod's code may take for the configuration.
	configLimit = time.Minute
	// takeLimit bounds how long an Envoy may take to put it in force.
	takeLimit = 10 * time.Second
	// maxLine bounds a line of an Envoy's output that is looked at.
	maxLine = 64 << 10
)

// xdsAddress is where an Envoy finds its discovery services: like the name
// server's an address that no Service gets.
var xdsAddress = netip.MustParseAddrPort("10.96.0.12:15010")

// envoys are the Envoys that do the waypoints' work, configured by istiod's own
// code in a program of its own. A nil *envoys has none.
type envoys struct {
	envoy, config string // paths of the programs
	alloc         *topology.Allocator
	mesh          *mesh.Mesh

	mu      sync.Mutex
	servers map[topology.Ref]*xds.Server
	now     map[topology.Ref]xds.Config
}

// generate has the configuration of every waypoint of a project at a stage
// written, from the manifests that were read and checked, whatever the files hold
// by now.
func (e *envoys) generate(ctx context.Context, stage string, p *manifest.Project) ([]xds.Config, error) {
	if e == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, configLimit)
	defer cancel()
	request, err := json.Marshal(xds.Request{Stage: stage, Files: p.Files(), Addresses: e.alloc.Given()})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, e.config)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Env = []string{"PILOT_ENABLE_AMBIENT=true", "HOME=/nonexistent"}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("configure the waypoints with istiod's code: %w: %s", err,
			strings.TrimSpace(said.String()))
	}
	var configs []xds.Config
	if err := json.Unmarshal(out.Bytes(), &configs); err != nil {
		return nil, fmt.Errorf("configure the waypoints with istiod's code: %w", err)
	}
	return configs, nil
}

// set hands configurations to the Envoys and waits until those that run have
// taken them. When one refuses, all go back to what they had.
func (e *envoys) set(ctx context.Context, configs []xds.Config, running func(topology.Ref) bool) error {
	if e == nil {
		return nil
	}
	before := e.hand(configs)
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	for _, c := range configs {
		if !running(c.Waypoint) {
			continue // it takes it when it starts
		}
		if err := e.taken(ctx, c.Waypoint, running); err != nil {
			e.hand(before)
			return fmt.Errorf("waypoint %s: %w; its log says why", c.Waypoint, err)
		}
	}
	return nil
}

// taken waits until a waypoint's Envoy has what it was handed. There are
// configurations, such as a path template that does not parse, that end it.
func (e *envoys) taken(ctx context.Context, ref topology.Ref, running func(topology.Ref) bool) error {
	for {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		err := e.server(ref).Taken(short)
		cancel()
		switch {
		case err == nil || errors.Is(err, xds.ErrRefused):
			return err
		case !running(ref):
			return fmt.Errorf("%w: Envoy ended over it", xds.ErrRefused)
		case ctx.Err() != nil:
			return fmt.Errorf("it did not take the configuration within %v", takeLimit)
		}
	}
}

// hand returns what was handed out before.
func (e *envoys) hand(configs []xds.Config) (before []xds.Config) {
	for _, c := range configs {
		e.mu.Lock()
		if b, ok := e.now[c.Waypoint]; ok {
			before = append(before, b)
		}
		e.now[c.Waypoint] = c
		e.mu.Unlock()
		e.server(c.Waypoint).Set(c)
	}
	return before
}

func (e *envoys) server(ref topology.Ref) *xds.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.servers[ref]
	if s == nil {
		s = xds.NewServer(func() (identity.PEM, error) {
			source, err := e.mesh.Source(ref) // asked when Envoy asks: a new waypoint is known by then
			if err != nil {
				return identity.PEM{}, err
			}
			return source.PEM()
		})
		e.servers[ref] = s
	}
	return s
}

// workloads are the pods of the waypoints of a world.
func (e *envoys) workloads(w *topology.World) []workload {
	if e == nil {
		return nil
	}
	var out []workload
	for _, g := range w.Waypoints {
		out = append(out, workload{
			Namespace: g.Pod.Namespace, Deployment: g.Pod.Name, Cell: g.Pod.Cell, Component: g.Pod.Name,
			Role:           roleWaypoint,
			ServiceAccount: g.Pod.ServiceAccount, Ports: []uint16{xds.AdminPort}, Grace: 5 * time.Second,
			Readiness: probe{Path: "/ready", Port: xds.AdminPort, Period: 2 * time.Second, Timeout: time.Second,
				Failures: 3},
		})
	}
	return out
}

const roleWaypoint = "waypoint"

// attach connects a waypoint's pod to the mesh and to its discovery services.
func (e *envoys) attach(ref topology.Ref, pod capture.Pod) error {
	conns := capture.NewHanded(net.TCPAddrFromAddrPort(xdsAddress))
	server := &http.Server{Handler: e.server(ref), ReadHeaderTimeout: 10 * time.Second}
	err := e.mesh.AttachWaypoint(ref, &closingPod{pod, conns}, func(c capture.Captured) bool {
		if c.Dst != xdsAddress {
			return false
		}
		if conns.Hand(context.Background(), c.Conn) != nil {
			_ = c.Close()
		}
		return true
	})
	if err != nil {
		return err
	}
	go func() {
		_ = server.Serve(conns)
		_ = server.Close()
	}()
	return nil
}

// command is Envoy as the program of a waypoint's pod.
func (e *envoys) command(ref topology.Ref, ip netip.Addr) (*exec.Cmd, error) {
	e.server(ref).Restart()
	bootstrap, err := xds.Bootstrap(ref, ip, xdsAddress)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: e.envoy, Args: []string{
		"envoy", "--config-yaml", bootstrap, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn",
		"--component-log-level", "misc:error",
		"--file-flush-interval-msec", "10", "--drain-time-s", "1", "--drain-strategy", "immediate",
	}}, nil
}

// output reads an Envoy's output to its end: the access log becomes decisions, the
// rest goes to the pod's log.
func (e *envoys) output(ref topology.Ref, log io.Writer, from io.Reader) {
	for lines := bufio.NewReaderSize(from, maxLine); ; {
		line, _, err := lines.ReadLine() // a longer one comes in pieces
		if err != nil {
			return
		}
		access, ok, err := xds.ParseAccess(line)
		switch {
		case !ok:
			_, _ = log.Write(append(line, '\n'))
		case err != nil:
			fmt.Fprintf(log, "%v in %s\n", err, line)
		case access.Method != http.MethodConnect || access.Denied:
			e.mesh.NoteAccess(ref, access)
		}
	}
}

// closingPod ends the discovery services when the pod's traffic ends.
type closingPod struct {
	capture.Pod
	conns *capture.Handed
}

// Accept returns the next connection of the pod's program.
func (p *closingPod) Accept() (capture.Captured, error) {
	c, err := p.Pod.Accept()
	if err != nil {
		_ = p.conns.Close()
	}
	return c, err
}
