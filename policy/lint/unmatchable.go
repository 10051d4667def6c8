package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// unmatchable says which values of a rule no request can ever have.
func (c *checker) unmatchable(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	never := func(what, value, why, fix string) {
		c.addAt(Warning, "never-matches", at, rule.path(), fmt.Sprintf("%s: no request has %s %s: %s", rule, what,
			value, why), fix)
	}
	targeted := len(targetRefs(p)) > 0
	for _, t := range r.To {
		op := t.GetOperation()
		for _, v := range slices.Concat(op.GetPorts(), op.GetNotPorts()) {
			if why, fix := c.portNever(p, v); why != "" {
				never("port", v, why, fix)
			}
		}
		if !targeted {
			continue // node proxies lose the rest, which is said
		}
		for _, v := range slices.Concat(op.GetMethods(), op.GetNotMethods()) {
			if letters := strings.Trim(v, "*"); letters != strings.ToUpper(letters) {
				never("method", v, "methods are compared letter by letter", "write "+strings.ToUpper(v))
			}
		}
		for _, v := range slices.Concat(op.GetPaths(), op.GetNotPaths()) {
			if why, fix := pathNever(v); why != "" {
				never("path", v, why, fix)
			}
		}
		for _, v := range slices.Concat(op.GetHosts(), op.GetNotHosts()) {
			if strings.Contains(v, "://") || strings.Contains(v, "/") {
				never("host", v, "a host has neither scheme nor path", "write the host alone, as HOST and HOST:*")
			}
		}
	}
	for _, w := range r.When {
		if w.GetKey() != "destination.port" {
			continue
		}
		for _, v := range slices.Concat(w.GetValues(), w.GetNotValues()) {
			if why, fix := c.portNever(p, v); why != "" {
				never("port", v, why, fix)
			}
		}
	}
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
func (c *checker) portNever(p *securityv1.AuthorizationPolicy, v string) (why, fix string) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return "", ""
	}
	port := uint16(n)
	for _, r := range targetRefs(p) {
		s := c.world.Service(topology.Ref{Namespace: p.Namespace, Name: r.GetName()})
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
	if len(targetRefs(p)) > 0 {
		return why, fix
	}
	pods, meshed, _ := c.selected(p)
	if !meshed {
		return "", ""
	}
	for _, pod := range pods {
		if slices.Contains(pod.Ports, port) {
			return "", ""
		}
		for _, s := range c.world.Services {
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
