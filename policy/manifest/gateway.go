package manifest

import (
	"fmt"

	"artemis.example/catalog"
	securityv1beta1 "istio.io/api/security/v1beta1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// rootNamespace is where a policy without a target is for the whole mesh.
const rootNamespace = catalog.RootNamespace

// The one north/south gateway of local mode, OpenChoreo's. It takes the routes of
// every namespace, for every host that they name.
const (
	frontNamespace = catalog.GatewayNamespace
	frontName      = catalog.GatewayName
)

// ignored returns what a cluster would do and local mode does not, where it takes
// more than one object to see it.
func (s *Set) ignored() Problems {
	return append(s.ignoredGateways(), s.ignoredPolicies()...)
}

// ignoredGateways returns the ingress gateways, listeners and routes that are not
// those of the one gateway.
func (s *Set) ignoredGateways() Problems {
	var out Problems
	refuse := func(kind, namespace, name, format string, args ...any) {
		key := Key{kind, namespace, name}
		out = append(out, Problem{Origin: s.Origins[key], Code: CodeNotImplemented, Object: key,
			Message: fmt.Sprintf(format, args...)})
	}
	for _, g := range s.Gateways {
		if g.Spec.GatewayClassName != "istio" {
			continue
		}
		if g.Namespace != frontNamespace || g.Name != frontName {
			refuse("Gateway", g.Namespace, g.Name, "local mode has one ingress gateway, %s/%s", frontNamespace,
				frontName)
			continue
		}
		for _, l := range g.Spec.Listeners {
			if l.Hostname != nil {
				refuse("Gateway", g.Namespace, g.Name,
					"local mode's gateway knows no hostname of a listener, only those of routes")
			}
			if l.AllowedRoutes == nil || l.AllowedRoutes.Namespaces == nil || l.AllowedRoutes.Namespaces.From == nil ||
				*l.AllowedRoutes.Namespaces.From != gatewayv1.NamespacesFromAll {
				refuse("Gateway", g.Namespace, g.Name, "local mode's gateway takes the routes of every namespace: "+
					"write allowedRoutes.namespaces.from: All")
			}
		}
	}
	for _, r := range s.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			if ns := parentNamespace(r, p); ns != frontNamespace || string(p.Name) != frontName {
				refuse("HTTPRoute", r.Namespace, r.Name, "is for Gateway %s/%s; local mode has only %s/%s", ns, p.Name,
					frontNamespace, frontName)
			}
		}
	}
	return out
}

// ignoredPolicies returns the policies that a cluster would enforce at an ingress
// gateway, too: those that target it, and those without a target in its
// namespace or for the whole mesh.
func (s *Set) ignoredPolicies() Problems {
	type name struct{ namespace, name string }
	fronts, namespaces := map[name]bool{}, map[string]bool{}
	for _, g := range s.Gateways {
		if g.Spec.GatewayClassName != catalog.WaypointClass {
			fronts[name{g.Namespace, g.Name}] = true
		}
	}
	for _, r := range s.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			fronts[name{parentNamespace(r, p), string(p.Name)}] = true
		}
	}
	if len(fronts) > 0 {
		namespaces[rootNamespace] = true
	}
	for f := range fronts {
		namespaces[f.namespace] = true
	}
	var out Problems
	for _, p := range s.AuthorizationPolicies {
		refs := p.Spec.TargetRefs
		if p.Spec.TargetRef != nil {
			refs = append(refs[:len(refs):len(refs)], p.Spec.TargetRef)
		}
		refused := len(refs) == 0 && namespaces[p.Namespace] && (p.Namespace != rootNamespace || p.Spec.Selector == nil)
		for _, r := range refs {
			refused = refused || (r.GetKind() == "Gateway" && fronts[name{p.Namespace, r.GetName()}])
		}
		if refused && p.Spec.Action != securityv1beta1.AuthorizationPolicy_AUDIT {
			key := Key{"AuthorizationPolicy", p.Namespace, p.Name}
			out = append(out, Problem{Origin: s.Origins[key], Code: CodeNotImplemented, Object: key,
				Message: "is for an ingress gateway, too, and local mode enforces no policies there"})
		}
	}
	return out
}

func parentNamespace(r *gatewayv1.HTTPRoute, p gatewayv1.ParentReference) string {
	if p.Namespace != nil {
		return string(*p.Namespace)
	}
	return r.Namespace
}
