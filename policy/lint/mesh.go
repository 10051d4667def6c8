package lint

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	trustDomain   = catalog.TrustDomain
	rootNamespace = catalog.RootNamespace
	waypointClass = catalog.WaypointClass
)

// survey takes stock of what is among the files.
func (c *checker) survey() {
	c.accounts, c.populated, c.services = map[string]bool{}, map[string]bool{}, map[string]bool{}
	c.entries, c.fronts, c.sidecars = map[string]bool{}, map[string]bool{}, map[topology.Ref]bool{}
	c.declared = c.set.NamespaceLabels()
	for name := range c.declared {
		c.accounts[name+"/default"] = true
	}
	for _, a := range c.set.ServiceAccounts {
		c.accounts[a.Namespace+"/"+a.Name], c.populated[a.Namespace] = true, true
	}
	c.workloads = map[manifest.Key]manifest.Workload{}
	for _, w := range c.set.AllWorkloads() {
		c.workloads[w.Key] = w
		account := cmp.Or(w.Template.Spec.ServiceAccountName, "default")
		c.accounts[w.Namespace+"/"+account], c.populated[w.Namespace] = true, true
	}
	for _, p := range c.world.Pods {
		if w, ok := c.workloads[p.Workload]; ok {
			c.sidecars[p.Ref] = manifest.Sidecar(w, c.declared[w.Namespace])
		}
	}
	for _, g := range c.set.Gateways {
		c.accounts[g.Namespace+"/"+topology.GatewayAccount(g)], c.gateways = true, true
		if g.Spec.GatewayClassName != waypointClass {
			c.fronts[g.Namespace+"/"+g.Name] = true
		}
	}
	for _, s := range c.set.Services {
		c.services[s.Namespace] = true
	}
	for _, e := range c.set.ServiceEntries {
		c.entries[e.Namespace] = true
	}
	for _, r := range c.set.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			if parent := manifest.Parent(r, p); parent.Kind == "Gateway" {
				c.fronts[parent.String()] = true
			}
		}
	}
}

// existing returns the service accounts that there are, "namespace/name", in order.
func (c *checker) existing() []string { return slices.Sorted(maps.Keys(c.accounts)) }

// whole reports whether the files say what there is in a namespace: its Namespace
// is among them, and nothing in it is given twice.
func (c *checker) whole(namespace string) bool {
	_, declared := c.declared[namespace]
	return declared && !c.in.Torn[namespace]
}

// apps are the pods of workloads that node proxies stand for, or may.
func (c *checker) apps(yield func(*topology.Pod) bool) {
	for p := range c.world.Apps() {
		if !c.sidecars[p.Ref] && !yield(p) {
			return
		}
	}
}

// enrolled reports whether it is known whether a pod is in the mesh: where its
// namespace is among the files, or its own label says so.
func (c *checker) enrolled(p *topology.Pod) (in, known bool) {
	_, own := p.Labels[topology.LabelDataplaneMode]
	return p.Meshed, own || c.whole(p.Namespace)
}

// exists reports whether there is such a service account: one of the files, or one
// that istiod makes, NAME-CLASS, for a Gateway that routes name.
func (c *checker) exists(namespace, account string) bool {
	if c.accounts[namespace+"/"+account] {
		return true
	}
	i := strings.LastIndexByte(account, '-')
	return i > 0 && c.fronts[namespace+"/"+account[:i]]
}

func identity(namespace, account string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

// binding says which waypoint a Service is told to use.
type binding struct {
	at      topology.Ref // empty for none
	optOut  bool         // the Service itself says none
	gateway *gatewayv1.Gateway
}

func (c *checker) binding(s *topology.Service) binding {
	b := c.told(s.Namespace, s.Labels)
	if managed(s) {
		return binding{optOut: b.optOut}
	}
	return b
}

// told says which waypoint the labels of an object, or of its namespace, name.
func (c *checker) told(namespace string, labels map[string]string) binding {
	from := labels
	name, own := labels[topology.LabelUseWaypoint]
	if !own {
		from = c.declared[namespace]
		name = from[topology.LabelUseWaypoint]
	}
	if name == "" || name == "none" {
		return binding{optOut: own && name == "none"}
	}
	at := topology.Ref{Namespace: manifest.WaypointOf(namespace, from).Namespace, Name: name}
	return binding{at: at, gateway: c.gateway(at)}
}

// managed reports whether istiod made the Service for a Gateway.
func managed(s *topology.Service) bool { return s.Labels[topology.LabelGatewayManaged] != "" }

func (c *checker) gateway(at topology.Ref) *gatewayv1.Gateway {
	return manifest.Find(c.set.Gateways, at.Namespace, at.Name)
}

// service returns the place that is a Service.
func service(s *topology.Service) place {
	return on(manifest.Key{Kind: s.Kind(), Namespace: s.Namespace, Name: s.Name})
}

// headless reports whether calls go to the pods' own addresses, or to another name.
func headless(s *topology.Service) bool { return !s.VIP.IsValid() }

// behind returns the workloads' pods that a Service's selector finds.
func (c *checker) behind(s *topology.Service) []*topology.Pod {
	return slices.DeleteFunc(slices.Clone(s.Selected), func(p *topology.Pod) bool {
		return p.Kind != topology.App || c.sidecars[p.Ref]
	})
}

// atPod reports whether a pod's node proxy would let an identity connect.
func (c *checker) atPod(p *topology.Pod, port uint16, principal string, source netip.Addr) bool {
	return c.policies.Inbound(p, principal, source, port).Allowed
}

// throughWaypoint reports whether the waypoint would let an identity ask something
// of a Service.
func (c *checker) throughWaypoint(s *topology.Service, principal string) bool {
	return c.policies.WaypointEngine(s.Waypoint, s).Decide(&authz.Request{Principal: principal, Method: "GET",
		Host: s.Host, Path: "/", HTTP: true}).Allowed
}

// protecting returns the Services over a pod that a waypoint serves, the ones with
// policies of their own first.
func (c *checker) protecting(p *topology.Pod) []*topology.Service {
	var own, others []*topology.Service
	for _, s := range c.world.Services {
		switch {
		case s.Entry || headless(s) || s.Waypoint == nil || managed(s) || !slices.Contains(s.Selected, p):
		case c.ownPolicy(s):
			own = append(own, s)
		default:
			others = append(others, s)
		}
	}
	return append(own, others...)
}

// ownPolicy reports whether a policy targets the Service, or the ServiceEntry, itself.
func (c *checker) ownPolicy(s *topology.Service) bool {
	return slices.ContainsFunc(c.set.AuthorizationPolicies, func(p *securityv1.AuthorizationPolicy) bool {
		return manifest.Targets(p, s.Kind(), s.Namespace, s.Name)
	})
}
