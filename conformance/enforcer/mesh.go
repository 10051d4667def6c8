package enforcer

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"artemis.example/conformance/waypoint"
	"artemis.example/local/xds"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// Destinations are what clients can open tunnels to: two Services with two ports of HTTP
// each, the same at both waypoints.
var Destinations = []netip.AddrPort{
	netip.MustParseAddrPort("10.96.7.1:80"), netip.MustParseAddrPort("10.96.7.1:8080"),
	netip.MustParseAddrPort("10.96.7.2:8080"), netip.MustParseAddrPort("10.96.7.2:9001"),
}

// The two waypoints: one writes who calls into x-forwarded-client-cert, the other one
// does not.
const (
	vouching = "cell-a"
	silent   = "cell-b"
)

// WaypointIdentity returns the SPIFFE ID of the waypoint that a client talks to.
func (c Client) WaypointIdentity() string {
	return "spiffe://cluster.local/ns/" + c.cell() + "/sa/waypoint"
}

func (c Client) cell() string {
	if c.Silent {
		return silent
	}
	return vouching
}

// manifests are those of one of the two Cells.
func manifests(cell string) string {
	const text = `apiVersion: v1
kind: Namespace
metadata: {name: CELL, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: CELL, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  infrastructure: {annotations: {ambient.istio.io/xfcc-include-client-identity: "VOUCHES"}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app, namespace: CELL}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: CELL}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      serviceAccountName: app
      containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: CELL}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: http-alt, port: 8080, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: CELL}
spec:
  selector: {app: app}
  ports: [{name: http, port: 8080, targetPort: 8080}, {name: http-alt, port: 9001, targetPort: 8080}]
`
	return strings.NewReplacer("CELL", cell, "VOUCHES", fmt.Sprint(cell == vouching)).Replace(text)
}

// waypoints has istiod's code configure the two waypoints.
func waypoints() ([]xds.Config, error) {
	set, err := manifest.Parse("enforcer.yaml", manifests(vouching)+"---\n"+manifests(silent))
	if err != nil {
		return nil, err
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		return nil, err
	}
	for _, s := range w.Services {
		switch s.Name {
		case "app":
			s.VIP = Destinations[0].Addr()
		case "second":
			s.VIP = Destinations[2].Addr()
		}
	}
	return waypoint.Generate(w)
}

// object is a part of Envoy's configuration.
type object = waypoint.Object

// resources turns what istiod configures into the listeners and clusters of one Envoy:
// the waypoints' listeners on loopback, the internal ones of each under names of its
// own, the policies and routes of their HTTP chains from a file, secrets from files,
// and no access logs. A second listener of the silent waypoint takes clients without a
// certificate and knows no principal of them.
// chains are further ones, of bytes, at both waypoints.
func resources(dir, routesPath string, chains []chain) (listeners, clusters []object, err error) {
	configs, err := waypoints()
	if err != nil {
		return nil, nil, err
	}
	have := map[string]bool{}
	for _, c := range configs {
		cell := c.Waypoint.Namespace
		edit := editor{cell: cell, dir: dir, routesPath: routesPath}
		for _, raw := range c.Listeners {
			l, err := edit.object(raw)
			if err != nil {
				return nil, nil, err
			}
			if a, ok := l["address"].(object); ok {
				a["socketAddress"].(object)["address"], a["socketAddress"].(object)["portValue"] = "127.0.0.1", 0
				if cell == silent {
					nobody, err := edit.object(raw)
					if err != nil {
						return nil, nil, err
					}
					nobody["address"], nobody["name"] = a, "nobody"
					withoutIdentity(nobody)
					listeners = append(listeners, nobody)
				}
			}
			if l["filterChainMatcher"] != nil {
				addChains(l, chains)
			}
			listeners = append(listeners, l)
		}
		for _, raw := range c.Clusters {
			o, err := edit.object(raw)
			if err != nil {
				return nil, nil, err
			}
			if name := o["name"].(string); !have[name] {
				have[name] = true
				clusters = append(clusters, o)
			}
		}
	}
	return listeners, clusters, nil
}

// editor makes one waypoint's configuration fit.
type editor struct{ cell, dir, routesPath string }

func (e editor) object(raw json.RawMessage) (object, error) {
	text := string(raw)
	for _, name := range []string{"connect_terminate", "main_internal", "connect_originate", "inner_connect_originate",
		"outer_connect_originate"} {
		text = strings.ReplaceAll(text, `"`+name+`"`, `"`+name+"-"+e.cell+`"`)
	}
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, fmt.Errorf("read what istiod configures: %w", err)
	}
	delete(o, "@type")
	e.walk(o)
	return o, nil
}

func (e editor) walk(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			e.walk(x)
		}
	case object:
		delete(v, "accessLog")
		for k, x := range v {
			switch {
			case k == "sdsConfig":
				v[k] = object{"pathConfigSource": object{"path": secretPath(e.dir, e.cell, v["name"].(string))},
					"resourceApiVersion": "V3"}
				continue
			case k == "matchTypedSubjectAltNames": // so that trustDomains can be tried
				for _, m := range x.([]any) {
					m.(object)["matcher"] = object{"prefix": "spiffe://"}
				}
				continue
			}
			e.walk(x)
		}
		if stat, _ := v["statPrefix"].(string); strings.HasPrefix(stat, "inbound_") && v["httpFilters"] != nil {
			e.judge(v)
		}
	}
}

// judge has a connection manager take its policies with the route that a header names,
// where istiod would have put them, and say what they saw.
func (e editor) judge(manager object) {
	filters := manager["httpFilters"].([]any)
	at := 0
	if filters[0].(object)["name"] == "istio.waypoint.xfcc_client_identity" {
		at = 1
	}
	own := []any{}
	for _, name := range []string{"LOG", "DENY", "ALLOW"} {
		own = append(own, object{"name": "rbac-" + name,
			"typedConfig": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"}})
	}
	own = append([]any{object{"name": "seen",
		"typedConfig": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
			"defaultSourceCode": object{"inlineString": sayWhatIsSeen}}}}, own...)
	manager["httpFilters"] = append(append(append([]any{}, filters[:at]...), own...), filters[at:]...)
	delete(manager, "routeConfig")
	manager["rds"] = object{"routeConfigName": "sets", "configSource": object{"resourceApiVersion": "V3",
		"pathConfigSource": object{"path": e.routesPath}}}
	manager["localReplyConfig"] = object{"mappers": []any{object{
		"filter": object{"statusCodeFilter": object{"comparison": object{"op": "GE",
			"value": object{"defaultValue": 400, "runtimeKey": "none"}}}},
		"headersToAdd": explanations()}}}
}

// sayWhatIsSeen keeps every header that the policies are about to see, pseudo-headers
// included, for the answer: a line each, what is no printable ASCII escaped.
const sayWhatIsSeen = `
function envoy_on_request(h)
  local t = {}
  for k, v in pairs(h:headers()) do
    t[#t + 1] = k .. "=" .. v:gsub("[^!-$&-~ ]", function(c) return string.format("%%%02X", c:byte()) end)
  end
  h:streamInfo():dynamicMetadata():set("envoy.filters.http.lua", "seen", table.concat(t, "%&"))
end
`

// withoutIdentity has a listener ask for no certificate and note no principal. With the
// filter state kept, the principal of a client without one would be "-".
func withoutIdentity(l object) {
	chain := l["filterChains"].([]any)[0].(object)
	tls := chain["transportSocket"].(object)["typedConfig"].(object)
	tls["requireClientCertificate"] = false
	// names asked for are a certificate asked for
	tls["commonTlsContext"].(object)["combinedValidationContext"].(object)["defaultValidationContext"] = object{}
	manager := chain["filters"].([]any)[0].(object)["typedConfig"].(object)
	for _, f := range manager["httpFilters"].([]any) {
		config := f.(object)["typedConfig"].(object)
		states, ok := config["onRequestHeaders"].([]any)
		if !ok {
			continue
		}
		var kept []any
		for _, s := range states {
			if s.(object)["objectKey"] != "io.istio.peer_principal" {
				kept = append(kept, s)
			}
		}
		config["onRequestHeaders"] = kept
	}
}

// chain is a filter chain of bytes for one port of the first destination.
type chain struct {
	port    uint16
	filters []any
}

// addChains adds chains to a waypoint's internal listener, as istiod adds those of ports
// that are no HTTP: found by address, then by port.
func addChains(l object, chains []chain) {
	for _, f := range l["listenerFilters"].([]any) {
		if off, ok := f.(object)["filterDisabled"].(object); ok && len(chains) > 0 {
			rules := off["orMatch"].(object)
			rules["rules"] = append(rules["rules"].([]any), object{"destinationPortRange": object{"start": firstTCPPort,
				"end": firstTCPPort + len(chains)}})
		}
	}
	tree := l["filterChainMatcher"].(object)["matcherTree"].(object)
	for _, r := range tree["customMatch"].(object)["typedConfig"].(object)["rangeMatchers"].([]any) {
		if r.(object)["ranges"].([]any)[0].(object)["addressPrefix"] != Destinations[0].Addr().String() {
			continue
		}
		matcher := r.(object)["onMatch"].(object)["matcher"].(object)["matcherTree"].(object)
		ports := matcher["exactMatchMap"].(object)["map"].(object)
		for _, c := range chains {
			name := fmt.Sprint("tcp-", c.port)
			ports[fmt.Sprint(c.port)] = object{"action": object{"name": name,
				"typedConfig": object{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": name}}}
			l["filterChains"] = append(l["filterChains"].([]any), object{"name": name, "filters": c.filters})
		}
	}
}
