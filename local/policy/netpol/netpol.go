// Package netpol decides what Kubernetes NetworkPolicies allow, per connection,
// on the API's own types: layer 1, the perimeter. It follows the API's
// documentation (k8s.io/api/networking/v1): policies add up, a pod that none
// selects for a direction is open in it, and a connection needs the consent of
// both ends. Policies are compiled once; a decision allocates nothing.
package netpol

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// side is the policies of a namespace in one direction, in the order of their
// keys, and where to look for those that select a pod: a decision does not look
// at the others, however many there are.
type side struct {
	policies []policy
	byLabel  map[label][]int // what selects only pods with that label
	names    []string        // of the labels in byLabel
	rest     []int
}

type label struct{ name, value string }

// newSide puts every policy where it will be found: under the label that fewest of the
// namespace's policies ask for.
func newSide(policies []policy) *side {
	slices.SortStableFunc(policies, func(a, b policy) int { return strings.Compare(a.key, b.key) })
	s := &side{policies: policies, byLabel: map[label][]int{}}
	asked := map[label]int{}
	for i := range policies {
		for l := range policies[i].selector.equal {
			asked[l]++
		}
	}
	for i := range policies {
		best, fewest := label{}, 0
		for l := range policies[i].selector.equal {
			if n := asked[l]; fewest == 0 || n < fewest {
				best, fewest = l, n
			}
		}
		if fewest == 0 {
			s.rest = append(s.rest, i)
			continue
		}
		if s.byLabel[best] == nil && !slices.Contains(s.names, best.name) {
			s.names = append(s.names, best.name)
		}
		s.byLabel[best] = append(s.byLabel[best], i)
	}
	return s
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

// isolates tells whether a policy closes its pods in a direction. Without
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

// Decide tells whether src may open a TCP connection to a port of dst, as the
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

// decide looks at one side: self is the pod that the policies select, other the
// opposite end, dst the end whose port it is. It gives whether self is closed in
// this direction, the policy that decided, and whether it admits.
func (s *side) decide(self, other, dst *Endpoint, port uint16) (closed bool, by string, ok bool) {
	if s == nil || self.Namespace == "" {
		return false, "", true
	}
	found := verdict{closed: len(s.policies), admitted: len(s.policies)}
	for _, name := range s.names {
		if value, has := self.PodLabels[name]; has {
			s.look(s.byLabel[label{name, value}], self, other, dst, port, &found)
		}
	}
	s.look(s.rest, self, other, dst, port, &found)
	switch {
	case found.admitted < len(s.policies):
		return true, s.policies[found.admitted].key, true
	case found.closed < len(s.policies):
		return true, s.policies[found.closed].key, false
	}
	return false, "", false
}

// verdict is the first policy that closes a pod and the first that admits, by
// their places in the order.
type verdict struct{ closed, admitted int }

// look brings a verdict up to date by some policies, which are in order.
func (s *side) look(places []int, self, other, dst *Endpoint, port uint16, v *verdict) {
	for _, i := range places {
		if i >= v.admitted {
			return
		}
		q := &s.policies[i]
		if !q.selector.matches(self.PodLabels) {
			continue
		}
		v.closed = min(v.closed, i)
		for j := range q.rules {
			if q.rules[j].admits(other, dst, port) {
				v.admitted = i
				return
			}
		}
	}
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

// selector is a compiled label selector; without requirements it matches
// everything.
type selector struct {
	requirements []requirement
	equal        map[label]bool // what a pod cannot be without
	never        bool
}

type requirement struct {
	key    string
	op     metav1.LabelSelectorOperator
	values []string
}

func newSelector(s *metav1.LabelSelector) selector {
	out := selector{equal: map[label]bool{}}
	for k, v := range s.MatchLabels {
		out.equal[label{k, v}] = true
		out.requirements = append(out.requirements, requirement{k, metav1.LabelSelectorOpIn, []string{v}})
	}
	slices.SortFunc(out.requirements, func(a, b requirement) int { return strings.Compare(a.key, b.key) })
	for _, e := range s.MatchExpressions {
		out.requirements = append(out.requirements, requirement{e.Key, e.Operator, slices.Clone(e.Values)})
	}
	_, err := metav1.LabelSelectorAsSelector(s)
	out.never = err != nil
	return out
}

func (s *selector) matches(labels map[string]string) bool {
	if s.never {
		return false
	}
	for i := range s.requirements {
		if !s.requirements[i].matches(labels) {
			return false
		}
	}
	return true
}

func (r *requirement) matches(labels map[string]string) bool {
	v, has := labels[r.key]
	switch r.op {
	case metav1.LabelSelectorOpIn:
		return has && slices.Contains(r.values, v)
	case metav1.LabelSelectorOpNotIn:
		return !has || !slices.Contains(r.values, v)
	case metav1.LabelSelectorOpExists:
		return has
	case metav1.LabelSelectorOpDoesNotExist:
		return !has
	}
	return false
}
