// Package translate lets Istio's own code validate AuthorizationPolicies, choose
// those that a waypoint enforces for a Service, and turn them into Envoy's RBAC
// filters. Nothing is decided here.
package translate

import (
	"fmt"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/security/authz/builder"
	"istio.io/istio/pilot/pkg/security/trustdomain"
	"istio.io/istio/pilot/pkg/serviceregistry/provider"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/validation"
	istiolog "istio.io/istio/pkg/log"

	"artemis.example/catalog"
)

// Quiet stops the log of Istio's packages, which warns of every principal of
// another trust domain.
func Quiet() {
	for _, s := range istiolog.Scopes() {
		s.SetOutputLevel(istiolog.NoneLevel)
	}
}

// Validate is istiod's admission check.
func Validate(p *securityv1.AuthorizationPolicy) error {
	_, err := validation.ValidateAuthorizationPolicy(config.Config{
		Meta: config.Meta{GroupVersionKind: gvk.AuthorizationPolicy, Name: p.Name, Namespace: p.Namespace,
			Annotations: p.Annotations, Labels: p.Labels},
		Spec: &p.Spec,
	})
	return err
}

// Target is a Service and the waypoint Gateway, in the same namespace, that
// stands in front of it.
type Target struct{ Namespace, Waypoint, Service string }

// Waypoint returns the RBAC filters that istiod puts in front of the target's requests, in
// the form for waypoints: AUDIT, DENY, ALLOW, each at most once.
func Waypoint(policies []*securityv1.AuthorizationPolicy, t Target) ([]*rbac.RBAC, error) {
	b := translator(policies, t)
	if b == nil {
		return nil, nil
	}
	var out []*rbac.RBAC
	for _, f := range b.BuildHTTP() {
		r := &rbac.RBAC{}
		if err := f.GetTypedConfig().UnmarshalTo(r); err != nil {
			return nil, fmt.Errorf("translate the policies of %s/%s: %w", t.Namespace, t.Service, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// WaypointTCP returns the filters that istiod puts in front of the target's connections
// where the port is no HTTP.
func WaypointTCP(policies []*securityv1.AuthorizationPolicy, t Target) []*listener.Filter {
	b := translator(policies, t)
	if b == nil {
		return nil
	}
	return b.BuildTCP()
}

func translator(policies []*securityv1.AuthorizationPolicy, t Target) *builder.Builder {
	all := &model.AuthorizationPolicies{NamespaceToPolicies: map[string][]model.AuthorizationPolicy{},
		RootNamespace: catalog.RootNamespace}
	for _, p := range policies {
		all.NamespaceToPolicies[p.Namespace] = append(all.NamespaceToPolicies[p.Namespace],
			model.AuthorizationPolicy{Name: p.Name, Namespace: p.Namespace, Annotations: p.Annotations, Spec: &p.Spec})
	}
	m := model.PolicyMatcherFor(t.Namespace, map[string]string{"gateway.networking.k8s.io/gateway-name": t.Waypoint},
		true).WithRootNamespace(catalog.RootNamespace)
	m.Services = []model.ServiceInfoForPolicyMatcher{{Name: t.Service, Namespace: t.Namespace,
		Registry: provider.Kubernetes}}
	return builder.New(trustdomain.NewBundle(catalog.TrustDomain, nil), nil, all.ListAuthorizationPolicies(m),
		builder.Option{UseFilterState: true})
}
