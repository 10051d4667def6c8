package enforcer

import (
	"crypto/x509"
	"fmt"
	"os"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	setstatehttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsconf "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matchertypes "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
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

func filter(name string, config proto.Message) *hcm.HttpFilter {
	return &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: typed(config)}}
}

// principalFilter is the part of a waypoint's connect_terminate listener that
// authorization depends on.
func principalFilter() *hcm.HttpFilter {
	return filter("connect_authority", &setstatehttp.Config{OnRequestHeaders: []*setstate.FilterStateValue{{
		Key:        &setstate.FilterStateValue_ObjectKey{ObjectKey: "io.istio.peer_principal"},
		FactoryKey: "envoy.string",
		Value: &setstate.FilterStateValue_FormatString{FormatString: &core.SubstitutionFormatString{
			Format: &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{
				Specifier: &core.DataSource_InlineString{InlineString: "%DOWNSTREAM_PEER_URI_SAN%"}}}}},
	}}})
}

// manager has the options of paths and headers that istiod sets on a waypoint's
// HTTP chains (istio.io/istio pilot/pkg/networking/core/waypoint.go).
func manager(name, routesPath string, filters ...*hcm.HttpFilter) *hcm.HttpConnectionManager {
	filters = append(filters, filter("rbac-LOG", &rbac.RBAC{}), filter("rbac-DENY", &rbac.RBAC{}), filter("rbac-ALLOW", &rbac.RBAC{}),
		filter("envoy.filters.http.router", &router.Router{}))
	return &hcm.HttpConnectionManager{
		StatPrefix:                   name,
		ServerName:                   "istio-envoy",
		NormalizePath:                wrapperspb.Bool(true),
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_KEEP_UNCHANGED, // and merge_slashes stays false
		UseRemoteAddress:             wrapperspb.Bool(false),
		StreamIdleTimeout:            durationpb.New(0),
		HttpFilters:                  filters,
		LocalReplyConfig:             &hcm.LocalReplyConfig{Mappers: []*hcm.ResponseMapper{{Filter: anyStatus, HeadersToAdd: explanations()}}},
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: "sets", ConfigSource: &core.ConfigSource{
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_PathConfigSource{PathConfigSource: &core.PathConfigSource{Path: routesPath}}}}},
	}
}

// listener asks for client certificates as connect_terminate does, except that
// it takes every trust domain, so that trustDomains can be tried. Where no
// identity is wanted there is neither certificate nor filter state: with the
// filter state kept the principal would be "-".
func (a *authority) listener(name string, identity bool, routesPath string) (*listener.Listener, error) {
	server, err := a.issue("spiffe://cluster.local/ns/istio-system/sa/waypoint")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("make the listener %s: %w", name, err)
	}
	validation := &tlsconf.CertificateValidationContext{TrustedCa: inline("CERTIFICATE", a.cert.Raw)}
	var m *hcm.HttpConnectionManager
	if identity {
		validation.MatchTypedSubjectAltNames = []*tlsconf.SubjectAltNameMatcher{{SanType: tlsconf.SubjectAltNameMatcher_URI,
			Matcher: &matchertypes.StringMatcher{MatchPattern: &matchertypes.StringMatcher_Prefix{Prefix: "spiffe://"}}}}
		m = manager(name, routesPath, principalFilter())
	} else {
		m = manager(name, routesPath)
	}
	ctx := &tlsconf.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(identity), CommonTlsContext: &tlsconf.CommonTlsContext{
		TlsCertificates: []*tlsconf.TlsCertificate{{
			CertificateChain: inline("CERTIFICATE", server.Certificate[0]),
			PrivateKey:       inline("PRIVATE KEY", key)}},
		ValidationContextType: &tlsconf.CommonTlsContext_ValidationContext{ValidationContext: validation}}}
	// All of 127/8, so that clients choose the destination address.
	any4 := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "0.0.0.0",
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: 0}}}}
	return &listener.Listener{Name: name, Address: any4, FilterChains: []*listener.FilterChain{{
		TransportSocket: &core.TransportSocket{Name: "tls", ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: typed(ctx)}},
		Filters:         []*listener.Filter{{Name: "http", ConfigType: &listener.Filter_TypedConfig{TypedConfig: typed(m)}}}}}}, nil
}

// config is the whole bootstrap. The runtime flags are those of Istio's own
// (istio.io/istio pkg/bootstrap, extractRuntimeFlags) that concern matching.
func config(listeners []*listener.Listener) (*bootstrap.Bootstrap, error) {
	flags, err := structpb.NewStruct(map[string]any{
		"re2.max_program_size.error_level":                         "32768",
		"envoy.reloadable_features.http_reject_path_with_fragment": false,
	})
	if err != nil {
		return nil, fmt.Errorf("make the bootstrap: %w", err)
	}
	return &bootstrap.Bootstrap{
		Node: &core.Node{Id: "enforcer", Cluster: "enforcer"},
		Admin: &bootstrap.Admin{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "127.0.0.1",
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: 0}}}}},
		StaticResources: &bootstrap.Bootstrap_StaticResources{Listeners: listeners},
		LayeredRuntime: &bootstrap.LayeredRuntime{Layers: []*bootstrap.RuntimeLayer{{Name: "istio",
			LayerSpecifier: &bootstrap.RuntimeLayer_StaticLayer{StaticLayer: flags}}}},
	}, nil
}

// routes returns every policy set a route with RBAC overrides of its own, found by
// a look-up of setHeader, and lets Envoy say in response headers what it saw and
// why it decided so.
func routes(sets map[string][]*rbac.RBAC) *route.RouteConfiguration {
	found := make(map[string]*xdsmatcher.Matcher_OnMatch, len(sets))
	for name, filters := range sets {
		r := &route.Route{
			Match:                &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action:               &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 200}},
			TypedPerFilterConfig: map[string]*anypb.Any{},
		}
		for _, f := range filters {
			r.TypedPerFilterConfig["rbac-"+f.Rules.GetAction().String()] = typed(&rbac.RBACPerRoute{Rbac: f})
		}
		found[name] = &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Action{Action: &xdscore.TypedExtensionConfig{Name: name, TypedConfig: typed(r)}}}
	}
	input := &xdscore.TypedExtensionConfig{Name: "set", TypedConfig: typed(&matchertypes.HttpRequestHeaderMatchInput{HeaderName: setHeader})}
	return &route.RouteConfiguration{Name: "sets",
		ResponseHeadersToAdd: explanations(),
		VirtualHosts: []*route.VirtualHost{{Name: "all", Domains: []string{"*"}, Matcher: &xdsmatcher.Matcher{MatcherType: &xdsmatcher.Matcher_MatcherTree_{
			MatcherTree: &xdsmatcher.Matcher_MatcherTree{Input: input, TreeType: &xdsmatcher.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcher.Matcher_MatcherTree_MatchMap{Map: found}}}}}}}}
}

// explanations are the response headers in which Envoy says what it saw and why
// it decided so. A denial takes them from the local reply's configuration: the
// routes answer directly, and Envoy adds no header of such a route to it.
func explanations() []*core.HeaderValueOption {
	header := func(k, v string) *core.HeaderValueOption {
		return &core.HeaderValueOption{Header: &core.HeaderValue{Key: k, Value: v}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	return []*core.HeaderValueOption{
		header("x-details", "%RESPONSE_CODE_DETAILS%"),
		header("x-rule", "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"),
		header("x-path", "%REQ(:PATH)%"),
	}
}

// anyStatus takes every local reply.
var anyStatus = &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_StatusCodeFilter{
	StatusCodeFilter: &accesslog.StatusCodeFilter{Comparison: &accesslog.ComparisonFilter{Op: accesslog.ComparisonFilter_GE,
		Value: &core.RuntimeUInt32{DefaultValue: 400, RuntimeKey: "none"}}}}}

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
