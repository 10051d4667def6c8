// Package topology is what a control plane would tell a mesh: which pods there are,
// under which addresses and identities, which Services select them, which
// waypoint stands before a Service, what the gateway routes, and what a name
// means. A World is made from manifests once and never changes; it decides
// nothing and moves no byte.
package topology

import (
	"iter"
	"net/netip"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	appsv1 "k8s.io/api/apps/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TrustDomain is the trust domain of every identity.
var TrustDomain = spiffeid.RequireTrustDomainFromString(catalog.TrustDomain)

// The labels and annotations that decide how a call travels
// (istio.io/api label and annotation packages).
const (
	LabelDataplaneMode   = "istio.io/dataplane-mode"
	LabelUseWaypoint     = "istio.io/use-waypoint"
	LabelWaypointFor     = "istio.io/waypoint-for"
	LabelIngressWaypoint = "istio.io/ingress-use-waypoint"
	// LabelWaypointNamespace is of the waypoint that LabelUseWaypoint names.
	LabelWaypointNamespace = "istio.io/use-waypoint-namespace"
	// LabelGatewayManaged is on what istiod makes for a Gateway.
	LabelGatewayManaged  = "gateway.istio.io/managed"
	LabelGatewayName     = "gateway.networking.k8s.io/gateway-name"
	LabelSystemComponent = "openchoreo.dev/system-component"
	LabelProject         = "openchoreo.dev/project"
	LabelComponent       = "openchoreo.dev/component"
	AnnotationXFCC       = "ambient.istio.io/xfcc-include-client-identity"
)

// The north/south gateway that OpenChoreo's HTTPRoutes name, there even when no
// manifest declares it: on a cluster it belongs to the data plane.
const (
	GatewayNamespace = catalog.GatewayNamespace
	GatewayName      = catalog.GatewayName
)

// HBONEPort is where node proxies and waypoints listen.
const HBONEPort = catalog.HBONEPort

// ModeAmbient is the LabelDataplaneMode of what is in the mesh.
const ModeAmbient = "ambient"

// Ref names a pod by its namespace and the name of its Deployment or Gateway.
type Ref struct{ Namespace, Name string }

// String returns "namespace/name".
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Kind is what a pod is.
type Kind int

// The kinds of pods.
const (
	App      Kind = iota // runs a Deployment's program
	Waypoint             // a waypoint
	Ingress              // a north/south gateway
	External             // no pod, but what a ServiceEntry names: outside of the cluster
)

// Pod stands for all pods of a workload, of a waypoint or of a gateway: they are
// alike to everybody who decides.
type Pod struct {
	Ref
	Kind           Kind
	Labels         map[string]string
	ServiceAccount string
	ID             spiffeid.ID
	Identity       string // ID as a string
	// IP is not valid for one outside of the cluster of which only the name is known;
	// Host is that name, or the address.
	IP   netip.Addr
	Host string
	// Meshed pods have a node proxy that speaks HBONE for them. Waypoints and the
	// gateway speak it themselves and are not Meshed.
	Meshed bool
	// HostNetwork is set where the address is the node's: what it sends is not the pod's to
	// NetworkPolicies.
	HostNetwork bool
	// Ports are those that containers, probes and Services name, ascending.
	Ports     []uint16
	Cell      string // the OpenChoreo Project, empty outside of the Cells
	Component string // the Component, outside of the Cells the workload's name
	// Workload is what makes the pod and all others like it; of a waypoint or a
	// gateway it is the Gateway. Deployment is it where it is one.
	Workload   manifest.Key
	Deployment *appsv1.Deployment
	// Waypoint is what callers go through that dial the pod's own address, nil when
	// they come straight to the pod.
	Waypoint *WaypointGateway
	// Endpoint is the pod as NetworkPolicies see it.
	Endpoint netpol.Endpoint
}

// Protocol is how a waypoint treats a Service's port.
type Protocol int

// The protocols.
const (
	HTTP    Protocol = iota // named http or http-..., or with that appProtocol
	TCP                     // bytes
	Sniffed                 // no name: what the first bytes look like
)

// Port is one port of a Service.
type Port struct {
	Name     string
	Number   uint16
	Protocol Protocol
	// HTTP2 is set when what listens there speaks HTTP/2: named http2, grpc or with
	// such an appProtocol.
	HTTP2 bool
}

// Backend is one pod behind a Service's port.
type Backend struct {
	Pod  *Pod
	Port uint16 // on the pod
}

// Service is a Service with its endpoints, or one host of a ServiceEntry, of which
// Entry is set.
type Service struct {
	Ref
	Entry bool
	Host  string     // name.namespace.svc.cluster.local, or the ServiceEntry's
	VIP   netip.Addr // not valid for a headless Service, nor where the host keeps its own
	Ports []Port
	// Waypoint is what its callers go through, nil when they go to the pods.
	Waypoint *WaypointGateway
	// IngressWaypoint is what the gateway goes through.
	IngressWaypoint *WaypointGateway
	Labels          map[string]string
	// Selected are the pods that a Service's selector finds, whatever their ports.
	Selected []*Pod

	backends map[uint16][]Backend
}

// Kind returns the kind of the object that the Service is made from.
func (s *Service) Kind() string {
	if s.Entry {
		return "ServiceEntry"
	}
	return "Service"
}

// Backends returns the pods behind a port of the Service.
func (s *Service) Backends(port uint16) []Backend { return s.backends[port] }

// PortsOf returns the ports of a pod that the Service leads to.
func (s *Service) PortsOf(p *Pod) []uint16 {
	var out []uint16
	for _, port := range s.Ports {
		for _, b := range s.backends[port.Number] {
			if b.Pod == p {
				out = append(out, b.Port)
			}
		}
	}
	return out
}

// Port returns a port by its number.
func (s *Service) Port(number uint16) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// WaypointGateway is a Gateway of class istio-waypoint.
type WaypointGateway struct {
	Pod *Pod
	// Services and Workloads report what it serves (istio.io/waypoint-for).
	Services, Workloads bool
	// XFCC reports whether it replaces x-forwarded-client-cert by the identities.
	XFCC bool

	gateway *gatewayv1.Gateway
}

// Gateway is a Gateway of class istio with what it routes.
type Gateway struct {
	Pod    *Pod
	Routes []Route // the first that matches is the one that counts
	// Scheme is what it says of every request in x-forwarded-proto, whatever the client
	// does: http or https. It is empty where it may say either.
	Scheme string
}

// Route is one rule of an HTTPRoute that is attached to a gateway, for one of its
// backends.
type Route struct {
	Ref
	Rule      int      // its number in the HTTPRoute
	Hostnames []string // lower case; empty for any
	Path      string   // without a slash at the end, for a prefix
	Exact     bool
	// Rewrite replaces the prefix where Rewrites is set.
	Rewrite  string
	Rewrites bool
	// Service is nil where the backend does not exist.
	Service *Service
	Port    uint16
}

// World is one state of everything.
type World struct {
	// Set is what the World was made from.
	Set        *manifest.Set
	Namespaces map[string]map[string]string // their labels, by name
	Pods       []*Pod                       // ordered by namespace and name
	Services   []*Service                   // those of ServiceEntries at the end
	External   []*Pod                       // the ends of ServiceEntries outside of the cluster
	Waypoints  []*WaypointGateway
	// Gateways are all north/south gateways. Gateway and Routes are those of the one
	// that local mode runs, OpenChoreo's; somebody else's manifests may have none.
	Gateways []*Gateway
	Gateway  *Pod
	Routes   []Route

	byRef     map[Ref]*Pod
	byIP      map[netip.Addr]*Pod
	byVIP     map[netip.Addr]*Service
	services  map[Ref]*Service
	waypoints map[Ref]*WaypointGateway
	accounts  map[string]*Pod
}

// Pod returns a pod by its name.
func (w *World) Pod(ref Ref) *Pod { return w.byRef[ref] }

// PodAt returns the pod with that address.
func (w *World) PodAt(ip netip.Addr) *Pod { return w.byIP[ip.Unmap()] }

// ServiceAt returns the Service with that virtual address.
func (w *World) ServiceAt(ip netip.Addr) *Service { return w.byVIP[ip.Unmap()] }

// Service returns a Service by its name.
func (w *World) Service(ref Ref) *Service { return w.services[ref] }

// Admits reports whether a waypoint takes Services of a namespace: its own, or one
// that its Gateway's listeners admit.
func (w *World) Admits(g *WaypointGateway, namespace string) bool {
	return w.takes(g.gateway, namespace, nil)
}

// WaypointGateway returns a waypoint by its name.
func (w *World) WaypointGateway(ref Ref) *WaypointGateway { return w.waypoints[ref] }

// PodOf returns a pod that has that SPIFFE ID, nil when none has. Pods that share
// an account cannot be told apart by it: the first is given.
func (w *World) PodOf(identity string) *Pod { return w.accounts[identity] }

// ID returns the identity of a ServiceAccount.
func ID(namespace, serviceAccount string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(TrustDomain, "ns", namespace, "sa", serviceAccount)
}

// Apps yields the pods that run a program, in the order of Pods: no waypoint and no
// gateway.
func (w *World) Apps() iter.Seq[*Pod] {
	return func(yield func(*Pod) bool) {
		for _, p := range w.Pods {
			if p.Kind == App && !yield(p) {
				return
			}
		}
	}
}
