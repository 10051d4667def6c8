package lint

import (
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
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
	for i, r := range refs {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		switch r.GetKind() {
		case "Service":
			c.serviceTarget(p, r.GetName())
		case "ServiceEntry":
			c.entryTarget(p, path, r.GetName())
		case "Gateway":
			if c.gateway(topology.Ref{Namespace: p.Namespace, Name: r.GetName()}) != nil || c.fronts[p.Namespace+"/"+
				r.GetName()] {
				continue
			}
			c.certain(c.whole(p.Namespace) && c.gateways, "attached-to-nothing", at, path,
				fmt.Sprintf("targets Gateway %s/%s, which is not among the files: the policy does nothing", p.Namespace,
					r.GetName()), "name a Gateway of the policy's own namespace",
				fmt.Sprintf("targets Gateway %s/%s; no Gateway of namespace %s is among the files", p.Namespace,
					r.GetName(), p.Namespace))
		case "GatewayClass":
			if p.Namespace != rootNamespace || r.GetName() != waypointClass {
				c.addAt(Error, "attached-to-nothing", at, path, fmt.Sprintf("targets GatewayClass %s from namespace "+
					"%s: only %s counts, and only from the root namespace %s", r.GetName(), p.Namespace, waypointClass,
					rootNamespace),
					fmt.Sprintf("move it to %s, or target a Gateway", rootNamespace))
			}
		default:
			c.notJudged(at, path, "its target "+r.GetKind()+" is not among what lint knows")
		}
	}
	if len(refs) > 0 || c.elsewhere(p) != "" {
		return
	}
	selector := p.Spec.GetSelector().GetMatchLabels()
	where := "of namespace " + p.Namespace
	if p.Namespace == rootNamespace {
		where = "of any namespace"
	}
	selected, meshed, known := c.selected(p)
	switch {
	case len(selected) == 0 && (len(selector) == 0 || !c.whole(p.Namespace) || !c.populated[p.Namespace]):
		c.notJudged(at, "", fmt.Sprintf("no workload %s that it is for is among the files", where))
	case len(selected) == 0:
		c.addAt(Error, "attached-to-nothing", at, "spec.selector", fmt.Sprintf("its selector %v finds no workload "+
			"%s: the policy does nothing here", selector, where), "correct the labels or the namespace")
	case !meshed:
		c.certain(known && c.meshes, "not-in-the-mesh", at, "", "none of the workloads that it is for is in the "+
			"ambient mesh: nothing enforces it", "label the Namespace istio.io/dataplane-mode: ambient",
			"whether the workloads that it is for are in an ambient mesh")
	}
}

// selected returns the pods that a policy without a target is for, whether one of
// them is in the mesh, and whether that is known of all.
func (c *checker) selected(p *securityv1.AuthorizationPolicy) (pods []*topology.Pod, meshed, known bool) {
	known = true
	for w := range c.apps {
		if (w.Namespace == p.Namespace || p.Namespace == rootNamespace) && subset(p.Spec.GetSelector().GetMatchLabels(),
			w.Labels) {
			in, sure := c.enrolled(w)
			pods, meshed, known = append(pods, w), meshed || in, known && sure
		}
	}
	return pods, meshed, known
}

// elsewhere says why a policy without a target is not, or not only, a matter of
// node proxies; empty when it is.
func (c *checker) elsewhere(p *securityv1.AuthorizationPolicy) string {
	selector := p.Spec.GetSelector().GetMatchLabels()
	if len(selector) > 0 {
		if front := selector["istio"]; strings.Contains(front, "gateway") || strings.Contains(selector["app"],
			"gateway") && strings.HasPrefix(selector["app"], "istio") {
			return "it is for an ingress gateway"
		}
	}
	if name, ok := selector[topology.LabelGatewayName]; ok {
		if g := c.gateway(topology.Ref{Namespace: p.Namespace, Name: name}); g == nil ||
			g.Spec.GatewayClassName != waypointClass {
			return "it is for an ingress gateway"
		}
	}
	workloads, sidecars := false, false
	for _, w := range c.world.Pods {
		if w.Kind == topology.App && w.Namespace == p.Namespace {
			workloads, sidecars = workloads || !c.sidecars[w.Ref], sidecars || c.sidecars[w.Ref]
		}
	}
	if !workloads && (sidecars || c.sidecarNamespace(p.Namespace)) {
		return "its namespace has sidecars, and lint judges ambient meshes"
	}
	for front := range c.fronts {
		if namespace, _, _ := strings.Cut(front, "/"); namespace == p.Namespace && !workloads {
			return "it is for an ingress gateway"
		}
	}
	return ""
}

func (c *checker) sidecarNamespace(name string) bool {
	n := c.world.Namespaces[name]
	if n == nil || n.Labels[topology.LabelDataplaneMode] == topology.ModeAmbient {
		return false
	}
	_, revision := n.Labels["istio.io/rev"]
	return revision || n.Labels["istio-injection"] == "enabled"
}

func (c *checker) serviceTarget(p *securityv1.AuthorizationPolicy, name string) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	s := c.serviceOf(p.Namespace, name)
	if s == nil {
		message := fmt.Sprintf("targets Service %s/%s, which is not among the files: the policy does nothing",
			p.Namespace, name)
		for _, other := range c.set.Services {
			if other.Name == name {
				message += fmt.Sprintf("; there is %s/%s, but a policy attaches in its own namespace only",
					other.Namespace, name)
				break
			}
		}
		c.certain(c.whole(p.Namespace) && c.services[p.Namespace], "attached-to-nothing", at, "spec.targetRefs",
			message, "name a Service of the policy's own namespace",
			fmt.Sprintf("targets Service %s/%s, which is not among the files, and neither is all of its namespace",
				p.Namespace, name))
		return
	}
	b := c.binding(s)
	const label = "label the Namespace or the Service istio.io/use-waypoint: NAME and make that waypoint Gateway"
	switch {
	case b.at.Name == "" && b.optOut:
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets Service %s, which opts out of the "+
			"waypoint: nothing enforces the policy", name),
			"take istio.io/use-waypoint: none off the Service")
	case b.at.Name == "":
		c.certain(c.whole(p.Namespace) && c.gateways, "service-without-waypoint", at, "",
			fmt.Sprintf("targets Service %s, which uses no waypoint: nothing enforces the policy", name), label,
			fmt.Sprintf("targets Service %s; whether that uses a waypoint is not among the files", name))
	case headless(s):
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets Service %s, which is headless: calls "+
			"through it go to the pods' own addresses, past the waypoint", name),
			"give the Service a cluster IP")
	}
}

// rules says what of a policy's rules the proxy that gets them cannot enforce,
// or enforces otherwise than it reads.
func (c *checker) rules(p *securityv1.AuthorizationPolicy) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	onNode := len(targetRefs(p)) == 0
	if why := c.elsewhere(p); onNode && why != "" {
		c.notJudged(at, "", why)
		onNode = false
	}
	action := p.Spec.Action
	if onNode && action != securityv1beta1.AuthorizationPolicy_ALLOW &&
		action != securityv1beta1.AuthorizationPolicy_DENY {
		_, meshed, _ := c.selected(p)
		c.certain(meshed, "not-enforced-by-node-proxy", at, "spec.action", fmt.Sprintf("%s without a target goes to "+
			"node proxies, which do not know it", action), "target a Service or a Gateway",
			fmt.Sprintf("%s without a target: node proxies do not know it, if its pods are in an ambient mesh", action))
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
		c.unmatchable(p, rule, r)
		c.addresses(p, rule, r)
	}
}

func (c *checker) nodeRule(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	attributes := authz.HTTPAttributes(r)
	deny := p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY
	const fix = "write it with targetRefs to the Service, for the waypoint"
	bad, condition := Error, ""
	if _, meshed, _ := c.selected(p); !meshed {
		if len(attributes) > 0 && !c.meshes {
			c.notJudged(at, rule.path(), fmt.Sprintf("%s has %s, which node proxies do not see: without a target it "+
				"counts in a mesh of sidecars only, and which it is the files do not say", rule, list(attributes)))
			return
		}
		bad, condition = Warning, " (if its pods are in the ambient mesh, which the files do not say)"
	}
	switch {
	case deny && len(attributes) > 0 && authz.NoOpAtNodeProxy(p.Namespace, r):
		c.addAt(bad, "deny-no-op", at, rule.path(), fmt.Sprintf("%s denies nothing%s: without a target it goes to "+
			"node proxies, which lose %s, and what is left never matches", rule, condition, list(attributes)), fix)
	case deny && len(attributes) > 0:
		c.addAt(Warning, "l7-in-selector-policy", at, rule.path(),
			fmt.Sprintf("%s denies more than it says%s: node proxies lose %s", rule, condition, list(attributes)), fix)
	case len(attributes) > 0:
		c.addAt(bad, "l7-in-selector-policy", at, rule.path(), fmt.Sprintf("%s allows nothing%s: without a target it "+
			"goes to node proxies, which leave out a rule with %s", rule, condition, list(attributes)), fix)
	}
	for _, f := range r.From {
		s := f.GetSource()
		if len(s.GetTrustDomains())+len(s.GetNotTrustDomains()) > 0 {
			c.addAt(bad, "trust-domains-ignored", at, rule.path(), rule.String()+
				" names trustDomains, which node proxies silently ignore", "write principals, trust domain included")
		}
		for _, v := range append(slices.Clone(s.GetNamespaces()), s.GetNotNamespaces()...) {
			if inner := strings.Trim(v, "*"); strings.Contains(inner, "*") || strings.Count(v, "*") > 1 {
				c.addAt(Warning, "literal-star", at, rule.path(), fmt.Sprintf("%s: in namespace %q only one star at "+
					"an end counts at node proxies; the rest is taken literally", rule, v), "list the namespaces")
			}
		}
	}
}

// sources says whom a rule admits without meaning to.
func (c *checker) sources(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	allow := p.Spec.Action == securityv1beta1.AuthorizationPolicy_ALLOW
	targeted := len(targetRefs(p)) > 0
	if allow && targeted && len(r.From) == 0 && !slices.ContainsFunc(r.When,
		func(w *securityv1beta1.Condition) bool { return strings.HasPrefix(w.GetKey(), "source.") }) {
		c.addAt(Warning, "admits-anyone", at, rule.path(), rule.String()+
			" names no caller: every identity of the mesh may", "name the callers by principals")
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
		if len(s.GetPrincipals())+len(s.GetNamespaces())+len(s.GetServiceAccounts())+len(s.GetTrustDomains())+
			len(s.GetRequestPrincipals()) == 0 {
			whom := "everybody but those that it names"
			if len(s.GetIpBlocks())+len(s.GetRemoteIpBlocks()) > 0 {
				whom = "whoever comes from those addresses, without an identity, too"
			}
			c.addAt(Warning, "admits-anyone", at, rule.path(), fmt.Sprintf("%s names no caller: it admits %s", rule,
				whom), "name the callers by principals")
		}
		if len(s.GetNamespaces()) > 0 && len(s.GetPrincipals())+len(s.GetServiceAccounts()) == 0 {
			c.addAt(Warning, "whole-cell-callers", at, rule.path(), fmt.Sprintf("%s admits every workload of "+
				"namespace %s, whoever starts one there", rule, list(s.GetNamespaces())),
				"name the callers by principals")
		}
		for _, v := range s.GetPrincipals() {
			if strings.Contains(v, "*") {
				c.addAt(Warning, "whole-cell-callers", at, rule.path(),
					fmt.Sprintf("%s admits every identity that fits %q", rule, v), "name the callers exactly")
			}
		}
	}
}

func (c *checker) principal(p *securityv1.AuthorizationPolicy, rule ruleRef, v string) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	if strings.HasPrefix(v, "spiffe://") {
		c.addAt(Error, "unknown-principal", at, rule.path(), fmt.Sprintf("%s: %q never matches: a principal is "+
			"written without spiffe://", rule, v), "write "+strings.TrimPrefix(v, "spiffe://"))
		return
	}
	if strings.Contains(v, "*") {
		if inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"); strings.Contains(inner, "*") ||
			(strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") && v != "*") {
			c.addAt(Warning, "literal-star", at, rule.path(), fmt.Sprintf("%s: in %q only one star at an end counts; "+
				"the other is taken literally", rule, v), "name the callers exactly")
		}
		return
	}
	parts := strings.Split(v, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		c.addAt(Error, "unknown-principal", at, rule.path(),
			fmt.Sprintf("%s: %q has not the form TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: it never matches", rule, v), "")
		return
	}
	if parts[0] != trustDomain {
		c.notJudged(at, rule.path(), fmt.Sprintf("%s: whether trust domain %s is the mesh's", rule, parts[0]))
	}
	c.account(p, rule, v, parts[2], parts[4])
}

// account says when a policy names a service account that does not exist.
func (c *checker) account(p *securityv1.AuthorizationPolicy, rule ruleRef, written, namespace, account string) {
	if c.exists(namespace, account) {
		return
	}
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	if !c.whole(namespace) || !c.populated[namespace] {
		c.notJudged(at, rule.path(), fmt.Sprintf("%s: whether service account %s/%s exists; its namespace is not "+
			"among the files", rule, namespace, account))
		return
	}
	fix := "correct the name, or make the ServiceAccount"
	if near := c.nearest(namespace, account); near != "" {
		fix = "did you mean " + near + "?"
	}
	c.addAt(Error, "unknown-principal", at, rule.path(),
		fmt.Sprintf("%s: %s names service account %s/%s, which does not exist", rule, written, namespace, account), fix)
}

// nearest returns an existing account of the same name in another namespace, or of
// the same namespace with a similar name.
func (c *checker) nearest(namespace, account string) string {
	var names []string
	for a := range c.accounts {
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
				c.addAt(Error, "template-not-loadable", at, rule.path(), fmt.Sprintf("%s has the path template %s "+
					"with an empty segment: Istio takes it, Envoy cannot load it, and ends where it comes while it "+
					"runs", rule, v), "write the template without //")
			}
		}
		if p.Spec.Action == securityv1beta1.AuthorizationPolicy_DENY {
			for _, v := range op.GetPaths() {
				if v != "*" && v != "/*" {
					c.addAt(Warning, "deny-by-path", at, rule.path(), fmt.Sprintf("%s denies %s as it is spelled: "+
						"/%s, other case and %%2f pass, and are the same to many applications", rule, v, v),
						"allow what may be called instead")
					break
				}
			}
			continue
		}
		for _, v := range op.GetPaths() {
			if escapable(v) {
				c.addAt(Note, "escape-by-decoding", at, rule.path(), fmt.Sprintf("%s allows %s: that includes %s, "+
					"which leaves the prefix in an application that decodes %%2f before it routes", rule, v,
					escapeOf(v)),
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
