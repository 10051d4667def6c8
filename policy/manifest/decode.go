package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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
	decode func(o *object, data string) (any, error)
	add    func(o *object, value any)
}

// implementations are the kinds that local mode implements, by their version and name.
var implementations = map[string]kindOf{
	"v1 Namespace":      namespaceKind(),
	"v1 ServiceAccount": kind(nil, func(s *Set) *[]*corev1.ServiceAccount { return &s.ServiceAccounts }),
	"v1 ConfigMap":      kind(nil, func(s *Set) *[]*corev1.ConfigMap { return &s.ConfigMaps }),
	"v1 Service":        kind((*object).checkService, func(s *Set) *[]*corev1.Service { return &s.Services }),
	"apps/v1 Deployment": kind((*object).checkDeployment,
		func(s *Set) *[]*appsv1.Deployment { return &s.Deployments }),
	"networking.k8s.io/v1 NetworkPolicy": kind((*object).checkNetworkPolicy,
		func(s *Set) *[]*networkingv1.NetworkPolicy { return &s.NetworkPolicies }),
	"gateway.networking.k8s.io/v1 Gateway": kind((*object).checkGateway,
		func(s *Set) *[]*gatewayv1.Gateway { return &s.Gateways }),
	"gateway.networking.k8s.io/v1 HTTPRoute": kind((*object).checkHTTPRoute,
		func(s *Set) *[]*gatewayv1.HTTPRoute { return &s.HTTPRoutes }),
	"security.istio.io/v1 AuthorizationPolicy": kind((*object).checkAuthorizationPolicy,
		func(s *Set) *[]*securityv1.AuthorizationPolicy { return &s.AuthorizationPolicies }).
		decodedBy(istio(func(p *securityv1.AuthorizationPolicy, e *envelope) proto.Message {
			p.TypeMeta, p.ObjectMeta = e.TypeMeta, e.ObjectMeta
			return &p.Spec
		})),
	"security.istio.io/v1 PeerAuthentication": kind((*object).checkPeerAuthentication,
		func(s *Set) *[]*securityv1.PeerAuthentication { return &s.PeerAuthentications }).
		decodedBy(istio(func(p *securityv1.PeerAuthentication, e *envelope) proto.Message {
			p.TypeMeta, p.ObjectMeta = e.TypeMeta, e.ObjectMeta
			return &p.Spec
		})),
	"networking.istio.io/v1 ServiceEntry": kind((*object).checkServiceEntry,
		func(s *Set) *[]*istionetworkingv1.ServiceEntry { return &s.ServiceEntries }).
		decodedBy(istio(func(s *istionetworkingv1.ServiceEntry, e *envelope) proto.Message {
			s.TypeMeta, s.ObjectMeta = e.TypeMeta, e.ObjectMeta
			return &s.Spec
		})).onlyAsked(),
}

// earlier are the versions of the mesh's groups before v1.
var earlier = map[string][]string{
	"gateway.networking.k8s.io": {"v1beta1"},
	"security.istio.io":         {"v1beta1"},
	"networking.istio.io":       {"v1beta1", "v1alpha3"},
}

// implementation returns the kind's decoder, and false for a kind that local mode
// does not implement. What the mesh's kinds are in their earlier versions they are in v1.
func implementation(apiVersion, kind string) (kindOf, bool) {
	group, version, _ := strings.Cut(apiVersion, "/")
	if slices.Contains(earlier[group], version) {
		apiVersion = group + "/v1"
	}
	k, ok := implementations[apiVersion+" "+kind]
	return k, ok
}

// kind is one of Kubernetes' own form: its labels and annotations are checked, then
// what check says, and it goes to the end of a list.
func kind[T any, P pointerTo[T]](check func(*object, P), list func(*Set) *[]P) kindOf {
	return kindOf{decode: plain[T], add: func(o *object, v any) {
		x := v.(P)
		o.checkMetadata(x.GetLabels(), x.GetAnnotations())
		if check != nil {
			check(o, x)
		}
		all := list(o.survey.Set)
		*all = append(*all, x)
	}}
}

func (k kindOf) decodedBy(decode func(*object, string) (any, error)) kindOf {
	k.decode = decode
	return k
}

func (k kindOf) onlyAsked() kindOf {
	k.asked = true
	return k
}

func namespaceKind() kindOf {
	k := kind(func(_ *object, n *corev1.Namespace) {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		// The API server sets it on every Namespace; NetworkPolicies select by it.
		n.Labels[corev1.LabelMetadataName] = n.Name
	}, func(s *Set) *[]*corev1.Namespace { return &s.Namespaces })
	k.clusterScoped = true
	return k
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
func plain[T any](o *object, data string) (any, error) {
	v := new(T)
	return v, o.strict(data, v)
}

func (o *object) strict(data string, v any) error {
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
			o.unknown[m[2]] = true
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

// istio decodes an Istio object. open takes over what is around the spec and returns the
// spec to fill.
func istio[T any](open func(*T, *envelope) proto.Message) func(*object, string) (any, error) {
	return func(o *object, data string) (any, error) {
		var e envelope
		if err := o.strict(data, &e); err != nil {
			return nil, err
		}
		v := new(T)
		return v, o.spec(open(v, &e))
	}
}

// spec fills an Istio object's spec.
func (o *object) spec(spec proto.Message) error {
	n := field(o.node, "spec")
	if n == nil || isNull(n) {
		return nil
	}
	if o.input != nil {
		o.dropProtoNames(n, spec.ProtoReflect().Descriptor())
	}
	// Written again, by itself: the decoder then counts lines from here.
	body, err := jsonOf(n, "spec", nil, func(int, Code, string, ...any) {})
	if err != nil {
		return err
	}
	err = protojson.Unmarshal([]byte(body), spec)
	if err != nil && o.input != nil && strings.Contains(err.Error(), "unknown field") {
		// The API server leaves it out and keeps the rest.
		o.report(o.specError(n, err))
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(body), spec)
	}
	if err != nil {
		return o.specError(n, err)
	}
	return nil
}

// dropProtoNames takes out of a spec what the decoder would take for fields and no API
// server does: a CRD has notPrincipals and not not_principals, which is left out before
// Istio sees it.
func (o *object) dropProtoNames(n *yaml.Node, of protoreflect.MessageDescriptor) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			o.dropProtoNames(c, of)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	kept := make([]*yaml.Node, 0, len(n.Content))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field := of.Fields().ByTextName(key.Value)
		if field != nil && field.JSONName() != key.Value {
			o.fault(key.Line, CodeUnknownField, "spec: unknown field %q: write %s", key.Value, field.JSONName())
			continue
		}
		kept = append(kept, key, value)
		switch field = of.Fields().ByJSONName(key.Value); {
		case field == nil:
		case field.IsMap():
			if inner := field.MapValue().Message(); inner != nil && value.Kind == yaml.MappingNode {
				for j := 1; j < len(value.Content); j += 2 {
					o.dropProtoNames(value.Content[j], inner)
				}
			}
		case field.Message() != nil:
			o.dropProtoNames(value, field.Message())
		}
	}
	n.Content = kept
}

// report adds the fault that decoding came to.
func (o *object) report(err error) {
	located := &locatedError{o.origin.Line, CodeInvalid, err.Error()}
	errors.As(err, &located)
	o.fault(located.line, located.code, "%s", located.text)
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
