package manifest

import (
	"fmt"

	"artemis.example/catalog"
	securityv1beta1 "istio.io/api/security/v1beta1"
	"k8s.io/utils/ptr"
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

// notImplemented returns the problem that an object is something that local mode has not.
func (s *Set) notImplemented(key Key, format string, args ...any) Problem {
	return Problem{Origin: s.Origins[key], Code: CodeNotImplemented, Object: key, Message: fmt.Sprintf(format, args...)}
}

// ignoredGateways returns the ingress gateways, listeners and routes that are not
// those of the one gateway.
func (s *Set) ignoredGateways() Problems {
	front := Key{"Gateway", frontNamespace, frontName}
	var out Problems
	for _, g := range s.Gateways {
		key := KeyOf(g)
		if g.Spec.GatewayClassName != catalog.IngressClass {
			continue
		}
		if key != front {
			out = append(out, s.notImplemented(key, "local mode has one ingress gateway, %s", front))
			continue
		}
		for _, l := range g.Spec.Listeners {
			if l.Hostname != nil {
				out = append(out, s.notImplemented(key,
					"local mode's gateway knows no hostname of a listener, only those of routes"))
			}
			if takesFrom(l) != gatewayv1.NamespacesFromAll {
				out = append(out, s.notImplemented(key, "local mode's gateway takes the routes of every namespace: "+
					"write allowedRoutes.namespaces.from: All"))
			}
		}
	}
	for _, r := range s.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			if parent := Parent(r, p); parent.String() != front.String() {
				out = append(out, s.notImplemented(KeyOf(r), "is for Gateway %s; local mode has only %s", parent,
					front))
			}
		}
	}
	return out
}

// takesFrom returns from where a listener takes routes, empty where it does not say.
func takesFrom(l gatewayv1.Listener) gatewayv1.FromNamespaces {
	if l.AllowedRoutes == nil || l.AllowedRoutes.Namespaces == nil {
		return ""
	}
	return ptr.Deref(l.AllowedRoutes.Namespaces.From, "")
}

// ignoredPolicies returns the policies that a cluster would enforce at an ingress
// gateway, too: those that target it, and those without a target in its
// namespace or for the whole mesh.
func (s *Set) ignoredPolicies() Problems {
	fronts := map[Key]bool{}
	for _, g := range s.Gateways {
		if g.Spec.GatewayClassName != catalog.WaypointClass {
			fronts[KeyOf(g)] = true
		}
	}
	for _, r := range s.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			fronts[Parent(r, p)] = true
		}
	}
	var out Problems
	for _, p := range s.AuthorizationPolicies {
		applies := false
		for front := range fronts {
			of := p.Namespace == front.Namespace
			if p.Namespace == rootNamespace {
				of = p.Spec.Selector == nil
			}
			applies = applies || len(TargetRefs(p)) == 0 && of || Targets(p, "Gateway", front.Namespace, front.Name)
		}
		if applies && p.Spec.Action != securityv1beta1.AuthorizationPolicy_AUDIT {
			out = append(out, s.notImplemented(KeyOf(p),
				"is for an ingress gateway, too, and local mode enforces no policies there"))
		}
	}
	return out
}
