package manifest

import (
	securityv1beta1 "istio.io/api/security/v1beta1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// rootNamespace is where a policy without a target is for the whole mesh.
const rootNamespace = "istio-system"

// ignored gives the policies that a cluster would enforce at an ingress gateway,
// too, which local mode does not: those that target it, and those without a
// target in its namespace or for the whole mesh.
func (s *Set) ignored() Problems {
	type name struct{ namespace, name string }
	fronts, namespaces := map[name]bool{}, map[string]bool{}
	for _, g := range s.Gateways {
		if g.Spec.GatewayClassName != "istio-waypoint" {
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
