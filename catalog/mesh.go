package catalog

// The well-known names of the mesh, each defined here and nowhere else.
const (
	// HBONEPort is where node proxies and waypoints listen.
	HBONEPort = 15008
	// TrustDomain is the trust domain of every identity.
	TrustDomain = "cluster.local"
	// RootNamespace is where mesh-wide policies live.
	RootNamespace = "istio-system"
	// WaypointClass and IngressClass are the GatewayClasses of Istio.
	WaypointClass = "istio-waypoint"
	IngressClass  = "istio"
)

// The north/south gateway that OpenChoreo's HTTPRoutes name. On a cluster it
// belongs to the data plane: no manifest of a Project declares it.
const (
	GatewayNamespace = "openchoreo-data-plane"
	GatewayName      = "gateway-default"
)

// The stages of the demo, in their order.
const (
	Open      = "open"
	MTLS      = "mtls"
	ZeroTrust = "zero-trust"
)

// Stages returns the stages in the order in which the demo goes through them.
func Stages() []string { return []string{Open, MTLS, ZeroTrust} }
