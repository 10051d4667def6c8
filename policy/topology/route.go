package topology

import (
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routes hands every gateway the rules that are attached to it.
func (b *builder) routes() error {
	for _, g := range b.Gateways {
		for _, r := range b.Set.HTTPRoutes {
			if attached(r, g.Pod.Ref, b) {
				g.Routes = append(g.Routes, b.rules(r)...)
			}
		}
		rank(g.Routes)
		if g.Pod == b.Gateway {
			b.Routes = g.Routes
		}
	}
	return nil
}

// rules returns a Route for every match and backend of an HTTPRoute.
func (b *builder) rules(r *gatewayv1.HTTPRoute) []Route {
	var out []Route
	var hosts []string
	for _, h := range r.Spec.Hostnames {
		hosts = append(hosts, strings.ToLower(string(h)))
	}
	for _, rule := range r.Spec.Rules {
		base := Route{Ref: Ref{r.Namespace, r.Name}, Hostnames: hosts}
		for _, f := range rule.Filters {
			if f.URLRewrite != nil && f.URLRewrite.Path != nil && f.URLRewrite.Path.ReplacePrefixMatch != nil {
				base.Rewrite, base.Rewrites = *f.URLRewrite.Path.ReplacePrefixMatch, true
			}
		}
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for _, m := range matches {
			route := base
			if m.Path != nil && m.Path.Value != nil {
				route.Exact = m.Path.Type != nil && *m.Path.Type == gatewayv1.PathMatchExact
				route.Path = *m.Path.Value
				if !route.Exact {
					route.Path = strings.TrimRight(route.Path, "/")
				}
			}
			if len(rule.BackendRefs) == 0 {
				out = append(out, route)
			}
			for _, ref := range rule.BackendRefs {
				to := route
				namespace := r.Namespace
				if ref.Namespace != nil {
					namespace = string(*ref.Namespace)
				}
				if ref.Kind == nil || *ref.Kind == "Service" {
					to.Service = b.services[Ref{namespace, string(ref.Name)}]
				}
				if ref.Port != nil {
					to.Port = uint16(*ref.Port)
				}
				out = append(out, to)
			}
		}
	}
	return out
}

// rank orders rules as the Gateway API does: an exact path before a prefix, a
// longer path before a shorter, then by the route's name.
func rank(routes []Route) {
	slices.SortStableFunc(routes, func(x, y Route) int {
		switch {
		case x.Exact != y.Exact:
			if x.Exact {
				return -1
			}
			return 1
		case len(x.Path) != len(y.Path):
			return len(y.Path) - len(x.Path)
		}
		return strings.Compare(x.Ref.String(), y.Ref.String())
	})
}

// attached reports whether a route names a gateway, and where b is given, whether
// the gateway takes it.
func attached(r *gatewayv1.HTTPRoute, to Ref, b *builder) bool {
	return slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
		ns := r.Namespace
		if p.Namespace != nil {
			ns = string(*p.Namespace)
		}
		if (p.Kind != nil && *p.Kind != "Gateway") || ns != to.Namespace || string(p.Name) != to.Name {
			return false
		}
		return b == nil || b.admits(to, r.Namespace, p.SectionName)
	})
}

// Route finds the rule for a request: host may carry a port, path is the request
// path without its query. rewritten is the path for the backend.
func (w *World) Route(host, path string) (route *Route, rewritten string) {
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	for i := range w.Routes {
		r := &w.Routes[i]
		if !r.matchesHost(host) {
			continue
		}
		if r.Exact {
			if path == r.Path {
				return r, path
			}
			continue
		}
		rest, ok := strings.CutPrefix(path, r.Path)
		if !ok || (rest != "" && rest[0] != '/') {
			continue
		}
		if !r.Rewrites {
			return r, path
		}
		rewritten = strings.TrimRight(r.Rewrite, "/") + rest
		if rewritten == "" {
			rewritten = "/"
		}
		return r, rewritten
	}
	return nil, ""
}

func (r *Route) matchesHost(host string) bool {
	if len(r.Hostnames) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Hostnames, func(h string) bool {
		if suffix, ok := strings.CutPrefix(h, "*"); ok {
			return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
		}
		return h == host
	})
}
