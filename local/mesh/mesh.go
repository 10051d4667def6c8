// Package mesh is the data path of the suite on one machine: the node proxy of
// every pod, the waypoints of the Cells and the north/south gateway. It moves
// bytes and requests as an ambient mesh does, over HBONE where pods are enrolled
// and in plaintext where they are not, and asks policy/evaluate for every decision.
// What there is and which way a call goes, policy/topology says; how bytes get in
// and out of a pod is local/capture's.
package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/hbone"
	"artemis.example/local/identity"
	"artemis.example/policy/topology"
)

// Action is what a refused connection looks like to the one who opens it.
type Action string

// What network policy engines do.
const (
	Reject Action = "reject" // refuse at once, as k3s' engine does
	Drop   Action = "drop"   // say nothing until the caller gives up
)

// Config is what a Mesh is made from. Node and CA are needed.
type Config struct {
	Node capture.Node
	CA   *identity.CA
	// Log takes the decisions; a new one when nil.
	Log *DecisionLog
	// Logger takes what operators should read. When nil, that is discarded, except
	// for panics: they go to slog.Default.
	Logger *slog.Logger
	// NetworkPolicyAction is Reject when empty.
	NetworkPolicyAction Action
	// ExternalWaypoints leaves the waypoints to other programs, such as Envoy: the
	// mesh serves none. AttachWaypoint, or whoever listens on a waypoint's address,
	// brings one; SetWaypointReady says when it answers, Source returns its identity.
	ExternalWaypoints bool
	// DropTimeout is how long Drop keeps a caller waiting; 75 s when 0.
	DropTimeout time.Duration
}

// ErrUnknownPod is wrapped where a pod is not part of the applied World.
var ErrUnknownPod = errors.New("no such pod in the manifests")

// Mesh is a running data path. Its methods may be called from many goroutines.
type Mesh struct {
	cfg   Config
	log   *slog.Logger
	state atomic.Pointer[state]
	pool  *hbone.Pool
	links linkSet
	// perPod bounds a pod's connections, each way.
	perPod int64
	calls  callCounter
	// ready holds the waypoints, by their Ref, that have ever been ready: one that never
	// was is gone around, one that went away is not
	// (istio.io/istio pilot/pkg/serviceregistry/ambient/waypoints.go).
	ready sync.Map
	next  atomic.Uint32 // spreads calls over the pods of a Service

	mu        sync.Mutex
	pods      map[topology.Ref]*nodeProxy
	waypoints map[topology.Ref]*waypoint
	external  map[topology.Ref]*externalWaypoint
	closed    bool

	gateway *gateway
	http2   *http2Server
}

// New returns a Mesh without a world: Apply comes first, then the pods.
func New(cfg Config) (*Mesh, error) {
	if cfg.Node == nil || cfg.CA == nil {
		return nil, errors.New("new mesh: a node and a CA are needed")
	}
	if cfg.Log == nil {
		cfg.Log = NewDecisionLog(0)
	}
	cfg.DropTimeout = cmp.Or(cfg.DropTimeout, 75*time.Second)
	m := &Mesh{
		cfg:       cfg,
		log:       cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		pods:      map[topology.Ref]*nodeProxy{},
		waypoints: map[topology.Ref]*waypoint{},
		external:  map[topology.Ref]*externalWaypoint{},
	}
	m.perPod = connsPerPod()
	m.pool = hbone.NewPool(cfg.Node.Dial)
	m.gateway = newGateway(m)
	m.http2 = newHTTP2Server(m)
	return m, nil
}

// Apply puts a World in force, at once and as a whole: the next connection and
// the next request are judged by it. Open connections that it forbids are cut, also
// those of which a waypoint sees bytes only. Those that would now travel another way
// take it with their next request where they carry HTTP/1, and end soon otherwise.
// stage is the name that records carry. On an error the World before stays in force.
func (m *Mesh) Apply(stage string, w *topology.World) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return net.ErrClosed
	}
	s := compile(stage, w)
	if err := m.startWaypoints(w); err != nil {
		return fmt.Errorf("apply stage %s: %w", stage, err)
	}
	if before := m.state.Load(); before != nil {
		s.follows(before)
	}
	m.state.Store(s)
	m.links.reevaluate(s)
	return nil
}

// AttachPod starts a pod's node proxy, which takes what the pod's program opens,
// and listens on the pod's address for what is meant for it. The pod has to be
// part of the applied World.
func (m *Mesh) AttachPod(ref topology.Ref, pod capture.Pod) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state.Load()
	switch {
	case m.closed:
		return net.ErrClosed
	case s == nil || s.world.Pod(ref) == nil:
		return fmt.Errorf("attach pod %s: %w", ref, ErrUnknownPod)
	case m.pods[ref] != nil:
		return fmt.Errorf("attach pod %s: it is attached already", ref)
	}
	n, err := m.newNodeProxy(s.world.Pod(ref), pod)
	if err != nil {
		return fmt.Errorf("attach pod %s: %w", ref, err)
	}
	m.pods[ref] = n
	n.start()
	return nil
}

// DetachPod ends a pod's node proxy, or what AttachWaypoint made, and every
// connection of it. The pod itself is the caller's to close.
func (m *Mesh) DetachPod(ref topology.Ref) {
	m.mu.Lock()
	n, e := m.pods[ref], m.external[ref]
	delete(m.pods, ref)
	delete(m.external, ref)
	if s := m.state.Load(); e != nil && s.world.WaypointGateway(ref) == nil {
		m.ready.Delete(ref)
	}
	m.mu.Unlock()
	if e != nil {
		e.close()
	}
	if n != nil {
		n.close()
	}
}

// ServeGateway serves the north/south gateway on a listener, with what else
// stands there, until Close or until the listener fails.
func (m *Mesh) ServeGateway(ln net.Listener, edge Edge) error {
	return m.gateway.serve(ln, edge)
}

// SetWaypointReady says that an external waypoint has become ready. Before that,
// and for good afterwards, it behaves as on a cluster: a waypoint that was never
// ready is gone around, one that went away is waited for in vain.
func (m *Mesh) SetWaypointReady(ref topology.Ref) {
	m.ready.Store(ref, true)
}

// Source returns the identity of a pod, a waypoint or the gateway of the applied
// World, for a process that stands in for it.
func (m *Mesh) Source(ref topology.Ref) (*identity.Source, error) {
	if s := m.state.Load(); s != nil {
		if p := s.world.Pod(ref); p != nil {
			return m.cfg.CA.Source(p.ID), nil
		}
	}
	return nil, fmt.Errorf("identity of %s: %w", ref, ErrUnknownPod)
}

// containPanic is deferred in what serves one connection: a panic there breaks that
// connection and goes to the log, as in net/http.
func (m *Mesh) containPanic(c net.Conn) {
	if v := recover(); v != nil {
		abort(c)
		cmp.Or(m.cfg.Logger, slog.Default()).Error("serving a connection panicked",
			"remote", c.RemoteAddr().String(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
}

// Decisions returns the decision log.
func (m *Mesh) Decisions() *DecisionLog { return m.cfg.Log }

// World returns what is in force: the stage's name and the World, nil before the
// first Apply.
func (m *Mesh) World() (stage string, w *topology.World) {
	if s := m.state.Load(); s != nil {
		return s.stage, s.world
	}
	return "", nil
}

// Close ends every listener and connection of the mesh.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	pods, waypoints, external := m.pods, m.waypoints, m.external
	m.pods, m.waypoints = map[topology.Ref]*nodeProxy{}, map[topology.Ref]*waypoint{}
	m.external = map[topology.Ref]*externalWaypoint{}
	m.mu.Unlock()
	err := m.gateway.close()
	m.http2.close()
	for _, n := range pods {
		n.close()
	}
	for _, w := range waypoints {
		w.stop()
	}
	for _, e := range external {
		e.close()
	}
	m.links.close()
	m.pool.Close()
	return err
}
