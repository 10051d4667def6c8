// Package waypoint has istiod's own code generate the configuration of the
// Cells' waypoints and of the gateway from the manifests, and makes it loadable in an Envoy without
// Istio's extensions and without a control plane. Authorization is not touched.
package waypoint

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"istio.io/api/annotation"
	"istio.io/api/label"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/model"
	istioxds "istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/test"

	"artemis.example/catalog"
	"artemis.example/local/xds"
	"artemis.example/policy/topology"
)

// GatewayPort is where the gateway listens.
const GatewayPort = 19080

// Object is a part of an Envoy configuration.
type Object = map[string]any

// Generate returns the configuration of every waypoint of a world, sorted by
// namespace. PILOT_ENABLE_AMBIENT=true has to be in the environment from the
// start of the process, or there are no waypoints.
func Generate(w *topology.World) ([]xds.Config, error) {
	var waypoints []*topology.Pod
	for _, p := range w.Pods {
		if p.Kind == topology.Waypoint {
			waypoints = append(waypoints, p)
		}
	}
	return generate(w, waypoints)
}

// GenerateGateway returns the configuration of the north/south gateway.
func GenerateGateway(w *topology.World) (xds.Config, error) {
	c, err := generate(w, []*topology.Pod{w.Gateway})
	if err != nil {
		return xds.Config{}, err
	}
	return c[0], nil
}

func generate(w *topology.World, pods []*topology.Pod) ([]xds.Config, error) {
	text, err := manifests(w)
	if err != nil {
		return nil, err
	}
	var out []xds.Config
	err = test.Wrap(func(t test.Failer) {
		mc := mesh.DefaultMeshConfig()
		mc.AccessLogFile, mc.AccessLogEncoding, mc.AccessLogFormat = "/dev/stdout", meshconfig.MeshConfig_JSON,
			xds.AccessLogFormat
		d := istioxds.NewFakeDiscoveryServer(t, istioxds.FakeOptions{ConfigString: text, KubernetesObjectString: text,
			MeshConfig: mc})
		for _, p := range pods {
			out = append(out, one(t, d, w, p))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("generate Envoy's configuration: %w", err)
	}
	slices.SortFunc(out, func(a, b xds.Config) int { return strings.Compare(a.Waypoint.String(), b.Waypoint.String()) })
	return out, nil
}

// node is the Envoy that istiod is asked by.
func node(w *topology.World, p *topology.Pod) *model.Proxy {
	labels := map[string]string{label.IoK8sNetworkingGatewayGatewayName.Name: p.Name}
	proxy := &model.Proxy{
		Type: model.Router, ConfigNamespace: p.Namespace, Labels: labels, IPAddresses: []string{p.IP.String()},
		// For a proxy of this version istiod writes envoy.string where it otherwise
		// writes istio.hashable_string, a filter state factory that core Envoy lacks.
		IstioVersion: &model.IstioVersion{Major: 1, Minor: 29, Patch: 1},
		// An Envoy in a network namespace of its user's is root there.
		Metadata: &model.NodeMetadata{Namespace: p.Namespace, Labels: labels, EnableHBONE: true,
			UnprivilegedPod: "true"},
	}
	if p.Kind == topology.Waypoint {
		labels[label.GatewayManaged.Name] = constants.ManagedGatewayMeshControllerLabel
		proxy.Type = model.Waypoint
		proxy.Metadata = &model.NodeMetadata{Namespace: p.Namespace, Labels: labels,
			Annotations: map[string]string{topology.AnnotationXFCC: strconv.FormatBool(w.WaypointGateway(p.Ref).XFCC)}}
	}
	return proxy
}

func one(t test.Failer, d *istioxds.FakeDiscoveryServer, w *topology.World, p *topology.Pod) xds.Config {
	object := func(m proto.Message) Object {
		o, err := ToObject(m)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	raw := func(o Object, kind string) json.RawMessage {
		o["@type"] = kind
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	proxy := d.SetupProxy(node(w, p))
	c := xds.Config{Waypoint: p.Ref}
	routes := map[string]Object{}
	if p.Kind == topology.Ingress {
		for _, r := range d.Routes(proxy) {
			routes[r.Name] = object(r)
		}
	}
	for _, l := range d.Listeners(proxy) {
		o := object(l)
		adapt(o)
		inline(o, routes)
		if a, ok := o["address"].(Object); ok { // 0.0.0.0 would take the node proxies' addresses too
			if at, ok := a["socketAddress"].(Object); ok {
				at["address"] = p.IP.String()
			}
		}
		c.Listeners = append(c.Listeners, raw(o, xds.ListenerType))
	}
	endpoints := map[string]Object{}
	for _, e := range d.Endpoints(proxy) {
		endpoints[e.ClusterName] = object(e)
	}
	for _, x := range d.Clusters(proxy) {
		o := object(x)
		if o["type"] == "EDS" {
			o["type"], o["loadAssignment"] = "STATIC", endpoints[x.Name]
			delete(o, "edsClusterConfig")
		}
		adapt(o)
		c.Clusters = append(c.Clusters, raw(o, xds.ClusterType))
	}
	return c
}

// inline puts route configurations where a listener would ask for them.
func inline(v any, routes map[string]Object) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			inline(e, routes)
		}
	case Object:
		if rds, ok := v["rds"].(Object); ok {
			if name, _ := rds["routeConfigName"].(string); routes[name] != nil {
				delete(v, "rds")
				v["routeConfig"] = routes[name]
			}
		}
		for _, e := range v {
			inline(e, routes)
		}
	}
}

// ToObject returns a part of the configuration as it is in JSON.
func ToObject(m proto.Message) (o Object, err error) {
	b, err := protojson.Marshal(m)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		err = fmt.Errorf("convert %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return o, err
}

// notInCore are Istio's filters for telemetry, which core Envoy lacks; none of
// them takes part in authorization.
var notInCore = []string{
	"type.googleapis.com/io.istio.http.peer_metadata.Config",
	"type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
	"type.googleapis.com/stats.PluginConfig",
	"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
}

// adapt drops the filters of notInCore and has secrets come from where all else
// comes from.
func adapt(v any) any {
	switch v := v.(type) {
	case []any:
		return slices.DeleteFunc(v, func(e any) bool {
			o, _ := adapt(e).(Object)
			typed, _ := o["typedConfig"].(Object)
			return slices.ContainsFunc(notInCore, func(u string) bool {
				return typed["typeUrl"] == u || typed["@type"] == u
			})
		})
	case Object:
		for k, e := range v {
			if k == "sdsConfig" {
				v[k] = xds.Source()
				continue
			}
			v[k] = adapt(e)
		}
	}
	return v
}

// manifests is what istiod would see in a cluster: the suite's objects, and what
// a cluster and istiod add to them.
func manifests(w *topology.World) (string, error) {
	objects := slices.Concat(anys(w.Set.Namespaces), anys(w.Set.AuthorizationPolicies),
		anys(w.Set.PeerAuthentications), anys(w.Set.HTTPRoutes))
	for _, s := range w.Set.Services {
		c := s.DeepCopy()
		objects = append(objects, c)
		if svc := w.Service(topology.Ref{Namespace: s.Namespace, Name: s.Name}); svc != nil {
			if svc.VIP.IsValid() {
				c.Spec.ClusterIP, c.Spec.ClusterIPs = svc.VIP.String(), []string{svc.VIP.String()}
			}
			objects = append(objects, slice(svc, c))
		}
	}
	for _, s := range w.Services {
		if s.Entry {
			objects = append(objects, entry(s, w))
		}
	}
	for _, g := range w.Set.Gateways {
		if g.Spec.GatewayClassName != constants.WaypointGatewayClassName {
			continue
		}
		objects = append(objects, standing(g, w)...)
	}
	if w.Gateway != nil {
		objects = append(objects, ingress(w.Gateway)...)
	}
	for _, p := range w.Pods {
		if p.Kind == topology.App {
			objects = append(objects, podOf(p))
		}
	}
	var docs []string
	for _, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return "", fmt.Errorf("write manifests for istiod: %w", err)
		}
		docs = append(docs, string(b))
	}
	return strings.Join(docs, "---\n"), nil
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// typeMeta says what an object is: one that is read from the manifests knows, one that
// is made here does not.
func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// entry is a ServiceEntry with the address that it has here; each has one host.
func entry(s *topology.Service, w *topology.World) any {
	i := slices.IndexFunc(w.Set.ServiceEntries, func(e *istionetworking.ServiceEntry) bool {
		return e.Namespace == s.Namespace && e.Name == s.Name
	})
	out := w.Set.ServiceEntries[i].DeepCopy()
	out.TypeMeta = typeMeta("networking.istio.io/v1", "ServiceEntry")
	if s.VIP.IsValid() {
		out.Spec.Addresses = []string{s.VIP.String()}
	}
	return out
}

// standing is a waypoint as istiod has made it: ready, with its Service and its
// instance.
func standing(g *gatewayv1.Gateway, w *topology.World) []any {
	ip := w.Pod(topology.Ref{Namespace: g.Namespace, Name: g.Name}).IP.String()
	ready := g.DeepCopy()
	ready.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Type: new(gatewayv1.HostnameAddressType), Value: g.Name +
		"." + g.Namespace + ".svc.cluster.local"}}
	vip := fmt.Sprintf("10.97.%s", strings.SplitN(ip, ".", 3)[2])
	meta := metav1.ObjectMeta{Name: g.Name, Namespace: g.Namespace, Labels: map[string]string{
		label.GatewayManaged.Name: constants.ManagedGatewayMeshControllerLabel}}
	port := corev1.ServicePort{Name: "mesh", Port: catalog.HBONEPort, AppProtocol: new("hbone")}
	return append(instance(g.Name, meta, ip, vip, port), ready)
}

// ingress is the gateway as istiod has made it, with the listener of
// k3d/gateway-plain.yaml.
func ingress(p *topology.Pod) []any {
	meta := metav1.ObjectMeta{Name: p.Name + "-istio", Namespace: p.Namespace, Labels: map[string]string{}}
	port := corev1.ServicePort{Name: "http", Port: GatewayPort}
	return append(instance(p.Name, meta, p.IP.String(), "10.97.255.1", port),
		&gatewayv1.GatewayClass{TypeMeta: typeMeta("gateway.networking.k8s.io/v1", "GatewayClass"),
			ObjectMeta: metav1.ObjectMeta{Name: catalog.IngressClass}, Spec: gatewayv1.GatewayClassSpec{
				ControllerName: "istio.io/gateway-controller"}},
		&gatewayv1.Gateway{TypeMeta: typeMeta("gateway.networking.k8s.io/v1", "Gateway"),
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			Spec: gatewayv1.GatewaySpec{GatewayClassName: catalog.IngressClass, Listeners: []gatewayv1.Listener{{
				Name: "http", Port: GatewayPort, Protocol: gatewayv1.HTTPProtocolType,
				AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{
					From: new(gatewayv1.NamespacesFromAll)}},
			}}}})
}

// instance is the Service of a Gateway, and the proxy behind it.
func instance(gateway string, meta metav1.ObjectMeta, ip, vip string, port corev1.ServicePort) []any {
	chosen := map[string]string{label.IoK8sNetworkingGatewayGatewayName.Name: gateway}
	maps.Copy(meta.Labels, chosen)
	proxy := meta
	proxy.Name += "-0"
	return []any{
		&corev1.Service{TypeMeta: typeMeta("v1", "Service"), ObjectMeta: meta,
			Spec: corev1.ServiceSpec{ClusterIP: vip, ClusterIPs: []string{vip}, Ports: []corev1.ServicePort{port},
				Selector: chosen}},
		&istionetworking.WorkloadEntry{TypeMeta: typeMeta("networking.istio.io/v1", "WorkloadEntry"), ObjectMeta: proxy,
			Spec: networkingv1alpha3.WorkloadEntry{Address: ip, Labels: chosen}},
	}
}

func slice(s *topology.Service, c *corev1.Service) any {
	out := &discoveryv1.EndpointSlice{TypeMeta: typeMeta("discovery.k8s.io/v1", "EndpointSlice"),
		ObjectMeta: metav1.ObjectMeta{Name: s.Name + "-1", Namespace: s.Namespace,
			Labels: map[string]string{"kubernetes.io/service-name": s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4}
	seen := map[string]bool{}
	for _, p := range c.Spec.Ports {
		backends := s.Backends(uint16(p.Port))
		if len(backends) == 0 {
			continue
		}
		b := backends[0]
		if !seen[b.Pod.IP.String()] {
			seen[b.Pod.IP.String()] = true
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{b.Pod.IP.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: b.Pod.Name + "-0", Namespace: b.Pod.Namespace},
			})
		}
		port := int32(b.Port)
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: &port,
			Protocol: new(corev1.ProtocolTCP)})
	}
	return out
}

func podOf(p *topology.Pod) any {
	pod := &corev1.Pod{TypeMeta: typeMeta("v1", "Pod"),
		ObjectMeta: metav1.ObjectMeta{Name: p.Name + "-0", Namespace: p.Namespace, Labels: p.Labels},
		Spec:       corev1.PodSpec{ServiceAccountName: p.ServiceAccount, NodeName: "node"}}
	if p.Meshed {
		pod.Annotations = map[string]string{annotation.AmbientRedirection.Name: constants.AmbientRedirectionEnabled}
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: p.IP.String(),
		PodIPs:     []corev1.PodIP{{IP: p.IP.String()}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	return pod
}
