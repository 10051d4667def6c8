package netpol

import (
	"net/netip"
	"slices"
)

// Mentions is what some policies tell apart, for those who ask about every
// connection at once: labels by key with the values that count, and address blocks.
type Mentions struct {
	Namespaces, Pods map[string][]string
	Blocks           []netip.Prefix
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
	for _, q := range p.ingress[dst.Namespace].selecting(dst.PodLabels) {
		m.peers(q, func(peer *peer) {
			if peer.namespaces != nil {
				addSelector(m.Namespaces, peer.namespaces)
			}
			if peer.pods != nil {
				addSelector(m.Pods, peer.pods)
			}
		})
	}
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
		m.peers(q, func(*peer) {})
	}
}

// peers adds the blocks of a policy's rules, and calls other with the peers that are
// none.
func (m *Mentions) peers(q *policy, other func(*peer)) {
	for i := range q.rules {
		for j := range q.rules[i].peers {
			if peer := &q.rules[i].peers[j]; peer.byAddress {
				m.Blocks = append(append(m.Blocks, peer.block), peer.except...)
			} else {
				other(peer)
			}
		}
	}
}

func addSelector(to map[string][]string, s *selector) {
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		values := to[r.Key()]
		for _, v := range r.ValuesUnsorted() {
			if !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		to[r.Key()] = values
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
