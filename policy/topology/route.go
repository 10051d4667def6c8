package topology

import (
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routes orders the rules as the Gateway API ranks them: an exact path before a
// prefix, a longer path before a shorter, then by the route's name.
func (b *builder) routes() error {
	for _, r := range b.Set.HTTPRoutes {
		if !attached(r) {
			continue
		}
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
			if len(rule.BackendRefs) > 0 {
				ref := rule.BackendRefs[0]
				base.Service = b.services[Ref{r.Namespace, string(ref.Name)}]
				if ref.Port != nil {
					base.Port = uint16(*ref.Port)
				}
			}
			if len(rule.Matches) == 0 {
				b.Routes = append(b.Routes, base)
			}
			for _, m := range rule.Matches {
				route := base
				if m.Path != nil && m.Path.Value != nil {
					route.Exact = m.Path.Type != nil && *m.Path.Type == gatewayv1.PathMatchExact
					route.Path = *m.Path.Value
					if !route.Exact {
						route.Path = strings.TrimRight(route.Path, "/")
					}
				}
				b.Routes = append(b.Routes, route)
			}
		}
	}
	slices.SortStableFunc(b.Routes, func(x, y Route) int {
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
	return nil
}

func attached(r *gatewayv1.HTTPRoute) bool {
	return slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
		ns := r.Namespace
		if p.Namespace != nil {
			ns = string(*p.Namespace)
		}
		return ns == GatewayNamespace && string(p.Name) == GatewayName
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
