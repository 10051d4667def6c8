package topology

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Build makes the World of a set. Addresses come from alloc: the same Allocator
// over several Worlds keeps them.
func Build(set *manifest.Set, alloc *Allocator) (*World, error) {
	b := &builder{alloc: alloc, World: &World{Set: set}}
	for _, step := range []func() error{b.namespaces, b.workloads, b.gateways, b.findServices, b.entries, b.ports,
		b.routes} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("build the world: %w", err)
		}
	}
	return b.World, nil
}

type builder struct {
	*World
	alloc *Allocator
}

func (b *builder) namespaces() error {
	b.Namespaces = b.Set.NamespaceLabels()
	if _, known := b.Namespaces[GatewayNamespace]; !known && b.hasDefaultGateway() {
		b.Namespaces[GatewayNamespace] = map[string]string{corev1.LabelMetadataName: GatewayNamespace}
	}
	return nil
}

// hasDefaultGateway reports whether OpenChoreo's gateway is there: always where
// local mode runs the manifests, and in somebody else's when a route names it.
func (b *builder) hasDefaultGateway() bool {
	return !b.Set.Foreign || slices.ContainsFunc(b.Set.HTTPRoutes, func(r *gatewayv1.HTTPRoute) bool {
		return attached(r, Ref{GatewayNamespace, GatewayName}, nil)
	})
}

// workloads makes a pod of everything that makes pods and is told to make any.
func (b *builder) workloads() error {
	b.byRef, b.accounts = map[Ref]*Pod{}, map[string]*Pod{}
	b.byIP = map[netip.Addr]*Pod{}
	isGateway := func(namespace, name string) bool { return manifest.Find(b.Set.Gateways, namespace, name) != nil }
	deployments := map[Ref]*appsv1.Deployment{}
	for _, d := range b.Set.Deployments {
		deployments[Ref{d.Namespace, d.Name}] = d
	}
	list := b.Set.AllWorkloads()
	slices.SortStableFunc(list, func(a, c manifest.Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, c.Namespace), strings.Compare(a.Name, c.Name),
			strings.Compare(a.Kind, c.Kind))
	})
	for _, w := range list {
		if w.Replicas == 0 || w.Owner.Kind == "Gateway" && isGateway(w.Namespace, w.Owner.Name) {
			continue // none, or the pods of a Gateway, which are made for it below
		}
		p := &Pod{
			Ref:            Ref{w.Namespace, w.Name},
			Labels:         maps.Clone(w.Template.Labels),
			ServiceAccount: cmp.Or(w.Template.Spec.ServiceAccountName, "default"),
			Workload:       w.Key,
			Component:      cmp.Or(w.Template.Labels[LabelComponent], w.Name),
		}
		if w.Kind == "Deployment" {
			p.Deployment = deployments[p.Ref]
		}
		if isGateway(p.Namespace, p.Name) || b.byRef[p.Ref] != nil { // names are unique among those of a kind only
			p.Name += "-" + strings.ToLower(w.Kind)
		}
		p.addPorts(w.Template.Spec.Containers)
		p.addPorts(slices.DeleteFunc(slices.Clone(w.Template.Spec.InitContainers), func(c corev1.Container) bool {
			// Any other ends before the containers begin.
			return ptr.Deref(c.RestartPolicy, "") != corev1.ContainerRestartPolicyAlways
		}))
		if err := b.addPod(p); err != nil {
			return err
		}
		if w.Template.Spec.HostNetwork {
			p.HostNetwork, p.Meshed = true, false // there is no network that a node proxy could take over
		}
	}
	return nil
}

// addPorts adds the ports that containers and their probes name. Of a name that several
// give, the first counts, as for a Service's endpoints (k8s.io/kubernetes
// pkg/api/v1/pod, FindPort).
func (p *Pod) addPorts(containers []corev1.Container) {
	if p.Endpoint.Ports == nil {
		p.Endpoint.Ports = map[string]uint16{}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
				continue
			}
			p.Ports = append(p.Ports, uint16(port.ContainerPort))
			if _, given := p.Endpoint.Ports[port.Name]; port.Name != "" && !given {
				p.Endpoint.Ports[port.Name] = uint16(port.ContainerPort)
			}
		}
		for _, probe := range Probes(c) {
			switch {
			case probe.HTTPGet != nil && probe.HTTPGet.Port.Type == intstr.Int:
				p.Ports = append(p.Ports, uint16(probe.HTTPGet.Port.IntVal))
			case probe.TCPSocket != nil && probe.TCPSocket.Port.Type == intstr.Int:
				p.Ports = append(p.Ports, uint16(probe.TCPSocket.Port.IntVal))
			case probe.GRPC != nil:
				p.Ports = append(p.Ports, uint16(probe.GRPC.Port))
			}
		}
	}
}

// Probes returns the probes that a container has.
func Probes(c corev1.Container) []*corev1.Probe {
	return slices.DeleteFunc([]*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe},
		func(p *corev1.Probe) bool { return p == nil })
}

// addPod adds to a pod what follows from its namespace and account.
func (b *builder) addPod(p *Pod) error {
	var err error
	if p.ID, err = ID(p.Namespace, p.ServiceAccount); err != nil {
		return fmt.Errorf("identity of pod %s: %w", p.Ref, err)
	}
	if p.IP, err = b.alloc.Pod(p.Ref); err != nil {
		return err
	}
	p.Identity = p.ID.String()
	of, own := b.Namespaces[p.Namespace], p.Labels[LabelDataplaneMode]
	p.Meshed = p.Kind == App && own != "none" && (own == ModeAmbient || of[LabelDataplaneMode] == ModeAmbient)
	p.Cell = cmp.Or(p.Labels[LabelProject], of[LabelProject])
	p.Endpoint.IP, p.Endpoint.Namespace, p.Endpoint.NamespaceLabels, p.Endpoint.PodLabels = p.IP, p.Namespace, of,
		p.Labels
	b.Pods = append(b.Pods, p)
	b.byRef[p.Ref], b.byIP[p.IP] = p, p
	if b.accounts[p.Identity] == nil {
		b.accounts[p.Identity] = p
	}
	return nil
}

// GatewayAccount returns the ServiceAccount that a Gateway's pods run as: the one that it
// names, or the one that istiod makes for it.
func GatewayAccount(g *gatewayv1.Gateway) string {
	made := g.Name
	if g.Spec.GatewayClassName != catalog.WaypointClass {
		made += "-" + string(g.Spec.GatewayClassName)
	}
	return cmp.Or(g.Annotations["gateway.istio.io/service-account"], made)
}

// gateways makes the waypoints and the north/south gateway, with the names and
// labels that istiod's deployment controller gives their pods.
func (b *builder) gateways() error {
	b.waypoints = map[Ref]*WaypointGateway{}
	for _, g := range slices.SortedFunc(slices.Values(b.Set.Gateways), manifest.ByName) {
		podLabels, annotations := deployed(g)
		p := &Pod{
			Ref: Ref{g.Namespace, g.Name}, Labels: podLabels, Component: g.Name,
			Workload: manifest.KeyOf(g), ServiceAccount: GatewayAccount(g),
		}
		switch g.Spec.GatewayClassName {
		case catalog.WaypointClass:
			p.Kind = Waypoint
			if err := b.addPod(p); err != nil {
				return err
			}
			serves, said := g.Labels[LabelWaypointFor]
			if !said {
				serves = "service"
			}
			w := &WaypointGateway{
				Pod:       p,
				Services:  serves == "service" || serves == "all",
				Workloads: serves == "workload" || serves == "all",
				XFCC:      strings.EqualFold(annotations[AnnotationXFCC], "true"),
				gateway:   g,
			}
			b.Waypoints, b.waypoints[p.Ref] = append(b.Waypoints, w), w
		case catalog.IngressClass:
			if err := b.addGateway(p, scheme(g, annotations)); err != nil {
				return err
			}
		}
	}
	for _, p := range b.Pods {
		if p.Kind == App {
			p.Waypoint = b.waypointOf(p.Namespace, p.Labels, func(w *WaypointGateway) bool { return w.Workloads })
		}
	}
	if b.Gateway == nil && b.hasDefaultGateway() {
		return b.addGateway(&Pod{Ref: Ref{GatewayNamespace, GatewayName},
			Labels: map[string]string{LabelGatewayName: GatewayName}}, "http")
	}
	return nil
}

// deployed returns the labels and annotations that istiod gives the pods of a Gateway: those
// of its infrastructure, or where that has none its own, between those that it always
// gives (istio.io/istio pilot/pkg/config/kube/gatewaycommon, extractInfrastructureMetadata,
// and the templates waypoint.yaml and kube-gateway.yaml of its chart).
func deployed(g *gatewayv1.Gateway) (podLabels, annotations map[string]string) {
	name, controller := g.Name, "istio.io-mesh-controller"
	if g.Spec.GatewayClassName != catalog.WaypointClass {
		name, controller = g.Name+"-istio", "istio.io-gateway-controller"
	}
	podLabels = map[string]string{
		"sidecar.istio.io/inject": "false", LabelDataplaneMode: "none",
		"service.istio.io/canonical-name":     cmp.Or(g.Annotations["gateway.istio.io/name-override"], name),
		"service.istio.io/canonical-revision": "latest",
	}
	own, annotations := g.Labels, g.Annotations
	if infra := g.Spec.Infrastructure; infra != nil && infra.Labels != nil {
		own = map[string]string{}
		for k, v := range infra.Labels {
			own[string(k)] = string(v)
		}
	}
	if infra := g.Spec.Infrastructure; infra != nil && infra.Annotations != nil {
		annotations = map[string]string{}
		for k, v := range infra.Annotations {
			annotations[string(k)] = string(v)
		}
	}
	maps.Copy(podLabels, own)
	podLabels[LabelGatewayName] = g.Name
	podLabels["gateway.networking.k8s.io/gateway-class-name"] = string(g.Spec.GatewayClassName)
	podLabels[LabelGatewayManaged] = controller
	return podLabels, annotations
}

// scheme is what a gateway says of requests: those of its listeners, where they are of one
// and nothing tells it to trust proxies before it.
func scheme(g *gatewayv1.Gateway, annotations map[string]string) string {
	schemes := map[gatewayv1.ProtocolType]string{
		gatewayv1.HTTPProtocolType:  "http",
		gatewayv1.HTTPSProtocolType: "https",
	}
	only := ""
	for i, l := range g.Spec.Listeners {
		if i > 0 && schemes[l.Protocol] != only {
			return ""
		}
		only = schemes[l.Protocol]
	}
	if annotations["proxy.istio.io/config"] != "" {
		return ""
	}
	return only
}

func (b *builder) addGateway(p *Pod, scheme string) error {
	p.Kind, p.ServiceAccount = Ingress, cmp.Or(p.ServiceAccount, p.Name+"-istio")
	if p.Ref == (Ref{GatewayNamespace, GatewayName}) {
		p.Component = "ingress"
		if p.Labels[LabelSystemComponent] == "" {
			p.Labels[LabelSystemComponent] = "gateway"
		}
		b.Gateway = p
	}
	b.Gateways = append(b.Gateways, &Gateway{Pod: p, Scheme: scheme})
	return b.addPod(p)
}

func (b *builder) findServices() error {
	b.services, b.byVIP = map[Ref]*Service{}, map[netip.Addr]*Service{}
	type label struct{ namespace, name, value string }
	with := map[label][]*Pod{}
	for _, pod := range b.Pods {
		for name, value := range pod.Labels {
			l := label{pod.Namespace, name, value}
			with[l] = append(with[l], pod)
		}
	}
	for _, in := range slices.SortedFunc(slices.Values(b.Set.Services), manifest.ByName) {
		s := &Service{
			Ref:      Ref{in.Namespace, in.Name},
			Host:     in.Name + "." + in.Namespace + ".svc.cluster.local",
			Labels:   in.Labels,
			backends: map[uint16][]Backend{},
		}
		if in.Spec.ClusterIP != corev1.ClusterIPNone && in.Spec.Type != corev1.ServiceTypeExternalName {
			var err error
			if s.VIP, err = b.address(in); err != nil {
				return err
			}
			b.byVIP[s.VIP] = s
		}
		for _, p := range in.Spec.Ports {
			if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
				continue // no mesh carries it
			}
			port := Port{Name: p.Name, Number: uint16(p.Port)}
			port.Protocol, port.HTTP2 = protocol(p)
			s.Ports = append(s.Ports, port)
			s.backends[uint16(p.Port)] = nil
		}
		if len(in.Spec.Selector) > 0 {
			// Only those with the rarest of its labels can be meant.
			candidates := b.Pods
			for name, value := range in.Spec.Selector {
				if some := with[label{in.Namespace, name, value}]; len(some) < len(candidates) {
					candidates = some
				}
			}
			for _, pod := range candidates {
				if pod.Namespace == in.Namespace && manifest.Selects(in.Spec.Selector, pod.Labels) {
					s.Selected = append(s.Selected, pod)
					s.add(pod, in.Spec.Ports)
				}
			}
		}
		b.bind(s)
		b.Services, b.services[s.Ref] = append(b.Services, s), s
	}
	return nil
}

// ports puts every pod's in order: those that Services name are known by now.
func (b *builder) ports() error {
	for _, p := range slices.Concat(b.Pods, b.External) {
		slices.Sort(p.Ports)
		p.Ports = slices.Compact(p.Ports)
	}
	return nil
}

// address returns the virtual address of a Service: the cluster's own where the
// manifest has it.
func (b *builder) address(in *corev1.Service) (netip.Addr, error) {
	if given, err := netip.ParseAddr(in.Spec.ClusterIP); err == nil && b.Set.Foreign && b.byVIP[given] == nil &&
		b.byIP[given] == nil {
		return given, nil
	}
	return b.alloc.Service(Ref{in.Namespace, in.Name})
}

// protocol is Istio's choice by the port's appProtocol, name and number
// (istio.io/istio pkg/config/kube, ConvertProtocol), and whether what listens there
// speaks HTTP/2.
func protocol(p corev1.ServicePort) (of Protocol, http2 bool) {
	name := ptr.Deref(p.AppProtocol, p.Name)
	switch name {
	case "kubernetes.io/h2c":
		return HTTP, true
	case "kubernetes.io/ws":
		return HTTP, false
	case "kubernetes.io/wss":
		return TCP, false
	}
	name, _, _ = strings.Cut(strings.ToLower(name), "-")
	switch name {
	case "http", "http_proxy":
		return HTTP, false
	case "http2", "grpc":
		return HTTP, true
	case "tcp", "https", "tls", "mongo", "redis", "mysql":
		return TCP, false
	}
	if slices.Contains([]int32{25, 53, 3306, 27017}, p.Port) {
		return TCP, false // SMTP, DNS, MySQL and MongoDB are never guessed at
	}
	return Sniffed, false
}

func (s *Service) add(pod *Pod, ports []corev1.ServicePort) {
	for _, p := range ports {
		target := uint16(p.Port)
		switch {
		case p.Protocol != "" && p.Protocol != corev1.ProtocolTCP:
			continue
		case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
			n, ok := pod.Endpoint.Ports[p.TargetPort.StrVal]
			if !ok {
				continue
			}
			target = n
		case p.TargetPort.IntVal != 0:
			target = uint16(p.TargetPort.IntVal)
		}
		pod.Ports = append(pod.Ports, target)
		s.backends[uint16(p.Port)] = append(s.backends[uint16(p.Port)], Backend{pod, target})
	}
}

// bind finds the waypoint of a Service. A headless one has no address for it, and
// the Services that istiod makes for waypoints and east-west gateways are not behind one.
func (b *builder) bind(s *Service) {
	managed := s.Labels[LabelGatewayManaged]
	if !s.VIP.IsValid() || managed == "istio.io-mesh-controller" || managed == "istio.io-eastwest-controller" {
		return
	}
	s.Waypoint = b.waypointOf(s.Namespace, s.Labels, func(w *WaypointGateway) bool { return w.Services })
	through, own := s.Labels[LabelIngressWaypoint]
	if !own {
		through = b.Namespaces[s.Namespace][LabelIngressWaypoint]
	}
	if on, err := strconv.ParseBool(through); err == nil && on {
		s.IngressWaypoint = s.Waypoint
	}
}

// waypointOf returns the waypoint of an object as istiod finds it
// (istio.io/istio pilot/pkg/serviceregistry/ambient/waypoints.go): its own label
// beats its namespace's, and "none" opts out; the waypoint may be another
// namespace's where that admits this one. One that does not exist, or serves
// something else, is none: callers then go to the pods.
func (b *builder) waypointOf(namespace string, own map[string]string,
	serves func(*WaypointGateway) bool) *WaypointGateway {
	from := own
	if _, ok := own[LabelUseWaypoint]; !ok {
		from = b.Namespaces[namespace]
	}
	named := manifest.WaypointOf(namespace, from)
	if named.Name == "" || named.Name == "none" {
		return nil
	}
	at := Ref{named.Namespace, named.Name}
	w := b.waypoints[at]
	if w == nil || !serves(w) || !b.admits(at, namespace, nil) {
		return nil
	}
	return w
}

// admits reports whether a Gateway takes routes, or a waypoint Services, of a
// namespace; with a listener's name, whether that one does.
func (b *builder) admits(at Ref, namespace string, route *gatewayv1.ParentReference) bool {
	g := manifest.Find(b.Set.Gateways, at.Namespace, at.Name)
	// One that is not there is OpenChoreo's own, which takes everybody's.
	return g == nil || b.takes(g, namespace, route)
}

// takes reports whether one of a Gateway's listeners takes a route of a namespace, or without
// one, whether the first listener of a waypoint takes the Services of it: others do not
// count (istio.io/istio pilot/pkg/serviceregistry/ambient, makeAllowedRoutes).
func (w *World) takes(g *gatewayv1.Gateway, namespace string, route *gatewayv1.ParentReference) bool {
	if route == nil {
		for _, l := range g.Spec.Listeners {
			if l.Protocol == "HBONE" && l.Port == HBONEPort {
				return w.listens(g, &l, namespace, nil)
			}
		}
		return g.Namespace == namespace
	}
	if len(g.Spec.Listeners) == 0 {
		return g.Namespace == namespace
	}
	return slices.ContainsFunc(g.Spec.Listeners, func(l gatewayv1.Listener) bool {
		return w.listens(g, &l, namespace, route)
	})
}

// listens reports whether a listener of a Gateway takes the Services of a namespace, or
// with a parent of an HTTPRoute there, that route.
func (w *World) listens(
	g *gatewayv1.Gateway, l *gatewayv1.Listener, namespace string, route *gatewayv1.ParentReference,
) bool {
	if route != nil && (ptr.Deref(route.SectionName, l.Name) != l.Name || ptr.Deref(route.Port, l.Port) != l.Port ||
		!carriesHTTP(l)) {
		return false
	}
	allowed := ptr.Deref(ptr.Deref(l.AllowedRoutes, gatewayv1.AllowedRoutes{}).Namespaces, gatewayv1.RouteNamespaces{})
	switch ptr.Deref(allowed.From, gatewayv1.NamespacesFromSame) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return g.Namespace == namespace
	case gatewayv1.NamespacesFromNone:
		return route == nil && g.Namespace == namespace // nothing that istiod knows of waypoints
	case gatewayv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(allowed.Selector)
		return err == nil && s.Matches(labels.Set(w.Namespaces[namespace]))
	}
	return false
}

// carriesHTTP reports whether HTTPRoutes can be attached to a listener.
func carriesHTTP(l *gatewayv1.Listener) bool {
	switch l.Protocol {
	case gatewayv1.TLSProtocolType, gatewayv1.TCPProtocolType, gatewayv1.UDPProtocolType:
		return false
	}
	return l.AllowedRoutes == nil || len(l.AllowedRoutes.Kinds) == 0 ||
		slices.ContainsFunc(
			l.AllowedRoutes.Kinds,
			func(k gatewayv1.RouteGroupKind) bool { return k.Kind == "HTTPRoute" },
		)
}
