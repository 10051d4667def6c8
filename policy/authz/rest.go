package authz

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"artemis.example/policy/automaton"
)

// Attribute is something of a call that rules compare with, for those who ask
// about every call at once.
type Attribute string

// The attributes.
const (
	AttributePrincipal Attribute = "principal"
	AttributeSourceIP  Attribute = "source address"
	AttributeDestIP    Attribute = "destination address"
	AttributePort      Attribute = "port"
	AttributeMethod    Attribute = "method"
	AttributePath      Attribute = "path" // with the query, where a rule looks at that
	AttributeScheme    Attribute = "scheme"
	AttributeHost      Attribute = "host"
	AttributeRemoteIP  Attribute = "client address"
	AttributeSNI       Attribute = "server name"
	AttributeHeader    Attribute = "header" // followed by its name
)

// attributes are what the fields of policies look at.
var attributes = [...]Attribute{
	attrPrincipal: AttributePrincipal, attrIdentity: AttributePrincipal, attrNamespace: AttributePrincipal,
	attrAccount: AttributePrincipal, attrSourceIP: AttributeSourceIP, attrTunnelIP: AttributeSourceIP,
	attrRemoteIP: AttributeRemoteIP, attrDestIP: AttributeDestIP, attrDestPort: AttributePort, attrSNI: AttributeSNI,
	attrMethod: AttributeMethod, attrHost: AttributeHost, attrPath: AttributePath, attrTarget: AttributePath,
	attrScheme: AttributeScheme, attrHeader: AttributeHeader, // followed by its name
}

// Header returns the canonical name of the header that an attribute is, and
// whether it is one.
func (a Attribute) Header() (string, bool) {
	return strings.CutPrefix(string(a), string(AttributeHeader)+" ")
}

// Value is one value that a rule compares an attribute with.
type Value struct {
	Text string // as the policy writes it
	// Key differs where values are written alike and compared differently.
	Key     string
	Pattern automaton.Pattern
	Block   netip.Prefix // of addresses
	Port    uint16       // of ports
	// Exact is set where the value is the only one that is meant.
	Exact bool
	// Query is set where the value is compared with a path and its query.
	Query bool
	// Identity is "namespace/account" where the value means exactly one of the
	// mesh's own, otherwise empty.
	Identity string
}

// Rest is what the rules of a target still have to say about a call of which
// some attributes are known. It is made by Engine.Rest and never changes.
type Rest struct {
	deny, allow []rule
	closed      bool
}

// Rest returns the rules for a kind of chain before anything is known. A nil
// Engine has none.
func (e *Engine) Rest(http bool) *Rest {
	set := e.rules(http)
	return &Rest{deny: set.deny, allow: set.allow, closed: set.closed}
}

// Given returns what is left to say when some attributes of a request are known:
// what they satisfy is done, what they contradict is gone.
func (r *Rest) Given(req *Request, known func(Attribute) bool) *Rest {
	return &Rest{deny: given(r.deny, req, known), allow: given(r.allow, req, known), closed: r.closed}
}

func given(rules []rule, req *Request, known func(Attribute) bool) []rule {
	out := make([]rule, 0, len(rules))
next:
	for _, r := range rules {
		kept := rule{name: r.name, policy: r.policy}
		for _, g := range r.groups {
			left, satisfied := g.given(req, known)
			switch {
			case satisfied:
			case len(left) == 0:
				continue next
			default:
				kept.groups = append(kept.groups, left)
			}
		}
		out = append(out, kept)
	}
	return out
}

func (g group) given(req *Request, known func(Attribute) bool) (left group, satisfied bool) {
next:
	for _, c := range g {
		if c.never {
			continue
		}
		var kept clause
		for i := range c.fields {
			f := &c.fields[i]
			if !known(f.of) {
				kept.fields = append(kept.fields, *f)
			} else if !f.matches(req) {
				continue next
			}
		}
		if len(kept.fields) == 0 {
			return nil, true
		}
		left = append(left, kept)
	}
	return left, false
}

// Decided reports whether nothing that is unknown can matter any more, and what
// the decision then is.
func (r *Rest) Decided() (allowed, decided bool) {
	whole := func(rules []rule) bool {
		return slices.ContainsFunc(rules, func(r rule) bool { return len(r.groups) == 0 })
	}
	switch {
	case whole(r.deny):
		return false, true
	case r.closed && len(r.allow) == 0:
		return false, true
	case len(r.deny) > 0:
		return false, false
	case !r.closed, whole(r.allow):
		return true, true
	}
	return false, false
}

// Names calls yield with the attributes that are still compared with something.
func (r *Rest) Names(yield func(Attribute)) {
	r.each(func(f *field) { yield(f.of) })
}

// Values calls yield with every value that an attribute is still compared with.
func (r *Rest) Values(a Attribute, yield func(Value)) {
	r.each(func(f *field) {
		if f.of != a {
			return
		}
		for i := range f.wanted {
			yield(f.value(&f.wanted[i], text(f.values, i, len(f.wanted))))
		}
		for i := range f.refused {
			yield(f.value(&f.refused[i], text(f.notValues, i, len(f.refused))))
		}
	})
}

// text is what the policy wrote for a matcher; where some values could not be
// read the positions do not tell.
func text(values []string, i, matchers int) string {
	if len(values) == matchers {
		return values[i]
	}
	return strings.Join(values, ", ")
}

func (r *Rest) each(yield func(*field)) {
	for _, rules := range [][]rule{r.deny, r.allow} {
		for i := range rules {
			for _, g := range rules[i].groups {
				for j := range g {
					for k := range g[j].fields {
						yield(&g[j].fields[k])
					}
				}
			}
		}
	}
}

func (f *field) value(m *matcher, written string) Value {
	v := Value{Text: written, Block: m.prefix, Port: m.port, Exact: m.op == opExact}
	v.Key = fmt.Sprintf("%d %d %q %q %s %d %s/%s %s", f.attr, m.op, m.s, m.parts, m.prefix, m.port, m.ns, m.sa, written)
	switch f.attr {
	case attrSourceIP, attrTunnelIP, attrRemoteIP, attrDestIP, attrDestPort:
		return v
	case attrAccount:
		v.Identity = m.ns + "/" + m.sa
		v.Pattern = automaton.Or(spiffe().Some(automaton.NoSlash).Literal("/ns/" + m.ns + "/sa/" + m.sa))
		return v
	case attrIdentity:
		v.Pattern = m.pattern(spiffe(), automaton.Any, nil)
		if m.op == opExact {
			v.Identity = identityOf(spiffePrefix + m.s)
		}
		return v
	case attrNamespace:
		v.Pattern = m.pattern(spiffe().Some(automaton.NoSlash).Literal("/ns/"), automaton.NoSlash,
			automaton.Sequence{}.Literal("/sa/").Many(automaton.NoSlash))
		return v
	}
	switch f.attr {
	case attrPath: // what follows a question mark does not count
		v.Pattern = m.path()
		return v
	case attrTarget:
		v.Query = true
	}
	v.Pattern = m.pattern(nil, automaton.Any, nil)
	if f.attr == attrPrincipal {
		switch m.op {
		case opExact:
			v.Identity = identityOf(m.s)
		case opAccount:
			v.Identity = m.ns + "/" + m.sa
		}
	}
	return v
}

// path is what a matcher of paths takes, whatever query is behind it.
func (m *matcher) path() automaton.Pattern {
	literals := m.s
	if m.tmpl != nil {
		literals += strings.Join(m.tmpl.head, "") + m.tmpl.tail
	}
	if strings.Contains(literals, "?") {
		return automaton.Pattern{} // no path has one
	}
	without := m.pattern(nil, automaton.NoQuery, nil)
	with := m.pattern(nil, automaton.NoQuery, automaton.Sequence{}.Literal("?").Many(automaton.Any))
	return automaton.Either(without, with)
}

func spiffe() automaton.Sequence { return automaton.Sequence{}.Literal(spiffePrefix) }

func identityOf(principal string) string {
	_, ns, sa, ok := parseIdentity(principal)
	if !ok {
		return ""
	}
	return ns + "/" + sa
}

// pattern is what a matcher takes, between what stands before and behind.
func (m *matcher) pattern(before automaton.Sequence, any automaton.Set, behind automaton.Sequence) automaton.Pattern {
	start := func() automaton.Sequence { return slices.Clone(before) }
	end := func(q automaton.Sequence) automaton.Pattern { return automaton.Or(append(q, behind...)) }
	switch m.op {
	case opExact:
		return end(start().Literal(m.s))
	case opPrefix:
		return end(start().Literal(m.s).Many(any))
	case opSuffix:
		return end(start().Many(any).Literal(m.s))
	case opNonEmpty:
		return end(start().Some(any))
	case opPresent:
		return end(start().Many(any))
	case opExactFold:
		return end(start().Fold(m.s))
	case opPrefixFold:
		return end(start().Fold(m.s).Many(any))
	case opSuffixFold:
		return end(start().Many(any).Fold(m.s))
	case opIdentitySuffix:
		return automaton.Or(spiffe().Many(automaton.Any).Literal(m.s))
	case opContains:
		q := automaton.Sequence{}.Many(automaton.Any)
		for _, part := range m.parts {
			q = q.Literal(part).Many(automaton.Any)
		}
		return automaton.Or(q)
	case opAccount: // spiffe://.+/ns/N/(.+/|)sa/S(/.+)?
		var all []automaton.Sequence
		for _, deep := range []bool{false, true} {
			for _, longer := range []bool{false, true} {
				q := spiffe().Some(automaton.Any).Literal("/ns/" + m.ns + "/")
				if deep {
					q = q.Some(automaton.Any).Literal("/")
				}
				if q = q.Literal("sa/" + m.sa); longer {
					q = q.Literal("/").Some(automaton.Any)
				}
				all = append(all, q)
			}
		}
		return automaton.Or(all...)
	case opTrustDomain:
		return automaton.Or(spiffe().Literal(m.parts[0]).Many(automaton.NoSlash).Literal(m.parts[1]).Literal("/").Many(
			automaton.Any))
	case opTemplate:
		q := start()
		for i, literal := range m.tmpl.head {
			if i > 0 {
				q = q.Some(automaton.Segment)
			}
			q = q.Literal(literal)
		}
		if m.tmpl.rest {
			q = q.Many(automaton.Segments).Literal(m.tmpl.tail)
		}
		return end(q)
	}
	return automaton.Pattern{}
}

// The domains: what an attribute's value can be at all when a policy sees it.
var (
	// PathDomain is the paths that NormalizePath leaves as they are, without a query.
	PathDomain = sync.OnceValue(func() *automaton.Domain { return automaton.NewDomain(normalPath()) })
	// TargetDomain is the same with any query behind them.
	TargetDomain = sync.OnceValue(func() *automaton.Domain {
		return automaton.NewDomain(normalPath() + `(\?[!-"$-~]*)?`)
	})
	// MethodDomain is the names of methods that a proxy does not refuse for their
	// letters.
	MethodDomain = automaton.NewDomain("[A-Z-]+")
	// HostDomain is what Envoy takes for an authority, the empty one included.
	HostDomain = automaton.NewDomain("[!$-.0-;=@-\\[\\]_a-z~]*")
	// HeaderDomain is what one line of a header can say.
	HeaderDomain = automaton.NewDomain("(" + headerText + ")?")
	// FilledDomain is the same without the empty line.
	FilledDomain = automaton.NewDomain(headerText)
	// ForwardedDomain is what X-Forwarded-For says behind a gateway: the address of its
	// client, behind what that one sent.
	ForwardedDomain = sync.OnceValue(func() *automaton.Domain {
		const number = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
		return automaton.NewDomain("(" + headerText + ",)?(" + number + `(\.` + number + "){3}|[0-9a-f:]*:[0-9a-f:.]*)")
	})
	// UpgradeDomain is what Connection can say where Envoy leaves it: that the
	// connection is to be upgraded, among other things.
	UpgradeDomain = automaton.NewDomain("([A-Za-z0-9-]+, ?)*(?i:upgrade)(,[A-Za-z0-9-][A-Za-z0-9,-]*)?")
)

// headerText begins and ends with what is no space.
const headerText = `[^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?`

// IdentityDomain is the identities of a trust domain: spiffe://TD/ns/NS/sa/SA, with
// names as Kubernetes has them.
func IdentityDomain(trustDomain string) *automaton.Domain {
	const label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
	return automaton.NewDomain(regexp.QuoteMeta(spiffePrefix+trustDomain) + "/ns/" + label + "/sa/" + label +
		`(\.` + label + ")*")
}

// normalPath is the expression of what NormalizePath leaves as it is: no segment that is a
// dot or two, with or without parameters, and no escape of what is never escaped.
func normalPath() string {
	const digit = "[0-9a-fA-F]"
	other, escaped := "[-", "" // what is no digit, dot, slash or semicolon; and bytes as they are escaped
	for c := range 256 {
		class := classOf(byte(c))
		_, isDigit := hexValue(byte(c))
		if (class == pass || class == unescape) && !isDigit && strings.IndexByte("-./;", byte(c)) < 0 {
			other += regexp.QuoteMeta(string(rune(c)))
		}
		if class == escape || class == pass && c != '.' {
			escaped += fmt.Sprintf("|%02x", c)
		}
	}
	other += "]"
	escaped = "(%(?i:" + escaped[1:] + "))"
	// A percent sign that begins no escape stays, with one digit behind it, where what
	// follows is no digit.
	strays := "(%" + digit + "?)+"
	behind := "(" + other + "|[.;]|" + escaped + ")"
	rest := "(" + digit + "|(" + strays + ")?" + behind + ")*(" + strays + ")?"
	// begun is the segments that begin with neither a dot nor a semicolon.
	begun := "((" + digit + "|" + other + "|" + escaped + "|" + strays + behind + ")" + rest + "|" + strays + ")"
	return "(/(" + begun + "|;" + rest + `|\.` + begun + `|\.\.(` + begun + `|\.` + rest + "))?)+"
}

// Key returns a text that two Rests share only when they say the same about every
// request.
func (r *Rest) Key() string {
	var b strings.Builder
	write := func(values []string) {
		for _, v := range values {
			b.WriteString(strconv.Quote(v))
		}
	}
	for _, rules := range [][]rule{r.deny, r.allow} {
		b.WriteByte('|')
		for i := range rules {
			b.WriteString(rules[i].name)
			for _, g := range rules[i].groups {
				b.WriteByte('&')
				for j := range g {
					b.WriteByte('(')
					for k := range g[j].fields {
						f := &g[j].fields[k]
						b.WriteString(f.name)
						write(f.values)
						b.WriteByte('!')
						write(f.notValues)
					}
				}
			}
		}
	}
	if r.closed {
		b.WriteByte('c')
	}
	return b.String()
}
