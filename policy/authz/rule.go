package authz

import (
	"cmp"
	"slices"
)

// rule is one compiled rule: it matches when each of its groups does.
type rule struct {
	name, policy string
	groups       []group
}

// group is a from, a to or the whens of a rule: any clause is enough.
type group []clause

// clause is one source, operation or condition: all of its fields must match.
type clause struct {
	fields []field
	// never is set for a clause that ztunnel is left with nothing of.
	never bool
}

// field is one attribute with the values that a policy wants, and does not
// want, of it.
type field struct {
	attr    attribute
	of      Attribute
	header  string // canonical name, for attrHeader
	wanted  []matcher
	refused []matcher
	// The values as the policy wrote them, for people.
	values, notValues []string
	name              string
}

// attribute says where in a request a field's value is.
type attribute uint8

const (
	attrPrincipal attribute = iota // the whole SPIFFE ID
	attrIdentity                   // without spiffe://, ztunnel's view
	attrNamespace                  // of the identity, ztunnel's view
	attrAccount                    // namespace/service account, ztunnel's view
	attrSourceIP
	// attrTunnelIP is the peer of the connection to Envoy: within a waypoint that is
	// the end of the tunnel, which has no IP address and is in no block.
	attrTunnelIP
	attrRemoteIP
	attrDestIP
	attrDestPort
	attrSNI
	attrMethod
	attrHost
	attrPath
	attrTarget // :path, the query included
	attrScheme
	attrHeader
)

func (r *rule) matches(req *Request) bool {
	for i := range r.groups {
		if !r.groups[i].matches(req) {
			return false
		}
	}
	return true
}

func (g group) matches(req *Request) bool {
	for i := range g {
		if g[i].matches(req) {
			return true
		}
	}
	return false
}

// never reports whether no clause can match.
func (g group) never() bool {
	return !slices.ContainsFunc(g, func(c clause) bool { return !c.never })
}

func (c *clause) matches(req *Request) bool {
	if c.never {
		return false
	}
	for i := range c.fields {
		if !c.fields[i].matches(req) {
			return false
		}
	}
	return true
}

func (f *field) matches(req *Request) bool {
	if len(f.wanted) > 0 && !f.any(f.wanted, req) {
		return false
	}
	return len(f.refused) == 0 || !f.any(f.refused, req)
}

// text returns what of a request an attribute is, where that is one text, and whether it
// is there.
func (a attribute) text(req *Request) (v string, there bool) {
	switch a {
	case attrPrincipal:
		return req.Principal, true
	case attrIdentity:
		return cutSPIFFE(req.Principal)
	case attrNamespace:
		_, ns, _, _ := parseIdentity(req.Principal)
		return ns, true
	case attrSNI:
		return req.SNI, true
	case attrMethod:
		return req.Method, req.Method != ""
	case attrHost:
		return req.Host, true // an empty one is there
	case attrPath:
		return withoutQuery(req.Path), true
	case attrTarget:
		return req.Path, req.Path != ""
	case attrScheme:
		return cmp.Or(req.Scheme, "http"), true
	}
	return "", false
}

func (f *field) any(ms []matcher, req *Request) bool {
	switch f.attr {
	case attrAccount:
		_, ns, sa, ok := parseIdentity(req.Principal)
		return ok && anyAccount(ms, ns, sa)
	case attrSourceIP:
		return anyAddr(ms, req.SourceIP.Unmap())
	case attrRemoteIP: // Envoy keeps what x-forwarded-for says: ::ffff:10.0.0.1 is in no IPv4 block
		return anyAddr(ms, req.RemoteIP)
	case attrDestIP:
		return anyAddr(ms, req.DestIP.Unmap())
	case attrDestPort:
		for i := range ms {
			if ms[i].port == req.DestPort {
				return true
			}
		}
		return false
	case attrHeader:
		for _, line := range req.Header[f.header] {
			if anyString(ms, line) {
				return true
			}
		}
		return false
	}
	v, there := f.attr.text(req)
	return there && anyString(ms, v)
}
