package authz

import (
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// NodeProxy decides as node proxies do: ztunnel with what istiod converts for it
// (istio.io/istio pilot/pkg/serviceregistry/ambient/authorization.go,
// istio/ztunnel src/rbac.rs). It sees connections: HTTP attributes are lost on
// the way, and what is left of a rule decides.
type NodeProxy struct {
	global     []*nodePolicy
	namespaces map[string][]*nodePolicy
	// mesh are policies of the root namespace with a selector: they reach
	// workloads of every namespace.
	mesh []*nodePolicy
}

type nodePolicy struct {
	policy
	namespace, name string
	selector        map[string]string
	selects         bool
}

// NewNodeProxy compiles the policies. Those that node proxies do not receive
// are left out: with targetRefs, with another action than ALLOW or DENY, and
// dry runs.
func NewNodeProxy(cfg Config, policies []*securityv1.AuthorizationPolicy) *NodeProxy {
	cfg = cfg.withDefaults()
	n := &NodeProxy{namespaces: map[string][]*nodePolicy{}}
	for _, p := range policies {
		if len(targets(p)) > 0 || !(isAllow(p) || isDeny(p)) || dryRun(p) {
			continue
		}
		compiled := compileNode(p)
		switch {
		case p.Namespace == cfg.RootNamespace && compiled.selects:
			n.mesh = append(n.mesh, compiled)
		case p.Namespace == cfg.RootNamespace:
			n.global = append(n.global, compiled)
		default:
			n.namespaces[p.Namespace] = append(n.namespaces[p.Namespace], compiled)
		}
	}
	return n
}

// ForWorkload returns the engine of a workload. It is made anew at each call: keep
// it for as long as the policies and the labels stay.
func (n *NodeProxy) ForWorkload(namespace string, labels map[string]string) *Engine {
	if n == nil {
		return nil
	}
	attached := slices.Clone(n.global)
	for _, p := range slices.Concat(n.mesh, n.namespaces[namespace]) {
		if !p.selects || subset(p.selector, labels) {
			attached = append(attached, p)
		}
	}
	slices.SortStableFunc(attached, func(a, b *nodePolicy) int { return strings.Compare(a.key, b.key) })
	var set ruleSet
	for _, p := range attached {
		set.skips = append(set.skips, p.tcpSkips...)
		if p.deny {
			set.deny = append(set.deny, p.tcp...)
			continue
		}
		set.allow = append(set.allow, p.tcp...)
		set.closed = true
		set.closers = append(set.closers, p.key)
	}
	// A node proxy looks at connections, whatever they carry.
	return &Engine{http: set, tcp: set}
}

func subset(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func compileNode(p *securityv1.AuthorizationPolicy) *nodePolicy {
	out := &nodePolicy{
		policy:    policy{key: p.Namespace + "/" + p.Name, deny: isDeny(p), enforceable: true},
		namespace: p.Namespace, name: p.Name,
		selector: p.Spec.GetSelector().GetMatchLabels(),
		selects:  p.Spec.GetSelector() != nil,
	}
	for i, r := range p.Spec.Rules {
		if r == nil {
			continue
		}
		lost := HTTPAttributes(r)
		for _, field := range lost {
			out.skip(i, field, !out.deny)
		}
		for _, f := range r.From {
			if s := f.GetSource(); len(s.GetTrustDomains())+len(s.GetNotTrustDomains()) > 0 {
				out.skip(i, "trustDomains", false)
			}
		}
		if !out.deny && len(lost) > 0 {
			continue
		}
		d := ztunnel{namespace: p.Namespace}
		compiled := rule{name: RuleID(p.Namespace, p.Name, i), policy: out.key}
		var to, from group
		for _, t := range r.To {
			to = append(to, ztunnelClause(d.operation(t.GetOperation())))
		}
		for _, f := range r.From {
			from = append(from, ztunnelClause(d.source(f.GetSource())))
		}
		for _, g := range []group{to, from} {
			if len(g) > 0 {
				compiled.groups = append(compiled.groups, g)
			}
		}
		for _, c := range r.When {
			compiled.groups = append(compiled.groups, group{ztunnelClause(d.condition(c))})
		}
		out.tcp = append(out.tcp, compiled)
	}
	return out
}

func (p *nodePolicy) skip(rule int, field string, whole bool) {
	s := Skip{Policy: p.key, Rule: RuleID(p.namespace, p.name, rule), Field: field, Why: errNotAtNode.Error(),
		Whole: whole}
	if !slices.Contains(p.tcpSkips, s) {
		p.tcpSkips = append(p.tcpSkips, s)
	}
}

// ztunnelClause makes a clause that never matches when nothing is left of it:
// ztunnel takes an empty match for none.
func ztunnelClause(fields []field) clause {
	return clause{fields: fields, never: len(fields) == 0}
}

// HTTPAttributes lists the attributes of a rule that a node proxy cannot see,
// in the order of the rule, each once. A rule that has any is left out of an
// ALLOW policy there; of a DENY policy, what else it says stays.
func HTTPAttributes(r *securityv1beta1.Rule) []string {
	var found []string
	add := func(name string, values []string) {
		if len(values) > 0 && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, f := range r.GetFrom() {
		s := f.GetSource()
		add("remoteIpBlocks", s.GetRemoteIpBlocks())
		add("notRemoteIpBlocks", s.GetNotRemoteIpBlocks())
		add("requestPrincipals", s.GetRequestPrincipals())
		add("notRequestPrincipals", s.GetNotRequestPrincipals())
	}
	for _, t := range r.GetTo() {
		o := t.GetOperation()
		add("hosts", o.GetHosts())
		add("notHosts", o.GetNotHosts())
		add("methods", o.GetMethods())
		add("notMethods", o.GetNotMethods())
		add("paths", o.GetPaths())
		add("notPaths", o.GetNotPaths())
	}
	for _, c := range r.GetWhen() {
		switch c.GetKey() {
		case "source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port":
		default:
			add(c.GetKey(), []string{c.GetKey()})
		}
	}
	return found
}

// ztunnel is istiod's conversion for ztunnel: the L4 fields only, trustDomains
// silently lost.
type ztunnel struct{ namespace string }

func (z ztunnel) source(s *securityv1beta1.Source) []field {
	return ztunnelFields([]candidate{
		{spec{"ipBlocks", s.GetIpBlocks(), s.GetNotIpBlocks()}, field{attr: attrSourceIP}, addressValue, false},
		{spec{"namespaces", s.GetNamespaces(), s.GetNotNamespaces()}, field{attr: attrNamespace}, plainValue, false},
		{spec{"serviceAccounts", s.GetServiceAccounts(), s.GetNotServiceAccounts()}, field{attr: attrAccount},
			z.account, false},
		{spec{"principals", s.GetPrincipals(), s.GetNotPrincipals()}, field{attr: attrIdentity}, plainValue, false},
	})
}

func (z ztunnel) operation(o *securityv1beta1.Operation) []field {
	return ztunnelFields([]candidate{
		{spec{"ports", o.GetPorts(), o.GetNotPorts()}, field{attr: attrDestPort}, portValue, false},
	})
}

func (z ztunnel) condition(c *securityv1beta1.Condition) []field {
	k := candidate{spec: spec{c.GetKey(), c.GetValues(), c.GetNotValues()}}
	switch c.GetKey() {
	case "source.namespace":
		k.field, k.value = field{attr: attrNamespace}, plainValue
	case "source.principal":
		k.field, k.value = field{attr: attrIdentity}, plainValue
	case "source.ip":
		k.field, k.value = field{attr: attrSourceIP}, addressValue
	case "destination.port":
		k.field, k.value = field{attr: attrDestPort}, portValue
	case "destination.ip":
		k.field, k.value = field{attr: attrDestIP}, addressValue
	default:
		return nil
	}
	return ztunnelFields([]candidate{k})
}

func (z ztunnel) account(v string) (matcher, error) {
	ns, sa, ok := strings.Cut(v, "/")
	if !ok {
		ns, sa = z.namespace, v
	}
	return matcher{ns: ns, sa: sa}, nil
}

// ztunnelFields compiles fields; values that cannot be read are dropped one by
// one, as istiod drops them.
func ztunnelFields(candidates []candidate) []field {
	var out []field
	for _, c := range candidates {
		f := c.field
		f.name, f.values, f.notValues = c.name, c.values, c.notValues
		for _, v := range c.values {
			if m, err := c.value(v); err == nil {
				f.wanted = append(f.wanted, m)
			}
		}
		for _, v := range c.notValues {
			if m, err := c.value(v); err == nil {
				f.refused = append(f.refused, m)
			}
		}
		if len(f.wanted)+len(f.refused) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// NoOpAtNodeProxy reports whether a rule without effect is left when a node proxy
// has lost its HTTP attributes: some from, to or when of it can then never
// match. In a DENY policy that is silent.
func NoOpAtNodeProxy(namespace string, r *securityv1beta1.Rule) bool {
	z := ztunnel{namespace: namespace}
	dead := func(clauses int, fields func(i int) []field) bool {
		for i := range clauses {
			if len(fields(i)) > 0 {
				return false
			}
		}
		return clauses > 0
	}
	for _, c := range r.GetWhen() {
		if len(z.condition(c)) == 0 {
			return true
		}
	}
	return dead(len(r.GetFrom()), func(i int) []field { return z.source(r.From[i].GetSource()) }) ||
		dead(len(r.GetTo()), func(i int) []field { return z.operation(r.To[i].GetOperation()) })
}
