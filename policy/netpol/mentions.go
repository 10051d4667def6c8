package netpol

import (
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Mentions is what some policies tell apart, for those who ask about every
// connection at once: labels by key with the values that count, address blocks,
// and the ports at which a range begins or has ended.
type Mentions struct {
	Namespaces, Pods map[string][]string
	Blocks           []netip.Prefix
	Ports            []uint16
}

// NewMentions returns Mentions of nothing.
func NewMentions() *Mentions {
	return &Mentions{Namespaces: map[string][]string{}, Pods: map[string][]string{}}
}

// Ingress adds what the policies that select a pod for ingress compare its callers
// with.
func (m *Mentions) Ingress(p *Policies, dst Endpoint) {
	if p == nil || p.ingress[dst.Namespace] == nil {
		return
	}
	s := p.ingress[dst.Namespace]
	collect := func(indices []int) {
		for _, i := range indices {
			if q := &s.policies[i]; q.selector.matches(dst.PodLabels) {
				m.rules(q.rules)
			}
		}
	}
	for _, name := range s.names {
		if value, has := dst.PodLabels[name]; has {
			collect(s.byLabel[label{name, value}])
		}
	}
	collect(s.rest)
}

// Egress adds what the policies of a namespace compare its pods with, and the blocks of
// addresses that they may call.
func (m *Mentions) Egress(p *Policies, namespace string) {
	if p == nil || p.egress[namespace] == nil {
		return
	}
	for i := range p.egress[namespace].policies {
		q := &p.egress[namespace].policies[i]
		addSelector(m.Pods, &q.selector)
		for j := range q.rules {
			for k := range q.rules[j].peers {
				if peer := &q.rules[j].peers[k]; peer.byAddress {
					m.Blocks = append(append(m.Blocks, peer.block), peer.except...)
				}
			}
		}
	}
}

func (m *Mentions) rules(rules []rule) {
	for i := range rules {
		for j := range rules[i].peers {
			peer := &rules[i].peers[j]
			if peer.byAddress {
				m.Blocks = append(append(m.Blocks, peer.block), peer.except...)
				continue
			}
			if peer.namespaces != nil {
				addSelector(m.Namespaces, peer.namespaces)
			}
			if peer.pods != nil {
				addSelector(m.Pods, peer.pods)
			}
		}
		for _, port := range rules[i].ports {
			if port.tcp && !port.any && port.name == "" {
				m.Ports = append(m.Ports, port.from)
				if port.to < 1<<16-1 {
					m.Ports = append(m.Ports, port.to+1)
				}
			}
		}
	}
}

func addSelector(to map[string][]string, s *selector) {
	for _, r := range s.requirements {
		values := to[r.key]
		if r.op == metav1.LabelSelectorOpIn || r.op == metav1.LabelSelectorOpNotIn {
			for _, v := range r.values {
				if !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
		}
		to[r.key] = values
	}
}

// Edges returns addresses that meet every class into which some blocks cut those that
// are in one or beside one: where the membership in any block changes, a block begins
// or ends.
func Edges(blocks []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, b := range blocks {
		if !b.IsValid() {
			continue
		}
		first, last := b.Masked().Addr(), last(b)
		for _, a := range []netip.Addr{first, first.Next(), first.Prev(), last, last.Next(), last.Prev()} {
			if a.IsValid() {
				out = append(out, a)
			}
		}
	}
	return out
}

func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
