package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	kjson "sigs.k8s.io/json"
)

// kindOf says how an implemented kind is decoded and where it goes.
type kindOf struct {
	clusterScoped bool
	// asked kinds are only asked about: local mode runs none.
	asked  bool
	decode func(o *object, data string, unknown map[string]bool) (any, error)
	add    func(o *object, value any)
}

// implementation returns the kind's decoder, and false for a kind that local mode
// does not implement.
func implementation(apiVersion, kind string) (kindOf, bool) {
	switch apiVersion + " " + kind {
	case "v1 Namespace":
		return kindOf{clusterScoped: true, decode: plain[corev1.Namespace], add: func(o *object, v any) {
			n := v.(*corev1.Namespace)
			o.checkMetadata(n.Labels, n.Annotations)
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			// The API server sets it on every Namespace; NetworkPolicies select by it.
			n.Labels[corev1.LabelMetadataName] = n.Name
			o.survey.Set.Namespaces = append(o.survey.Set.Namespaces, n)
		}}, true
	case "v1 ServiceAccount":
		return kindOf{decode: plain[corev1.ServiceAccount], add: func(o *object, v any) {
			a := v.(*corev1.ServiceAccount)
			o.checkMetadata(a.Labels, a.Annotations)
			o.survey.Set.ServiceAccounts = append(o.survey.Set.ServiceAccounts, a)
		}}, true
	case "v1 ConfigMap":
		return kindOf{decode: plain[corev1.ConfigMap], add: func(o *object, v any) {
			c := v.(*corev1.ConfigMap)
			o.checkMetadata(c.Labels, c.Annotations)
			o.survey.Set.ConfigMaps = append(o.survey.Set.ConfigMaps, c)
		}}, true
	case "apps/v1 Deployment":
		return kindOf{decode: plain[appsv1.Deployment], add: func(o *object, v any) {
			d := v.(*appsv1.Deployment)
			o.checkMetadata(d.Labels, d.Annotations)
			o.checkMetadata(d.Spec.Template.Labels, d.Spec.Template.Annotations)
			o.checkDeployment(d)
			o.survey.Set.Deployments = append(o.survey.Set.Deployments, d)
		}}, true
	case "v1 Service":
		return kindOf{decode: plain[corev1.Service], add: func(o *object, v any) {
			s := v.(*corev1.Service)
			o.checkMetadata(s.Labels, s.Annotations)
			o.checkService(s)
			o.survey.Set.Services = append(o.survey.Set.Services, s)
		}}, true
	case "networking.k8s.io/v1 NetworkPolicy":
		return kindOf{decode: plain[networkingv1.NetworkPolicy], add: func(o *object, v any) {
			p := v.(*networkingv1.NetworkPolicy)
			o.checkMetadata(p.Labels, p.Annotations)
			o.checkNetworkPolicy(p)
			o.survey.Set.NetworkPolicies = append(o.survey.Set.NetworkPolicies, p)
		}}, true
	case "gateway.networking.k8s.io/v1 Gateway", "gateway.networking.k8s.io/v1beta1 Gateway":
		return kindOf{decode: plain[gatewayv1.Gateway], add: func(o *object, v any) {
			g := v.(*gatewayv1.Gateway)
			o.checkMetadata(g.Labels, g.Annotations)
			o.checkGateway(g)
			o.survey.Set.Gateways = append(o.survey.Set.Gateways, g)
		}}, true
	case "gateway.networking.k8s.io/v1 HTTPRoute", "gateway.networking.k8s.io/v1beta1 HTTPRoute":
		return kindOf{decode: plain[gatewayv1.HTTPRoute], add: func(o *object, v any) {
			r := v.(*gatewayv1.HTTPRoute)
			o.checkMetadata(r.Labels, r.Annotations)
			o.checkHTTPRoute(r)
			o.survey.Set.HTTPRoutes = append(o.survey.Set.HTTPRoutes, r)
		}}, true
	case "security.istio.io/v1 AuthorizationPolicy", "security.istio.io/v1beta1 AuthorizationPolicy":
		return kindOf{decode: authorizationPolicy, add: func(o *object, v any) {
			p := v.(*securityv1.AuthorizationPolicy)
			o.checkMetadata(p.Labels, p.Annotations)
			o.checkAuthorizationPolicy(p)
			o.survey.Set.AuthorizationPolicies = append(o.survey.Set.AuthorizationPolicies, p)
		}}, true
	case "security.istio.io/v1 PeerAuthentication", "security.istio.io/v1beta1 PeerAuthentication":
		return kindOf{decode: peerAuthentication, add: func(o *object, v any) {
			p := v.(*securityv1.PeerAuthentication)
			o.checkMetadata(p.Labels, p.Annotations)
			o.checkPeerAuthentication(p)
			o.survey.Set.PeerAuthentications = append(o.survey.Set.PeerAuthentications, p)
		}}, true
	case "networking.istio.io/v1 ServiceEntry", "networking.istio.io/v1beta1 ServiceEntry",
		"networking.istio.io/v1alpha3 ServiceEntry":
		return kindOf{asked: true, decode: serviceEntry, add: func(o *object, v any) {
			e := v.(*istionetworkingv1.ServiceEntry)
			o.checkMetadata(e.Labels, e.Annotations)
			o.checkServiceEntry(e)
			o.survey.Set.ServiceEntries = append(o.survey.Set.ServiceEntries, e)
		}}, true
	}
	return kindOf{}, false
}

// locatedError is a decoding error whose line is known.
type locatedError struct {
	line int
	code Code
	text string
}

func (e *locatedError) Error() string { return e.text }

var (
	strictField = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)
	typeField   = regexp.MustCompile(`cannot unmarshal (\S+) into Go struct field (?:\w+\.)?(\S+) of type (\S+)`)
	protoLine   = regexp.MustCompile(`\(line (\d+):\d+\): (.*)$`)
)

// plain decodes an object on Kubernetes' own types, case-sensitively as the API
// server does.
func plain[T any](o *object, data string, unknown map[string]bool) (any, error) {
	v := new(T)
	if err := o.strict(data, v, unknown); err != nil {
		return nil, err
	}
	return v, nil
}

func (o *object) strict(data string, v any, unknown map[string]bool) error {
	faults, err := kjson.UnmarshalStrict([]byte(data), v)
	if err != nil {
		if m := typeField.FindStringSubmatch(err.Error()); m != nil {
			path := o.wrongValue(m[2], m[1])
			return &locatedError{o.lineOf(path), CodeInvalid, fmt.Sprintf("%s: a %s where a %s is needed", path, m[1],
				m[3])}
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	for _, f := range faults {
		if m := strictField.FindStringSubmatch(f.Error()); m != nil && m[1] == "unknown" {
			unknown[m[2]] = true
			o.fault(o.lineOf(m[2]), CodeUnknownField, "unknown field %s", m[2])
			continue
		}
		o.fault(o.origin.Line, CodeUnknownField, "%v", f)
	}
	return nil
}

// wrongValue finds the value of a JSON type within a map, which the decoder
// names as a whole only.
func (o *object) wrongValue(path, jsonType string) string {
	n := o.node
	for step := range strings.SplitSeq(path, ".") {
		n = field(n, step)
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return path
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		tag := n.Content[i+1].ShortTag()
		if (jsonType == "bool" && tag == "!!bool") || (jsonType == "number" && (tag == "!!int" || tag == "!!float")) ||
			(jsonType == "object" && tag == "!!map") || (jsonType == "array" && tag == "!!seq") {
			return path + "." + n.Content[i].Value
		}
	}
	return path
}

// envelope is an Istio object around its spec, which has its own JSON form.
type envelope struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              json.RawMessage `json:"spec"`
}

func (o *object) istio(data string, spec proto.Message, unknown map[string]bool) (*envelope, error) {
	var e envelope
	if err := o.strict(data, &e, unknown); err != nil {
		return nil, err
	}
	n := field(o.node, "spec")
	if n == nil || isNull(n) {
		return &e, nil
	}
	// Written again, by itself: the decoder then counts lines from here.
	body, err := jsonOf(n, "spec", nil, func(int, Code, string, ...any) {})
	if err != nil {
		return nil, err
	}
	err = protojson.Unmarshal([]byte(body), spec)
	if err != nil && o.input != nil && strings.Contains(err.Error(), "unknown field") {
		// The API server leaves it out and keeps the rest.
		o.specFault(n, err)
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(body), spec)
	}
	if err != nil {
		return nil, o.specError(n, err)
	}
	return &e, nil
}

func (o *object) specFault(n *yaml.Node, err error) {
	var located *locatedError
	if errors.As(o.specError(n, err), &located) {
		o.fault(located.line, located.code, "%s", located.text)
	}
}

// specError finds the line of a decoding error.
func (o *object) specError(n *yaml.Node, err error) error {
	message := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	if m := protoLine.FindStringSubmatch(message); m != nil {
		line, convErr := strconv.Atoi(m[1])
		line += n.Line - 1
		if convErr != nil {
			line = o.origin.Line
		}
		code := CodeInvalid
		if strings.HasPrefix(m[2], "unknown field") {
			code = CodeUnknownField
		}
		return &locatedError{line, code, "spec: " + m[2]}
	}
	return &locatedError{n.Line, CodeInvalid, "spec: " + strings.TrimPrefix(message, "proto: ")}
}

func authorizationPolicy(o *object, data string, unknown map[string]bool) (any, error) {
	p := &securityv1.AuthorizationPolicy{}
	e, err := o.istio(data, &p.Spec, unknown)
	if err != nil {
		return nil, err
	}
	p.TypeMeta, p.ObjectMeta = e.TypeMeta, e.ObjectMeta
	return p, nil
}

func peerAuthentication(o *object, data string, unknown map[string]bool) (any, error) {
	p := &securityv1.PeerAuthentication{}
	e, err := o.istio(data, &p.Spec, unknown)
	if err != nil {
		return nil, err
	}
	p.TypeMeta, p.ObjectMeta = e.TypeMeta, e.ObjectMeta
	return p, nil
}

func serviceEntry(o *object, data string, unknown map[string]bool) (any, error) {
	s := &istionetworkingv1.ServiceEntry{}
	e, err := o.istio(data, &s.Spec, unknown)
	if err != nil {
		return nil, err
	}
	s.TypeMeta, s.ObjectMeta = e.TypeMeta, e.ObjectMeta
	return s, nil
}
