package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
)

func callerPeer(c topology.Caller) decision.Peer {
	p := decision.Peer{Identity: c.Identity, Namespace: c.Endpoint.Namespace, Address: addr(c.Endpoint.IP)}
	if c.Pod != nil {
		p.Cell, p.Component = c.Pod.Cell, c.Pod.Component
	}
	return p
}

// destinationPeer describes what a call is meant for, with the pod that answers.
func destinationPeer(way *topology.Way) decision.Peer {
	var p decision.Peer
	pod := way.To.Pod
	if n := len(way.Legs); n > 0 && way.Failure == "" {
		pod = way.Legs[n-1].Pod
	}
	if pod != nil {
		p = decision.Peer{
			Identity: pod.Identity, Namespace: pod.Namespace, Cell: pod.Cell, Component: pod.Component,
			Address: netip.AddrPortFrom(pod.IP, way.To.Port).String(),
		}
	}
	if s := way.To.Service; s != nil {
		p.Namespace, p.Service, p.Address = s.Namespace, s.Name, ""
		if s.VIP.IsValid() {
			p.Address = netip.AddrPortFrom(s.VIP, way.To.Port).String()
		}
	}
	return p
}

func (x *Explainer) caller(name string) (topology.Caller, error) {
	if strings.HasPrefix(name, "spiffe://") {
		return x.world.Identity(name)
	}
	if name == "ingress" {
		return x.world.Gateway.Caller(), nil
	}
	pods := x.pods(name)
	switch len(pods) {
	case 1:
		return pods[0].Caller(), nil
	case 0:
		return topology.Caller{}, fmt.Errorf("--from %s: nobody of that name; there are %s", name, strings.Join(x.names(), ", "))
	}
	return topology.Caller{}, fmt.Errorf("--from %s: %d pods go by that name; say NAMESPACE/DEPLOYMENT", name, len(pods))
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

func (x *Explainer) target(name string, port uint16) (topology.Destination, error) {
	if rest, ok := strings.CutPrefix(name, "pod:"); ok {
		pods := x.pods(rest)
		if len(pods) != 1 {
			return topology.Destination{}, fmt.Errorf("--to %s: %d pods go by that name", name, len(pods))
		}
		if port == 0 && len(pods[0].Ports) > 0 {
			port = pods[0].Ports[0]
		}
		return topology.Destination{Pod: pods[0], Port: port}, nil
	}
	services := x.services(name)
	switch len(services) {
	case 1:
	case 0:
		return topology.Destination{}, fmt.Errorf("--to %s: no Service of that name, and no Service of a component of that name", name)
	default:
		return topology.Destination{}, fmt.Errorf("--to %s: %d Services go by that name; say NAMESPACE/SERVICE", name, len(services))
	}
	s := services[0]
	if port == 0 && len(s.Ports) > 0 {
		port = s.Ports[0].Number
	}
	if _, ok := s.Port(port); !ok {
		return topology.Destination{}, fmt.Errorf("--to %s: the Service has no port %d", name, port)
	}
	return topology.Destination{Service: s, Port: port}, nil
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
