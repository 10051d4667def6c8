package analysis

import (
	"fmt"
	"net/netip"
	"slices"

	"artemis.example/policy/authz"
)

// cutAddresses makes the classes of addresses that some blocks tell apart.
func cutAddresses(values []authz.Value) *cut {
	blocks := make([]netip.Prefix, len(values))
	for i, v := range values {
		blocks[i] = v.Block
	}
	return &cut{classes: addressClasses(blocks, anywhere)}
}

// anywhere is an address that is nobody's in particular, first to be tried.
var anywhere = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}

// addressClasses returns the classes of all addresses, each with one of it: of the
// preferred where one is in it. Both families count where a block of version 6
// is among them.
func addressClasses(blocks []netip.Prefix, preferred []netip.Addr) []class {
	candidates := slices.Clone(preferred)
	six := false
	for _, b := range blocks {
		six = six || b.IsValid() && b.Addr().Is6()
	}
	edge := func(a netip.Addr) {
		if a.IsValid() {
			candidates = append(candidates, a)
		}
	}
	for _, b := range blocks {
		if !b.IsValid() {
			continue
		}
		last := lastOf(b)
		for _, a := range []netip.Addr{b.Addr(), last} {
			edge(a)
			edge(a.Next())
			edge(a.Prev())
		}
	}
	edge(netip.AddrFrom4([4]byte{0, 0, 0, 1}))
	if six {
		edge(netip.IPv6LinkLocalAllNodes())
		edge(netip.MustParseAddr("::1"))
	}
	// Where the membership in any block changes, a block begins or ends: the edges
	// and their neighbours meet every class.
	var out []class
	seen := map[string]bool{}
	for _, a := range candidates {
		if a.Is6() && !six {
			continue
		}
		var in []int
		for i, b := range blocks {
			if b.IsValid() && b.Contains(a) {
				in = append(in, i)
			}
		}
		if k := fmt.Sprint(in); !seen[k] {
			seen[k] = true
			out = append(out, class{in: in, addr: a})
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// cutPorts makes the classes of ports that some values tell apart.
func cutPorts(values []authz.Value) *cut {
	out := &cut{}
	named := map[uint16]bool{}
	for i, v := range values {
		if !named[v.Port] {
			named[v.Port] = true
			var in []int
			for j, w := range values {
				if w.Port == v.Port {
					in = append(in, j)
				}
			}
			out.classes = append(out.classes, class{in: in, port: values[i].Port})
		}
	}
	for port := uint16(8080); ; port++ {
		if !named[port] {
			out.classes = append(out.classes, class{port: port})
			return out
		}
	}
}
