package lint

import (
	"cmp"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	trustDomain   = catalog.TrustDomain
	rootNamespace = catalog.RootNamespace
	waypointClass = catalog.WaypointClass
)

// survey takes stock of what is among the files.
func (c *checker) survey() {
	c.declared, c.accounts, c.populated = map[string]bool{}, map[string]bool{}, map[string]bool{}
	c.services, c.fronts, c.sidecars = map[string]bool{}, map[string]bool{}, map[topology.Ref]bool{}
	namespaces := map[string]map[string]string{}
	for _, n := range c.set.Namespaces {
		c.declared[n.Name], namespaces[n.Name] = true, n.Labels
		c.accounts[n.Name+"/default"] = true
	}
	for _, a := range c.set.ServiceAccounts {
		c.accounts[a.Namespace+"/"+a.Name], c.populated[a.Namespace] = true, true
	}
	c.gateways = len(c.set.Gateways) > 0
	c.workloads = map[manifest.Key]manifest.Workload{}
	for _, w := range c.set.AllWorkloads() {
		c.workloads[w.Key] = w
		account := cmp.Or(w.Template.Spec.ServiceAccountName, "default")
		c.accounts[w.Namespace+"/"+account], c.populated[w.Namespace] = true, true
	}
	for _, p := range c.world.Pods {
		if w, ok := c.workloads[p.Workload]; ok {
			c.sidecars[p.Ref] = manifest.Sidecar(w, namespaces[w.Namespace])
		}
	}
	for _, g := range c.set.Gateways {
		c.accounts[g.Namespace+"/"+gatewayAccount(g)] = true
		if g.Spec.GatewayClassName != waypointClass {
			c.fronts[g.Namespace+"/"+g.Name] = true
		}
	}
	for _, s := range c.set.Services {
		c.services[s.Namespace] = true
	}
	for _, r := range c.set.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			if p.Kind != nil && *p.Kind != "Gateway" {
				continue
			}
			namespace := r.Namespace
			if p.Namespace != nil {
				namespace = string(*p.Namespace)
			}
			c.fronts[namespace+"/"+string(p.Name)] = true
		}
	}
}

// whole reports whether the files say what there is in a namespace: its Namespace
// is among them, and nothing in it is given twice.
func (c *checker) whole(namespace string) bool {
	return c.declared[namespace] && !c.in.Torn[namespace]
}

// apps are the pods of workloads that node proxies stand for, or may.
func (c *checker) apps(yield func(*topology.Pod) bool) {
	for _, p := range c.world.Pods {
		if p.Kind == topology.App && !c.sidecars[p.Ref] && !yield(p) {
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

// gatewayAccount is the service account that istiod makes for a Gateway.
func gatewayAccount(g *gatewayv1.Gateway) string {
	if g.Spec.GatewayClassName == waypointClass {
		return g.Name
	}
	return g.Name + "-" + string(g.Spec.GatewayClassName)
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
	serves  bool // it is there, serves Services and admits this one
}

func (c *checker) binding(s *corev1.Service) binding {
	b := c.told(s.Namespace, s.Labels)
	if b.at.Name == "" || managed(s) {
		return binding{optOut: b.optOut}
	}
	if w := c.world.Service(ref(s)); w != nil {
		b.serves = w.Waypoint != nil
	}
	if headless(s) && b.gateway != nil { // it would, had the Service an address
		b.serves = b.gateway.Spec.GatewayClassName == waypointClass
	}
	return b
}

// told says which waypoint the labels of an object, or of its namespace, name.
func (c *checker) told(namespace string, labels map[string]string) binding {
	name, own := labels[topology.LabelUseWaypoint]
	from := labels
	if !own {
		from = nil
		if n := c.world.Namespaces[namespace]; n != nil {
			from = n.Labels
		}
		name = from[topology.LabelUseWaypoint]
	}
	if name == "" || name == "none" {
		return binding{optOut: own && name == "none"}
	}
	b := binding{at: topology.Ref{Namespace: cmp.Or(from[topology.LabelWaypointNamespace], namespace), Name: name}}
	b.gateway = c.gateway(b.at)
	return b
}

// managed reports whether istiod made the Service for a Gateway.
func managed(s *corev1.Service) bool { return s.Labels[topology.LabelGatewayManaged] != "" }

func ref(s *corev1.Service) topology.Ref { return topology.Ref{Namespace: s.Namespace, Name: s.Name} }

func (c *checker) gateway(at topology.Ref) *gatewayv1.Gateway {
	i := slices.IndexFunc(c.set.Gateways, func(g *gatewayv1.Gateway) bool {
		return g.Namespace == at.Namespace && g.Name == at.Name
	})
	if i < 0 {
		return nil
	}
	return c.set.Gateways[i]
}

func (c *checker) serviceOf(namespace, name string) *corev1.Service {
	i := slices.IndexFunc(c.set.Services, func(s *corev1.Service) bool {
		return s.Namespace == namespace && s.Name == name
	})
	if i < 0 {
		return nil
	}
	return c.set.Services[i]
}

func headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.Type == corev1.ServiceTypeExternalName
}

func subset(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// behind returns the workloads' pods that a Service's selector finds.
func (c *checker) behind(s *corev1.Service) []*topology.Pod {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	var out []*topology.Pod
	for p := range c.apps {
		if p.Namespace == s.Namespace && subset(s.Spec.Selector, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

// targetPorts returns the pod's ports behind a Service's.
func (c *checker) targetPorts(s *corev1.Service, p *topology.Pod) []uint16 {
	var out []uint16
	if w := c.world.Service(ref(s)); w != nil {
		for _, port := range w.Ports {
			for _, b := range w.Backends(port.Number) {
				if b.Pod == p {
					out = append(out, b.Port)
				}
			}
		}
	}
	return out
}

// atPod reports whether a pod's node proxy would let an identity connect.
func (c *checker) atPod(p *topology.Pod, port uint16, principal string, source netpol.Endpoint) bool {
	return c.policies.Inbound(p, principal, source.IP, port).Allowed
}

// throughWaypoint reports whether the waypoint would let an identity ask something
// of a Service.
func (c *checker) throughWaypoint(s *topology.Service, principal string) bool {
	return c.policies.WaypointEngine(s.Waypoint, s).Decide(&authz.Request{Principal: principal, Method: "GET",
		Host: s.Host, Path: "/", HTTP: true}).Allowed
}

// protecting returns the Services over a pod that a waypoint serves, the ones with
// policies of their own first.
func (c *checker) protecting(p *topology.Pod) []*corev1.Service {
	var out []*corev1.Service
	for _, s := range c.set.Services {
		if s.Namespace != p.Namespace || headless(s) || len(s.Spec.Selector) == 0 || !subset(s.Spec.Selector,
			p.Labels) {
			continue
		}
		if c.binding(s).serves {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *corev1.Service) int { return c.rank(a) - c.rank(b) })
	return out
}

func (c *checker) rank(s *corev1.Service) int {
	if c.ownPolicy(s) {
		return 0
	}
	return 1
}

// ownPolicy reports whether a policy targets the Service itself.
func (c *checker) ownPolicy(s *corev1.Service) bool {
	for _, p := range c.set.AuthorizationPolicies {
		if p.Namespace != s.Namespace {
			continue
		}
		for _, r := range targetRefs(p) {
			if r.GetKind() == "Service" && r.GetName() == s.Name {
				return true
			}
		}
	}
	return false
}
