package authz

import (
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi/security"

	"artemis.example/policy/authz"
)

// connection is what a node proxy decides about.
type connection struct {
	identity string // SPIFFE ID, empty for none
	src, dst netip.Addr
	port     uint16
}

// ztunnelDecision judges a connection by policies as istiod converts them for
// ztunnel, by the rules of ztunnel's own evaluator (istio/ztunnel src/rbac.rs and
// assert_rbac of src/state.rs): it is written from them, apart from the
// evaluator that it is compared with. The policies are those that apply to the
// workload.
func ztunnelDecision(policies []*security.Authorization, c connection) authz.Reason {
	closed := false
	for _, p := range policies {
		switch {
		case p.DryRun:
		case p.Action == security.Action_DENY && anyGroup(p.Groups, c):
			return authz.ReasonDenied
		case p.Action == security.Action_ALLOW:
			closed = true
		}
	}
	if !closed {
		return authz.ReasonNoPolicy
	}
	for _, p := range policies {
		if p.Action == security.Action_ALLOW && !p.DryRun && anyGroup(p.Groups, c) {
			return authz.ReasonAllowed
		}
	}
	return authz.ReasonUnmatched
}

func anyGroup(groups []*security.Group, c connection) bool {
	for _, g := range groups {
		all := true
		for _, r := range g.Rules {
			all = all && anyMatch(r.Matches, c)
		}
		if all {
			return true
		}
	}
	return false
}

func anyMatch(matches []*security.Match, c connection) bool {
	for _, m := range matches {
		if proto.Size(m) > 0 && satisfies(m, c) { // to ztunnel one that asks for nothing matches nothing
			return true
		}
	}
	return len(matches) == 0
}

func satisfies(m *security.Match, c connection) bool {
	namespace, account := "", ""
	id, known := strings.CutPrefix(c.identity, "spiffe://")
	if s := strings.Split(id, "/"); known && len(s) == 5 {
		namespace, account = s[2], s[4]
	}
	return within(m.DestinationIps, m.NotDestinationIps, func(a *security.Address) bool {
		return contains(a, c.dst)
	}) &&
		within(m.SourceIps, m.NotSourceIps, func(a *security.Address) bool { return contains(a, c.src) }) &&
		within(m.DestinationPorts, m.NotDestinationPorts, func(p uint32) bool { return uint16(p) == c.port }) &&
		within(m.ServiceAccounts, m.NotServiceAccounts, func(s *security.ServiceAccountMatch) bool {
			return known && s.Namespace == namespace && s.ServiceAccount == account
		}) &&
		within(m.Principals, m.NotPrincipals, func(s *security.StringMatch) bool { return known && text(s, id) }) &&
		within(m.Namespaces, m.NotNamespaces, func(s *security.StringMatch) bool { return text(s, namespace) })
}

func within[T any](wanted, refused []T, is func(T) bool) bool {
	found := len(wanted) == 0
	for _, w := range wanted {
		found = found || is(w)
	}
	for _, r := range refused {
		found = found && !is(r)
	}
	return found
}

func contains(a *security.Address, ip netip.Addr) bool {
	addr, ok := netip.AddrFromSlice(a.Address)
	return ok && netip.PrefixFrom(addr, int(a.Length)).Contains(ip)
}

func text(m *security.StringMatch, s string) bool {
	switch v := m.MatchType.(type) {
	case *security.StringMatch_Exact:
		return s == v.Exact
	case *security.StringMatch_Prefix:
		return strings.HasPrefix(s, v.Prefix)
	case *security.StringMatch_Suffix:
		return strings.HasSuffix(s, v.Suffix)
	case *security.StringMatch_Presence:
		return s != ""
	}
	return false
}
