package lint

import (
	"fmt"
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// identities says which workloads the mesh cannot tell apart: an identity is a
// service account, and whoever runs with it is who it says.
func (c *checker) identities() {
	gateways := map[string]string{}
	for _, g := range c.mesh.set.Gateways {
		gateways[g.Namespace+"/"+gatewayAccount(g)] = g.Name
	}
	granted := c.granted()
	first := map[string]workload{}
	for _, w := range c.mesh.workloads {
		account := w.key.Namespace + "/" + w.account
		if name, ok := gateways[account]; ok {
			c.add(Error, "runs-as-gateway", w.key, fmt.Sprintf("runs as service account %s, which is Gateway %s's: pods take it for that, and its calls are asked nothing more", w.account, name),
				"give it an account of its own, and keep others from starting pods with the Gateway's")
			continue
		}
		other, taken := first[account]
		if !taken {
			first[account] = w
			continue
		}
		if granted[account] {
			c.add(Warning, "shared-identity", w.key, fmt.Sprintf("runs as service account %s, as %s %s does: whatever a policy allows the one, it allows the other", w.account, other.key.Kind, other.key.Name),
				"give each an account of its own")
		}
	}
}

// granted returns the service accounts, "namespace/name", that an ALLOW policy
// names exactly.
func (c *checker) granted() map[string]bool {
	out := map[string]bool{}
	for _, p := range c.mesh.set.AuthorizationPolicies {
		if p.Spec.Action != securityv1beta1.AuthorizationPolicy_ALLOW {
			continue
		}
		for _, r := range p.Spec.Rules {
			for _, f := range r.GetFrom() {
				for _, v := range f.GetSource().GetPrincipals() {
					if parts := strings.Split(v, "/"); len(parts) == 5 && !slices.Contains(parts, "*") {
						out[parts[2]+"/"+parts[4]] = true
					}
				}
				for _, v := range f.GetSource().GetServiceAccounts() {
					if !strings.Contains(v, "/") {
						v = p.Namespace + "/" + v
					}
					out[v] = true
				}
			}
		}
	}
	return out
}
