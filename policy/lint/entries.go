package lint

import (
	"fmt"
	"slices"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// entryOf returns a ServiceEntry with what the mesh makes of its hosts.
func (c *checker) entryOf(namespace, name string) (*istionetworkingv1.ServiceEntry, []*topology.Service) {
	i := slices.IndexFunc(c.set.ServiceEntries, func(e *istionetworkingv1.ServiceEntry) bool {
		return e.Namespace == namespace && e.Name == name
	})
	if i < 0 {
		return nil, nil
	}
	var hosts []*topology.Service
	for _, s := range c.world.Services {
		if s.Entry && s.Namespace == namespace && s.Name == name {
			hosts = append(hosts, s)
		}
	}
	return c.set.ServiceEntries[i], hosts
}

// entryTarget says where a policy for a ServiceEntry is enforced by nobody.
func (c *checker) entryTarget(p *securityv1.AuthorizationPolicy, path, name string) {
	at := key("AuthorizationPolicy", p.Namespace, p.Name)
	e, _ := c.entryOf(p.Namespace, name)
	if e == nil {
		some := slices.ContainsFunc(c.set.ServiceEntries, func(e *istionetworkingv1.ServiceEntry) bool {
			return e.Namespace == p.Namespace
		})
		c.certain(c.whole(p.Namespace) && some, "attached-to-nothing", at, path,
			fmt.Sprintf("targets ServiceEntry %s/%s, which is not among the files: the policy does nothing",
				p.Namespace, name), "name a ServiceEntry of the policy's own namespace",
			fmt.Sprintf("targets ServiceEntry %s/%s, which is not among the files, and neither is all of its namespace",
				p.Namespace, name))
		return
	}
	switch b := c.told(e.Namespace, e.Labels); {
	case b.at.Name != "":
	case b.optOut:
		c.add(Error, "service-without-waypoint", at, fmt.Sprintf("targets ServiceEntry %s, which opts out of the "+
			"waypoint: nothing enforces the policy", name), "take istio.io/use-waypoint: none off the ServiceEntry")
	default:
		c.certain(c.whole(p.Namespace) && c.gateways, "service-without-waypoint", at, "",
			fmt.Sprintf("targets ServiceEntry %s, which uses no waypoint: nothing enforces the policy", name),
			"label the Namespace or the ServiceEntry istio.io/use-waypoint: NAME and make that waypoint Gateway",
			fmt.Sprintf("targets ServiceEntry %s; whether that uses a waypoint is not among the files", name))
	}
}

// entry says what keeps the waypoint of a ServiceEntry from judging its requests.
func (c *checker) entry(e *istionetworkingv1.ServiceEntry) {
	at := key("ServiceEntry", e.Namespace, e.Name)
	b := c.told(e.Namespace, e.Labels)
	_, hosts := c.entryOf(e.Namespace, e.Name)
	if b.at.Name == "" || len(hosts) == 0 {
		return
	}
	_, own := e.Labels[topology.LabelUseWaypoint]
	if !hosts[0].VIP.IsValid() {
		if b.gateway == nil || !own && !c.targeted(e) {
			return // the Namespace's Services are meant
		}
		c.add(Error, "waypoint-does-not-cover", at, fmt.Sprintf("is to use waypoint %s, and with resolution %s and no "+
			"addresses its hosts have none that node proxies know: calls go to what DNS says, past it", b.at,
			networkingv1alpha3.ServiceEntry_NONE),
			"use resolution DNS, or DYNAMIC_DNS for a wildcard; or give it addresses")
		return
	}
	if c.uncovered(at, b, hosts[0], false) {
		return
	}
	engine := c.policies.WaypointEngine(hosts[0].Waypoint, hosts[0])
	lost := slices.ContainsFunc(engine.Skipped(false), func(s authz.Skip) bool { return s.Whole })
	for _, p := range hosts[0].Ports {
		if p.Protocol == topology.TCP && lost {
			c.add(Warning, "port-not-http", at, fmt.Sprintf("port %s (%d) is no HTTP to the waypoint: methods and "+
				"paths are lost, and ALLOW rules with them are left out", p.Name, p.Number),
				"let callers speak HTTP to the waypoint, and a DestinationRule originate TLS behind it")
		}
	}
	if len(engine.Policies()) == 0 {
		return
	}
	if who := c.pastEgress(hosts[0]); len(who) > 0 {
		c.add(Warning, "bypass-external", at, fmt.Sprintf("its host's own address can be called past waypoint %s and "+
			"its policies, by %s", b.at, list(who)), fmt.Sprintf("NetworkPolicies that let the pods' egress out to "+
			"namespace %s and to name servers only", b.at.Namespace))
	}
}

// targeted reports whether a policy targets a ServiceEntry.
func (c *checker) targeted(e *istionetworkingv1.ServiceEntry) bool {
	return slices.ContainsFunc(c.set.AuthorizationPolicies, func(p *securityv1.AuthorizationPolicy) bool {
		for _, r := range targetRefs(p) {
			if p.Namespace == e.Namespace && r.GetKind() == "ServiceEntry" && r.GetName() == e.Name {
				return true
			}
		}
		return false
	})
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
