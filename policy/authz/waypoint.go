package authz

import (
	"slices"
	"strings"
	"sync"

	"artemis.example/catalog"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Waypoint decides as the waypoints of a mesh do: Envoy with what istiod makes
// of the policies. It uses a policy only where a targetRef of it attaches
// (istio.io/istio pilot/pkg/model/policyattachment.go).
type Waypoint struct {
	services, gateways map[Target][]*policy
	classes            []*policy

	mu      sync.RWMutex
	engines map[endpoint]*Engine
}

// Target is what a policy can target: a Service, or a ServiceEntry.
type Target struct {
	Namespace, Name string
	Entry           bool // a ServiceEntry
}

type endpoint struct {
	gateway Target
	to      Target
}

// policy is one policy with its rules compiled for both kinds of chain.
type policy struct {
	key         string
	deny        bool
	http, tcp   []rule
	enforceable bool // not a dry run
	httpSkips   []Skip
	tcpSkips    []Skip
}

// NewWaypoint compiles the policies. Those that no waypoint uses are left out.
func NewWaypoint(cfg Config, policies []*securityv1.AuthorizationPolicy) *Waypoint {
	cfg = cfg.withDefaults()
	w := &Waypoint{services: map[Target][]*policy{}, gateways: map[Target][]*policy{}, engines: map[endpoint]*Engine{}}
	for _, p := range policies {
		refs := targets(p)
		if len(refs) == 0 || !(isAllow(p) || isDeny(p)) {
			continue
		}
		compiled := compileEnvoy(cfg, p)
		for _, r := range refs {
			at := Target{Namespace: p.Namespace, Name: r.name}
			switch {
			case (r.group == "" || r.group == "core") && r.kind == "Service":
				w.services[at] = appendOnce(w.services[at], compiled)
			case r.group == "networking.istio.io" && r.kind == "ServiceEntry":
				at.Entry = true
				w.services[at] = appendOnce(w.services[at], compiled)
			case r.group == "gateway.networking.k8s.io" && r.kind == "Gateway" && (r.namespace == "" ||
				r.namespace == p.Namespace):
				w.gateways[at] = appendOnce(w.gateways[at], compiled)
			case r.group == "gateway.networking.k8s.io" && r.kind == "GatewayClass" &&
				r.name == catalog.WaypointClass && p.Namespace == cfg.RootNamespace:
				w.classes = appendOnce(w.classes, compiled)
			}
		}
	}
	return w
}

func appendOnce(list []*policy, p *policy) []*policy {
	if slices.Contains(list, p) {
		return list
	}
	return append(list, p)
}

// ForService returns the engine of a Service's chain on a waypoint of its own
// namespace. With an empty service it returns that of the chains which belong to
// no Service. The engine is made once.
func (w *Waypoint) ForService(namespace, gateway, service string) *Engine {
	return w.At(namespace, gateway, Target{Namespace: namespace, Name: service})
}

// At returns the engine of the chain of a Service or ServiceEntry on a waypoint of
// any namespace: the policies that target the Gateway are of its namespace, those
// that target the Service of the Service's.
func (w *Waypoint) At(gatewayNamespace, gateway string, to Target) *Engine {
	if w == nil {
		return nil
	}
	key := endpoint{Target{Namespace: gatewayNamespace, Name: gateway}, to}
	w.mu.RLock()
	e, ok := w.engines[key]
	w.mu.RUnlock()
	if ok {
		return e
	}
	attached := slices.Clone(w.classes)
	for _, p := range w.gateways[key.gateway] {
		attached = appendOnce(attached, p)
	}
	if to.Name != "" {
		for _, p := range w.services[to] {
			attached = appendOnce(attached, p)
		}
	}
	e = newEngine(attached)
	w.mu.Lock()
	defer w.mu.Unlock()
	if first, ok := w.engines[key]; ok {
		return first
	}
	w.engines[key] = e
	return e
}

// newEngine merges policies of one target. Envoy holds rules by name, in the
// order of the names, whatever policy they come from: the first that matches is
// the one it reports.
func newEngine(policies []*policy) *Engine {
	e := &Engine{}
	for _, p := range policies {
		if !p.enforceable {
			continue
		}
		e.http.skips = append(e.http.skips, p.httpSkips...)
		e.tcp.skips = append(e.tcp.skips, p.tcpSkips...)
		if p.deny {
			e.http.deny = append(e.http.deny, p.http...)
			e.tcp.deny = append(e.tcp.deny, p.tcp...)
			continue
		}
		e.http.allow = append(e.http.allow, p.http...)
		e.tcp.allow = append(e.tcp.allow, p.tcp...)
		e.http.closers = append(e.http.closers, p.key)
		e.http.closed, e.tcp.closed = true, true
	}
	for _, rules := range [][]rule{e.http.deny, e.http.allow, e.tcp.deny, e.tcp.allow} {
		slices.SortStableFunc(rules, func(a, b rule) int { return strings.Compare(a.name, b.name) })
	}
	slices.Sort(e.http.closers)
	e.tcp.closers = e.http.closers
	return e
}

func compileEnvoy(cfg Config, p *securityv1.AuthorizationPolicy) *policy {
	out := &policy{key: p.Namespace + "/" + p.Name, deny: isDeny(p), enforceable: !dryRun(p)}
	for i, r := range p.Spec.Rules {
		if r == nil {
			continue
		}
		id := RuleID(p.Namespace, p.Name, i)
		for _, chain := range []struct {
			tcp   bool
			rules *[]rule
			skips *[]Skip
		}{{false, &out.http, &out.httpSkips}, {true, &out.tcp, &out.tcpSkips}} {
			d := envoy{namespace: p.Namespace, trustDomain: cfg.TrustDomain, tcp: chain.tcp, deny: out.deny}
			d.skip = func(field string, why error) {
				s := Skip{Policy: out.key, Rule: id, Field: field, Why: why.Error(), Whole: !out.deny &&
					why != errNoAddress}
				if !slices.Contains(*chain.skips, s) {
					*chain.skips = append(*chain.skips, s)
				}
			}
			if compiled, err := compileRule(id, out.key, r, d.clause); err == nil {
				*chain.rules = append(*chain.rules, compiled)
			} // else the narrower allow; the skip says so
		}
	}
	return out
}

// NewEngine compiles one policy by itself, whatever it is attached to, as a waypoint
// would.
func NewEngine(cfg Config, p *securityv1.AuthorizationPolicy) *Engine {
	return newEngine([]*policy{compileEnvoy(cfg.withDefaults(), p)})
}
