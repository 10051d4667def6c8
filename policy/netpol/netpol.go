// Package netpol decides what Kubernetes NetworkPolicies allow, per connection,
// on the API's own types: layer 1, the perimeter. It follows the API's
// documentation (k8s.io/api/networking/v1): policies add up, a pod that none
// selects for a direction is open in it, and a connection has to be allowed at
// both ends. Policies are compiled once; a decision allocates nothing.
package netpol

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Endpoint is one end of a connection as the packet shows it. An end that is no
// pod has an IP only.
type Endpoint struct {
	IP              netip.Addr
	Namespace       string // empty for an end that is no pod
	NamespaceLabels map[string]string
	PodLabels       map[string]string
	// Ports are the named ports of the pod's containers, where policies name any.
	Ports map[string]uint16
}

// Direction is which side of a connection a policy looks at.
type Direction string

// The directions.
const (
	Egress  Direction = "egress"
	Ingress Direction = "ingress"
)

// Result is one decision.
type Result struct {
	Allowed bool
	// Direction is the side that refused; empty when the connection is allowed.
	Direction Direction
	// Policy is "namespace/name" of the policy that admitted the connection at
	// its destination, or, refused, the first of those that closed the side that
	// refused it. Empty where no policy selects the destination.
	Policy string
}

// Policies is a compiled set of NetworkPolicies.
type Policies struct {
	ingress, egress map[string]*side // by namespace
}

type policy struct {
	key      string
	selector selector
	rules    []rule
}

type rule struct {
	peers []peer
	ports []port
}

type peer struct {
	block      netip.Prefix
	except     []netip.Prefix
	byAddress  bool
	namespace  string // the policy's own, where no namespaceSelector is given
	namespaces *selector
	pods       *selector
}

type port struct {
	any      bool
	from, to uint16
	name     string
	tcp      bool
}

// New compiles the policies. A selector that the API server would refuse
// matches nothing.
func New(policies []*networkingv1.NetworkPolicy) *Policies {
	ingress, egress := map[string][]policy{}, map[string][]policy{}
	for _, in := range policies {
		base := policy{key: in.Namespace + "/" + in.Name, selector: newSelector(&in.Spec.PodSelector)}
		if isolates(in, networkingv1.PolicyTypeIngress) {
			c := base
			for _, r := range in.Spec.Ingress {
				c.rules = append(c.rules, newRule(in.Namespace, r.From, r.Ports))
			}
			ingress[in.Namespace] = append(ingress[in.Namespace], c)
		}
		if isolates(in, networkingv1.PolicyTypeEgress) {
			c := base
			for _, r := range in.Spec.Egress {
				c.rules = append(c.rules, newRule(in.Namespace, r.To, r.Ports))
			}
			egress[in.Namespace] = append(egress[in.Namespace], c)
		}
	}
	p := &Policies{ingress: map[string]*side{}, egress: map[string]*side{}}
	for namespace, list := range ingress {
		p.ingress[namespace] = newSide(list)
	}
	for namespace, list := range egress {
		p.egress[namespace] = newSide(list)
	}
	return p
}

// isolates reports whether a policy closes its pods in a direction. Without
// policyTypes it is Ingress always, and Egress when there are egress rules.
func isolates(p *networkingv1.NetworkPolicy, t networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return t == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
	}
	return slices.Contains(p.Spec.PolicyTypes, t)
}

func newRule(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) rule {
	var r rule
	for _, p := range peers {
		r.peers = append(r.peers, newPeer(namespace, p))
	}
	for _, p := range ports {
		r.ports = append(r.ports, newPort(p))
	}
	return r
}

func newPeer(namespace string, p networkingv1.NetworkPolicyPeer) peer {
	out := peer{namespace: namespace}
	if b := p.IPBlock; b != nil {
		out.byAddress = true
		if prefix, err := netip.ParsePrefix(b.CIDR); err == nil {
			out.block = prefix.Masked()
		}
		for _, e := range b.Except {
			if prefix, err := netip.ParsePrefix(e); err == nil {
				out.except = append(out.except, prefix.Masked())
			}
		}
		return out
	}
	if p.NamespaceSelector != nil {
		s := newSelector(p.NamespaceSelector)
		out.namespaces = &s
	}
	if p.PodSelector != nil {
		s := newSelector(p.PodSelector)
		out.pods = &s
	}
	return out
}

func newPort(p networkingv1.NetworkPolicyPort) port {
	out := port{tcp: p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP}
	switch {
	case p.Port == nil:
		out.any = true
	case p.Port.Type == intstr.String:
		out.name = p.Port.StrVal
	default:
		out.from = uint16(p.Port.IntVal)
		out.to = out.from
		if p.EndPort != nil {
			out.to = uint16(*p.EndPort)
		}
	}
	return out
}

// Decide reports whether src may open a TCP connection to a port of dst, as the
// packet shows them: after a mesh has wrapped it, the port is the mesh's. It
// allocates nothing.
func (p *Policies) Decide(src, dst Endpoint, port uint16) Result {
	if p == nil {
		return Result{Allowed: true}
	}
	if closed, by, ok := p.egress[src.Namespace].decide(&src, &dst, &dst, port); closed && !ok {
		return Result{Direction: Egress, Policy: by}
	}
	closed, by, ok := p.ingress[dst.Namespace].decide(&dst, &src, &dst, port)
	if closed && !ok {
		return Result{Direction: Ingress, Policy: by}
	}
	return Result{Allowed: true, Policy: by}
}

func (p *policy) admits(other, dst *Endpoint, number uint16) bool {
	for i := range p.rules {
		if p.rules[i].admits(other, dst, number) {
			return true
		}
	}
	return false
}

func (r *rule) admits(other, dst *Endpoint, number uint16) bool {
	return r.admitsPort(dst, number) && r.admitsPeer(other)
}

func (r *rule) admitsPort(dst *Endpoint, number uint16) bool {
	if len(r.ports) == 0 {
		return true
	}
	for i := range r.ports {
		p := &r.ports[i]
		switch {
		case !p.tcp:
		case p.any:
			return true
		case p.name != "":
			if n, ok := dst.Ports[p.name]; ok && n == number {
				return true
			}
		case p.from <= number && number <= p.to:
			return true
		}
	}
	return false
}

func (r *rule) admitsPeer(other *Endpoint) bool {
	if len(r.peers) == 0 {
		return true
	}
	for i := range r.peers {
		if r.peers[i].matches(other) {
			return true
		}
	}
	return false
}

func (p *peer) matches(e *Endpoint) bool {
	if p.byAddress {
		addr := e.IP.Unmap()
		if !p.block.IsValid() || !p.block.Contains(addr) {
			return false
		}
		for _, x := range p.except {
			if x.Contains(addr) {
				return false
			}
		}
		return true
	}
	if e.Namespace == "" {
		return false
	}
	if p.namespaces != nil {
		if !p.namespaces.matches(e.NamespaceLabels) {
			return false
		}
	} else if e.Namespace != p.namespace {
		return false
	}
	return p.pods == nil || p.pods.matches(e.PodLabels)
}
