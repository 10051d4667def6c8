package enforcer

import (
	"encoding/json"
	"fmt"
	"os"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matchertypes "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// setHeader names the policy set that a request is to be judged by. No policy
// looks at it.
const setHeader = "x-conformance-set"

func typed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil { // a message that was built here always marshals
		panic(fmt.Sprintf("marshal %T: %v", m, err))
	}
	return a
}

// bootstrap is the whole configuration. The runtime flags are those of Istio's own
// (istio.io/istio pkg/bootstrap, extractRuntimeFlags) that concern matching.
func bootstrap(listeners, clusters []object) ([]byte, error) {
	b, err := json.Marshal(object{
		"admin": object{"address": object{"socketAddress": object{"address": "127.0.0.1", "portValue": 0}}},
		"node":  object{"id": "enforcer", "cluster": "enforcer"},
		"bootstrapExtensions": []any{object{"name": "envoy.bootstrap.internal_listener",
			"typedConfig": object{
				"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}}},
		"layeredRuntime": object{"layers": []any{object{"name": "istio", "staticLayer": object{
			"re2.max_program_size.error_level":                         "32768",
			"envoy.reloadable_features.http_reject_path_with_fragment": false,
		}}}},
		"staticResources": object{"listeners": listeners, "clusters": clusters},
	})
	if err != nil {
		return nil, fmt.Errorf("make the bootstrap: %w", err)
	}
	return b, nil
}

// routes has a route for each set, found by the header: it answers 200 by itself
// when the set's filters let the request through.
func routes(sets map[string][]*rbac.RBAC) *route.RouteConfiguration {
	found := map[string]*xdsmatcher.Matcher_OnMatch{}
	for name, filters := range sets {
		r := &route.Route{
			Name:                 name,
			Match:                &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action:               &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 200}},
			TypedPerFilterConfig: map[string]*anypb.Any{},
		}
		for _, f := range filters {
			r.TypedPerFilterConfig["rbac-"+f.Rules.GetAction().String()] = typed(&rbac.RBACPerRoute{Rbac: f})
		}
		found[name] = &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Action{
			Action: &xdscore.TypedExtensionConfig{Name: name, TypedConfig: typed(r)}}}
	}
	input := &xdscore.TypedExtensionConfig{Name: "set", TypedConfig: typed(&matchertypes.HttpRequestHeaderMatchInput{
		HeaderName: setHeader})}
	var add []*core.HeaderValueOption
	for _, e := range explanations() {
		h := e.(object)["header"].(object)
		add = append(add, &core.HeaderValueOption{Header: &core.HeaderValue{Key: h["key"].(string),
			Value: h["value"].(string)},
			AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD})
	}
	return &route.RouteConfiguration{Name: "sets",
		ResponseHeadersToAdd: add,
		VirtualHosts: []*route.VirtualHost{{Name: "all", Domains: []string{"*"},
			Matcher: &xdsmatcher.Matcher{MatcherType: &xdsmatcher.Matcher_MatcherTree_{
				MatcherTree: &xdsmatcher.Matcher_MatcherTree{Input: input,
					TreeType: &xdsmatcher.Matcher_MatcherTree_ExactMatchMap{
						ExactMatchMap: &xdsmatcher.Matcher_MatcherTree_MatchMap{Map: found}}}}}}}}
}

// explanations are the response headers in which Envoy says what it saw and why
// it decided so. A denial takes them from the local reply's configuration: the
// routes answer directly, and Envoy adds no header of such a route to it.
func explanations() []any {
	header := func(k, v string) any {
		return object{"header": object{"key": k, "value": v}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}
	}
	return []any{
		header("x-details", "%RESPONSE_CODE_DETAILS%"),
		header("x-rule", "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"),
		header("x-seen", "%DYNAMIC_METADATA(envoy.filters.http.lua:seen)%"),
	}
}

// writeRoutes replaces the file that Envoy watches: only a rename makes Envoy
// read it, and only ".pb" makes it read binary protobuf.
func writeRoutes(path, version string, rc *route.RouteConfiguration) error {
	b, err := proto.Marshal(&discovery.DiscoveryResponse{VersionInfo: version, Resources: []*anypb.Any{typed(rc)}})
	if err != nil {
		return fmt.Errorf("write routes: %w", err)
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("write routes: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write routes: %w", err)
	}
	return nil
}
