package manifest

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// checkAuthorizationPolicy refuses what istiod's admission refuses
// (istio.io/istio pkg/config/validation, ValidateAuthorizationPolicy), what the
// CRD's limits refuse, and what local mode does not evaluate.
func (o *object) checkAuthorizationPolicy(p *securityv1.AuthorizationPolicy) {
	spec := &p.Spec
	one, several := spec.TargetRef != nil, len(spec.TargetRefs) > 0
	if one && several || spec.Selector != nil && (one || several) {
		o.invalid("spec", "only one of selector, targetRef and targetRefs can be set")
	}
	o.checkLabels("spec.selector.matchLabels", spec.GetSelector().GetMatchLabels())
	if len(spec.TargetRefs) > 16 {
		o.invalid("spec.targetRefs", "%d entries; the limit is 16", len(spec.TargetRefs))
	}
	for _, ref := range TargetRefs(p) {
		o.checkTargetRef(ref)
	}
	switch spec.Action {
	case securityv1beta1.AuthorizationPolicy_CUSTOM:
		o.refuse("spec.action", "local mode does not implement CUSTOM: it has no external authorizer to ask")
		return
	case securityv1beta1.AuthorizationPolicy_DENY:
		if spec.Rules == nil {
			o.invalid("spec", "DENY without rules never denies; write rules: [{}] to deny everything")
		}
	case securityv1beta1.AuthorizationPolicy_AUDIT:
		if _, ok := p.Annotations["istio.io/dry-run"]; ok {
			o.invalid("metadata.annotations", "istio.io/dry-run goes with ALLOW and DENY only")
		}
	}
	if len(spec.Rules) > 512 {
		o.invalid("spec.rules", "%d rules; the limit is 512", len(spec.Rules))
	}
	for i, rule := range spec.Rules {
		o.checkRule(fmt.Sprintf("spec.rules[%d]", i), rule)
	}
}

// checkLabels refuses what no Istio object selects by.
func (o *object) checkLabels(path string, labels map[string]string) {
	for k, v := range labels {
		if k == "" || strings.Contains(k+v, "*") {
			o.invalid(path, "%q=%q: keys must not be empty and wildcards are not possible", k, v)
		}
	}
}

func (o *object) checkTargetRef(ref *typev1beta1.PolicyTargetReference) {
	const at = "spec.targetRefs"
	if ref.GetName() == "" {
		o.invalid(at, "a target needs a name")
	}
	if ref.GetNamespace() != "" {
		o.invalid(at, "a target must not name a namespace: a policy attaches in its own")
	}
	switch group, kind := ref.GetGroup(), ref.GetKind(); {
	case (group == "" || group == "core") && kind == "Service":
	case group == "gateway.networking.k8s.io" && (kind == "Gateway" || kind == "GatewayClass"):
	case group == "networking.istio.io" && kind == "ServiceEntry":
		o.refuse(at, "local mode has no ServiceEntry to attach to")
	default:
		o.invalid(at, "a policy attaches to a Service, Gateway or GatewayClass, not to %s of group %q", kind, group)
	}
}

func (o *object) checkRule(at string, rule *securityv1beta1.Rule) {
	if rule == nil {
		o.invalid(at, "must not be empty; write {} for a rule that matches everything")
		return
	}
	if o.givenEmpty(at+".from", len(rule.From)) {
		o.invalid(at+".from", "must not be empty; leave it out for any source")
	}
	for i, f := range rule.From {
		o.checkSource(fmt.Sprintf("%s.from[%d].source", at, i), cmp.Or(f.GetSource(), &securityv1beta1.Source{}))
	}
	if o.givenEmpty(at+".to", len(rule.To)) {
		o.invalid(at+".to", "must not be empty; leave it out for any operation")
	}
	for i, t := range rule.To {
		o.checkOperation(fmt.Sprintf("%s.to[%d].operation", at, i),
			cmp.Or(t.GetOperation(), &securityv1beta1.Operation{}))
	}
	for i, c := range rule.When {
		o.checkCondition(fmt.Sprintf("%s.when[%d]", at, i), c)
	}
}

// givenEmpty reports whether a list is written and has nothing in it; decoding
// loses the difference to one that is not written.
func (o *object) givenEmpty(path string, n int) bool {
	_, given := o.lines[path]
	return given && n == 0
}

// list is a named list of values of a rule with what is to be checked in it.
type list struct {
	name   string
	values []string
	check  func(string) error
}

func (o *object) checkLists(at string, lists []list) {
	given := false
	for _, l := range lists {
		given = given || len(l.values) > 0
		for i, v := range l.values {
			path := fmt.Sprintf("%s.%s[%d]", at, l.name, i)
			if v == "" {
				o.invalid(path, "a value must not be empty")
			} else if l.check != nil {
				if err := l.check(v); err != nil {
					o.invalid(path, "%v", err)
				}
			}
		}
	}
	if !given {
		o.invalid(at, "must not be empty")
	}
}

func (o *object) checkSource(at string, s *securityv1beta1.Source) {
	if len(s.RequestPrincipals)+len(s.NotRequestPrincipals) > 0 {
		o.refuse(at, "local mode does not implement requestPrincipals: nothing verifies tokens here")
		return
	}
	o.checkLists(at, []list{
		{"principals", s.Principals, nil}, {"notPrincipals", s.NotPrincipals, nil},
		{"namespaces", s.Namespaces, nil}, {"notNamespaces", s.NotNamespaces, nil},
		{"serviceAccounts", s.ServiceAccounts, checkServiceAccount}, {"notServiceAccounts", s.NotServiceAccounts,
			checkServiceAccount},
		{"trustDomains", s.TrustDomains, checkTrustDomain}, {"notTrustDomains", s.NotTrustDomains, checkTrustDomain},
		{"ipBlocks", s.IpBlocks, checkIP}, {"notIpBlocks", s.NotIpBlocks, checkIP},
		{"remoteIpBlocks", s.RemoteIpBlocks, checkIP}, {"notRemoteIpBlocks", s.NotRemoteIpBlocks, checkIP},
	})
	if len(s.ServiceAccounts) > 16 || len(s.NotServiceAccounts) > 16 {
		o.invalid(at, "serviceAccounts and notServiceAccounts take at most 16 values")
	}
	if len(s.ServiceAccounts)+len(s.NotServiceAccounts) > 0 &&
		len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) > 0 {
		o.invalid(at, "serviceAccounts cannot be set together with namespaces or principals")
	}
}

func (o *object) checkOperation(at string, op *securityv1beta1.Operation) {
	o.checkLists(at, []list{
		{"methods", op.Methods, nil}, {"notMethods", op.NotMethods, nil},
		{"paths", op.Paths, checkPath}, {"notPaths", op.NotPaths, checkPath},
		{"hosts", op.Hosts, nil}, {"notHosts", op.NotHosts, nil},
		{"ports", op.Ports, checkPort}, {"notPorts", op.NotPorts, checkPort},
	})
}

func (o *object) checkCondition(at string, c *securityv1beta1.Condition) {
	key := c.GetKey()
	if len(c.GetValues())+len(c.GetNotValues()) == 0 {
		o.invalid(at, "%s needs values or notValues", key)
		return
	}
	var check func(string) error
	switch {
	case strings.HasPrefix(key, "request.headers"):
		if name, ok := strings.CutPrefix(key, "request.headers["); !ok || !strings.HasSuffix(name, "]") ||
			len(name) < 2 {
			o.invalid(at+".key", "%s: write request.headers[NAME]", key)
			return
		}
	case key == "source.ip", key == "remote.ip", key == "destination.ip":
		check = checkIP
	case key == "destination.port":
		check = checkPort
	case key == "source.serviceAccount":
		check = checkServiceAccount
	case key == "source.trustDomain":
		check = checkWildcard
	case key == "source.namespace", key == "source.principal", key == "connection.sni":
	case strings.HasPrefix(key, "request.auth."):
		o.refuse(at+".key", "local mode does not implement %s: nothing verifies tokens here", key)
		return
	case strings.HasPrefix(key, "experimental.envoy.filters."):
		o.refuse(at+".key", "local mode does not implement %s: it has no Envoy filters", key)
		return
	default:
		o.invalid(at+".key", "unknown attribute %q", key)
		return
	}
	o.checkLists(at, []list{{"values", c.Values, check}, {"notValues", c.NotValues, check}})
}

func checkServiceAccount(v string) error {
	ns, sa, qualified := strings.Cut(v, "/")
	switch {
	case strings.Contains(v, "*"):
		return fmt.Errorf("%q: a service account takes no wildcard", v)
	case strings.Count(v, "/") > 1, qualified && (ns == "" || sa == ""):
		return fmt.Errorf("%q: write NAME or NAMESPACE/NAME", v)
	case len(v) > 320:
		return fmt.Errorf("%d characters; the limit is 320", len(v))
	}
	return nil
}

func checkWildcard(v string) error {
	if n := strings.Count(v, "*"); n > 1 || (n == 1 && !strings.HasPrefix(v, "*") && !strings.HasSuffix(v, "*")) {
		return fmt.Errorf("%q: one wildcard at most, at the start or the end", v)
	}
	return nil
}

func checkTrustDomain(v string) error {
	if strings.Contains(v, "/") {
		return fmt.Errorf("%q: a trust domain has no slash", v)
	}
	return checkWildcard(v)
}

func checkIP(v string) error {
	if strings.Contains(v, "/") {
		_, err := netip.ParsePrefix(v)
		return err
	}
	_, err := netip.ParseAddr(v)
	return err
}

func checkPort(v string) error {
	if p, err := strconv.ParseUint(v, 10, 32); err != nil || p > 65535 {
		return fmt.Errorf("%q is no port", v)
	}
	return nil
}

// templateLiteral is what may stand between the operators of a path template
// (pchar of RFC 3986).
var templateLiteral = regexp.MustCompile(`^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$`)

func checkPath(v string) error {
	template := strings.Contains(v, "{*}") || strings.Contains(v, "{**}")
	anySeen := false
	for segment := range strings.SplitSeq(strings.Trim(v, "/"), "/") {
		switch {
		case segment == "{*}" || segment == "{**}":
			if anySeen {
				return fmt.Errorf("%q: {**} must be the last operator", v)
			}
			anySeen = segment == "{**}"
		case strings.ContainsAny(segment, "{}"):
			return fmt.Errorf("%q: a brace stands only in {*} and {**}", v)
		case template && !templateLiteral.MatchString(segment):
			return fmt.Errorf("%q: %q cannot stand in a path template", v, segment)
		}
	}
	return nil
}
