package analysis

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/topology"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// workload is what calls end at: the pods of one Component, or of one Deployment
// outside of the Cells.
type workload struct{ namespace, component string }

func workloadOf(p *topology.Pod) workload { return workload{p.Namespace, p.Component} }

// destination is one way to a workload as those who call it write it.
type destination struct {
	key  string // the same in two states of the manifests
	name string // for people
	pod  *topology.Pod
	to   topology.Destination
	// unwritten is a Service over the pod that nobody has written yet: the waypoint
	// that its namespace's Services go through, and what its port is named.
	unwritten *topology.WaypointGateway
	protocol  topology.Protocol
	anyPort   bool // its port is for whoever writes it to choose
	// bytes is set where something that is no HTTP may be treated otherwise.
	bytes bool
	// gatewayName and routes are of the gateway whose callers it is for.
	gatewayName string
	routes      *topology.World
}

// ways returns how calls to the destination end at its pod.
func (d *destination) ways(w *topology.World, from topology.Caller) []topology.Way {
	if d.unwritten == nil {
		ways := w.Ways(from, d.to)
		return slices.DeleteFunc(ways, func(w topology.Way) bool {
			return w.Failure == "" && w.Legs[len(w.Legs)-1].Pod != d.pod
		})
	}
	if !from.Meshed {
		return []topology.Way{{From: from, To: d.to, Failure: "callers outside of the mesh go to the pod's address"}}
	}
	first := topology.Leg{
		From: from, Pod: d.unwritten.Pod, HBONE: true, Port: topology.HBONEPort, Waypoint: d.unwritten,
		Protocol:  d.protocol,
		Authority: netip.AddrPortFrom(netip.IPv4Unspecified(), d.to.Port),
	}
	second := w.Way(d.unwritten.Pod.Caller(), d.to, topology.Live{})
	return []topology.Way{{From: from, To: d.to, Legs: append([]topology.Leg{first}, second.Legs...),
		Failure: second.Failure}}
}

// gateway reports whether the destination is for those who come through the
// north/south gateway.
func (d *destination) gateway() bool { return d.to.Route != nil }

// destinations returns every way to the pods of a workload, in order: each port of
// each Service over them, what a Service that nobody wrote would be, the pods'
// own addresses, the routes of the gateway.
func (s *side) destinations(of workload) []*destination {
	if out, ok := s.found[of]; ok {
		return out
	}
	var out []*destination
	seen := map[string]bool{}
	place := 0
	add := func(d *destination) {
		if place > 0 { // another pod of the workload, of which other policies may be
			d.key += " " + d.pod.Name
		}
		if !seen[d.key] {
			seen[d.key] = true
			out = append(out, d)
		}
	}
	for i, p := range s.pods(of) {
		place = i
		for _, to := range s.offers(p) {
			switch {
			case to.Service != nil:
				add(serviceDestination(p, to))
			case to.Route != nil:
				add(s.routeDestination(p, to))
			default:
				add(s.podDestination(p, to.Port))
			}
		}
		for _, g := range s.world.Waypoints {
			if !g.Services || !s.world.Admits(g, p.Namespace) || p.Kind == topology.External {
				continue
			}
			at := ""
			if g.Pod.Namespace != p.Namespace {
				at = ", on waypoint " + g.Pod.Ref.String()
			}
			for _, port := range s.ports(p) {
				for protocol, word := range map[topology.Protocol]string{topology.HTTP: "an HTTP port",
					topology.TCP: "a TCP port"} {
					add(&destination{
						key: fmt.Sprintf("4 unwritten %s %d %s", g.Pod.Ref, port, word),
						name: fmt.Sprintf("a Service that nobody wrote%s, with %s, to port %s", at, word,
							s.words(p, port)),
						pod: p, to: topology.Destination{Pod: p, Port: port}, unwritten: g, protocol: protocol,
						anyPort: true, bytes: protocol != topology.HTTP,
					})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b *destination) int { return strings.Compare(a.key, b.key) })
	if s.found == nil {
		s.found = map[workload][]*destination{}
	}
	s.found[of] = out
	return out
}

// offers returns what World.Destinations does, for all pods at once: that looks at every
// Service for each pod.
func (s *side) offers(p *topology.Pod) []topology.Destination {
	if s.offered == nil {
		s.offered = map[*topology.Pod][]topology.Destination{}
		add := func(to topology.Destination, service *topology.Service, port uint16) {
			for i, b := range service.Backends(port) {
				if !slices.ContainsFunc(service.Backends(port)[:i],
					func(o topology.Backend) bool { return o.Pod == b.Pod }) {
					s.offered[b.Pod] = append(s.offered[b.Pod], to)
				}
			}
		}
		for _, v := range s.world.Services {
			for _, port := range v.Ports {
				add(topology.Destination{Service: v, Port: port.Number}, v, port.Number)
			}
		}
		for _, pod := range slices.Concat(s.world.Pods, s.world.External) {
			for _, port := range s.ports(pod) {
				s.offered[pod] = append(s.offered[pod], topology.Destination{Pod: pod, Port: port})
			}
		}
		for _, g := range s.world.Gateways {
			for i := range g.Routes {
				if r := &g.Routes[i]; r.Service != nil {
					add(topology.Destination{Route: r}, r.Service, r.Port)
				}
			}
		}
	}
	return s.offered[p]
}

func serviceDestination(p *topology.Pod, to topology.Destination) *destination {
	port, _ := to.Service.Port(to.Port)
	target := uint16(0) // on the pod: another one is another destination
	for _, b := range to.Service.Backends(to.Port) {
		if b.Pod == p {
			target = b.Port
		}
	}
	d := &destination{
		key:  fmt.Sprintf("1 service %s %d %d", to.Service.Ref, to.Port, target),
		name: fmt.Sprintf("%s %s:%d", to.Service.Kind(), to.Service.Name, to.Port),
		pod:  p, to: to, bytes: to.Service.Waypoint != nil && port.Protocol != topology.HTTP,
	}
	if to.Service.Entry {
		d.key = fmt.Sprintf("1 entry %s %s %d %s:%d", to.Service.Ref, to.Service.Host, to.Port, p.Host, target)
	}
	return d
}

func (s *side) podDestination(p *topology.Pod, port uint16) *destination {
	d := &destination{
		key:  fmt.Sprintf("2 pod %d", port),
		name: "pod address :" + s.words(p, port),
		pod:  p, to: topology.Destination{Pod: p, Port: port},
	}
	if p.Kind == topology.External {
		d.key = fmt.Sprintf("2 external %s %d", p.Host, port)
		d.name = fmt.Sprintf("the address of %s :%d", p.Host, port)
	}
	return d
}

func (s *side) routeDestination(p *topology.Pod, to topology.Destination) *destination {
	r := to.Route
	path := cmp.Or(r.Path, "/")
	if r.Exact {
		path = "=" + path
	}
	d := &destination{pod: p, to: to}
	for _, g := range s.world.Gateways {
		if slices.ContainsFunc(g.Routes, func(o topology.Route) bool {
			return sameRule(&o, r) && o.Service == r.Service && o.Port == r.Port
		}) {
			d.gatewayName, d.routes = s.gatewayName(g), &topology.World{Routes: g.Routes}
			break
		}
	}
	d.key = fmt.Sprintf("3 route %s %s %s %t %s %s %d", d.gatewayName, strings.Join(r.Hostnames, ","), path, r.Rewrites,
		r.Rewrite, r.Service.Ref, r.Port)
	d.name = fmt.Sprintf("gateway %s", path)
	return d
}

// sameRule reports whether two routes are one rule of an HTTPRoute, with two backends
// perhaps.
func sameRule(a, b *topology.Route) bool {
	return a.Ref == b.Ref && a.Rule == b.Rule && a.Path == b.Path && a.Exact == b.Exact
}

func (s *side) pods(of workload) []*topology.Pod {
	return s.byWorkload()[of]
}

// byWorkload returns the pods of every workload of the manifests, in order.
func (s *side) byWorkload() map[workload][]*topology.Pod {
	if s.workloads == nil {
		s.workloads = map[workload][]*topology.Pod{}
		for _, p := range slices.Concat(s.world.Pods, s.world.External) {
			if p.Kind == topology.App || p.Kind == topology.External {
				s.workloads[workloadOf(p)] = append(s.workloads[workloadOf(p)], p)
			}
		}
	}
	return s.workloads
}

// Name is how people name a pod: CELL/COMPONENT.
func Name(p *topology.Pod) string {
	if p.Kind == topology.Ingress {
		return "ingress"
	}
	return cmp.Or(p.Cell, p.Namespace) + "/" + p.Component
}

// ports returns the ports of a pod at which calls are looked at: those that its
// manifests name. A pod for which none is named may listen on any: a port of each span
// that no policy cuts.
func (s *side) ports(p *topology.Pod) []uint16 {
	if len(p.Ports) > 0 || p.Kind == topology.External {
		return p.Ports
	}
	if s.spans == nil {
		s.spans = map[string][]uint16{}
	}
	if s.spans[p.Namespace] == nil {
		s.spans[p.Namespace] = portSpans(p.Namespace, s.worlds)
	}
	return s.spans[p.Namespace]
}

// words are a port of a pod for people, with all for which it stands.
func (s *side) words(p *topology.Pod, port uint16) string {
	spans := s.ports(p)
	if i, found := slices.BinarySearch(spans, port); found && len(p.Ports) == 0 {
		high := uint16(math.MaxUint16)
		if i+1 < len(spans) {
			high = spans[i+1] - 1
		}
		if high > port {
			return fmt.Sprintf("%d-%d", port, high)
		}
	}
	return strconv.Itoa(int(port))
}

// portSpans returns the first port of each span of ports that the policies of the
// worlds treat alike at pods of a namespace, ascending.
func portSpans(namespace string, worlds []*topology.World) []uint16 {
	out := []uint16{1}
	cut := func(low, high int) {
		for _, at := range []int{low, high + 1} {
			if at > 0 && at <= math.MaxUint16 {
				out = append(out, uint16(at))
			}
		}
	}
	cutAll := func(ports ...[]string) {
		for _, port := range slices.Concat(ports...) {
			if n, err := strconv.Atoi(port); err == nil {
				cut(n, n)
			}
		}
	}
	for _, w := range worlds {
		concerns := func(of string) bool {
			return of == namespace || of == catalog.RootNamespace ||
				slices.ContainsFunc(w.Waypoints, func(g *topology.WaypointGateway) bool {
					return g.Pod.Namespace == of && w.Admits(g, namespace)
				})
		}
		for _, policy := range w.Set.NetworkPolicies {
			var ports []networkingv1.NetworkPolicyPort
			for _, rule := range policy.Spec.Egress { // of callers, wherever they are
				ports = append(ports, rule.Ports...)
			}
			if concerns(policy.Namespace) {
				for _, rule := range policy.Spec.Ingress {
					ports = append(ports, rule.Ports...)
				}
			}
			for _, port := range ports {
				if port.Port != nil && port.Port.Type == intstr.Int {
					cut(port.Port.IntValue(), int(*cmp.Or(port.EndPort, &port.Port.IntVal)))
				}
			}
		}
		for _, policy := range w.Set.AuthorizationPolicies {
			if !concerns(policy.Namespace) {
				continue
			}
			for _, rule := range policy.Spec.GetRules() {
				for _, to := range rule.GetTo() {
					cutAll(to.GetOperation().GetPorts(), to.GetOperation().GetNotPorts())
				}
				for _, when := range rule.GetWhen() {
					if when.GetKey() == "destination.port" {
						cutAll(when.GetValues(), when.GetNotValues())
					}
				}
			}
		}
		for _, policy := range w.Set.PeerAuthentications {
			for port := range policy.Spec.GetPortLevelMtls() {
				if concerns(policy.Namespace) {
					cut(int(port), int(port))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
