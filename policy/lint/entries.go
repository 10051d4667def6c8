package lint

import (
	"fmt"
	"slices"

	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// entry says what keeps the waypoint of a ServiceEntry from judging its requests.
func (c *checker) entry(e *istionetworkingv1.ServiceEntry) {
	at, b := on(manifest.KeyOf(e)), c.told(e.Namespace, e.Labels)
	// Its hosts are alike: the first stands for them.
	i := slices.IndexFunc(c.world.Services, func(s *topology.Service) bool {
		return s.Entry && s.Namespace == e.Namespace && s.Name == e.Name
	})
	if b.at.Name == "" || i < 0 {
		return
	}
	host := c.world.Services[i]
	if !host.VIP.IsValid() {
		if _, own := e.Labels[topology.LabelUseWaypoint]; b.gateway == nil || !own && !c.ownPolicy(host) {
			return // the Namespace's Services are meant
		}
		c.add(Error, "waypoint-does-not-cover", at, "is to use waypoint %s, and with resolution %s and no addresses "+
			"its hosts have none that node proxies know: calls go to what DNS says, past it", b.at,
			networkingv1alpha3.ServiceEntry_NONE).
			Fix = "use resolution DNS, or DYNAMIC_DNS for a wildcard; or give it addresses"
		return
	}
	if c.uncovered(at, b, host) {
		return
	}
	engine := c.policies.WaypointEngine(host.Waypoint, host)
	lost := slices.ContainsFunc(engine.Skipped(false), func(s authz.Skip) bool { return s.Whole })
	for _, p := range host.Ports {
		if p.Protocol == topology.TCP && lost {
			c.add(Warning, "port-not-http", at, "port %s (%d) is no HTTP to the waypoint: methods and paths are lost, "+
				"and ALLOW rules with them are left out", p.Name, p.Number).Fix = "let callers speak HTTP to the " +
				"waypoint, and a DestinationRule originate TLS behind it"
		}
	}
	if len(engine.Policies()) == 0 {
		return
	}
	if who := c.pastEgress(host); len(who) > 0 {
		c.add(Warning, "bypass-external", at, "its host's own address can be called past waypoint %s and its "+
			"policies, by %s", b.at, list(who)).
			Fix = fmt.Sprintf("NetworkPolicies that let the pods' egress out to namespace %s and to name servers only",
			b.at.Namespace)
	}
}

// pastEgress lists workloads that may call a host outside of the cluster by its own
// address.
func (c *checker) pastEgress(s *topology.Service) []string {
	var out []string
	for p := range c.apps {
		open := false
		for _, port := range s.Ports {
			for _, to := range s.Backends(port.Number) {
				way := c.world.Way(p.Caller(), topology.Destination{Pod: to.Pod, Port: to.Port}, topology.Live{})
				open = open || to.Pod.Kind == topology.External && c.policies.Perimeter(&way.Legs[0]).Allowed
			}
		}
		if open {
			out = append(out, p.Workload.Kind+" "+p.Ref.String())
		}
	}
	if len(out) > 3 {
		out = append(out[:3], fmt.Sprintf("%d more", len(out)-3))
	}
	return out
}
