package manifest

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Overlay returns a new Set with the objects of over in place of those of the
// same kind, namespace and name, and those that are new behind them. Both Sets
// stay as they are.
func (s *Set) Overlay(over *Set) *Set {
	out := &Set{
		Namespaces:            overlay(s.Namespaces, over.Namespaces),
		ServiceAccounts:       overlay(s.ServiceAccounts, over.ServiceAccounts),
		ConfigMaps:            overlay(s.ConfigMaps, over.ConfigMaps),
		Deployments:           overlay(s.Deployments, over.Deployments),
		Services:              overlay(s.Services, over.Services),
		NetworkPolicies:       overlay(s.NetworkPolicies, over.NetworkPolicies),
		Gateways:              overlay(s.Gateways, over.Gateways),
		HTTPRoutes:            overlay(s.HTTPRoutes, over.HTTPRoutes),
		AuthorizationPolicies: overlay(s.AuthorizationPolicies, over.AuthorizationPolicies),
		PeerAuthentications:   overlay(s.PeerAuthentications, over.PeerAuthentications),
		ServiceEntries:        overlay(s.ServiceEntries, over.ServiceEntries),
		Workloads:             slices.Concat(s.Workloads, over.Workloads),
		Origins:               maps.Clone(s.Origins),
	}
	if out.Origins == nil {
		out.Origins = map[Key]Origin{}
	}
	maps.Copy(out.Origins, over.Origins)
	return out
}

func overlay[T metav1.Object](base, over []T) []T {
	type name struct{ namespace, name string }
	at := make(map[name]int, len(base))
	out := slices.Clone(base)
	for i, o := range out {
		at[name{o.GetNamespace(), o.GetName()}] = i
	}
	for _, o := range over {
		if i, ok := at[name{o.GetNamespace(), o.GetName()}]; ok {
			out[i] = o
			continue
		}
		out = append(out, o)
	}
	return out
}
