package analysis

import (
	"fmt"
	"net/netip"
	"slices"

	"artemis.example/policy/authz"
	"artemis.example/policy/netpol"
)

// cutAddresses makes the classes of clients' addresses that some blocks tell apart.
func cutAddresses(values []authz.Value) *cut {
	blocks := make([]netip.Prefix, len(values))
	for i, v := range values {
		blocks[i] = v.Block
	}
	return &cut{classes: addressClasses(blocks, anywhere, func(netip.Addr) bool { return true })}
}

// anywhere is an address that is nobody's in particular, first to be tried.
var anywhere = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}

// podAddresses are some as pods have them.
var podAddresses = []netip.Addr{
	netip.MustParseAddr("10.244.200.7"), netip.MustParseAddr("192.168.200.7"), netip.MustParseAddr("fd00:10:244::7"),
}

// podClasses returns the classes of addresses that pods can have. Those of version 6
// count where a block of it is among them.
func podClasses(blocks []netip.Prefix, preferred ...netip.Addr) []class {
	six := slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.IsValid() && b.Addr().Is6() })
	return addressClasses(blocks, append(preferred, podAddresses...), func(a netip.Addr) bool {
		return podAddress(a) && (six || a.Is4())
	})
}

// noPods are the addresses that no pod has: what is unspecified, loopback, link-local
// or multicast.
var noPods = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// podAddress reports whether a pod can have an address.
func podAddress(a netip.Addr) bool {
	return !slices.ContainsFunc(noPods, func(p netip.Prefix) bool { return p.Contains(a) })
}

// addressClasses returns the classes of the addresses that are possible, each with one
// of it: of the preferred where one is in it.
func addressClasses(blocks []netip.Prefix, preferred []netip.Addr, possible func(netip.Addr) bool) []class {
	// Where the membership in any block changes, or what is possible does, a block
	// begins or ends: the edges and their neighbours meet every class.
	candidates := append(slices.Clone(preferred), netip.AddrFrom4([4]byte{}), netip.IPv6Unspecified())
	candidates = append(candidates, netpol.Edges(slices.Concat(blocks, noPods))...)
	var out []class
	seen := map[string]bool{}
	for _, a := range candidates {
		if !possible(a) {
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

// cutPorts makes the classes of ports that some values tell apart: each of them, and any
// other.
func cutPorts(values []authz.Value) *cut {
	var ports []uint16
	for _, v := range values {
		ports = append(ports, v.Port)
	}
	other := uint16(8080)
	for slices.Contains(ports, other) {
		other++
	}
	out := &cut{}
	for _, port := range append(slices.Compact(slices.Sorted(slices.Values(ports))), other) {
		c := class{port: port}
		for i := range ports {
			if ports[i] == port {
				c.in = append(c.in, i)
			}
		}
		out.classes = append(out.classes, c)
	}
	return out
}
