package authz

import (
	"net/netip"
	"regexp"
	"strings"
)

// matcher is one value of a field, compiled.
type matcher struct {
	op     op
	s      string
	parts  []string       // of opContains, opTrustDomain
	regex  *regexp.Regexp // of opAccount, opTrustDomain
	prefix netip.Prefix   // of addresses
	port   uint16         // of ports
	ns, sa string         // of service accounts
	tmpl   *template      // of opTemplate
}

type op uint8

const (
	opExact op = iota
	opPrefix
	opSuffix
	opNonEmpty // Envoy's regex .+, ztunnel's presence
	opPresent  // a header that is there, whatever its value
	opExactFold
	opPrefixFold
	opSuffixFold
	opIdentitySuffix // spiffe:// then anything, then s
	opContains       // the parts one after another, anything between
	opAccount        // Envoy's regex for serviceAccounts
	opTrustDomain    // and for a trust domain that starts with parts[0] and ends with parts[1]
	opTemplate
)

const spiffePrefix = "spiffe://"

func anyString(ms []matcher, v string) bool {
	for i := range ms {
		if ms[i].matches(v) {
			return true
		}
	}
	return false
}

func anyAccount(ms []matcher, ns, sa string) bool {
	for i := range ms {
		if ms[i].ns == ns && ms[i].sa == sa {
			return true
		}
	}
	return false
}

func anyAddr(ms []matcher, a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for i := range ms {
		if ms[i].prefix.Contains(a) {
			return true
		}
	}
	return false
}

func (m *matcher) matches(v string) bool {
	switch m.op {
	case opExact:
		return v == m.s
	case opPrefix:
		return strings.HasPrefix(v, m.s)
	case opSuffix:
		return strings.HasSuffix(v, m.s)
	case opNonEmpty:
		return v != ""
	case opPresent:
		return true
	case opExactFold: // of hosts, which are ASCII
		return strings.EqualFold(v, m.s)
	case opPrefixFold:
		return len(v) >= len(m.s) && strings.EqualFold(v[:len(m.s)], m.s)
	case opSuffixFold:
		return len(v) >= len(m.s) && strings.EqualFold(v[len(v)-len(m.s):], m.s)
	case opIdentitySuffix:
		rest, ok := cutSPIFFE(v)
		return ok && strings.HasSuffix(rest, m.s)
	case opContains:
		return containsInOrder(v, m.parts)
	case opAccount, opTrustDomain:
		return m.regex.MatchString(v)
	case opTemplate:
		return m.tmpl.matches(v)
	}
	return false
}

func cutSPIFFE(v string) (string, bool) { return strings.CutPrefix(v, spiffePrefix) }

func containsInOrder(v string, parts []string) bool {
	for _, p := range parts {
		i := strings.Index(v, p)
		if i < 0 {
			return false
		}
		v = v[i+len(p):]
	}
	return true
}

// parseIdentity splits spiffe://TD/ns/NS/sa/SA, exactly five segments, as
// ztunnel does.
func parseIdentity(v string) (td, ns, sa string, ok bool) {
	rest, ok := cutSPIFFE(v)
	if !ok {
		return "", "", "", false
	}
	td, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	rest, ok = strings.CutPrefix(rest, "ns/")
	if !ok {
		return "", "", "", false
	}
	ns, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	sa, ok = strings.CutPrefix(rest, "sa/")
	if !ok || strings.IndexByte(sa, '/') >= 0 {
		return "", "", "", false
	}
	return td, ns, sa, true
}

func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
