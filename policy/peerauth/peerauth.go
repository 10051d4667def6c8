// Package peerauth decides whether a workload takes plaintext, from
// PeerAuthentications, as ztunnel is told by istiod
// (istio.io/istio pilot/pkg/serviceregistry/ambient/authorization.go,
// convertedSelectorPeerAuthentications and convertPeerAuthentication). A STRICT
// mode is a refusal of connections without an identity; it adds nothing else.
package peerauth

import (
	"cmp"
	"maps"
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
	// bare is a namespace's policy without so much as an empty selector: the one
	// that a workload's is converted against.
	bare map[string]*securityv1.PeerAuthentication
}

// New compiles the policies. rootNamespace is where the mesh-wide one lives,
// istio-system when empty. Of several for the same scope the oldest counts, and
// of those the first by name.
func New(rootNamespace string, policies []*securityv1.PeerAuthentication) *Policies {
	p := &Policies{
		root:       cmp.Or(rootNamespace, catalog.RootNamespace),
		namespaces: map[string]*securityv1.PeerAuthentication{},
		workloads:  map[string][]*securityv1.PeerAuthentication{},
		bare:       map[string]*securityv1.PeerAuthentication{},
	}
	ordered := slices.Clone(policies)
	slices.SortStableFunc(ordered, func(a, b *securityv1.PeerAuthentication) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, a := range ordered {
		if a.Spec.Selector == nil {
			p.bare[a.Namespace] = cmp.Or(p.bare[a.Namespace], a)
		}
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
	if p == nil {
		return Result{Mode: Permissive}
	}
	return p.level(namespace, p.workload(namespace, labels)).mode(uint32(port))
}

// workload returns the policy that selects a workload, the one that counts of several.
func (p *Policies) workload(namespace string, labels map[string]string) *securityv1.PeerAuthentication {
	for _, a := range p.workloads[namespace] {
		if selects(a, labels) {
			return a
		}
	}
	return nil
}

// levels are the policies that count for a workload, nil where there is none.
type levels struct {
	mesh, namespace, workload *securityv1.PeerAuthentication
	bareMesh, bareNamespace   *securityv1.PeerAuthentication
}

func (p *Policies) level(namespace string, workload *securityv1.PeerAuthentication) levels {
	return levels{p.mesh, p.namespaces[namespace], workload, p.bare[p.root], p.bare[namespace]}
}

func (l levels) mode(port uint32) Result {
	out := Result{Mode: Permissive}
	for _, a := range []*securityv1.PeerAuthentication{l.mesh, l.namespace, l.workload} {
		if m, set := said(mtls(a)); set {
			out = Result{m, name(a)}
		}
	}
	if !l.portsCount(out.Mode == Strict) {
		return out
	}
	// From here on the policy as converted decides alone.
	if l.refuses(port) {
		return Result{Strict, name(l.workload)}
	}
	return Result{Permissive, name(l.workload)}
}

// portsCount reports whether istiod has the workload look at its policy's ports
// (convertedSelectorPeerAuthentications): where one of them says otherwise than what
// holds for the workload, strict or not. Without a mode of its own and under a STRICT
// parent, a DISABLE does not count as otherwise.
func (l levels) portsCount(strict bool) bool {
	if l.workload == nil {
		return false
	}
	_, own := said(l.workload.Spec.Mtls)
	for _, at := range l.workload.Spec.PortLevelMtls {
		m, set := said(at)
		switch {
		case !set, (m == Strict) == strict:
		case strict && !own && at.GetMode() == securityv1beta1.PeerAuthentication_MutualTLS_DISABLE:
		default:
			return true
		}
	}
	return false
}

// refuses reports whether the workload's policy, as istiod converts it for ztunnel,
// refuses plaintext on a port. It follows convertPeerAuthentication step by step, with
// what it leaves out: a STRICT port under a STRICT mesh is left to a parent that a
// PERMISSIVE of the workload has switched off, and an open port is forgotten under a
// namespace that says nothing.
func (l levels) refuses(port uint32) bool {
	mode, own := said(l.workload.Spec.Mtls)
	meshStrict, namespaceStrict := strict(l.bareMesh), strict(l.bareNamespace)
	_, namespaceSays := said(mtls(l.bareNamespace))
	rule := own && mode == Strict // refuses what has no identity, on ports not exempt
	exempt, found := false, false
	for number, at := range l.workload.Spec.PortLevelMtls {
		m, set := said(at)
		switch {
		case !set:
		case m == Strict:
			covered := own && mode == Strict || !own && namespaceStrict || !namespaceSays && meshStrict
			if !covered && number == port {
				return true
			}
		case own && mode == Permissive:
		case !own && !(l.bareNamespace != nil && namespaceStrict || l.bareNamespace == nil && meshStrict):
		default:
			found = true
			exempt = exempt || number == port
		}
	}
	if found && (namespaceStrict || meshStrict && !namespaceSays) {
		rule = true
	}
	return (rule || found) && !exempt
}

func mtls(a *securityv1.PeerAuthentication) *securityv1beta1.PeerAuthentication_MutualTLS {
	if a == nil {
		return nil
	}
	return a.Spec.Mtls
}

// said returns what a policy says of its mode, and whether it says anything. DISABLE is
// PERMISSIVE to a node proxy.
func said(mtls *securityv1beta1.PeerAuthentication_MutualTLS) (Mode, bool) {
	switch mtls.GetMode() {
	case securityv1beta1.PeerAuthentication_MutualTLS_STRICT:
		return Strict, true
	case securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE, securityv1beta1.PeerAuthentication_MutualTLS_DISABLE:
		return Permissive, true
	}
	return Permissive, false
}

func strict(a *securityv1.PeerAuthentication) bool {
	m, _ := said(mtls(a))
	return m == Strict
}

func name(a *securityv1.PeerAuthentication) string { return a.Namespace + "/" + a.Name }

// Surprise is a port on which a workload takes plaintext, or refuses it, although its
// policies say otherwise: what they say got lost in istiod's conversion for ztunnel.
type Surprise struct {
	Policy *securityv1.PeerAuthentication
	// Port is one that the policy names, or 0 for those that it does not name.
	Port       uint16
	Said, Mode Mode
}

// Surprises lists where the result is not what the nearest of port, workload,
// namespace and mesh says, by policies with a selector in the order of their names.
func (p *Policies) Surprises() []Surprise {
	var out []Surprise
	for _, namespace := range slices.Sorted(maps.Keys(p.workloads)) {
		for _, a := range p.workloads[namespace] {
			l := p.level(namespace, a)
			for _, port := range append(slices.Sorted(maps.Keys(a.Spec.PortLevelMtls)), 0) {
				want := Permissive
				for _, level := range []*securityv1beta1.PeerAuthentication_MutualTLS{
					mtls(l.mesh), mtls(l.namespace), a.Spec.Mtls, a.Spec.PortLevelMtls[port],
				} {
					if m, set := said(level); set {
						want = m
					}
				}
				if got := l.mode(port).Mode; got != want {
					out = append(out, Surprise{a, uint16(port), want, got})
				}
			}
		}
	}
	return out
}

func selects(a *securityv1.PeerAuthentication, labels map[string]string) bool {
	for k, v := range a.Spec.GetSelector().GetMatchLabels() {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
