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
	root       []*nodePolicy // for workloads of every namespace
	namespaces map[string][]*nodePolicy
}

type nodePolicy struct {
	policy
	selector map[string]string // empty for all
}

// NewNodeProxy compiles the policies. Those that node proxies do not receive
// are left out: with targetRefs, with another action than ALLOW or DENY, dry runs,
// and those with an empty selector, which istiod gives no workload
// (pilot/pkg/serviceregistry/ambient/workloads.go, buildWorkloadPolicies).
func NewNodeProxy(cfg Config, policies []*securityv1.AuthorizationPolicy) *NodeProxy {
	cfg = cfg.withDefaults()
	n := &NodeProxy{namespaces: map[string][]*nodePolicy{}}
	for _, p := range policies {
		if len(targets(p)) > 0 || !(isAllow(p) || isDeny(p)) || dryRun(p) || SelectsNothing(p) {
			continue
		}
		if compiled := compileNode(p); p.Namespace == cfg.RootNamespace {
			n.root = append(n.root, compiled)
		} else {
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
	attached := slices.DeleteFunc(slices.Concat(n.root, n.namespaces[namespace]), func(p *nodePolicy) bool {
		return !subset(p.selector, labels)
	})
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

// SelectsNothing reports whether a policy has a selector with nothing in it, by which no
// node proxy gets it. Without a selector, or with matchLabels that are given and empty,
// it is for all.
func SelectsNothing(p *securityv1.AuthorizationPolicy) bool {
	return p.Spec.Selector != nil && p.Spec.Selector.MatchLabels == nil
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
		policy:   policy{key: p.Namespace + "/" + p.Name, deny: isDeny(p), enforceable: true},
		selector: p.Spec.GetSelector().GetMatchLabels(),
	}
	for i, r := range p.Spec.Rules {
		if r == nil {
			continue
		}
		id, lost := RuleID(p.Namespace, p.Name, i), HTTPAttributes(r)
		for _, field := range lost {
			out.skip(id, field, !out.deny)
		}
		for _, f := range r.From {
			if s := f.GetSource(); len(s.GetTrustDomains())+len(s.GetNotTrustDomains()) > 0 {
				out.skip(id, "trustDomains", false)
			}
		}
		if out.deny || len(lost) == 0 {
			out.tcp = append(out.tcp, ztunnel{p.Namespace}.rule(id, out.key, r))
		}
	}
	return out
}

func (p *nodePolicy) skip(rule, field string, whole bool) {
	s := Skip{Policy: p.key, Rule: rule, Field: field, Why: errNotAtNode.Error(), Whole: whole}
	if !slices.Contains(p.tcpSkips, s) {
		p.tcpSkips = append(p.tcpSkips, s)
	}
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
	var specs []spec
	for _, f := range r.GetFrom() {
		specs = append(specs, sources(f.GetSource())...)
	}
	for _, t := range r.GetTo() {
		specs = append(specs, operations(t.GetOperation())...)
	}
	for _, s := range specs {
		if _, has := (ztunnel{}).meaning(s.name); !has && s.name != "trustDomains" {
			add(s.name, s.values)
			add("not"+strings.ToUpper(s.name[:1])+s.name[1:], s.notValues)
		}
	}
	for _, c := range r.GetWhen() {
		if _, has := (ztunnel{}).meaning(c.GetKey()); !has {
			add(c.GetKey(), []string{c.GetKey()})
		}
	}
	return found
}

// ztunnel is istiod's conversion for ztunnel: the L4 fields only, trustDomains
// silently lost.
type ztunnel struct{ namespace string }

// meaning returns what a field or condition is to ztunnel, and whether it is anything.
func (z ztunnel) meaning(name string) (meaning, bool) {
	switch name {
	case "ipBlocks", "source.ip":
		return meaning{attrSourceIP, addressValue, false}, true
	case "namespaces", "source.namespace":
		return meaning{attrNamespace, plainValue, false}, true
	case "serviceAccounts":
		return meaning{attrAccount, z.account, false}, true
	case "principals", "source.principal":
		return meaning{attrIdentity, plainValue, false}, true
	case "ports", "destination.port":
		return meaning{attrDestPort, portValue, false}, true
	case "destination.ip":
		return meaning{attrDestIP, addressValue, false}, true
	}
	return meaning{}, false
}

func (z ztunnel) account(v string) (matcher, error) { return accountValue(z.namespace, v), nil }

func (z ztunnel) rule(id, policy string, r *securityv1beta1.Rule) rule {
	out, _ := compileRule(id, policy, r, z.clause)
	return out
}

// clause compiles what is left of some fields; values that cannot be read are dropped
// one by one, as istiod drops them. It never matches where nothing is left: ztunnel
// takes an empty match for none.
func (z ztunnel) clause(specs []spec) (clause, error) {
	var out clause
	for _, s := range specs {
		if m, has := z.meaning(s.name); has {
			if f, _ := m.field(s); len(f.wanted)+len(f.refused) > 0 {
				out.fields = append(out.fields, f)
			}
		}
	}
	out.never = len(out.fields) == 0
	return out, nil
}

// NoOpAtNodeProxy reports whether a rule without effect is left when a node proxy
// has lost its HTTP attributes: some from, to or when of it can then never
// match. In a DENY policy that is silent.
func NoOpAtNodeProxy(namespace string, r *securityv1beta1.Rule) bool {
	return slices.ContainsFunc(ztunnel{namespace}.rule("", "", r).groups, group.never)
}
