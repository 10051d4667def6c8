package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// rule is a rule of a policy while it is checked.
type rule struct {
	*policy
	*securityv1beta1.Rule
	name string // "rule" and its number
	at   place
}

// add adds a finding about the rule; its message begins with the rule's name.
func (r *rule) add(sev Severity, check, format string, args ...any) *Finding {
	return r.checker.add(sev, check, r.at, "%s%s", r.name, fmt.Sprintf(format, args...))
}

func (r *rule) notJudged(format string, args ...any) {
	r.checker.notJudged(r.at, "%s%s", r.name, fmt.Sprintf(format, args...))
}

// atNodeProxy says what node proxies lose of a rule, or take otherwise.
func (r *rule) atNodeProxy() {
	attributes := authz.HTTPAttributes(r.Rule)
	lost := list(attributes)
	const fix = "write it with targetRefs to the Service, for the waypoint"
	bad, condition := Error, ""
	if !r.meshed {
		if len(attributes) > 0 && !r.meshes {
			r.notJudged(" has %s, which node proxies do not see: without a target it counts in a mesh of sidecars "+
				"only, and which it is the files do not say", lost)
			return
		}
		bad, condition = Warning, " (if its pods are in the ambient mesh, which the files do not say)"
	}
	switch {
	case len(attributes) == 0:
	case r.denies() && authz.NoOpAtNodeProxy(r.Namespace, r.Rule):
		r.add(bad, "deny-no-op", " denies nothing%s: without a target it goes to node proxies, which lose %s, and "+
			"what is left never matches", condition, lost).Fix = fix
	case r.denies():
		r.add(Warning, "l7-in-selector-policy", " denies more than it says%s: node proxies lose %s", condition, lost).
			Fix = fix
	default:
		r.add(bad, "l7-in-selector-policy", " allows nothing%s: without a target it goes to node proxies, which "+
			"leave out a rule with %s", condition, lost).Fix = fix
	}
	for _, f := range r.From {
		s := f.GetSource()
		if len(s.GetTrustDomains())+len(s.GetNotTrustDomains()) > 0 {
			r.add(bad, "trust-domains-ignored", " names trustDomains, which node proxies silently ignore").
				Fix = "write principals, trust domain included"
		}
		for _, v := range slices.Concat(s.GetNamespaces(), s.GetNotNamespaces()) {
			if inner := strings.Trim(v, "*"); strings.Contains(inner, "*") || strings.Count(v, "*") > 1 {
				r.add(Warning, "literal-star", ": in namespace %q only one star at an end counts at node proxies; the "+
					"rest is taken literally", v).Fix = "list the namespaces"
			}
		}
	}
}

// callers says whom a rule admits without meaning to.
func (r *rule) callers() {
	const fix = "name the callers by principals"
	if r.allows() && len(r.refs) > 0 && len(r.From) == 0 && !slices.ContainsFunc(r.When,
		func(w *securityv1beta1.Condition) bool { return strings.HasPrefix(w.GetKey(), "source.") }) {
		r.add(Warning, "admits-anyone", " names no caller: every identity of the mesh may").Fix = fix
	}
	for _, f := range r.From {
		s := f.GetSource()
		for _, v := range slices.Concat(s.GetPrincipals(), s.GetNotPrincipals()) {
			r.principal(v)
		}
		for _, v := range slices.Concat(s.GetServiceAccounts(), s.GetNotServiceAccounts()) {
			ns, sa, ok := strings.Cut(v, "/")
			if !ok {
				ns, sa = r.Namespace, v
			}
			r.account(v, ns, sa)
		}
		if !r.allows() {
			continue
		}
		if len(s.GetPrincipals())+len(s.GetNamespaces())+len(s.GetServiceAccounts())+len(s.GetTrustDomains())+
			len(s.GetRequestPrincipals()) == 0 {
			whom := "everybody but those that it names"
			if len(s.GetIpBlocks())+len(s.GetRemoteIpBlocks()) > 0 {
				whom = "whoever comes from those addresses, without an identity, too"
			}
			r.add(Warning, "admits-anyone", " names no caller: it admits %s", whom).Fix = fix
		}
		if len(s.GetNamespaces()) > 0 && len(s.GetPrincipals())+len(s.GetServiceAccounts()) == 0 {
			r.add(Warning, "whole-cell-callers", " admits every workload of namespace %s, whoever starts one there",
				list(s.GetNamespaces())).Fix = fix
		}
		for _, v := range s.GetPrincipals() {
			if strings.Contains(v, "*") {
				r.add(Warning, "whole-cell-callers", " admits every identity that fits %q", v).
					Fix = "name the callers exactly"
			}
		}
	}
}

// principal says when a principal is written so that nobody has it, or that of an
// account that does not exist.
func (r *rule) principal(v string) {
	parts := strings.Split(v, "/")
	switch inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"); {
	case strings.HasPrefix(v, "spiffe://"):
		r.add(Error, "unknown-principal", ": %q never matches: a principal is written without spiffe://", v).
			Fix = "write " + strings.TrimPrefix(v, "spiffe://")
	case strings.Contains(inner, "*") || strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") && v != "*":
		r.add(Warning, "literal-star", ": in %q only one star at an end counts; the other is taken literally", v).
			Fix = "name the callers exactly"
	case strings.Contains(v, "*"):
	case len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa":
		r.add(Error, "unknown-principal", ": %q has not the form TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: it never "+
			"matches", v)
	default:
		if parts[0] != trustDomain {
			r.notJudged(": whether trust domain %s is the mesh's", parts[0])
		}
		r.account(v, parts[2], parts[4])
	}
}

// account says when a rule names a service account that does not exist.
func (r *rule) account(written, namespace, account string) {
	switch {
	case r.exists(namespace, account):
	case !r.whole(namespace) || !r.populated[namespace]:
		r.notJudged(": whether service account %s/%s exists; its namespace is not among the files", namespace, account)
	default:
		fix := "correct the name, or make the ServiceAccount"
		if near := r.nearest(namespace, account); near != "" {
			fix = "did you mean " + near + "?"
		}
		r.add(Error, "unknown-principal", ": %s names service account %s/%s, which does not exist", written, namespace,
			account).Fix = fix
	}
}

// nearest returns an existing account of the same name in another namespace, or of
// the same namespace with a similar name.
func (c *checker) nearest(namespace, account string) string {
	for _, a := range c.existing() {
		ns, sa, _ := strings.Cut(a, "/")
		if sa == account || (ns == namespace && (strings.Contains(sa, account) || strings.Contains(account, sa))) {
			return a
		}
	}
	return ""
}

// paths says how a rule by path can be walked past by an application that reads
// paths differently.
func (r *rule) paths() {
	for _, t := range r.To {
		op := t.GetOperation()
		for _, v := range slices.Concat(op.GetPaths(), op.GetNotPaths()) {
			if strings.Contains(v, "{") && strings.Contains(v, "//") {
				r.add(Error, "template-not-loadable", " has the path template %s with an empty segment: Istio takes "+
					"it, Envoy cannot load it, and ends where it comes while it runs", v).
					Fix = "write the template without //"
			}
		}
		denied := slices.IndexFunc(op.GetPaths(), func(v string) bool { return v != "*" && v != "/*" })
		if r.denies() && denied >= 0 {
			v := op.GetPaths()[denied]
			r.add(Warning, "deny-by-path", " denies %s as it is spelled: /%s, other case and %%2f pass, and are the "+
				"same to many applications", v, v).Fix = "allow what may be called instead"
		}
		for _, v := range op.GetPaths() {
			if !r.denies() && escapable(v) {
				r.add(Note, "escape-by-decoding", " allows %s: that includes %s, which leaves the prefix in an "+
					"application that decodes %%2f before it routes", v, escapeOf(v)).
					Fix = "list the paths exactly, or make sure that the application routes on the raw path"
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

// addresses says where a rule for a waypoint compares the caller's address: it sees none.
func (r *rule) addresses() {
	say := func(what string) {
		r.add(Warning, "address-at-waypoint", ": %s at a waypoint is in no block and out of every one: there the "+
			"connection comes out of the tunnel, without an address", what).Fix = "name the caller's identity; or " +
			"use remoteIpBlocks, which compare what x-forwarded-for says, and the pod's address where it says nothing"
	}
	for _, f := range r.From {
		if len(f.GetSource().GetIpBlocks()) > 0 {
			say("ipBlocks")
		}
		if len(f.GetSource().GetNotIpBlocks()) > 0 {
			say("notIpBlocks")
		}
	}
	for _, w := range r.When {
		if w.GetKey() == "source.ip" {
			say("source.ip")
		}
	}
}

// unmatchable says which values of a rule no request can ever have.
func (r *rule) unmatchable() {
	check := func(what string, never func(string) (why, fix string), values ...[]string) {
		for _, v := range slices.Concat(values...) {
			if why, fix := never(v); why != "" {
				r.add(Warning, "never-matches", ": no request has %s %s: %s", what, v, why).Fix = fix
			}
		}
	}
	for _, t := range r.To {
		op := t.GetOperation()
		check("port", r.portNever, op.GetPorts(), op.GetNotPorts())
		if len(r.refs) == 0 {
			continue // node proxies lose the rest, which is said
		}
		check("method", methodNever, op.GetMethods(), op.GetNotMethods())
		check("path", pathNever, op.GetPaths(), op.GetNotPaths())
		check("host", hostNever, op.GetHosts(), op.GetNotHosts())
	}
	for _, w := range r.When {
		if w.GetKey() == "destination.port" {
			check("port", r.portNever, w.GetValues(), w.GetNotValues())
		}
	}
}

func methodNever(v string) (why, fix string) {
	if letters := strings.Trim(v, "*"); letters != strings.ToUpper(letters) {
		return "methods are compared letter by letter", "write " + strings.ToUpper(v)
	}
	return "", ""
}

func hostNever(v string) (why, fix string) {
	if strings.Contains(v, "/") {
		return "a host has neither scheme nor path", "write the host alone, as HOST and HOST:*"
	}
	return "", ""
}

// pathNever says why no request has a path, as policies see it: normalised, without
// the query.
func pathNever(v string) (why, fix string) {
	inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*")
	switch {
	case v == "*" || v == "":
		return "", ""
	case !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "*"):
		return "a path begins with a slash", "write /" + v
	case strings.ContainsAny(v, "?#"):
		return "policies see a path without its query", "leave the query out"
	case strings.Contains(inner, "*") && !strings.Contains(v, "{"):
		return "a star counts at one end only, and is taken literally elsewhere",
			"write {*} for one segment, {**} for any number at the end"
	case strings.Contains(v, "{"):
		return "", ""
	}
	if clean, err := authz.NormalizePath(strings.TrimPrefix(v, "*")); strings.HasPrefix(v, "/") && err == nil &&
		!strings.HasSuffix(v, "*") && clean != v {
		return "the proxy makes " + clean + " of it before it looks", "write " + clean
	}
	return "", ""
}

// portNever says why no connection that a policy is asked about has a port: a
// waypoint sees the Service's ports, a node proxy the pod's.
func (p *policy) portNever(v string) (why, fix string) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return "", ""
	}
	port := uint16(n)
	for _, r := range p.refs {
		s := p.world.Service(topology.Ref{Namespace: p.Namespace, Name: r.GetName()})
		if r.GetKind() != "Service" || s == nil || s.Waypoint == nil {
			return "", ""
		}
		if _, ok := s.Port(port); ok {
			return "", ""
		}
		for _, sp := range s.Ports {
			if slices.ContainsFunc(s.Backends(sp.Number), func(b topology.Backend) bool { return b.Port == port }) {
				why = fmt.Sprintf("that is the pods' port, and a waypoint sees the Service's, %d", sp.Number)
				fix = fmt.Sprintf("write %d", sp.Number)
			}
		}
	}
	if len(p.refs) > 0 || !p.meshed {
		return why, fix
	}
	for _, pod := range p.pods {
		if slices.Contains(pod.Ports, port) {
			return "", ""
		}
		for _, s := range p.world.Services {
			for _, b := range s.Backends(port) {
				if b.Pod == pod && b.Port != port {
					why = fmt.Sprintf("that is the port of Service %s, and a node proxy sees the pods', %d", s.Name,
						b.Port)
					fix = fmt.Sprintf("write %d", b.Port)
				}
			}
		}
	}
	return why, fix
}
