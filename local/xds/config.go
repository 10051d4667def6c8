// Package xds is what lies between the launcher and an Envoy that stands in for
// a waypoint: the request to the program that has istiod's code write the
// configuration, the discovery services by which Envoy takes it, and the access
// log by which it says what it decided. It knows no policy and starts nothing.
package xds

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"artemis.example/policy/topology"
)

// Request asks for the configuration of all waypoints. Whoever answers reads the
// manifests in its working directory.
type Request struct {
	Stage     string                `json:"stage"`
	Files     map[string][]byte     `json:"files"`     // of the manifest.Project, by path
	Addresses map[string]netip.Addr `json:"addresses"` // what topology.Allocator has given
}

// Config is what one waypoint is to do: resources of Envoy's API in JSON, with
// their @type.
type Config struct {
	Waypoint  topology.Ref      `json:"waypoint"`
	Listeners []json.RawMessage `json:"listeners"`
	Clusters  []json.RawMessage `json:"clusters"`
}

// Types of the resources.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	secretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Names of the secrets that a waypoint's configuration asks for.
const (
	SecretIdentity = "default"
	SecretRoots    = "ROOTCA"
)

// AdminPort is where an Envoy reports whether it is ready, under /ready.
const AdminPort = 15000

type object = map[string]any

const clusterName = "xds"

// Source is the config source of whatever an Envoy takes from a Server.
func Source() map[string]any {
	return object{"resourceApiVersion": "V3", "initialFetchTimeout": "0s", "apiConfigSource": object{
		"apiType": "REST", "transportApiVersion": "V3", "clusterNames": []string{clusterName},
		// The Server answers when there is something new, so this is no polling.
		"refreshDelay": "0.010s", "requestTimeout": "60s",
	}}
}

// Bootstrap returns the text for Envoy's --config-yaml: everything is to come from
// the Server at an address. The admin interface listens on ip.
func Bootstrap(waypoint topology.Ref, ip netip.Addr, server netip.AddrPort) (string, error) {
	b, err := json.Marshal(object{
		"node":             object{"id": "waypoint", "cluster": waypoint.Name + "." + waypoint.Namespace},
		"admin":            object{"address": socket(netip.AddrPortFrom(ip, AdminPort))},
		"dynamicResources": object{"ldsConfig": Source(), "cdsConfig": Source()},
		"staticResources": object{"clusters": []object{{"name": clusterName, "type": "STATIC", "connectTimeout": "5s",
			"loadAssignment": object{"clusterName": clusterName, "endpoints": []object{{"lbEndpoints": []object{
				{"endpoint": object{"address": socket(server)}}}}}}}}},
		// Two parts of Istio's own bootstrap: internal listeners, and a fragment is
		// cut off rather than refused.
		"bootstrapExtensions": []object{{"name": "envoy.bootstrap.internal_listener",
			"typedConfig": object{
				"@type":        "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
				"bufferSizeKb": 64}}},
		"layeredRuntime": object{"layers": []object{{"name": "istio", "staticLayer": object{
			"envoy.reloadable_features.http_reject_path_with_fragment": false}}}},
	})
	if err != nil {
		return "", fmt.Errorf("bootstrap of %s: %w", waypoint, err)
	}
	return string(b), nil
}

func socket(a netip.AddrPort) object {
	return object{"socketAddress": object{"address": a.Addr().String(), "portValue": a.Port()}}
}
