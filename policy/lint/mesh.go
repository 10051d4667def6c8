package lint

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"artemis.example/policy/peerauth"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	trustDomain   = catalog.TrustDomain
	rootNamespace = catalog.RootNamespace
	waypointClass = catalog.WaypointClass

	labelMode     = "istio.io/dataplane-mode"
	labelWaypoint = "istio.io/use-waypoint"
	labelOtherNS  = "istio.io/use-waypoint-namespace"
	labelFor      = "istio.io/waypoint-for"
	labelIngress  = "istio.io/ingress-use-waypoint"
)

// mesh is what the manifests would make of a mesh: the evaluators, and who is
// what to whom.
type mesh struct {
	set        *manifest.Set
	origins    map[manifest.Key]manifest.Origin // of kinds that the Set does not hold
	lines      map[manifest.Key]map[string]int
	namespaces map[string]*corev1.Namespace
	workloads  []workload
	accounts   map[string]bool // "namespace/name" of every service account that exists
	front      map[string]bool // "namespace/name" of every ingress Gateway, also of those that only a route names
	waypoint   *authz.Waypoint
	nodeProxy  *authz.NodeProxy
	mtls       *peerauth.Policies
	network    *netpol.Policies
}

// workload is what some object makes pods of.
type workload struct {
	key     manifest.Key
	labels  map[string]string
	account string
	ports   map[string]uint16
}

// podTemplates are the kinds that make pods and that Set does not hold, each
// with the way to its pod template.
var podTemplates = map[string][]string{
	"StatefulSet": {"spec", "template"},
	"DaemonSet":   {"spec", "template"},
	"ReplicaSet":  {"spec", "template"},
	"Job":         {"spec", "template"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template"},
	"Pod":         nil,
}

func newMesh(s *manifest.Survey) *mesh {
	m := &mesh{
		set: s.Set, lines: s.Lines, origins: map[manifest.Key]manifest.Origin{}, namespaces: map[string]*corev1.Namespace{}, accounts: map[string]bool{},
		waypoint:  authz.NewWaypoint(authz.Config{}, s.Set.AuthorizationPolicies),
		nodeProxy: authz.NewNodeProxy(authz.Config{}, s.Set.AuthorizationPolicies),
		mtls:      peerauth.New("", s.Set.PeerAuthentications),
		network:   netpol.New(s.Set.NetworkPolicies),
	}
	for _, n := range s.Set.Namespaces {
		m.namespaces[n.Name] = n
		m.accounts[n.Name+"/default"] = true
	}
	for _, a := range s.Set.ServiceAccounts {
		m.accounts[a.Namespace+"/"+a.Name] = true
	}
	for _, g := range s.Set.Gateways {
		m.accounts[g.Namespace+"/"+gatewayAccount(g)] = true
	}
	m.front = map[string]bool{}
	for _, g := range s.Set.Gateways {
		if g.Spec.GatewayClassName != waypointClass {
			m.front[g.Namespace+"/"+g.Name] = true
		}
	}
	for _, r := range s.Set.HTTPRoutes {
		for _, p := range r.Spec.ParentRefs {
			namespace := r.Namespace
			if p.Namespace != nil {
				namespace = string(*p.Namespace)
			}
			m.front[namespace+"/"+string(p.Name)] = true
		}
	}
	for _, d := range s.Set.Deployments {
		m.addWorkload(key("Deployment", d.Namespace, d.Name), &d.Spec.Template)
	}
	for _, o := range s.Other {
		way, ok := podTemplates[o.Kind]
		if !ok {
			continue
		}
		fields := o.Fields
		for _, step := range way {
			fields, _ = fields[step].(map[string]any)
		}
		// Read on Kubernetes' own type; what does not fit is left out.
		var t corev1.PodTemplateSpec
		if data, err := json.Marshal(fields); err != nil || json.Unmarshal(data, &t) != nil {
			continue
		}
		k := o.Key
		k.Namespace = cmp.Or(k.Namespace, "default")
		m.origins[k] = o.Origin
		m.addWorkload(k, &t)
	}
	return m
}

func (m *mesh) addWorkload(k manifest.Key, t *corev1.PodTemplateSpec) {
	w := workload{key: k, labels: t.Labels, account: cmp.Or(t.Spec.ServiceAccountName, "default"), ports: map[string]uint16{}}
	for _, c := range t.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name != "" {
				w.ports[p.Name] = uint16(p.ContainerPort)
			}
		}
	}
	m.workloads = append(m.workloads, w)
	m.accounts[k.Namespace+"/"+w.account] = true
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
func (m *mesh) exists(namespace, account string) bool {
	if m.accounts[namespace+"/"+account] {
		return true
	}
	i := strings.LastIndexByte(account, '-')
	return i > 0 && m.front[namespace+"/"+account[:i]]
}

func identity(namespace, account string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

func (m *mesh) namespaceLabel(namespace, label string) string {
	if n := m.namespaces[namespace]; n != nil {
		return n.Labels[label]
	}
	return ""
}

// meshed reports whether a workload is in the ambient mesh. known is false where
// its namespace is not among the files.
func (m *mesh) meshed(w workload) (in, known bool) {
	if mode, ok := w.labels[labelMode]; ok {
		return mode == "ambient", true
	}
	return m.namespaceLabel(w.key.Namespace, labelMode) == "ambient", m.namespaces[w.key.Namespace] != nil
}

// sidecars reports whether a namespace is served by sidecars: they judge what node
// proxies cannot, and lint knows ambient meshes only.
func (m *mesh) sidecars(namespace string) bool {
	n := m.namespaces[namespace]
	if n == nil || n.Labels[labelMode] == "ambient" {
		return false
	}
	_, revision := n.Labels["istio.io/rev"]
	return revision || n.Labels["istio-injection"] == "enabled"
}

// binding says which waypoint a Service is told to use.
type binding struct {
	name      string // empty for none
	namespace string
	optOut    bool // the Service itself says none
	gateway   *gatewayv1.Gateway
}

// serves reports whether the waypoint is there and serves Services.
func (b binding) serves() bool {
	return b.gateway != nil && b.gateway.Spec.GatewayClassName == waypointClass &&
		slices.Contains([]string{"", "service", "all"}, b.gateway.Labels[labelFor])
}

func (m *mesh) binding(s *corev1.Service) binding {
	b := binding{namespace: s.Namespace}
	name, own := s.Labels[labelWaypoint]
	from := s.Labels
	if !own {
		name = m.namespaceLabel(s.Namespace, labelWaypoint)
		if n := m.namespaces[s.Namespace]; n != nil {
			from = n.Labels
		}
	}
	if name == "" || name == "none" {
		b.optOut = own && name == "none"
		return b
	}
	b.name = name
	b.namespace = cmp.Or(from[labelOtherNS], s.Namespace)
	b.gateway = m.gateway(b.namespace, name)
	return b
}

func (m *mesh) gateway(namespace, name string) *gatewayv1.Gateway {
	i := slices.IndexFunc(m.set.Gateways, func(g *gatewayv1.Gateway) bool { return g.Namespace == namespace && g.Name == name })
	if i < 0 {
		return nil
	}
	return m.set.Gateways[i]
}

func (m *mesh) service(namespace, name string) *corev1.Service {
	i := slices.IndexFunc(m.set.Services, func(s *corev1.Service) bool { return s.Namespace == namespace && s.Name == name })
	if i < 0 {
		return nil
	}
	return m.set.Services[i]
}

func headless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

func subset(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// behind returns the workloads that a Service's selector finds.
func (m *mesh) behind(s *corev1.Service) []workload {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	var out []workload
	for _, w := range m.workloads {
		if w.key.Namespace == s.Namespace && subset(s.Spec.Selector, w.labels) {
			out = append(out, w)
		}
	}
	return out
}

// targetPorts returns the pod's ports behind a Service's.
func targetPorts(s *corev1.Service, w workload) []uint16 {
	var out []uint16
	for _, p := range s.Spec.Ports {
		switch t := p.TargetPort; {
		case t.Type == intstr.String:
			if n, ok := w.ports[t.StrVal]; ok {
				out = append(out, n)
			}
		case t.IntVal != 0:
			out = append(out, uint16(t.IntVal))
		default:
			out = append(out, uint16(p.Port))
		}
	}
	return out
}

// isHTTP says what Istio makes of a port: HTTP, or bytes; sniffed where the
// port says neither.
func isHTTP(p corev1.ServicePort) (http, sniffed bool) {
	protocol := p.Name
	if p.AppProtocol != nil {
		protocol = strings.TrimPrefix(*p.AppProtocol, "kubernetes.io/")
	} else {
		protocol, _, _ = strings.Cut(protocol, "-")
	}
	switch strings.ToLower(protocol) {
	case "http", "http2", "grpc", "h2c", "ws":
		return true, false
	case "tcp", "https", "tls", "mongo", "mysql", "redis", "udp", "wss":
		return false, false
	}
	if strings.HasPrefix(p.Name, "grpc-web") {
		return true, false
	}
	return false, true
}
