// Package manifest reads rendered Kubernetes objects from files, strictly: a
// kind, field or value that local mode would have to ignore is an error that
// names it, with its file and line. It holds objects, it does not judge them.
package manifest

import (
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Key names one object within a Set.
type Key struct{ Kind, Namespace, Name string }

// Origin is where an object was read from. Line counts from 1.
type Origin struct {
	File string `json:"file"`
	Line int    `json:"line"`
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
		w := Workload{Key: Key{"Deployment", d.Namespace, d.Name}, Template: &d.Spec.Template, Replicas: 1}
		if d.Spec.Replicas != nil {
			w.Replicas = *d.Spec.Replicas
		}
		for _, o := range d.OwnerReferences {
			w.Owner = Key{o.Kind, d.Namespace, o.Name}
		}
		out = append(out, w)
	}
	return append(out, s.Workloads...)
}
