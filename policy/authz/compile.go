package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// errHTTPOnly is why a field cannot be had where the proxy sees bytes alone.
var errHTTPOnly = errors.New("the proxy sees bytes alone here, no HTTP request")

// errNoAddress is why a field never matches at a waypoint.
var errNoAddress = errors.New("the connection comes out of the tunnel here and has no address: it is in no block")

// errNotAtNode is why a field cannot be had at a node proxy.
var errNotAtNode = errors.New("node proxies do not get this field")

// spec is one field of a source or operation, or one condition, as a policy writes it.
type spec struct {
	name              string
	values, notValues []string
}

// sources, operations and conditions list the fields that are given.
func sources(s *securityv1beta1.Source) []spec {
	return present(
		spec{"principals", s.GetPrincipals(), s.GetNotPrincipals()},
		spec{"serviceAccounts", s.GetServiceAccounts(), s.GetNotServiceAccounts()},
		spec{"trustDomains", s.GetTrustDomains(), s.GetNotTrustDomains()},
		spec{"namespaces", s.GetNamespaces(), s.GetNotNamespaces()},
		spec{"remoteIpBlocks", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks()},
		spec{"ipBlocks", s.GetIpBlocks(), s.GetNotIpBlocks()},
		spec{"requestPrincipals", s.GetRequestPrincipals(), s.GetNotRequestPrincipals()},
	)
}

func operations(o *securityv1beta1.Operation) []spec {
	return present(
		spec{"hosts", o.GetHosts(), o.GetNotHosts()},
		spec{"methods", o.GetMethods(), o.GetNotMethods()},
		spec{"paths", o.GetPaths(), o.GetNotPaths()},
		spec{"ports", o.GetPorts(), o.GetNotPorts()},
	)
}

func conditions(c *securityv1beta1.Condition) []spec {
	return present(spec{c.GetKey(), c.GetValues(), c.GetNotValues()})
}

func present(specs ...spec) []spec {
	return slices.DeleteFunc(specs, func(s spec) bool { return len(s.values)+len(s.notValues) == 0 })
}

// meaning is what a field is to a proxy.
type meaning struct {
	attr  attribute
	value func(string) (matcher, error) // compiles one value
	http  bool                          // it is of a request
}

// field compiles a field: of its values those that can be read, with the error of the
// first that cannot.
func (m meaning) field(s spec) (field, error) {
	var unread error
	compile := func(values []string) (out []matcher) {
		for _, v := range values {
			switch c, err := m.value(v); {
			case err == nil:
				out = append(out, c)
			case unread == nil:
				unread = fmt.Errorf("%q: %w", v, err)
			}
		}
		return out
	}
	f := field{attr: m.attr, of: attributes[m.attr], name: s.name, values: s.values, notValues: s.notValues}
	f.wanted, f.refused = compile(s.values), compile(s.notValues)
	return f, unread
}

// compileRule makes (any from) and (any to) and (every when), with what a proxy makes
// of the fields of each.
func compileRule(id, policy string, r *securityv1beta1.Rule, clauseOf func([]spec) (clause, error)) (rule, error) {
	var from, to group
	var firstErr error
	add := func(g *group, specs []spec) {
		c, err := clauseOf(specs)
		if *g = append(*g, c); firstErr == nil {
			firstErr = err
		}
	}
	for _, f := range r.From {
		add(&from, sources(f.GetSource()))
	}
	for _, t := range r.To {
		add(&to, operations(t.GetOperation()))
	}
	out := rule{name: id, policy: policy}
	for _, g := range []group{from, to} {
		if len(g) > 0 {
			out.groups = append(out.groups, g)
		}
	}
	for _, c := range r.When {
		var when group
		add(&when, conditions(c))
		out.groups = append(out.groups, when)
	}
	return out, firstErr
}

// wildcard compiles exact, prefix*, *suffix and *; the order of the checks is
// Istio's, so that a star inside a value is a literal.
func wildcard(v string, whole, exact, prefix, suffix op) matcher {
	switch {
	case v == "*":
		return matcher{op: whole}
	case strings.HasPrefix(v, "*"):
		return matcher{op: suffix, s: v[1:]}
	case strings.HasSuffix(v, "*"):
		return matcher{op: prefix, s: v[:len(v)-1]}
	}
	return matcher{op: exact, s: v}
}

func plainValue(v string) (matcher, error) {
	return wildcard(v, opNonEmpty, opExact, opPrefix, opSuffix), nil
}

func headerValue(v string) (matcher, error) {
	return wildcard(v, opPresent, opExact, opPrefix, opSuffix), nil
}

func hostValue(v string) (matcher, error) {
	return wildcard(v, opPresent, opExactFold, opPrefixFold, opSuffixFold), nil
}

func pathValue(v string) (matcher, error) {
	if isTemplate(v) {
		return matcher{op: opTemplate, tmpl: newTemplate(v)}, nil
	}
	return plainValue(v)
}

func addressValue(v string) (matcher, error) {
	if strings.Contains(v, "/") {
		p, err := netip.ParsePrefix(v)
		return matcher{prefix: p.Masked()}, err
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return matcher{}, err
	}
	return matcher{prefix: netip.PrefixFrom(a, a.BitLen())}, nil
}

func portValue(v string) (matcher, error) {
	p, err := strconv.ParseUint(v, 10, 16)
	return matcher{port: uint16(p)}, err
}

// envoy is Istio's translation for Envoy
// (istio.io/istio pilot/pkg/security/authz/model).
type envoy struct {
	namespace   string // the policy's
	trustDomain string
	tcp         bool
	// deny drops a field that cannot be had instead of the whole rule: a wider
	// denial.
	deny bool
	// skip takes the fields that are dropped or come to nothing.
	skip func(field string, why error)
}

// meaning returns what a field or condition is to Envoy.
func (e envoy) meaning(name string) meaning {
	switch name {
	case "principals", "source.principal":
		return meaning{attrPrincipal, e.principal, false}
	case "serviceAccounts", "source.serviceAccount":
		return meaning{attrPrincipal, e.account, false}
	case "trustDomains", "source.trustDomain":
		return meaning{attrPrincipal, trustDomainValue, false}
	case "namespaces", "source.namespace":
		return meaning{attrPrincipal, namespaceValue, false}
	case "remoteIpBlocks", "remote.ip":
		return meaning{attrRemoteIP, addressValue, false}
	case "ipBlocks", "source.ip":
		return meaning{attrTunnelIP, addressValue, false}
	case "hosts":
		return meaning{attrHost, hostValue, true}
	case "methods":
		return meaning{attrMethod, headerValue, true}
	case "paths":
		return meaning{attrPath, pathValue, true}
	case "ports", "destination.port":
		return meaning{attrDestPort, portValue, false}
	case "destination.ip":
		return meaning{attrDestIP, addressValue, false}
	case "connection.sni":
		return meaning{attrSNI, plainValue, false}
	}
	return meaning{0, unsupported, name == "requestPrincipals"}
}

// clause compiles the fields of a source, an operation or a condition. Where one cannot
// be had, an ALLOW rule as a whole cannot.
func (e envoy) clause(specs []spec) (clause, error) {
	var out clause
	for _, s := range specs {
		m, header := e.meaning(s.name), ""
		if name, ok := strings.CutPrefix(s.name, "request.headers["); ok {
			m.attr, header = headerAttribute(strings.TrimSuffix(name, "]"))
			m.value, m.http = headerValue, true // of the host, too: as a header it is compared with case
		}
		f, err := m.field(s)
		if header != "" {
			f.header, f.of = header, AttributeHeader+Attribute(" "+header)
		}
		if m.http && e.tcp {
			err = errHTTPOnly
		}
		switch {
		case err != nil:
			if e.skip(s.name, err); !e.deny {
				return clause{}, err
			}
			continue
		case f.attr == attrTunnelIP:
			e.skip(s.name, errNoAddress)
		}
		out.fields = append(out.fields, f)
	}
	return out, nil
}

// headerAttribute returns what request.headers[name] looks at: a header by its canonical
// name, or what stands in its place.
func headerAttribute(name string) (a attribute, header string) {
	switch strings.ToLower(name) {
	case ":method":
		return attrMethod, ""
	case ":authority", "host":
		return attrHost, ""
	case ":path":
		return attrTarget, ""
	case ":scheme":
		return attrScheme, ""
	}
	// A request at a waypoint has no other pseudo-header: no client can send one,
	// and nobody adds it.
	return attrHeader, textproto.CanonicalMIMEHeaderKey(name)
}

func (e envoy) principal(v string) (matcher, error) {
	v = e.inTrustDomain(v)
	m := wildcard(v, opNonEmpty, opExact, opPrefix, opIdentitySuffix)
	if m.op == opExact || m.op == opPrefix {
		m.s = spiffePrefix + m.s
	}
	return m, nil
}

// inTrustDomain writes the mesh's trust domain into a principal of the usual five
// segments that names cluster.local, or by a prefix the mesh's own, as Istio does
// for aliases (pilot/pkg/security/trustdomain, ReplaceTrustDomainAliases).
func (e envoy) inTrustDomain(principal string) string {
	td, rest, _ := strings.Cut(principal, "/")
	if strings.Count(rest, "/") != 3 {
		return principal
	}
	if prefix, ok := strings.CutSuffix(td, "*"); td == "cluster.local" || ok && !strings.HasPrefix(td, "*") &&
		strings.HasPrefix(e.trustDomain, prefix) {
		return e.trustDomain + "/" + rest
	}
	return principal
}

func (e envoy) account(v string) (matcher, error) {
	m := accountValue(e.namespace, v)
	m.op = opAccount
	r, err := regexp.Compile("^" + spiffePrefix + ".+/ns/" + regexp.QuoteMeta(m.ns) + "/(.+/|)sa/" +
		regexp.QuoteMeta(m.sa) + "(/.+)?$")
	m.regex = r
	return m, err
}

// accountValue takes a ServiceAccount apart: without a namespace it is of the policy's.
func accountValue(namespace, v string) matcher {
	if ns, sa, ok := strings.Cut(v, "/"); ok {
		return matcher{ns: ns, sa: sa}
	}
	return matcher{ns: namespace, sa: v}
}

func namespaceValue(v string) (matcher, error) {
	return matcher{op: opContains, parts: strings.Split("/ns/"+v+"/", "*")}, nil
}

func trustDomainValue(v string) (matcher, error) {
	before, after, star := strings.Cut(v, "*")
	switch {
	case v == "*":
		return matcher{op: opPrefix, s: spiffePrefix}, nil
	case !star:
		return matcher{op: opPrefix, s: spiffePrefix + v + "/"}, nil
	}
	r, err := regexp.Compile("^" + spiffePrefix + regexp.QuoteMeta(before) + "[^/]*" + regexp.QuoteMeta(after) + "/.*$")
	return matcher{op: opTrustDomain, regex: r, parts: []string{before, after}}, err
}

func unsupported(string) (matcher, error) {
	return matcher{}, errors.New("not implemented")
}
