// Package peerauth decides whether a workload takes plaintext, from
// PeerAuthentications, as ztunnel is told by istiod
// (istio.io/istio pilot/pkg/serviceregistry/ambient/authorization.go,
// convertedSelectorPeerAuthentications and convertPeerAuthentication). A STRICT
// mode is a refusal of connections without an identity; it adds nothing else.
package peerauth

import (
	"cmp"
	"slices"

	"artemis.example/catalog"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Mode is what a workload's port takes.
type Mode string

// The modes. DISABLE is PERMISSIVE to a node proxy: it takes both.
const (
	Permissive Mode = "PERMISSIVE"
	Strict     Mode = "STRICT"
)

// Policies is a compiled set of PeerAuthentications.
type Policies struct {
	root       string
	mesh       *securityv1.PeerAuthentication
	namespaces map[string]*securityv1.PeerAuthentication
	workloads  map[string][]*securityv1.PeerAuthentication
}

// New compiles the policies. rootNamespace is where the mesh-wide one lives,
// istio-system when empty. Of several for the same scope the oldest counts, and
// of those the first by name.
func New(rootNamespace string, policies []*securityv1.PeerAuthentication) *Policies {
	p := &Policies{
		root:       cmp.Or(rootNamespace, catalog.RootNamespace),
		namespaces: map[string]*securityv1.PeerAuthentication{},
		workloads:  map[string][]*securityv1.PeerAuthentication{},
	}
	ordered := slices.Clone(policies)
	slices.SortStableFunc(ordered, func(a, b *securityv1.PeerAuthentication) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, a := range ordered {
		selects := len(a.Spec.GetSelector().GetMatchLabels()) > 0
		switch {
		case !selects && a.Namespace == p.root:
			p.mesh = cmp.Or(p.mesh, a)
		case !selects:
			p.namespaces[a.Namespace] = cmp.Or(p.namespaces[a.Namespace], a)
		case a.Namespace != p.root:
			p.workloads[a.Namespace] = append(p.workloads[a.Namespace], a)
		}
	}
	return p
}

// Result is a mode and the policy, "namespace/name", that set it; the policy is
// empty where none did.
type Result struct {
	Mode   Mode
	Policy string
}

// For returns the mode of a workload's port.
func (p *Policies) For(namespace string, labels map[string]string, port uint16) Result {
	out := Result{Mode: Permissive}
	if p == nil {
		return out
	}
	apply := func(a *securityv1.PeerAuthentication, mtls *securityv1beta1.PeerAuthentication_MutualTLS) {
		switch mtls.GetMode() {
		case securityv1beta1.PeerAuthentication_MutualTLS_STRICT:
			out = Result{Strict, a.Namespace + "/" + a.Name}
		case securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE, securityv1beta1.PeerAuthentication_MutualTLS_DISABLE:
			out = Result{Permissive, a.Namespace + "/" + a.Name}
		}
	}
	if p.mesh != nil {
		apply(p.mesh, p.mesh.Spec.Mtls)
	}
	if a := p.namespaces[namespace]; a != nil {
		apply(a, a.Spec.Mtls)
	}
	for _, a := range p.workloads[namespace] {
		if !selects(a, labels) {
			continue
		}
		apply(a, a.Spec.Mtls)
		if at := a.Spec.PortLevelMtls[uint32(port)]; !lostDisable(a, at) || out.Mode != Strict {
			apply(a, at)
		}
		break
	}
	return out
}

// lostDisable reports whether a port's DISABLE has no effect: without a mode of its
// own and under a STRICT parent, a workload's policy counts only when one of its
// ports is PERMISSIVE.
func lostDisable(a *securityv1.PeerAuthentication, at *securityv1beta1.PeerAuthentication_MutualTLS) bool {
	if at.GetMode() != securityv1beta1.PeerAuthentication_MutualTLS_DISABLE ||
		a.Spec.GetMtls().GetMode() != securityv1beta1.PeerAuthentication_MutualTLS_UNSET {
		return false
	}
	for _, m := range a.Spec.PortLevelMtls {
		if m.GetMode() == securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE {
			return false
		}
	}
	return true
}

func selects(a *securityv1.PeerAuthentication, labels map[string]string) bool {
	for k, v := range a.Spec.GetSelector().GetMatchLabels() {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
