package manifest

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routeFields names what HTTPRoutes of gateways have beyond hosts, paths and prefixes to
// rewrite: it decides which requests come to their Services and to those of routes
// beside them, and as what.
func (in *Input) routeFields() {
	for _, r := range in.Set.HTTPRoutes {
		for _, f := range unknownRouteFields(r) {
			in.gapAt(KeyOf(r), f.path, f.why, in.besides(r)...)
		}
	}
}

// besides returns the Services that a gateway leads to by a route, and by others for the
// same hosts.
func (in *Input) besides(r *gatewayv1.HTTPRoute) []Scope {
	var seen []Key
	var out []Scope
	for _, o := range in.Set.HTTPRoutes {
		if o != r && !(shareGateway(r, o) && shareHost(r, o)) {
			continue
		}
		for _, rule := range o.Spec.Rules {
			for _, ref := range rule.BackendRefs {
				if to := Backend(o, ref); !slices.Contains(seen, to) {
					seen = append(seen, to)
					out = append(out, Scope{Namespace: to.Namespace, Service: to.Name, AnyGateway: true})
				}
			}
		}
	}
	return out
}

func shareGateway(a, b *gatewayv1.HTTPRoute) bool {
	return slices.ContainsFunc(a.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
		return slices.ContainsFunc(b.Spec.ParentRefs, func(q gatewayv1.ParentReference) bool {
			x, y := Parent(a, p), Parent(b, q)
			return x.Name == y.Name && x.Namespace == y.Namespace
		})
	})
}

// shareHost reports whether there may be a host that both are for.
func shareHost(a, b *gatewayv1.HTTPRoute) bool {
	if len(a.Spec.Hostnames) == 0 || len(b.Spec.Hostnames) == 0 {
		return true
	}
	return slices.ContainsFunc(a.Spec.Hostnames, func(x gatewayv1.Hostname) bool {
		return slices.ContainsFunc(b.Spec.Hostnames, func(y gatewayv1.Hostname) bool {
			return strings.EqualFold(string(x), string(y)) || strings.HasPrefix(string(x), "*") ||
				strings.HasPrefix(string(y), "*")
		})
	})
}

func unknownRouteFields(r *gatewayv1.HTTPRoute) []left {
	var out []left
	for i, rule := range r.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, m := range rule.Matches {
			match := fmt.Sprintf("%s.matches[%d].", at, j)
			for _, f := range []struct {
				name  string
				there bool
			}{
				{"method", m.Method != nil}, {"headers", len(m.Headers) > 0}, {"queryParams", len(m.QueryParams) > 0},
				{"path.type", ptr.Deref(ptr.Deref(m.Path, gatewayv1.HTTPPathMatch{}).Type, "") ==
					gatewayv1.PathMatchRegularExpression},
			} {
				if f.there {
					out = append(out, left{match + f.name, "a gateway's routes are told apart by host and path only"})
				}
			}
		}
		out = append(out, unknownFilters(at, rule.Matches, rule.Filters)...)
		for j, ref := range rule.BackendRefs {
			backend := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			out = append(out, unknownFilters(backend, rule.Matches, ref.Filters)...)
			if ptr.Deref(ref.Weight, 1) == 0 {
				out = append(out, left{backend + ".weight", "nothing is sent there"})
			}
		}
	}
	return out
}

// unknownFilters returns the filters that change where requests go, or what policies
// see of them, in a way that no gateway here does.
func unknownFilters(at string, matches []gatewayv1.HTTPRouteMatch, filters []gatewayv1.HTTPRouteFilter) []left {
	var out []left
	for i, f := range filters {
		switch path := fmt.Sprintf("%s.filters[%d]", at, i); {
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && !strings.Contains(at, "backendRefs"):
			if why := unknownRewrite(matches, f.URLRewrite); why != "" {
				out = append(out, left{path, why})
			}
		default:
			out = append(out, left{path, onlyPrefix})
		}
	}
	return out
}

const onlyPrefix = "a gateway's rewriting of a path's prefix is all that is judged"

// unknownRewrite says why no gateway here rewrites as a filter asks, if none does.
func unknownRewrite(matches []gatewayv1.HTTPRouteMatch, f *gatewayv1.HTTPURLRewriteFilter) string {
	switch {
	case f == nil || f.Hostname != nil || f.Path == nil || f.Path.ReplacePrefixMatch == nil:
		return onlyPrefix
	case strings.Trim(*f.Path.ReplacePrefixMatch, "/") == "":
		return ""
	}
	root := len(matches) == 0
	for _, m := range matches {
		root = root || m.Path == nil || ptr.Deref(m.Path.Value, "/") == "/"
	}
	if root { // pilot/pkg/networking/core/route, applyHTTPRouteDestination: "/b" in place of "/"
		return fmt.Sprintf("Istio makes %sx of /x there, the Gateway API %[1]s/x",
			strings.TrimRight(*f.Path.ReplacePrefixMatch, "/"))
	}
	return ""
}
