package authz

import (
	"errors"
	"testing"

	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/translate"
)

// TestWhatIstioTakesAndEnvoyRefuses names policies that pass Istio's admission
// and that Envoy cannot load: a waypoint then keeps the configuration that it
// had. The generated cases leave them out.
func TestWhatIstioTakesAndEnvoyRefuses(t *testing.T) {
	r := startReferee(t, clients())
	for _, path := range []string{"//{**}", "//{*}/a"} {
		p := &securityv1.AuthorizationPolicy{}
		p.Name, p.Namespace = "p", target.Namespace
		p.Spec.TargetRefs = []*typev1beta1.PolicyTargetReference{{Kind: "Service", Name: target.Service}}
		p.Spec.Rules = []*securityv1beta1.Rule{
			{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Paths: []string{path}}}}}}
		if err := translate.Validate(p); err != nil {
			t.Errorf("%s: Istio refuses it: %v", path, err)
			continue
		}
		filters, err := translate.Waypoint(policySet{p}, target)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.envoy.Decide(t.Context(), map[string][]*rbac.RBAC{"set": filters},
			[]enforcer.Judged{{Set: "set", Request: enforcer.Request{Method: "GET", Target: "/", Host: "app"}}})
		if !errors.Is(err, enforcer.ErrRefused) {
			t.Errorf("%s: Envoy takes it: %v", path, err)
		}
	}
}
