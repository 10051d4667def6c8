package topology

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"artemis.example/policy/manifest"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routes hands every gateway the rules that are attached to it.
func (b *builder) routes() error {
	for _, g := range b.Gateways {
		for _, r := range b.Set.HTTPRoutes {
			if hosts, ok := b.hostsAt(g.Pod.Ref, r); ok {
				g.Routes = append(g.Routes, b.rules(r, hosts)...)
			}
		}
		rank(g.Routes)
		if g.Pod == b.Gateway {
			b.Routes = g.Routes
		}
	}
	return nil
}

// hostsAt returns the hosts for which a gateway takes a route, none where any will do,
// and whether it takes it at all: a listener that has a hostname takes what of the
// route's hosts are its own.
func (b *builder) hostsAt(at Ref, r *gatewayv1.HTTPRoute) (hosts []string, ok bool) {
	if !attached(r, at, b) {
		return nil, false
	}
	var own []string
	for _, h := range r.Spec.Hostnames {
		own = append(own, strings.ToLower(string(h)))
	}
	if len(own) == 0 {
		own = []string{""}
	}
	listeners := []gatewayv1.Listener{{}}
	if g := manifest.Find(b.Set.Gateways, at.Namespace, at.Name); g != nil && len(g.Spec.Listeners) > 0 {
		listeners = slices.DeleteFunc(slices.Clone(g.Spec.Listeners), func(l gatewayv1.Listener) bool {
			return !slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
				return names(r, p, at) && b.listens(g, &l, r.Namespace, &p)
			})
		})
	}
	for _, l := range listeners {
		listens := strings.ToLower(string(ptr.Deref(l.Hostname, "")))
		for _, h := range own {
			both, some := commonHost(h, listens)
			if some && both == "" {
				return nil, true
			}
			if some && !slices.Contains(hosts, both) {
				hosts = append(hosts, both)
			}
		}
	}
	return hosts, len(hosts) > 0
}

// commonHost returns the hosts that two hostnames mean, each a name, "*." before one, or
// nothing for any; and whether there are some.
func commonHost(a, b string) (string, bool) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		narrow, wide := pair[0], pair[1]
		suffix, wild := strings.CutPrefix(wide, "*")
		if wide == "" || narrow == wide || wild && strings.HasSuffix(narrow, suffix) && narrow != suffix {
			return narrow, true
		}
	}
	return "", false
}

// rules returns a Route for every match and backend of an HTTPRoute.
func (b *builder) rules(r *gatewayv1.HTTPRoute, hosts []string) []Route {
	var out []Route
	for i, rule := range r.Spec.Rules {
		base := Route{Ref: Ref{r.Namespace, r.Name}, Rule: i, Hostnames: hosts}
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
				if of := manifest.Backend(r, ref); of.Kind == "Service" {
					to.Service = b.services[Ref{of.Namespace, of.Name}]
				}
				to.Port = uint16(ptr.Deref(ref.Port, 0))
				out = append(out, to)
			}
		}
	}
	return out
}

// rank orders rules as the Gateway API does: an exact path before a prefix, a
// longer path before a shorter, then by the route's name.
func rank(routes []Route) {
	prefix := map[bool]int{false: 1}
	slices.SortStableFunc(routes, func(x, y Route) int {
		return cmp.Or(prefix[x.Exact]-prefix[y.Exact], len(y.Path)-len(x.Path),
			strings.Compare(x.Ref.String(), y.Ref.String()))
	})
}

// attached reports whether a route names a gateway, and where b is given, whether
// the gateway takes it.
func attached(r *gatewayv1.HTTPRoute, to Ref, b *builder) bool {
	return slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
		return names(r, p, to) && (b == nil || b.admits(to, r.Namespace, &p))
	})
}

// names reports whether a parent of a route is a gateway.
func names(r *gatewayv1.HTTPRoute, p gatewayv1.ParentReference, to Ref) bool {
	return manifest.Parent(r, p) == manifest.Key{Kind: "Gateway", Namespace: to.Namespace, Name: to.Name}
}

// Route finds the rule for a request: host may carry a port, path is the request
// path without its query. rewritten is the path for the backend. The hostname that is
// closest to the host decides first: where none of its rules takes the path, nothing
// does (Envoy's choice of a virtual host).
func (w *World) Route(host, path string) (route *Route, rewritten string) {
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	closest := -1
	for i := range w.Routes {
		closest = max(closest, w.Routes[i].closeTo(host))
	}
	for i := range w.Routes {
		r := &w.Routes[i]
		if closest < 0 || r.closeTo(host) != closest {
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

// closeTo returns how close a route's hostnames come to a host: the whole of it before a
// longer wildcard, that before a shorter, that before any host, and less than nothing
// where none is meant.
func (r *Route) closeTo(host string) int {
	if len(r.Hostnames) == 0 {
		return 0
	}
	closest := -1
	for _, h := range r.Hostnames {
		if h == host {
			return math.MaxInt
		}
		if suffix, ok := strings.CutPrefix(h, "*"); ok && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			closest = max(closest, len(suffix))
		}
	}
	return closest
}
