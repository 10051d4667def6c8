package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/manifest"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// somewhere stands for the address of a host of which only its name is known
// (RFC 5737).
var somewhere = netip.AddrFrom4([4]byte{203, 0, 113, 1})

// entries makes of every host of every ServiceEntry what istiod tells node proxies
// and waypoints of it (istio.io/istio pilot/pkg/serviceregistry/ambient,
// constructServiceEntries and serviceEntryWorkloadBuilder): a Service by another
// name, with an address of its own, whose endpoints are outside of the cluster.
func (b *builder) entries() error {
	for _, e := range slices.SortedFunc(slices.Values(b.Set.ServiceEntries), manifest.ByName) {
		given := b.endpoints(e)
		for _, host := range e.Spec.Hosts {
			s := &Service{Ref: Ref{e.Namespace, e.Name}, Entry: true, Host: strings.ToLower(host), Labels: e.Labels,
				backends: map[uint16][]Backend{}}
			if err := b.entryAddress(s, e); err != nil {
				return err
			}
			endpoints := given
			if endpoints == nil && e.Spec.WorkloadSelector == nil &&
				e.Spec.Resolution != networkingv1alpha3.ServiceEntry_STATIC {
				at := s.Host // what its name means, or with NONE the very address that is called
				if e.Spec.Resolution == networkingv1alpha3.ServiceEntry_NONE && s.VIP.IsValid() {
					at = s.VIP.String()
				}
				endpoints = []endpoint{{pod: b.external(e, at)}}
			}
			for _, p := range e.Spec.Ports {
				if strings.EqualFold(p.GetProtocol(), "udp") {
					continue // no mesh carries it
				}
				port := Port{Name: p.Name, Number: uint16(p.Number)}
				port.Protocol, port.HTTP2 = entryProtocol(p.Protocol)
				s.Ports = append(s.Ports, port)
				s.backends[port.Number] = nil
				for _, to := range endpoints {
					s.addEndpoint(to, p)
				}
			}
			b.bind(s)
			b.Services = append(b.Services, s)
		}
	}
	return nil
}

// endpoint is one that a ServiceEntry gives: a pod of the cluster or somebody
// outside of it, with the ports that it calls otherwise.
type endpoint struct {
	pod   *Pod
	ports map[string]uint32
}

func (s *Service) addEndpoint(to endpoint, p *networkingv1alpha3.ServicePort) {
	port := uint16(cmp.Or(to.ports[p.Name], p.TargetPort, p.Number))
	if named, ok := to.pod.Endpoint.Ports[p.Name]; ok {
		port = named
	}
	to.pod.Ports = append(to.pod.Ports, port)
	s.backends[uint16(p.Number)] = append(s.backends[uint16(p.Number)], Backend{to.pod, port})
}

// endpoints returns those that a ServiceEntry itself names, or selects.
func (b *builder) endpoints(e *istionetworkingv1.ServiceEntry) []endpoint {
	var out []endpoint
	for _, w := range e.Spec.Endpoints {
		out = append(out, endpoint{b.external(e, w.GetAddress()), w.GetPorts()})
	}
	for _, p := range b.Pods {
		if of := e.Spec.WorkloadSelector.GetLabels(); len(of) > 0 && p.Namespace == e.Namespace &&
			manifest.Selects(of, p.Labels) {
			out = append(out, endpoint{pod: p})
		}
	}
	return out
}

// external returns the end of a ServiceEntry that is at an address, or that a name
// means.
func (b *builder) external(e *istionetworkingv1.ServiceEntry, at string) *Pod {
	p := &Pod{Ref: Ref{e.Namespace, e.Name}, Kind: External, Component: e.Name, Host: strings.ToLower(at)}
	p.Cell = b.Namespaces[e.Namespace][LabelProject]
	p.Endpoint.IP = somewhere
	if ip, err := netip.ParseAddr(at); err == nil {
		p.IP, p.Endpoint.IP = ip, ip
	}
	b.External = append(b.External, p)
	return p
}

// entryAddress sets the address of a host: the ServiceEntry's, or one that istiod
// makes up, which it does not where requests keep the address that they have.
func (b *builder) entryAddress(s *Service, e *istionetworkingv1.ServiceEntry) (err error) {
	switch {
	case len(e.Spec.Addresses) > 0:
		if block, err := netip.ParsePrefix(e.Spec.Addresses[0]); err == nil {
			s.VIP = block.Masked().Addr()
		} else {
			s.VIP, _ = netip.ParseAddr(e.Spec.Addresses[0])
		}
	case e.Spec.Resolution != networkingv1alpha3.ServiceEntry_NONE:
		s.VIP, err = b.alloc.Entry(s.Ref, s.Host)
	}
	if s.VIP.IsValid() && b.byVIP[s.VIP] == nil {
		b.byVIP[s.VIP] = s
	}
	return err
}

// entryProtocol is what a ServiceEntry's port says of it (istio.io/istio
// pkg/config/protocol, Parse).
func entryProtocol(name string) (p Protocol, http2 bool) {
	switch strings.ToLower(name) {
	case "http", "http_proxy":
		return HTTP, false
	case "http2", "grpc", "grpc-web", "grpc-web-text":
		return HTTP, true
	case "":
		return Sniffed, false
	}
	return TCP, false
}
