package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
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

// spec is one field as a policy writes it.
type spec struct {
	name              string
	values, notValues []string
}

func (s spec) given() bool { return len(s.values)+len(s.notValues) > 0 }

// build compiles the values of a field with one function for each.
func (f field) build(s spec, value func(string) (matcher, error)) (field, error) {
	f.name, f.values, f.notValues = s.name, s.values, s.notValues
	for _, v := range s.values {
		m, err := value(v)
		if err != nil {
			return field{}, fmt.Errorf("%q: %w", v, err)
		}
		f.wanted = append(f.wanted, m)
	}
	for _, v := range s.notValues {
		m, err := value(v)
		if err != nil {
			return field{}, fmt.Errorf("%q: %w", v, err)
		}
		f.refused = append(f.refused, m)
	}
	return f, nil
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

func (e envoy) source(s *securityv1beta1.Source) ([]field, error) {
	return e.fields([]candidate{
		{spec{"principals", s.GetPrincipals(), s.GetNotPrincipals()}, field{attr: attrPrincipal}, e.principal, false},
		{spec{"serviceAccounts", s.GetServiceAccounts(), s.GetNotServiceAccounts()}, field{attr: attrPrincipal},
			e.account, false},
		{spec{"trustDomains", s.GetTrustDomains(), s.GetNotTrustDomains()}, field{attr: attrPrincipal},
			trustDomainValue, false},
		{spec{"namespaces", s.GetNamespaces(), s.GetNotNamespaces()}, field{attr: attrPrincipal}, namespaceValue,
			false},
		{spec{"remoteIpBlocks", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks()}, field{attr: attrRemoteIP},
			addressValue, false},
		{spec{"ipBlocks", s.GetIpBlocks(), s.GetNotIpBlocks()}, field{attr: attrTunnelIP}, addressValue, false},
		{spec{"requestPrincipals", s.GetRequestPrincipals(), s.GetNotRequestPrincipals()}, field{}, unsupported, true},
	})
}

func (e envoy) operation(o *securityv1beta1.Operation) ([]field, error) {
	return e.fields([]candidate{
		{spec{"hosts", o.GetHosts(), o.GetNotHosts()}, field{attr: attrHost}, hostValue, true},
		{spec{"methods", o.GetMethods(), o.GetNotMethods()}, field{attr: attrMethod}, headerValue, true},
		{spec{"paths", o.GetPaths(), o.GetNotPaths()}, field{attr: attrPath}, pathValue, true},
		{spec{"ports", o.GetPorts(), o.GetNotPorts()}, field{attr: attrDestPort}, portValue, false},
	})
}

func (e envoy) condition(c *securityv1beta1.Condition) (field, error) {
	k := candidate{spec: spec{c.GetKey(), c.GetValues(), c.GetNotValues()}}
	switch key := c.GetKey(); {
	case key == "source.ip":
		k.field, k.value = field{attr: attrTunnelIP}, addressValue
	case key == "remote.ip":
		k.field, k.value = field{attr: attrRemoteIP}, addressValue
	case key == "source.namespace":
		k.field, k.value = field{attr: attrPrincipal}, namespaceValue
	case key == "source.trustDomain":
		k.field, k.value = field{attr: attrPrincipal}, trustDomainValue
	case key == "source.serviceAccount":
		k.field, k.value = field{attr: attrPrincipal}, e.account
	case key == "source.principal":
		k.field, k.value = field{attr: attrPrincipal}, e.principal
	case key == "destination.ip":
		k.field, k.value = field{attr: attrDestIP}, addressValue
	case key == "destination.port":
		k.field, k.value = field{attr: attrDestPort}, portValue
	case key == "connection.sni":
		k.field, k.value = field{attr: attrSNI}, plainValue
	case strings.HasPrefix(key, "request.headers["):
		k.field, k.value, k.http = headerField(strings.TrimSuffix(strings.TrimPrefix(key, "request.headers["), "]")),
			headerValue, true
		if k.field.attr == attrHost {
			k.value = headerValue // as a header it is compared with case
		}
	default:
		k.value = unsupported
	}
	fields, err := e.fields([]candidate{k})
	if err != nil || len(fields) == 0 {
		return field{}, err
	}
	return fields[0], nil
}

// candidate is a field that may be given, with how its values are compiled.
type candidate struct {
	spec
	field field
	value func(string) (matcher, error)
	http  bool
}

func (e envoy) fields(candidates []candidate) ([]field, error) {
	var out []field
	for _, c := range candidates {
		if !c.given() {
			continue
		}
		f, err := c.field.build(c.spec, c.value)
		if c.http && e.tcp {
			err = errHTTPOnly
		}
		if err == nil {
			if f.attr == attrTunnelIP {
				e.skip(c.name, errNoAddress)
			}
			out = append(out, f)
			continue
		}
		e.skip(c.name, err)
		if !e.deny {
			return nil, err
		}
	}
	return out, nil
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
	ns, sa, ok := strings.Cut(v, "/")
	if !ok {
		ns, sa = e.namespace, v
	}
	return matcher{op: opAccount, s: "/ns/" + ns + "/", parts: []string{"sa/" + sa}}, nil
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
	case strings.Contains(v, "/"):
		r, err := regexp.Compile("^(?:" + spiffePrefix + regexp.QuoteMeta(before) + "[^/]*" + regexp.QuoteMeta(after) +
			"/.*)$")
		return matcher{op: opRegex, regex: r, parts: []string{before, after}}, err
	}
	return matcher{op: opTrustDomain, parts: []string{before, after}}, nil
}

func unsupported(string) (matcher, error) {
	return matcher{}, errors.New("not implemented")
}
