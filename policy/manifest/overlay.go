package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"artemis.example/catalog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LoadStage loads what is in force at a stage: openchoreo/rendered and
// istio/cells, with istio/stages/STAGE over them except at zero-trust, and
// adversary/manifests where asked for. Root is the project's directory.
func LoadStage(root, stage string, withAdversary bool) (*Set, error) {
	if !slices.Contains(catalog.Stages(), stage) {
		return nil, fmt.Errorf("stage %q: there are only %q", stage, catalog.Stages())
	}
	paths := []string{filepath.Join(root, "openchoreo", "rendered"), filepath.Join(root, "istio", "cells")}
	if withAdversary {
		paths = append(paths, filepath.Join(root, "adversary", "manifests"))
	}
	set, err := Load(paths...)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", stage, err)
	}
	if stage == catalog.ZeroTrust {
		return set, nil
	}
	dir := filepath.Join(root, "istio", "stages", stage)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("stage %s: %s is missing; make render writes it", stage, dir)
	}
	over, err := Load(dir)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", stage, err)
	}
	for key, origin := range over.Origins {
		if _, ok := set.Origins[key]; !ok {
			return nil, fmt.Errorf("stage %s: %s:%d: %s %s replaces nothing; a stage only changes objects that exist at every stage", stage, origin.File, origin.Line, key.Kind, key)
		}
	}
	return set.Overlay(over), nil
}

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

// Lookup returns where an object was read from.
func (s *Set) Lookup(kind, namespace, name string) (Origin, bool) {
	o, ok := s.Origins[Key{kind, namespace, name}]
	return o, ok
}
