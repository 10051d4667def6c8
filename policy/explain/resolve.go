package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/decision"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// end is who opens a connection.
type end struct {
	pod      *topology.Pod // nil for an identity without a pod
	identity string
	endpoint netpol.Endpoint
	meshed   bool
}

func (e end) peer() decision.Peer {
	p := decision.Peer{Identity: e.identity, Namespace: e.endpoint.Namespace, Address: addr(e.endpoint.IP)}
	if e.pod != nil {
		p.Cell, p.Component = e.pod.Cell, e.pod.Component
		if !e.meshed {
			p.Identity = "" // it has none that it could prove
		}
	}
	return p
}

// aim is what a call is meant for.
type aim struct {
	service *topology.Service // nil for a pod's own address
	pod     *topology.Pod     // nil where the Service has none
	port    uint16            // as addressed
	target  uint16            // on the pod
}

func (a aim) peer() decision.Peer {
	p := decision.Peer{}
	if a.pod != nil {
		p = decision.Peer{Identity: a.pod.Identity, Namespace: a.pod.Namespace, Cell: a.pod.Cell, Component: a.pod.Component, Address: fmt.Sprintf("%s:%d", a.pod.IP, a.port)}
	}
	if a.service != nil {
		p.Namespace, p.Service, p.Address = a.service.Namespace, a.service.Name, ""
		if a.service.VIP.IsValid() {
			p.Address = fmt.Sprintf("%s:%d", a.service.VIP, a.port)
		}
	}
	return p
}

// waypoint returns the one that the call goes through, if it is a mesh's caller's.
func (a aim) waypoint(gateway bool) *topology.WaypointGateway {
	switch {
	case a.service == nil:
		return nil
	case gateway:
		return a.service.IngressWaypoint
	}
	return a.service.Waypoint
}

func podEnd(p *topology.Pod) end {
	return end{pod: p, identity: p.Identity, endpoint: p.Endpoint, meshed: p.Meshed || p.Kind != topology.App}
}

func (x *Explainer) caller(name string) (end, error) {
	if strings.HasPrefix(name, "spiffe://") {
		return x.identity(name)
	}
	if name == "ingress" {
		return podEnd(x.world.Gateway), nil
	}
	pods := x.pods(name)
	switch len(pods) {
	case 1:
		return podEnd(pods[0]), nil
	case 0:
		return end{}, fmt.Errorf("--from %s: nobody of that name; there are %s", name, strings.Join(x.names(), ", "))
	}
	return end{}, fmt.Errorf("--from %s: %d pods go by that name; say NAMESPACE/DEPLOYMENT", name, len(pods))
}

func (x *Explainer) identity(name string) (end, error) {
	id, err := spiffeid.FromString(name)
	if err != nil {
		return end{}, fmt.Errorf("--from %s: %w", name, err)
	}
	if p := x.world.PodOf(id.String()); p != nil {
		return podEnd(p), nil
	}
	// Nobody has it, but somebody might: a pod of that namespace without labels.
	e := end{identity: id.String(), meshed: true}
	if parts := strings.Split(id.Path(), "/"); len(parts) == 5 && parts[1] == "ns" {
		e.endpoint.Namespace = parts[2]
		if ns := x.world.Namespaces[parts[2]]; ns != nil {
			e.endpoint.NamespaceLabels = ns.Labels
			e.meshed = ns.Labels[topology.LabelDataplaneMode] == "ambient"
		}
	}
	return e, nil
}

// pods returns those that a name can mean: CELL/COMPONENT, NAMESPACE/DEPLOYMENT, or
// either without what stands before the slash.
func (x *Explainer) pods(name string) []*topology.Pod {
	where, what, qualified := strings.Cut(name, "/")
	if !qualified {
		where, what = "", name
	}
	var out []*topology.Pod
	for _, p := range x.world.Pods {
		if (p.Component == what || p.Name == what) && (where == "" || p.Cell == where || p.Namespace == where) {
			out = append(out, p)
		}
	}
	return out
}

func (x *Explainer) names() []string {
	out := []string{"ingress"}
	for _, p := range x.world.Pods {
		if p.Kind == topology.App {
			out = append(out, podName(p))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func podName(p *topology.Pod) string {
	if p.Kind == topology.Ingress {
		return "ingress"
	}
	return cmp.Or(p.Cell, p.Namespace) + "/" + p.Component
}

func (x *Explainer) target(name string, port uint16) (aim, error) {
	if rest, ok := strings.CutPrefix(name, "pod:"); ok {
		pods := x.pods(rest)
		if len(pods) != 1 {
			return aim{}, fmt.Errorf("--to %s: %d pods go by that name", name, len(pods))
		}
		a := aim{pod: pods[0], port: port, target: port}
		if port == 0 && len(pods[0].Ports) > 0 {
			a.port, a.target = pods[0].Ports[0], pods[0].Ports[0]
		}
		return a, nil
	}
	services := x.services(name)
	switch len(services) {
	case 1:
	case 0:
		return aim{}, fmt.Errorf("--to %s: no Service of that name, and no Service of a component of that name", name)
	default:
		return aim{}, fmt.Errorf("--to %s: %d Services go by that name; say NAMESPACE/SERVICE", name, len(services))
	}
	s := services[0]
	if port == 0 && len(s.Ports) > 0 {
		port = s.Ports[0].Number
	}
	if _, ok := s.Port(port); !ok {
		return aim{}, fmt.Errorf("--to %s: the Service has no port %d", name, port)
	}
	a := aim{service: s, port: port, target: port}
	if backends := s.Backends(port); len(backends) > 0 {
		a.pod, a.target = backends[0].Pod, backends[0].Port
	}
	return a, nil
}

// services returns the Services that a name can mean: by their own name, else by
// the component behind them.
func (x *Explainer) services(name string) []*topology.Service {
	where, what, qualified := strings.Cut(name, "/")
	if !qualified {
		where, what = "", name
	}
	in := func(namespace string) bool {
		if where == "" || namespace == where {
			return true
		}
		ns := x.world.Namespaces[namespace]
		return ns != nil && ns.Labels[topology.LabelProject] == where
	}
	var named, behind []*topology.Service
	for _, s := range x.world.Services {
		if !in(s.Namespace) {
			continue
		}
		if s.Name == what {
			named = append(named, s)
			continue
		}
		for _, p := range s.Ports {
			if slices.ContainsFunc(s.Backends(p.Number), func(b topology.Backend) bool { return b.Pod.Component == what }) {
				behind = append(behind, s)
				break
			}
		}
	}
	if len(named) > 0 {
		return named
	}
	return behind
}
