package manifest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/catalog"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The labels and annotations of the mesh that local mode implements, each with
// its values; an empty list means any. Every other name under istio.io would
// change what a real mesh does, and is refused.
func meshMetadata(name string) (values []string, known bool) {
	switch name {
	case "istio.io/dataplane-mode":
		return []string{"ambient", "none"}, true
	case "istio.io/use-waypoint":
		return nil, true
	case "istio.io/waypoint-for":
		return []string{"service", "none"}, true
	case "istio.io/ingress-use-waypoint", "istio.io/dry-run", "ambient.istio.io/xfcc-include-client-identity":
		return []string{"true", "false"}, true
	}
	return nil, false
}

func (o *object) checkMetadata(maps ...map[string]string) {
	for _, m := range maps {
		for name, value := range m {
			prefix, _, ok := strings.Cut(name, "/")
			if !ok || (prefix != "istio.io" && !strings.HasSuffix(prefix, ".istio.io")) {
				continue
			}
			values, known := meshMetadata(name)
			switch {
			case !known:
				o.fault(o.metadataLine(name), CodeNotImplemented,
					"local mode does not implement the label or annotation %s", name)
			case values != nil && !slices.Contains(values, value):
				o.fault(o.metadataLine(name), CodeNotImplemented, "local mode does not implement %s: %q, only %q", name,
					value, values)
			}
		}
	}
}

func (o *object) metadataLine(name string) int {
	for _, parent := range []string{"metadata.labels.", "metadata.annotations.", "spec.template.metadata.labels.",
		"spec.template.metadata.annotations.", "spec.infrastructure.labels.", "spec.infrastructure.annotations."} {
		if l, ok := o.lines[parent+name]; ok {
			return l
		}
	}
	return o.origin.Line
}

func (o *object) refuse(path, format string, args ...any) {
	o.fault(o.lineOf(path), CodeNotImplemented, "%s: %s", path, fmt.Sprintf(format, args...))
}

// onlyTCP is said of any other protocol.
const onlyTCP = "local mode carries TCP only"

// among refuses a value that is given and is none of some.
func (o *object) among(path string, value any, why string, some ...any) {
	if text := fmt.Sprint(value); text != "" && !slices.Contains(some, value) {
		o.refuse(path, "%s, not %s", why, text)
	}
}

func (o *object) invalid(path, format string, args ...any) {
	o.fault(o.lineOf(path), CodeInvalid, "%s: %s", path, fmt.Sprintf(format, args...))
}

func (o *object) checkSelector(path string, s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		o.invalid(path, "%v", err)
	}
}

func (o *object) checkDeployment(d *appsv1.Deployment) {
	o.checkMetadata(d.Spec.Template.Labels, d.Spec.Template.Annotations)
	admit(&d.Spec.Template.Spec)
	if o.input != nil {
		return // no answer depends on what only runs it
	}
	if n := ptr.Deref(d.Spec.Replicas, 1); n != 0 && n != 1 {
		o.refuse("spec.replicas", "local mode runs one pod of a Deployment, or none, not %d", n)
	}
	pod := d.Spec.Template.Spec
	if d.Spec.Selector == nil {
		o.invalid("spec", "selector is missing")
	} else if sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err != nil {
		o.invalid("spec.selector", "%v", err)
	} else if !sel.Matches(labels.Set(d.Spec.Template.Labels)) {
		o.invalid("spec.selector", "does not match the labels of the pod template")
	}
	if len(pod.Containers) != 1 {
		o.refuse("spec.template.spec.containers", "local mode runs exactly one container of a pod, not %d",
			len(pod.Containers))
	}
	o.among("spec.template.spec.restartPolicy", pod.RestartPolicy, "only Always", corev1.RestartPolicyAlways)
	scratch := map[string]bool{}
	for i, v := range pod.Volumes {
		if v.EmptyDir == nil {
			o.refuse(fmt.Sprintf("spec.template.spec.volumes[%d]", i),
				"local mode mounts no volume but an emptyDir on /tmp")
			continue
		}
		scratch[v.Name] = true
	}
	for i, c := range pod.Containers {
		at := fmt.Sprintf("spec.template.spec.containers[%d]", i)
		for j, m := range c.VolumeMounts {
			if !scratch[m.Name] || m.MountPath != "/tmp" {
				o.refuse(fmt.Sprintf("%s.volumeMounts[%d]", at, j),
					"local mode mounts no volume but an emptyDir on /tmp")
			}
		}
		for j, p := range c.Ports {
			if p.HostPort != 0 || p.HostIP != "" {
				o.refuse(fmt.Sprintf("%s.ports[%d]", at, j), "local mode implements no host ports")
			}
			o.among(fmt.Sprintf("%s.ports[%d].protocol", at, j), p.Protocol, onlyTCP, corev1.ProtocolTCP)
		}
		for name, probe := range map[string]*corev1.Probe{"startupProbe": c.StartupProbe,
			"readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe} {
			if probe != nil && probe.HTTPGet == nil {
				o.refuse(at+"."+name, "local mode implements httpGet probes only")
			}
		}
	}
}

func (o *object) checkService(s *corev1.Service) {
	o.among("spec.type", s.Spec.Type, "local mode implements ClusterIP only", corev1.ServiceTypeClusterIP)
	if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		o.refuse("spec.clusterIP", "local mode gives addresses out itself; only None can be asked for, not %s", ip)
	}
	if len(s.Spec.Selector) == 0 {
		o.refuse("spec", "local mode implements no Service without a selector")
	}
	if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP != corev1.ClusterIPNone &&
		s.Spec.Type != corev1.ServiceTypeExternalName {
		o.invalid("spec", "ports are missing")
	}
	for i, p := range s.Spec.Ports {
		at := fmt.Sprintf("spec.ports[%d]", i)
		o.among(at+".protocol", p.Protocol, onlyTCP, corev1.ProtocolTCP)
		if p.Port < 1 || p.Port > 65535 {
			o.invalid(at+".port", "%d is no port", p.Port)
		}
		if t := p.TargetPort; t.Type == intstr.Int && (t.IntVal < 0 || t.IntVal > 65535) {
			o.invalid(at+".targetPort", "%d is no port", t.IntVal)
		}
		o.among(at+".appProtocol", ptr.Deref(p.AppProtocol, ""), "local mode knows http and tcp", "http", "tcp")
		if len(s.Spec.Ports) > 1 && p.Name == "" {
			o.invalid(at, "a Service with more than one port names each")
		}
	}
}

func (o *object) checkNetworkPolicy(p *networkingv1.NetworkPolicy) {
	o.checkSelector("spec.podSelector", &p.Spec.PodSelector)
	for i, t := range p.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			o.invalid(fmt.Sprintf("spec.policyTypes[%d]", i), "%q is neither Ingress nor Egress", t)
		}
	}
	for i, r := range p.Spec.Ingress {
		o.checkNetworkRule(fmt.Sprintf("spec.ingress[%d]", i), "from", r.From, r.Ports)
	}
	for i, r := range p.Spec.Egress {
		o.checkNetworkRule(fmt.Sprintf("spec.egress[%d]", i), "to", r.To, r.Ports)
	}
}

func (o *object) checkNetworkRule(at, side string, peers []networkingv1.NetworkPolicyPeer,
	ports []networkingv1.NetworkPolicyPort) {
	for i, peer := range peers {
		path := fmt.Sprintf("%s.%s[%d]", at, side, i)
		o.checkSelector(path+".podSelector", peer.PodSelector)
		o.checkSelector(path+".namespaceSelector", peer.NamespaceSelector)
		switch {
		case peer.IPBlock == nil && peer.PodSelector == nil && peer.NamespaceSelector == nil:
			o.invalid(path, "a peer needs ipBlock, podSelector or namespaceSelector")
		case peer.IPBlock != nil && (peer.PodSelector != nil || peer.NamespaceSelector != nil):
			o.invalid(path, "ipBlock goes with no selector")
		case peer.IPBlock != nil:
			o.checkIPBlock(path+".ipBlock", peer.IPBlock)
		}
	}
	for i, p := range ports {
		path := fmt.Sprintf("%s.ports[%d]", at, i)
		if of := ptr.Deref(p.Protocol, "TCP"); of != "TCP" && of != "UDP" && of != "SCTP" {
			o.invalid(path+".protocol", "%q is no protocol", of)
		}
		if p.Port != nil && p.Port.Type == intstr.Int && (p.Port.IntVal < 1 || p.Port.IntVal > 65535) {
			o.invalid(path+".port", "%d is no port", p.Port.IntVal)
		}
		if p.EndPort != nil && (p.Port == nil || p.Port.Type != intstr.Int || *p.EndPort < p.Port.IntVal ||
			*p.EndPort > 65535) {
			o.invalid(path+".endPort", "needs a numeric port not above it")
		}
	}
}

func (o *object) checkGateway(g *gatewayv1.Gateway) {
	class := string(g.Spec.GatewayClassName)
	if class != catalog.WaypointClass && class != catalog.IngressClass {
		o.refuse("spec.gatewayClassName", "local mode knows %s and %s, not %q", catalog.WaypointClass,
			catalog.IngressClass, class)
	}
	if infra := g.Spec.Infrastructure; infra != nil {
		for k, v := range infra.Labels {
			o.checkMetadata(map[string]string{string(k): string(v)})
		}
		for k, v := range infra.Annotations {
			o.checkMetadata(map[string]string{string(k): string(v)})
		}
	}
	for i, l := range g.Spec.Listeners {
		at := fmt.Sprintf("spec.listeners[%d]", i)
		switch {
		case class == catalog.WaypointClass && (l.Protocol != "HBONE" || l.Port != catalog.HBONEPort):
			o.refuse(at, "a waypoint listens on port %d, protocol HBONE, not on %d, %s", catalog.HBONEPort, l.Port,
				l.Protocol)
		case class == catalog.IngressClass && l.Protocol != gatewayv1.HTTPProtocolType:
			o.refuse(at+".protocol", "the local gateway speaks HTTP, not %s", l.Protocol)
		}
		o.among(at+".allowedRoutes.namespaces.from", takesFrom(l), "local mode knows All and Same",
			gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSame)
	}
}

func (o *object) checkHTTPRoute(r *gatewayv1.HTTPRoute) {
	for i, p := range r.Spec.ParentRefs {
		if ptr.Deref(p.Kind, "Gateway") != "Gateway" || ptr.Deref(p.Group, gatewayv1.GroupName) != gatewayv1.GroupName {
			o.refuse(fmt.Sprintf("spec.parentRefs[%d]", i), "local mode attaches routes to Gateways only")
		}
	}
	for i, rule := range r.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, m := range rule.Matches {
			if m.Path != nil {
				o.among(fmt.Sprintf("%s.matches[%d].path.type", at, j), ptr.Deref(m.Path.Type, ""),
					"local mode knows PathPrefix and Exact", gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchExact)
			}
		}
		for j, f := range rule.Filters {
			path := fmt.Sprintf("%s.filters[%d]", at, j)
			if f.Type != gatewayv1.HTTPRouteFilterURLRewrite {
				o.refuse(path+".type", "local mode implements the filter URLRewrite only, not %s", f.Type)
				continue
			}
			if why := unknownRewrite(rule.Matches, f.URLRewrite); why != "" {
				o.refuse(path, "%s", why)
			}
		}
		if len(rule.BackendRefs) != 1 {
			o.refuse(at+".backendRefs", "local mode routes a rule to exactly one backend, not %d",
				len(rule.BackendRefs))
		}
		for j, b := range rule.BackendRefs {
			path := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			to := Backend(r, b)
			if to.Kind != "Service" || ptr.Deref(b.Group, "") != "" {
				o.refuse(path, "local mode routes to Services only")
			}
			if to.Namespace != o.key.Namespace {
				o.refuse(path+".namespace", "local mode implements no ReferenceGrant: the Service must be in the "+
					"route's namespace")
			}
			if b.Port == nil && to.Kind == "Service" {
				o.invalid(path, "port is missing")
			}
		}
	}
}

func (o *object) checkPeerAuthentication(p *securityv1.PeerAuthentication) {
	if o.givenEmpty("spec.portLevelMtls", len(p.Spec.PortLevelMtls)) {
		o.invalid("spec.portLevelMtls", "must not be empty")
	}
	if p.Spec.PortLevelMtls != nil && len(p.Spec.GetSelector().GetMatchLabels()) == 0 {
		o.invalid("spec.portLevelMtls", "needs a selector")
	}
	for port := range p.Spec.PortLevelMtls {
		if port == 0 || port > 65535 {
			o.invalid("spec.portLevelMtls", "%d is no port", port)
		}
	}
}

func (o *object) checkIPBlock(path string, b *networkingv1.IPBlock) {
	block, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		o.invalid(path+".cidr", "%v", err)
		return
	}
	for i, e := range b.Except {
		p, err := netip.ParsePrefix(e)
		if err != nil || !block.Overlaps(p) || p.Bits() < block.Bits() {
			o.invalid(fmt.Sprintf("%s.except[%d]", path, i), "%s is no part of %s", e, b.CIDR)
		}
	}
}
