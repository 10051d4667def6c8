package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

// callers are the pods of the mesh, one of those that NetworkPolicies cannot tell
// apart.
func (c *checker) callers() []*topology.Pod {
	var out []*topology.Pod
	seen := map[string]bool{}
	for p := range c.apps {
		// fmt prints maps in the order of their keys.
		if id := fmt.Sprint(p.Namespace, p.Labels); p.Meshed && !seen[id] {
			seen[id] = true
			out = append(out, p)
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
	w := c.world.Service(ref(protecting[0])).Waypoint
	got := c.policies.Network(w.Pod.Endpoint, p.Endpoint, topology.HBONEPort)
	if !got.Allowed {
		c.add(Error, "mesh-refused", p.Workload, fmt.Sprintf("NetworkPolicy %s refuses its waypoint %s on port %d, where all of the mesh's traffic arrives", got.Policy, w.Pod.Name, topology.HBONEPort),
			fmt.Sprintf("a NetworkPolicy in namespace %s that admits port %d", p.Namespace, topology.HBONEPort))
	}
	return !got.Allowed
}

// hbone compares what NetworkPolicies say of a pod's own ports with what they do to
// the mesh's: calls that they mean to admit and the mesh cannot make, and calls
// that they mean to refuse and the mesh brings in.
func (c *checker) hbone(p *topology.Pod, callers []*topology.Pod) {
	var refused, admitted string
	intended := false
	for _, from := range callers {
		if from == p {
			continue
		}
		for _, port := range p.Ports {
			plain := c.policies.Network(from.Endpoint, p.Endpoint, port)
			intended = intended || plain.Allowed && plain.Policy != ""
			way := c.world.Way(from.Caller(), c.destination(p, port), topology.Live{})
			for i := range way.Legs {
				l := &way.Legs[i]
				got := c.policies.Perimeter(l)
				meant := plain.Allowed && plain.Policy != ""
				if got.Direction == netpol.Egress { // the caller's own policies let it out on that port
					meant = plain.Direction != netpol.Egress && l.From.Pod == from
				}
				if meant && !got.Allowed && refused == "" {
					refused = fmt.Sprintf("NetworkPolicies admit %s on port %d, but in the mesh the call comes on port %d, and the %s of NetworkPolicy %s refuses that",
						from.Ref, port, topology.HBONEPort, got.Direction, got.Policy)
				}
			}
			// Straight to the pod, which is how a policy by port is gone around.
			tunnel := c.policies.Network(from.Endpoint, p.Endpoint, topology.HBONEPort)
			if !plain.Allowed && plain.Direction == netpol.Ingress && tunnel.Allowed && admitted == "" && c.atPod(p, port, from.Identity, from.Endpoint) {
				admitted = fmt.Sprintf("NetworkPolicy %s refuses %s on port %d, but NetworkPolicy %s admits it on port %d, through which every port is reached, and no AuthorizationPolicy refuses it there",
					plain.Policy, from.Ref, port, tunnel.Policy, topology.HBONEPort)
			}
		}
	}
	if refused != "" {
		c.add(Error, "mesh-refused", p.Workload, refused, fmt.Sprintf("admit port %d where the pods' own ports are admitted, at both ends", topology.HBONEPort))
	}
	if admitted != "" && intended {
		c.add(Warning, "hbone-opens-perimeter", p.Workload, admitted,
			fmt.Sprintf("admit port %d from the same peers only, or refuse by identity with an AuthorizationPolicy", topology.HBONEPort))
	}
}

// destination is how a pod's port is called: through a Service with a waypoint
// where there is one, else by the pod's address.
func (c *checker) destination(p *topology.Pod, port uint16) topology.Destination {
	for _, s := range c.protecting(p) {
		w := c.world.Service(ref(s))
		for _, sp := range w.Ports {
			if slices.ContainsFunc(w.Backends(sp.Number), func(b topology.Backend) bool { return b.Pod == p && b.Port == port }) {
				return topology.Destination{Service: w, Port: sp.Number}
			}
		}
	}
	return topology.Destination{Pod: p, Port: port}
}

// probes says where NetworkPolicies keep the kubelet's probes out.
func (c *checker) probes(p *topology.Pod) {
	for _, container := range c.workloads[p.Workload].Template.Spec.Containers {
		for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
			port, ok := probePort(probe, container)
			if !ok {
				continue
			}
			got := c.policies.Network(netpol.Endpoint{IP: probeSource}, p.Endpoint, port)
			if got.Allowed {
				continue
			}
			c.add(Warning, "probes-refused", p.Workload,
				fmt.Sprintf("NetworkPolicy %s refuses the kubelet's probes on port %d: for a pod of the mesh they come from %s, which many network plugins do not take for the node", got.Policy, port, probeSource),
				fmt.Sprintf("admit ipBlock %s/32 on port %d", probeSource, port))
			return
		}
	}
}

// probePort returns the port that a probe dials.
func probePort(probe *corev1.Probe, in corev1.Container) (uint16, bool) {
	var target intstr.IntOrString
	switch {
	case probe == nil:
		return 0, false
	case probe.GRPC != nil:
		return uint16(probe.GRPC.Port), true
	case probe.HTTPGet != nil:
		target = probe.HTTPGet.Port
	case probe.TCPSocket != nil:
		target = probe.TCPSocket.Port
	default:
		return 0, false
	}
	if target.IntVal != 0 {
		return uint16(target.IntVal), true
	}
	for _, p := range in.Ports {
		if p.Name == target.StrVal {
			return uint16(p.ContainerPort), true
		}
	}
	return 0, false
}
