package topology

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Build makes the World of a set. Addresses come from alloc: the same Allocator
// over several Worlds keeps them.
func Build(set *manifest.Set, alloc *Allocator) (*World, error) {
	b := &builder{alloc: alloc, World: &World{Set: set}}
	for _, step := range []func() error{b.namespaces, b.deployments, b.gateways, b.findServices, b.routes} {
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
	b.Namespaces = map[string]*corev1.Namespace{}
	for _, n := range b.Set.Namespaces {
		b.addNamespace(n)
	}
	if b.Namespaces[GatewayNamespace] == nil {
		b.addNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: GatewayNamespace}})
	}
	return nil
}

// addNamespace keeps a copy with the label that the API server puts on every
// namespace.
func (b *builder) addNamespace(n *corev1.Namespace) {
	c := *n
	c.Labels = maps.Clone(n.Labels)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels[corev1.LabelMetadataName] = n.Name
	b.Namespaces[n.Name] = &c
}

func (b *builder) deployments() error {
	b.byRef, b.accounts = map[Ref]*Pod{}, map[string]*Pod{}
	b.byIP = map[netip.Addr]*Pod{}
	list := slices.Clone(b.Set.Deployments)
	slices.SortFunc(list, func(a, c *appsv1.Deployment) int {
		return cmp.Or(strings.Compare(a.Namespace, c.Namespace), strings.Compare(a.Name, c.Name))
	})
	for _, d := range list {
		if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
			continue
		}
		template := d.Spec.Template
		p := &Pod{
			Ref:            Ref{d.Namespace, d.Name},
			Labels:         maps.Clone(template.Labels),
			ServiceAccount: cmp.Or(template.Spec.ServiceAccountName, "default"),
			Deployment:     d,
			Component:      cmp.Or(template.Labels[LabelComponent], d.Name),
		}
		named := map[string]uint16{}
		for _, c := range template.Spec.Containers {
			for _, port := range c.Ports {
				p.Ports = append(p.Ports, uint16(port.ContainerPort))
				if port.Name != "" {
					named[port.Name] = uint16(port.ContainerPort)
				}
			}
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Port.Type == intstr.Int {
					p.Ports = append(p.Ports, uint16(probe.HTTPGet.Port.IntVal))
				}
			}
		}
		p.Endpoint.Ports = named
		if err := b.addPod(p); err != nil {
			return err
		}
	}
	return nil
}

// addPod returns a pod what follows from its namespace and account.
func (b *builder) addPod(p *Pod) error {
	var err error
	if p.ID, err = ID(p.Namespace, p.ServiceAccount); err != nil {
		return fmt.Errorf("identity of pod %s: %w", p.Ref, err)
	}
	if p.IP, err = b.alloc.Pod(p.Ref); err != nil {
		return err
	}
	p.Identity = p.ID.String()
	var of map[string]string
	if ns := b.Namespaces[p.Namespace]; ns != nil {
		of = ns.Labels
	}
	mode := cmp.Or(p.Labels[LabelDataplaneMode], of[LabelDataplaneMode])
	p.Meshed = p.Kind == App && mode == ModeAmbient
	p.Cell = cmp.Or(p.Labels[LabelProject], of[LabelProject])
	p.Endpoint.IP, p.Endpoint.Namespace, p.Endpoint.NamespaceLabels, p.Endpoint.PodLabels = p.IP, p.Namespace, of, p.Labels
	b.Pods = append(b.Pods, p)
	b.byRef[p.Ref], b.byIP[p.IP] = p, p
	if b.accounts[p.Identity] == nil {
		b.accounts[p.Identity] = p
	}
	return nil
}

// gateways makes the waypoints and the north/south gateway, with the names and
// labels that istiod's deployment controller gives their pods.
func (b *builder) gateways() error {
	b.waypoints = map[Ref]*WaypointGateway{}
	list := slices.Clone(b.Set.Gateways)
	slices.SortFunc(list, func(a, c *gatewayv1.Gateway) int {
		return cmp.Or(strings.Compare(a.Namespace, c.Namespace), strings.Compare(a.Name, c.Name))
	})
	for _, g := range list {
		podLabels, annotations := map[string]string{}, maps.Clone(g.Annotations)
		if annotations == nil {
			annotations = map[string]string{}
		}
		if infra := g.Spec.Infrastructure; infra != nil {
			for k, v := range infra.Labels {
				podLabels[string(k)] = string(v)
			}
			for k, v := range infra.Annotations {
				annotations[string(k)] = string(v)
			}
		} else {
			maps.Copy(podLabels, g.Labels)
		}
		podLabels[LabelGatewayName] = g.Name
		p := &Pod{Ref: Ref{g.Namespace, g.Name}, Labels: podLabels, Component: g.Name}
		switch g.Spec.GatewayClassName {
		case catalog.WaypointClass:
			p.Kind, p.ServiceAccount = Waypoint, g.Name
			podLabels[LabelDataplaneMode] = "none"
			if err := b.addPod(p); err != nil {
				return err
			}
			w := &WaypointGateway{
				Pod:      p,
				Services: cmp.Or(g.Labels[LabelWaypointFor], "service") == "service",
				XFCC:     strings.EqualFold(annotations[AnnotationXFCC], "true"),
			}
			b.Waypoints, b.waypoints[p.Ref] = append(b.Waypoints, w), w
		case catalog.IngressClass:
			if p.Ref == (Ref{GatewayNamespace, GatewayName}) {
				if err := b.addGateway(p); err != nil {
					return err
				}
			}
		}
	}
	if b.Gateway == nil {
		return b.addGateway(&Pod{Ref: Ref{GatewayNamespace, GatewayName}, Labels: map[string]string{LabelGatewayName: GatewayName}})
	}
	return nil
}

func (b *builder) addGateway(p *Pod) error {
	p.Kind, p.ServiceAccount, p.Component = Ingress, GatewayName+"-istio", "ingress"
	if p.Labels[LabelSystemComponent] == "" {
		p.Labels[LabelSystemComponent] = "gateway"
	}
	b.Gateway = p
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
	list := slices.Clone(b.Set.Services)
	slices.SortFunc(list, func(a, c *corev1.Service) int {
		return cmp.Or(strings.Compare(a.Namespace, c.Namespace), strings.Compare(a.Name, c.Name))
	})
	for _, in := range list {
		s := &Service{
			Ref:      Ref{in.Namespace, in.Name},
			Host:     in.Name + "." + in.Namespace + ".svc.cluster.local",
			Labels:   in.Labels,
			backends: map[uint16][]Backend{},
		}
		if in.Spec.ClusterIP != corev1.ClusterIPNone {
			var err error
			if s.VIP, err = b.alloc.Service(s.Ref); err != nil {
				return err
			}
			b.byVIP[s.VIP] = s
		}
		for _, p := range in.Spec.Ports {
			s.Ports = append(s.Ports, Port{Name: p.Name, Number: uint16(p.Port), Protocol: protocol(p)})
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
			selector := labels.SelectorFromSet(in.Spec.Selector)
			for _, pod := range candidates {
				if pod.Namespace == in.Namespace && selector.Matches(labels.Set(pod.Labels)) {
					s.add(pod, in.Spec.Ports)
				}
			}
		}
		b.bind(s)
		b.Services, b.services[s.Ref] = append(b.Services, s), s
	}
	for _, p := range b.Pods {
		slices.Sort(p.Ports)
		p.Ports = slices.Compact(p.Ports)
	}
	return nil
}

// protocol is Istio's choice by the port's appProtocol and name
// (istio.io/istio pkg/config/kube, ConvertProtocol).
func protocol(p corev1.ServicePort) Protocol {
	name := p.Name
	if p.AppProtocol != nil {
		name = *p.AppProtocol
	}
	name, _, _ = strings.Cut(strings.ToLower(name), "-")
	switch name {
	case "http", "http2", "grpc":
		return HTTP
	case "tcp", "https", "tls", "mongo", "redis", "mysql":
		return TCP
	}
	return Sniffed
}

func (s *Service) add(pod *Pod, ports []corev1.ServicePort) {
	for _, p := range ports {
		target := uint16(p.Port)
		switch {
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

// bind finds the waypoint of a Service as istiod does: the Service's label beats
// its namespace's, and "none" opts out. A waypoint that does not exist is none:
// callers then go to the pods. A headless Service has no address for one.
func (b *builder) bind(s *Service) {
	var of map[string]string
	if ns := b.Namespaces[s.Namespace]; ns != nil {
		of = ns.Labels
	}
	name := cmp.Or(s.Labels[LabelUseWaypoint], of[LabelUseWaypoint])
	if name == "" || name == "none" || !s.VIP.IsValid() {
		return
	}
	w := b.waypoints[Ref{s.Namespace, name}]
	if w == nil || !w.Services {
		return
	}
	s.Waypoint = w
	if cmp.Or(s.Labels[LabelIngressWaypoint], of[LabelIngressWaypoint]) == "true" {
		s.IngressWaypoint = w
	}
}
