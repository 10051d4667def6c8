package lint

import (
	"fmt"

	"artemis.example/policy/peerauth"
	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// addresses says where a rule for a waypoint compares the caller's address: it sees none.
func (c *checker) addresses(p *securityv1.AuthorizationPolicy, rule ruleRef, r *securityv1beta1.Rule) {
	if !c.atWaypoint(p) {
		return
	}
	say := func(what string, given int) {
		if given > 0 {
			c.addAt(Warning, "address-at-waypoint", key("AuthorizationPolicy", p.Namespace, p.Name), rule.path(),
				fmt.Sprintf("%s: %s at a waypoint is in no block and out of every one: there the connection comes "+
					"out of the tunnel, without an address", rule, what),
				"name the caller's identity; or use remoteIpBlocks, which compare what x-forwarded-for says, and the "+
					"pod's address where it says nothing")
		}
	}
	for _, f := range r.From {
		say("ipBlocks", len(f.GetSource().GetIpBlocks()))
		say("notIpBlocks", len(f.GetSource().GetNotIpBlocks()))
	}
	for _, w := range r.When {
		if w.GetKey() == "source.ip" {
			say("source.ip", 1)
		}
	}
}

// atWaypoint reports whether a policy is for waypoints: an ingress gateway sees addresses.
func (c *checker) atWaypoint(p *securityv1.AuthorizationPolicy) bool {
	for _, r := range targetRefs(p) {
		switch r.GetKind() {
		case "Service", "ServiceEntry", "GatewayClass":
			return true
		case "Gateway":
			if c.world.WaypointGateway(topology.Ref{Namespace: p.Namespace, Name: r.GetName()}) != nil {
				return true
			}
		}
	}
	return false
}

// conversions says which ports istiod's conversion for node proxies leaves otherwise than
// the PeerAuthentications say.
func (c *checker) conversions() {
	for _, s := range peerauth.New("", c.set.PeerAuthentications).Surprises() {
		ports := "the ports that it does not name"
		if s.Port != 0 {
			ports = fmt.Sprintf("port %d", s.Port)
		}
		severity, result := Error, "take plaintext"
		if s.Mode == peerauth.Strict {
			severity, result = Warning, "refuse plaintext"
		}
		c.add(severity, "peerauth-lost", key("PeerAuthentication", s.Policy.Namespace, s.Policy.Name),
			fmt.Sprintf("%s: the policies say %s, and the pods %s: istiod's conversion for node proxies loses it",
				ports, s.Said, result),
			"say the mode in the namespace's own PeerAuthentication, and STRICT for the workload with the ports that "+
				"are to be open")
	}
}
