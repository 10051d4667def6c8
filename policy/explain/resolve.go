package explain

import (
	"cmp"
	"net/netip"

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
			Address: pod.Host,
		}
		if pod.IP.IsValid() {
			p.Address = netip.AddrPortFrom(pod.IP, way.To.Port).String()
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

func podName(p *topology.Pod) string {
	if p.Component == "ingress" && p.Kind == topology.Ingress {
		return "ingress"
	}
	return cmp.Or(p.Cell, p.Namespace) + "/" + p.Component
}
