// Package manifest reads rendered Kubernetes objects from files, strictly: a
// kind, field or value that local mode would have to ignore is an error that
// names it, with its file and line. It holds objects, it does not judge them.
package manifest

import (
	"cmp"
	"reflect"
	"slices"

	typev1beta1 "istio.io/api/type/v1beta1"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Key names one object within a Set.
type Key struct{ Kind, Namespace, Name string }

// KeyOf returns the key of an object that a Set holds: each kind has the name of its Go
// type.
func KeyOf[T any, P pointerTo[T]](object P) Key {
	return Key{reflect.TypeFor[T]().Name(), object.GetNamespace(), object.GetName()}
}

// Find returns the object of a list by its name, nil where there is none.
func Find[T any, P pointerTo[T]](list []P, namespace, name string) P {
	for _, object := range list {
		if object.GetNamespace() == namespace && object.GetName() == name {
			return object
		}
	}
	return nil
}

// ByName is the order of objects by namespace and name.
func ByName[T any, P pointerTo[T]](a, b P) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

// pointerTo is one of Kubernetes' own types.
type pointerTo[T any] interface {
	*T
	metav1.Object
}

// Origin is where an object was read from. Line counts from 1.
type Origin struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (o Origin) compare(other Origin) int {
	return cmp.Or(cmp.Compare(o.File, other.File), cmp.Compare(o.Line, other.Line))
}

// Set is all objects of one state of the suite, by kind, each in the order of
// the files. A Set is not changed after it was loaded.
type Set struct {
	Namespaces            []*corev1.Namespace
	ServiceAccounts       []*corev1.ServiceAccount
	ConfigMaps            []*corev1.ConfigMap
	Deployments           []*appsv1.Deployment
	Services              []*corev1.Service
	NetworkPolicies       []*networkingv1.NetworkPolicy
	Gateways              []*gatewayv1.Gateway
	HTTPRoutes            []*gatewayv1.HTTPRoute
	AuthorizationPolicies []*securityv1.AuthorizationPolicy
	PeerAuthentications   []*securityv1.PeerAuthentication
	// ServiceEntries are destinations that no Service is: local mode runs none.
	ServiceEntries []*istionetworkingv1.ServiceEntry
	// Workloads are what makes pods and is no Deployment: local mode runs none.
	Workloads []Workload
	// Foreign manifests are somebody else's, read leniently: they are only asked
	// about, and nothing that local mode brings along is assumed to be there.
	Foreign bool

	Origins map[Key]Origin
}

// Workload is what makes pods: a Deployment, a StatefulSet, a bare Pod.
type Workload struct {
	Key
	Template *corev1.PodTemplateSpec
	Replicas int32
	// Owner is what made it, as a Deployment makes ReplicaSets; empty for none.
	Owner Key
}

// unnamable says why no pods can be named as a workload's would be, empty where they
// can.
func (w *Workload) unnamable() string {
	if name := w.Template.Spec.ServiceAccountName; name != "" {
		if why := (Key{Name: name}).unnamable(); why != "" {
			return why
		}
	}
	return w.Key.unnamable()
}

// AllWorkloads returns the Deployments and every other workload.
func (s *Set) AllWorkloads() []Workload {
	out := make([]Workload, 0, len(s.Deployments)+len(s.Workloads))
	for _, d := range s.Deployments {
		w := Workload{Key: KeyOf(d), Template: &d.Spec.Template, Replicas: ptr.Deref(d.Spec.Replicas, 1)}
		for _, o := range d.OwnerReferences {
			w.Owner = Key{o.Kind, d.Namespace, o.Name}
		}
		out = append(out, w)
	}
	return append(out, s.Workloads...)
}

// NamespaceLabels returns the labels of every Namespace of the set by its name.
func (s *Set) NamespaceLabels() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, n := range s.Namespaces {
		out[n.Name] = n.Labels
	}
	return out
}

// Selects reports whether labels are those of a selector, each of them.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// TargetRefs returns what a policy is for, nothing where it has a selector or is for
// all of its namespace.
func TargetRefs(p *securityv1.AuthorizationPolicy) []*typev1beta1.PolicyTargetReference {
	if len(p.Spec.TargetRefs) == 0 && p.Spec.TargetRef != nil {
		return []*typev1beta1.PolicyTargetReference{p.Spec.TargetRef}
	}
	return p.Spec.TargetRefs
}

// Targets reports whether a policy is for the object of that kind and name.
func Targets(p *securityv1.AuthorizationPolicy, kind, namespace, name string) bool {
	return p.Namespace == namespace && slices.ContainsFunc(TargetRefs(p),
		func(r *typev1beta1.PolicyTargetReference) bool { return r.GetKind() == kind && r.GetName() == name })
}

// Parent returns the namespace and the name of what a route is attached to, and its
// kind.
func Parent(r *gatewayv1.HTTPRoute, p gatewayv1.ParentReference) Key {
	return Key{string(ptr.Deref(p.Kind, "Gateway")), string(ptr.Deref(p.Namespace, gatewayv1.Namespace(r.Namespace))),
		string(p.Name)}
}

// Backend returns what a route leads to.
func Backend(r *gatewayv1.HTTPRoute, b gatewayv1.HTTPBackendRef) Key {
	return Key{string(ptr.Deref(b.Kind, "Service")), string(ptr.Deref(b.Namespace, gatewayv1.Namespace(r.Namespace))),
		string(b.Name)}
}
