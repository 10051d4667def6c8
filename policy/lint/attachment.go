package lint

import (
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

func targetRefs(p *securityv1.AuthorizationPolicy) []*typev1beta1.PolicyTargetReference {
	if len(p.Spec.TargetRefs) == 0 && p.Spec.TargetRef != nil {
		return []*typev1beta1.PolicyTargetReference{p.Spec.TargetRef}
	}
	return p.Spec.TargetRefs
}

// attachment says where a policy attaches to nothing.
func (c *checker) attachment(p *securityv1.AuthorizationPolicy) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	refs := targetRefs(p)
	for _, r := range refs {
		switch r.GetKind() {
		case "Service":
			c.serviceTarget(p, r.GetName())
		case "Gateway":
			if c.mesh.gateway(p.Namespace, r.GetName()) == nil {
				c.add(Error, "attached-to-nothing", at, fmt.Sprintf("targets Gateway %s/%s, which is not among the files: the policy does nothing", p.Namespace, r.GetName()),
					"name a Gateway of the policy's own namespace")
			}
		case "GatewayClass":
			if p.Namespace != rootNamespace || r.GetName() != waypointClass {
				c.add(Error, "attached-to-nothing", at, fmt.Sprintf("targets GatewayClass %s from namespace %s: only %s counts, and only from the root namespace %s", r.GetName(), p.Namespace, waypointClass, rootNamespace),
					fmt.Sprintf("move it to %s, or target a Gateway", rootNamespace))
			}
		default:
			c.report.NotJudged = append(c.report.NotJudged, NotJudged{c.mesh.set.Origins[at].File, c.mesh.set.Origins[at].Line, "AuthorizationPolicy " + at.String(), "its target " + r.GetKind() + " is not among what lint knows"})
		}
	}
	if len(refs) > 0 || c.elsewhere(p) != "" {
		return
	}
	selector := p.Spec.GetSelector().GetMatchLabels()
	if !slices.ContainsFunc(c.mesh.workloads, func(w workload) bool {
		return (w.key.Namespace == p.Namespace || p.Namespace == rootNamespace) && subset(selector, w.labels)
	}) {
		what := "no workload of namespace " + p.Namespace + " is among the files"
		sev := Warning
		if len(selector) > 0 {
			what, sev = fmt.Sprintf("its selector %v finds no workload in namespace %s", selector, p.Namespace), Error
		}
		c.add(sev, "attached-to-nothing", at, what+": the policy does nothing here", "correct the labels or the namespace")
		return
	}
	if !slices.ContainsFunc(c.mesh.workloads, func(w workload) bool {
		in, known := c.mesh.meshed(w)
		return (in || !known) && (w.key.Namespace == p.Namespace || p.Namespace == rootNamespace) && subset(selector, w.labels)
	}) {
		c.add(Error, "not-in-the-mesh", at, "none of the workloads that it is for is in the ambient mesh: nothing enforces it",
			"label the Namespace istio.io/dataplane-mode: ambient")
	}
}

// elsewhere says why a policy without a target is not, or not only, a matter of
// node proxies; empty when it is.
func (c *checker) elsewhere(p *securityv1.AuthorizationPolicy) string {
	if c.mesh.sidecars(p.Namespace) {
		return "its namespace has sidecars, and lint judges ambient meshes"
	}
	selector := p.Spec.GetSelector().GetMatchLabels()
	if name, ok := selector["gateway.networking.k8s.io/gateway-name"]; ok {
		if g := c.mesh.gateway(p.Namespace, name); g == nil || g.Spec.GatewayClassName != waypointClass {
			return "it is for an ingress gateway"
		}
	}
	workloads := slices.ContainsFunc(c.mesh.workloads, func(w workload) bool { return w.key.Namespace == p.Namespace })
	for front := range c.mesh.front {
		if namespace, _, _ := strings.Cut(front, "/"); namespace == p.Namespace && !workloads {
			return "it is for an ingress gateway"
		}
	}
	return ""
}

func (c *checker) serviceTarget(p *securityv1.AuthorizationPolicy, name string) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	s := c.mesh.service(p.Namespace, name)
	if s == nil {
		message := fmt.Sprintf("targets Service %s/%s, which is not among the files: the policy does nothing", p.Namespace, name)
		for _, other := range c.mesh.set.Services {
			if other.Name == name {
				message += fmt.Sprintf("; there is %s/%s, but a policy attaches in its own namespace only", other.Namespace, name)
				break
			}
		}
		c.add(Error, "attached-to-nothing", at, message, "name a Service of the policy's own namespace")
		return
	}
	b := c.mesh.binding(s)
	switch {
	case b.name == "" && b.optOut:
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets Service %s, which opts out of the waypoint: nothing enforces the policy", name),
			"take istio.io/use-waypoint: none off the Service")
	case b.name == "":
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets Service %s, which uses no waypoint: nothing enforces the policy", name),
			"label the Namespace or the Service istio.io/use-waypoint: NAME and make that waypoint Gateway")
	case headless(s):
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets Service %s, which is headless: calls through it go to the pods' own addresses, past the waypoint", name),
			"give the Service a cluster IP")
	}
}

// rules says what of a policy's rules the proxy that gets them cannot enforce,
// or enforces otherwise than it reads.
func (c *checker) rules(p *securityv1.AuthorizationPolicy) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	onNode := len(targetRefs(p)) == 0
	if why := c.elsewhere(p); onNode && why != "" {
		o := c.mesh.set.Origins[at]
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, "AuthorizationPolicy " + at.String(), why})
		onNode = false
	}
	action := p.Spec.Action
	if onNode && action != securityv1beta1.AuthorizationPolicy_ALLOW && action != securityv1beta1.AuthorizationPolicy_DENY {
		c.add(Error, "not-enforced-by-node-proxy", at, fmt.Sprintf("%s without a target goes to node proxies, which do not know it", action), "target a Service or a Gateway")
	}
	if p.Annotations["istio.io/dry-run"] == "true" {
		where := "its waypoint only counts what it would do"
		if onNode {
			where = "node proxies do not even receive it"
		}
		c.add(Note, "dry-run", at, "is a dry run: "+where, "take the annotation istio.io/dry-run off to enforce it")
	}
	for i, r := range p.Spec.Rules {
		if r == nil {
			continue
		}
		rule := ruleRef(i)
		if onNode {
			c.nodeRule(p, rule, r)
		}
		c.sources(p, rule, r)
		c.paths(p, rule, r)
	}
}

func (c *checker) nodeRule(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	attributes := authz.HTTPAttributes(r)
	deny := p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY
	const fix = "write it with targetRefs to the Service, for the waypoint"
	bad, condition := Error, ""
	if c.mesh.namespaces[p.Namespace] == nil {
		bad, condition = Warning, " (if its namespace, which is not among the files, is in an ambient mesh)"
	}
	switch {
	case deny && len(attributes) > 0 && authz.NoOpAtNodeProxy(p.Namespace, r):
		c.addAt(bad, "deny-no-op", at, rule.path(), fmt.Sprintf("%s denies nothing%s: without a target it goes to node proxies, which lose %s, and what is left never matches", rule, condition, strings.Join(attributes, ", ")), fix)
	case deny && len(attributes) > 0:
		c.addAt(Warning, "l7-in-selector-policy", at, rule.path(), fmt.Sprintf("%s denies more than it says: node proxies lose %s", rule, strings.Join(attributes, ", ")), fix)
	case len(attributes) > 0:
		c.addAt(bad, "l7-in-selector-policy", at, rule.path(), fmt.Sprintf("%s allows nothing%s: without a target it goes to node proxies, which leave out a rule with %s", rule, condition, strings.Join(attributes, ", ")), fix)
	}
	for _, f := range r.From {
		s := f.GetSource()
		if len(s.GetTrustDomains())+len(s.GetNotTrustDomains()) > 0 {
			c.addAt(Error, "trust-domains-ignored", at, rule.path(), rule.String()+" names trustDomains, which node proxies silently ignore", "write principals, trust domain included")
		}
		for _, v := range append(slices.Clone(s.GetNamespaces()), s.GetNotNamespaces()...) {
			if inner := strings.Trim(v, "*"); strings.Contains(inner, "*") || strings.Count(v, "*") > 1 {
				c.addAt(Warning, "literal-star", at, rule.path(), fmt.Sprintf("%s: in namespace %q only one star at an end counts at node proxies; the rest is taken literally", rule, v), "list the namespaces")
			}
		}
	}
}

// sources says whom a rule admits without meaning to.
func (c *checker) sources(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	allow := p.Spec.Action == securityv1beta1.AuthorizationPolicy_ALLOW
	targeted := len(targetRefs(p)) > 0
	if allow && targeted && len(r.From) == 0 && !slices.ContainsFunc(r.When, func(w *securityv1beta1.Condition) bool { return strings.HasPrefix(w.GetKey(), "source.") }) {
		c.addAt(Warning, "admits-anyone", at, rule.path(), rule.String()+" names no caller: every identity of the mesh may", "name the callers by principals")
	}
	for _, f := range r.From {
		s := f.GetSource()
		for _, v := range append(slices.Clone(s.GetPrincipals()), s.GetNotPrincipals()...) {
			c.principal(p, rule, v)
		}
		for _, v := range append(slices.Clone(s.GetServiceAccounts()), s.GetNotServiceAccounts()...) {
			ns, sa, ok := strings.Cut(v, "/")
			if !ok {
				ns, sa = p.Namespace, v
			}
			c.account(p, rule, v, ns, sa)
		}
		if !allow {
			continue
		}
		if len(s.GetNamespaces()) > 0 && len(s.GetPrincipals())+len(s.GetServiceAccounts()) == 0 {
			c.addAt(Warning, "whole-cell-callers", at, rule.path(), fmt.Sprintf("%s admits every workload of namespace %s, whoever starts one there", rule, strings.Join(s.GetNamespaces(), ", ")), "name the callers by principals")
		}
		for _, v := range s.GetPrincipals() {
			if strings.Contains(v, "*") {
				c.addAt(Warning, "whole-cell-callers", at, rule.path(), fmt.Sprintf("%s admits every identity that fits %q", rule, v), "name the callers exactly")
			}
		}
	}
}

func (c *checker) principal(p *securityv1.AuthorizationPolicy, rule ruleRef, v string) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	if strings.HasPrefix(v, "spiffe://") {
		c.addAt(Error, "unknown-principal", at, rule.path(), fmt.Sprintf("%s: %q never matches: a principal is written without spiffe://", rule, v), "write "+strings.TrimPrefix(v, "spiffe://"))
		return
	}
	if strings.Contains(v, "*") {
		if inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"); strings.Contains(inner, "*") || (strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") && v != "*") {
			c.addAt(Warning, "literal-star", at, rule.path(), fmt.Sprintf("%s: in %q only one star at an end counts; the other is taken literally", rule, v), "name the callers exactly")
		}
		return
	}
	parts := strings.Split(v, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		c.addAt(Error, "unknown-principal", at, rule.path(), fmt.Sprintf("%s: %q has not the form TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: it never matches", rule, v), "")
		return
	}
	if parts[0] != trustDomain {
		o := c.mesh.set.Origins[at]
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, "AuthorizationPolicy " + at.String(), fmt.Sprintf("%s: whether trust domain %s is the mesh's", rule, parts[0])})
	}
	c.account(p, rule, v, parts[2], parts[4])
}

// account says when a policy names a service account that does not exist.
func (c *checker) account(p *securityv1.AuthorizationPolicy, rule ruleRef, written, namespace, account string) {
	if c.mesh.exists(namespace, account) {
		return
	}
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	if c.mesh.namespaces[namespace] == nil {
		o := c.mesh.set.Origins[at]
		c.report.NotJudged = append(c.report.NotJudged, NotJudged{o.File, o.Line, "AuthorizationPolicy " + at.String(), fmt.Sprintf("%s: whether service account %s/%s exists; its namespace is not among the files", rule, namespace, account)})
		return
	}
	fix := "correct the name, or make the ServiceAccount"
	if near := c.nearest(namespace, account); near != "" {
		fix = "did you mean " + near + "?"
	}
	c.addAt(Error, "unknown-principal", at, rule.path(), fmt.Sprintf("%s: %s names service account %s/%s, which does not exist", rule, written, namespace, account), fix)
}

// nearest returns an existing account of the same name in another namespace, or of
// the same namespace with a similar name.
func (c *checker) nearest(namespace, account string) string {
	var names []string
	for a := range c.mesh.accounts {
		names = append(names, a)
	}
	slices.Sort(names)
	for _, a := range names {
		ns, sa, _ := strings.Cut(a, "/")
		if sa == account || (ns == namespace && (strings.Contains(sa, account) || strings.Contains(account, sa))) {
			return a
		}
	}
	return ""
}

// paths says how a rule by path can be walked past by an application that reads
// paths differently.
func (c *checker) paths(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	if len(targetRefs(p)) == 0 {
		return
	}
	for _, t := range r.To {
		op := t.GetOperation()
		for _, v := range slices.Concat(op.GetPaths(), op.GetNotPaths()) {
			if strings.Contains(v, "{") && strings.Contains(v, "//") {
				c.addAt(Error, "template-not-loadable", at, rule.path(), fmt.Sprintf("%s has the path template %s with an empty segment: Istio takes it, Envoy cannot load it, and ends where it comes while it runs", rule, v), "write the template without //")
			}
		}
		if p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY {
			for _, v := range op.GetPaths() {
				if v != "*" && v != "/*" {
					c.addAt(Warning, "deny-by-path", at, rule.path(), fmt.Sprintf("%s denies %s as it is spelled: /%s, other case and %%2f pass, and are the same to many applications", rule, v, v), "allow what may be called instead")
					break
				}
			}
			continue
		}
		for _, v := range op.GetPaths() {
			if escapable(v) {
				c.addAt(Note, "escape-by-decoding", at, rule.path(), fmt.Sprintf("%s allows %s: that includes %s, which leaves the prefix in an application that decodes %%2f before it routes", rule, v, escapeOf(v)),
					"list the paths exactly, or make sure that the application routes on the raw path")
			}
		}
	}
}

func escapable(v string) bool {
	prefix, star := strings.CutSuffix(v, "*")
	if strings.Contains(v, "{*}") || strings.Contains(v, "{**}") {
		return true
	}
	return star && prefix != "" && prefix != "/"
}

func escapeOf(v string) string {
	if i := strings.Index(v, "{*"); i >= 0 {
		return v[:i] + "..%2fx" + strings.TrimPrefix(strings.TrimPrefix(v[i:], "{**}"), "{*}")
	}
	return strings.TrimSuffix(v, "*") + "..%2fx"
}

// ruleRef is a rule of a policy by its number.
type ruleRef int

func (r ruleRef) String() string { return fmt.Sprintf("rule %d", int(r)) }

func (r ruleRef) path() string { return fmt.Sprintf("spec.rules[%d]", int(r)) }
