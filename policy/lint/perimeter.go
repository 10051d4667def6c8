package lint

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// probeSource is where the kubelet's probes of an ambient pod come from: istio-cni
// rewrites their source (istio.io, ambient and Kubernetes NetworkPolicy).
var probeSource = netip.MustParseAddr("169.254.7.127")

// perimeter says where NetworkPolicies and the mesh are in each other's way: all of
// its traffic arrives on one port, whatever port the policies speak of.
func (c *checker) perimeter() {
	if len(c.set.NetworkPolicies) == 0 {
		return
	}
	callers := c.callers()
	for p := range c.apps {
		if !p.Meshed {
			continue
		}
		c.probes(p)
		if !c.waypointRefused(p) {
			c.hbone(p, callers)
		}
	}
}

// caller is somebody of the mesh whom NetworkPolicies can tell from others.
type caller struct {
	topology.Caller
	name string
}

// callers are the pods of the mesh, one of those that NetworkPolicies cannot tell
// apart, and for each of its namespaces a pod that the files do not name.
func (c *checker) callers() []caller {
	var out []caller
	seen := map[string]bool{}
	for p := range c.apps {
		// fmt prints maps in the order of their keys.
		if id := fmt.Sprint(p.Namespace, p.Labels); p.Meshed && !seen[id] {
			seen[id] = true
			out = append(out, caller{p.Caller(), p.Ref.String()})
		}
	}
	for _, n := range c.set.Namespaces {
		if c.ambient(n.Name) {
			if from, err := c.world.Account(n.Name, "nobody-knows"); err == nil {
				out = append(out, caller{from, "any other pod of namespace " + n.Name})
			}
		}
	}
	return out
}

// waypointRefused says where a waypoint cannot reach the pods that it serves.
func (c *checker) waypointRefused(p *topology.Pod) bool {
	protecting := c.protecting(p)
	if len(protecting) == 0 {
		return false
	}
	w := protecting[0].Waypoint
	got := c.policies.Network(w.Pod.Endpoint, p.Endpoint, topology.HBONEPort)
	if !got.Allowed {
		c.add(Error, "mesh-refused", on(p.Workload), "NetworkPolicy %s refuses its waypoint %s on port %d, where all "+
			"of the mesh's traffic arrives", got.Policy, w.Pod.Name, topology.HBONEPort).
			Fix = fmt.Sprintf("a NetworkPolicy in namespace %s that admits port %d", p.Namespace, topology.HBONEPort)
	}
	return !got.Allowed
}

// hbone compares what NetworkPolicies say of a pod's own ports with what they do to
// the mesh's: calls that they mean to admit and the mesh cannot make, and calls
// that they mean to refuse and the mesh brings in.
func (c *checker) hbone(p *topology.Pod, callers []caller) {
	own, mesh, policy := c.admittedPorts(p)
	refused, admitted := "", ""
	if own && !mesh {
		refused = fmt.Sprintf("NetworkPolicy %s admits ports of its pods, but in the mesh every call comes on port "+
			"%d, which none admits", policy, topology.HBONEPort)
	}
	for i := range callers {
		from := &callers[i]
		if from.Pod == p {
			continue
		}
		for _, port := range p.Ports {
			plain := c.policies.Network(from.Endpoint, p.Endpoint, port)
			way := c.world.Way(from.Caller, c.destination(p, port), topology.Live{})
			for i := range way.Legs {
				l := &way.Legs[i]
				got := c.policies.Perimeter(l)
				meant := plain.Allowed && plain.Policy != ""
				if got.Direction == netpol.Egress { // the caller's own policies let it out on that port
					meant = plain.Direction != netpol.Egress && i == 0
				}
				if meant && !got.Allowed && refused == "" {
					refused = fmt.Sprintf("NetworkPolicies admit %s on port %d, but in the mesh the call comes on "+
						"port %d, and the %s of NetworkPolicy %s refuses that",
						from.name, port, topology.HBONEPort, got.Direction, got.Policy)
				}
			}
			// Straight to the pod, which is how a policy by port is gone around.
			tunnel := c.policies.Network(from.Endpoint, p.Endpoint, topology.HBONEPort)
			if !plain.Allowed && plain.Direction == netpol.Ingress && tunnel.Allowed && admitted == "" &&
				c.atPod(p, port, from.Identity, from.Endpoint.IP) {
				admitted = fmt.Sprintf("NetworkPolicy %s refuses %s on port %d, but NetworkPolicy %s admits it on "+
					"port %d, through which every port is reached, and no AuthorizationPolicy refuses it there",
					plain.Policy, from.name, port, tunnel.Policy, topology.HBONEPort)
			}
		}
	}
	if refused != "" {
		c.add(Error, "mesh-refused", on(p.Workload), "%s", refused).
			Fix = fmt.Sprintf("admit port %d where the pods' own ports are admitted, at both ends", topology.HBONEPort)
	}
	if admitted != "" && own {
		c.add(Warning, "hbone-opens-perimeter", on(p.Workload), "%s", admitted).Fix = fmt.Sprintf("admit port %d from "+
			"the same peers only, or refuse by identity with an AuthorizationPolicy", topology.HBONEPort)
	}
}

// admittedPorts reports what the NetworkPolicies that close a pod's ingress admit,
// from anybody: ports of its own, and the mesh's; and one that admits the former.
func (c *checker) admittedPorts(p *topology.Pod) (own, mesh bool, policy string) {
	for _, np := range c.set.NetworkPolicies {
		selector, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
		if err != nil || np.Namespace != p.Namespace || !selector.Matches(labels.Set(p.Labels)) ||
			len(np.Spec.PolicyTypes) > 0 && !slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			continue
		}
		for _, rule := range np.Spec.Ingress {
			if len(rule.Ports) == 0 {
				mesh = true
			}
			for _, port := range rule.Ports {
				if ptr.Deref(port.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
					continue
				}
				first := ptr.Deref(port.Port, intstr.IntOrString{}).IntVal
				last := ptr.Deref(port.EndPort, first)
				if port.Port == nil || first <= topology.HBONEPort && topology.HBONEPort <= last {
					mesh = true
				} else {
					own, policy = true, np.Namespace+"/"+np.Name
				}
			}
		}
	}
	return own, mesh, policy
}

// destination is how a pod's port is called: through a Service with a waypoint
// where there is one, else by the pod's address.
func (c *checker) destination(p *topology.Pod, port uint16) topology.Destination {
	for _, s := range c.protecting(p) {
		for _, sp := range s.Ports {
			if slices.Contains(s.Backends(sp.Number), topology.Backend{Pod: p, Port: port}) {
				return topology.Destination{Service: s, Port: sp.Number}
			}
		}
	}
	return topology.Destination{Pod: p, Port: port}
}

// probes says where NetworkPolicies keep the kubelet's probes out.
func (c *checker) probes(p *topology.Pod) {
	for _, container := range c.workloads[p.Workload].Template.Spec.Containers {
		for _, probe := range topology.Probes(container) {
			port := probePort(probe, p)
			got := c.policies.Network(netpol.Endpoint{IP: probeSource}, p.Endpoint, port)
			if port == 0 || got.Allowed {
				continue
			}
			c.add(Warning, "probes-refused", on(p.Workload), "NetworkPolicy %s refuses the kubelet's probes on port "+
				"%d: for a pod of the mesh they come from %s, which many network plugins do not take for the node",
				got.Policy, port, probeSource).Fix = fmt.Sprintf("admit ipBlock %s/32 on port %d", probeSource, port)
			return
		}
	}
}

// probePort returns the port of a pod that a probe dials, 0 for none.
func probePort(probe *corev1.Probe, of *topology.Pod) uint16 {
	var target intstr.IntOrString
	switch {
	case probe.GRPC != nil:
		return uint16(probe.GRPC.Port)
	case probe.HTTPGet != nil:
		target = probe.HTTPGet.Port
	case probe.TCPSocket != nil:
		target = probe.TCPSocket.Port
	}
	return cmp.Or(uint16(target.IntVal), of.Endpoint.Ports[target.StrVal])
}
