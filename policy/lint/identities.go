package lint

import (
	"slices"
	"strings"

	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// identities says which workloads the mesh cannot tell apart: an identity is a
// service account, and whoever runs with it is who it says.
func (c *checker) identities() {
	gateways := map[string]string{}
	for _, g := range c.set.Gateways {
		gateways[g.Namespace+"/"+topology.GatewayAccount(g)] = g.Name
	}
	granted := c.granted()
	first := map[string]*topology.Pod{}
	for p := range c.world.Apps() {
		account := p.Namespace + "/" + p.ServiceAccount
		if name, ok := gateways[account]; ok {
			c.add(Error, "runs-as-gateway", on(p.Workload), "runs as service account %s, which is Gateway %s's: pods "+
				"take it for that, and its calls are asked nothing more", p.ServiceAccount, name).
				Fix = "give it an account of its own, and keep others from starting pods with the Gateway's"
			continue
		}
		other := first[account]
		if other == nil {
			first[account] = p
			continue
		}
		if granted[account] {
			c.add(Warning, "shared-identity", on(p.Workload), "runs as service account %s, as %s %s does: whatever a "+
				"policy allows the one, it allows the other", p.ServiceAccount, other.Workload.Kind,
				other.Workload.Name).Fix = "give each an account of its own"
		}
	}
}

// granted returns the service accounts, "namespace/name", that an ALLOW policy
// names exactly.
func (c *checker) granted() map[string]bool {
	out := map[string]bool{}
	for _, p := range c.set.AuthorizationPolicies {
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

// mixed names pods with a sidecar in namespaces of the ambient mesh.
func (c *checker) mixed() {
	for _, p := range c.world.Pods {
		if c.sidecars[p.Ref] && (p.Meshed || c.ambient(p.Namespace)) {
			c.add(Warning, "sidecar-in-ambient", on(p.Workload), "has a sidecar, and its namespace is in the ambient "+
				"mesh: its sidecar judges it, and not node proxy and waypoint").
				Fix = "take sidecar.istio.io/inject off, and restart it"
		}
	}
}

func (c *checker) ambient(namespace string) bool {
	return c.declared[namespace][topology.LabelDataplaneMode] == topology.ModeAmbient
}
