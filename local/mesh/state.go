package mesh

import (
	"net/netip"
	"strings"
	"sync"

	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/netpol"
	"artemis.example/policy/peerauth"
	"artemis.example/policy/topology"
)

// state is a World with its policies compiled. It never changes; the next one
// replaces it as a whole.
type state struct {
	stage   string
	world   *topology.World
	network *netpol.Policies
	peer    *peerauth.Policies
	// engines are what node proxies decide by, per pod.
	engines   map[topology.Ref]*authz.Engine
	waypoints *authz.Waypoint
	// headers reports whether any policy looks at a request's header.
	headers bool
}

func compile(stage string, w *topology.World) *state {
	cfg := authz.Config{TrustDomain: topology.TrustDomain.Name()}
	policies := w.Set.AuthorizationPolicies
	s := &state{
		stage:     stage,
		world:     w,
		network:   netpol.New(w.Set.NetworkPolicies),
		peer:      peerauth.New("", w.Set.PeerAuthentications),
		engines:   make(map[topology.Ref]*authz.Engine, len(w.Pods)),
		waypoints: authz.NewWaypoint(cfg, policies),
	}
	node := authz.NewNodeProxy(cfg, policies)
	for _, p := range w.Pods {
		s.engines[p.Ref] = node.ForWorkload(p.Namespace, p.Labels)
	}
	for _, p := range policies {
		for _, r := range p.Spec.Rules {
			for _, c := range r.GetWhen() {
				s.headers = s.headers || strings.HasPrefix(c.GetKey(), "request.headers")
			}
		}
	}
	return s
}

// ruling is the outcome of a judgement, ready to be recorded.
type ruling struct {
	allowed bool
	layer   int
	policy  string
	rule    string
	reason  string
}

// admit decides at a pod's node proxy whether a connection may enter: by the
// mode of mutual TLS where it carries no identity, then by the L4 policies.
func (s *state) admit(pod *topology.Pod, principal string, source netip.Addr, port uint16) ruling {
	if !pod.Meshed {
		return ruling{allowed: true, reason: "the pod is not in the mesh"}
	}
	if principal == "" {
		if mode := s.peer.For(pod.Namespace, pod.Labels, port); mode.Mode == peerauth.Strict {
			return ruling{layer: 2, policy: mode.Policy, reason: "plaintext, where mutual TLS is STRICT"}
		}
	}
	r := s.engines[pod.Ref].Decide(&authz.Request{
		Principal: principal, SourceIP: source, RemoteIP: source, DestIP: pod.IP, DestPort: port,
	})
	return ruling{allowed: r.Allowed, layer: 2, policy: r.Policy, rule: r.Rule, reason: string(r.Reason)}
}

// readiness remembers which waypoints have ever been ready: one that never was
// is gone around, one that went away is not
// (istio.io/istio pilot/pkg/serviceregistry/ambient/waypoints.go).
type readiness struct {
	mu   sync.RWMutex
	ever map[topology.Ref]bool
}

func (r *readiness) set(ref topology.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ever == nil {
		r.ever = map[topology.Ref]bool{}
	}
	r.ever[ref] = true
}

func (r *readiness) forget(ref topology.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ever, ref)
}

func (r *readiness) is(ref topology.Ref) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ever[ref]
}

func peerOf(p *topology.Pod) decision.Peer {
	if p == nil {
		return decision.Peer{}
	}
	return decision.Peer{Identity: p.Identity, Namespace: p.Namespace, Cell: p.Cell, Component: p.Component}
}
