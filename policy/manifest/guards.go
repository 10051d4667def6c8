package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"artemis.example/catalog"
	"istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	labelProject       = "openchoreo.dev/project"
	labelDataplaneMode = "istio.io/dataplane-mode"
	labelUseWaypoint   = "istio.io/use-waypoint"
	labelWaypointFor   = "istio.io/waypoint-for"
)

// guardKind is one way in which something is protected.
type guardKind int

const (
	isolated    guardKind = iota // a pod: a NetworkPolicy says who may connect
	meshed                       // a pod: it has an identity, and a node proxy that judges
	strict                       // a pod: nothing comes in but mTLS
	l4                           // a pod: its node proxy admits whom policies list, and nobody else
	waypoint                     // a namespace: its Services are behind a waypoint
	defaultDeny                  // a namespace: the waypoint refuses what no policy allows
	authorized                   // a Service: the waypoint admits whom policies list
	deny                         // a DENY policy
)

// lacks says what it means when a guard is not there.
var lacks = map[guardKind]string{
	isolated:    "no NetworkPolicy isolates",
	meshed:      "not in the mesh: no " + labelDataplaneMode + " for",
	strict:      "no PeerAuthentication with mTLS STRICT for",
	l4:          "no L4 AuthorizationPolicy that keeps everybody out but whom it lists for",
	waypoint:    "no waypoint for",
	defaultDeny: "no default-deny, an ALLOW without rules, on the waypoint of",
	authorized:  "no AuthorizationPolicy for",
	deny:        "no DENY policy any more:",
}

// guard is one protection of one pod, Service, policy or namespace (no name).
type guard struct {
	kind            guardKind
	namespace, name string
}

// guards returns every protection in a set, with what gives it.
func (s *Set) guards() map[guard]Key {
	out := map[guard]Key{}
	namespaces := map[string]map[string]string{}
	for _, ns := range s.Namespaces {
		namespaces[ns.Name] = ns.Labels
		if name := ns.Labels[labelUseWaypoint]; name != "" && s.waypoint(ns.Name, name) {
			out[guard{waypoint, ns.Name, ""}] = Key{"Gateway", ns.Name, name}
			for _, p := range s.AuthorizationPolicies {
				if p.Namespace == ns.Name && allows(p) && len(p.Spec.Rules) == 0 && targets(p, "Gateway", name) {
					out[guard{defaultDeny, ns.Name, ""}] = keyOf(p)
				}
			}
		}
	}
	for _, d := range s.Deployments {
		if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
			continue
		}
		own := d.Spec.Template.Labels
		pod := func(kind guardKind) guard { return guard{kind, d.Namespace, d.Name} }
		for _, p := range s.NetworkPolicies {
			if p.Namespace == d.Namespace && restrictsIngress(p) && selects(&p.Spec.PodSelector, own) {
				out[pod(isolated)] = Key{"NetworkPolicy", p.Namespace, p.Name}
			}
		}
		if cmp.Or(own[labelDataplaneMode], namespaces[d.Namespace][labelDataplaneMode]) == "ambient" {
			out[pod(meshed)] = Key{"Namespace", "", d.Namespace}
		}
		if key, ok := s.strict(d.Namespace, own); ok {
			out[pod(strict)] = key
		}
		if key, ok := s.listed(d.Namespace, own); ok {
			out[pod(l4)] = key
		}
	}
	for _, svc := range s.Services {
		name := cmp.Or(svc.Labels[labelUseWaypoint], namespaces[svc.Namespace][labelUseWaypoint])
		if name == "" || !s.waypoint(svc.Namespace, name) {
			continue
		}
		for _, p := range s.AuthorizationPolicies {
			if p.Namespace == svc.Namespace && allows(p) && (targets(p, "Service", svc.Name) || targets(p, "Gateway",
				name)) {
				out[guard{authorized, svc.Namespace, svc.Name}] = keyOf(p)
			}
		}
	}
	for _, p := range s.AuthorizationPolicies {
		if p.Spec.Action == v1beta1.AuthorizationPolicy_DENY {
			out[guard{deny, p.Namespace, p.Name}] = keyOf(p)
		}
	}
	return out
}

func keyOf(p *securityv1.AuthorizationPolicy) Key {
	return Key{"AuthorizationPolicy", p.Namespace, p.Name}
}

func (s *Set) waypoint(namespace, name string) bool {
	for _, g := range s.Gateways {
		if g.Namespace == namespace && g.Name == name && g.Spec.GatewayClassName == catalog.WaypointClass {
			return cmp.Or(g.Labels[labelWaypointFor], "service") != "none"
		}
	}
	return false
}

func allows(p *securityv1.AuthorizationPolicy) bool {
	return p.Spec.Action == v1beta1.AuthorizationPolicy_ALLOW
}

func targets(p *securityv1.AuthorizationPolicy, kind, name string) bool {
	refs := p.Spec.TargetRefs
	if p.Spec.TargetRef != nil {
		refs = append(slices.Clone(refs), p.Spec.TargetRef)
	}
	for _, ref := range refs {
		if ref.Kind == kind && ref.Name == name {
			return true
		}
	}
	return false
}

func restrictsIngress(p *networkingv1.NetworkPolicy) bool {
	return len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(of))
}

// strict reports whether a pod takes mTLS only, and by which policy: one that
// selects it beats the namespace's.
func (s *Set) strict(namespace string, of map[string]string) (Key, bool) {
	var key Key
	var whole, own v1beta1.PeerAuthentication_MutualTLS_Mode
	for _, p := range s.PeerAuthentications {
		selector := p.Spec.GetSelector().GetMatchLabels()
		if p.Namespace != namespace || (len(selector) > 0 && !labels.SelectorFromSet(selector).Matches(
			labels.Set(of))) {
			continue
		}
		mode := p.Spec.GetMtls().GetMode()
		if len(selector) == 0 {
			whole = mode
		} else if mode != v1beta1.PeerAuthentication_MutualTLS_UNSET {
			own = mode
		}
		if mode == v1beta1.PeerAuthentication_MutualTLS_STRICT {
			key = Key{"PeerAuthentication", p.Namespace, p.Name}
		}
		for _, port := range p.Spec.PortLevelMtls {
			if m := port.GetMode(); m == v1beta1.PeerAuthentication_MutualTLS_PERMISSIVE ||
				m == v1beta1.PeerAuthentication_MutualTLS_DISABLE {
				return Key{}, false
			}
		}
	}
	return key, cmp.Or(own, whole) == v1beta1.PeerAuthentication_MutualTLS_STRICT
}

// listed reports whether a pod's node proxy admits only whom policies list, and
// by which: there is an ALLOW policy for it, and no rule of one is for everybody.
func (s *Set) listed(namespace string, of map[string]string) (key Key, ok bool) {
	for _, p := range s.AuthorizationPolicies {
		selector := p.Spec.GetSelector().GetMatchLabels()
		if p.Namespace != namespace || !allows(p) || len(p.Spec.TargetRefs) > 0 || p.Spec.TargetRef != nil ||
			!labels.SelectorFromSet(selector).Matches(labels.Set(of)) {
			continue
		}
		for _, rule := range p.Spec.Rules {
			if len(rule.From) == 0 || slices.ContainsFunc(rule.From, admitsAll) {
				return Key{}, false
			}
		}
		key, ok = keyOf(p), true
	}
	return key, ok
}

func admitsAll(from *v1beta1.Rule_From) bool {
	s := from.GetSource()
	return len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces())+
		len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts())+len(s.GetIpBlocks())+len(s.GetNotIpBlocks()) == 0
}

// needed returns the guards that every Cell and every component of it has at a
// stage.
func (s *Set) needed(stage string) []guard {
	cells := map[string]bool{}
	for _, ns := range s.Namespaces {
		if ns.Labels[labelProject] != "" {
			cells[ns.Name] = true
		}
	}
	for _, d := range s.Deployments {
		if d.Spec.Template.Labels[labelProject] != "" {
			cells[d.Namespace] = true
		}
	}
	ofPods := []guardKind{isolated}
	if stage != catalog.Open {
		ofPods = append(ofPods, meshed, strict)
	}
	var out []guard
	if stage == catalog.ZeroTrust {
		ofPods = append(ofPods, l4)
		for ns := range cells {
			out = append(out, guard{waypoint, ns, ""}, guard{defaultDeny, ns, ""})
		}
	}
	for _, d := range s.Deployments {
		if d.Spec.Template.Labels[labelProject] != "" && (d.Spec.Replicas == nil || *d.Spec.Replicas > 0) {
			for _, kind := range ofPods {
				out = append(out, guard{kind, d.Namespace, d.Name})
			}
		}
	}
	return out
}

// there reports whether what a guard protects is in the set.
func (s *Set) there(g guard) bool {
	switch g.kind {
	case authorized:
		_, ok := s.Origins[Key{"Service", g.namespace, g.name}]
		return ok
	case waypoint, defaultDeny, deny:
		return slices.ContainsFunc(s.AllWorkloads(), func(w Workload) bool {
			return w.Namespace == g.namespace && w.Replicas > 0
		})
	}
	return slices.ContainsFunc(s.AllWorkloads(), func(w Workload) bool {
		return w.Namespace == g.namespace && w.Name == g.name && w.Replicas > 0
	})
}

// Loss is a protection that is gone, or that a Cell needs and does not have.
type Loss struct {
	File  string // where it was, or where it belongs
	Stage string
	What  string
}

// Losses are the reason why a project is not put in force.
type Losses []Loss

// Error returns a line per loss.
func (l Losses) Error() string {
	lines := make([]string, len(l))
	for i, loss := range l {
		lines[i] = loss.String()
	}
	return strings.Join(lines, "\n")
}

// String returns "FILE: what is lost at which stage".
func (l Loss) String() string {
	if l.Stage == "" {
		return l.File + ": " + l.What
	}
	return l.File + ": at stage " + l.Stage + ": " + l.What
}

// Missing lists what Cells lack of the protection that is theirs at a stage.
func (p *Project) Missing(stage string) (Losses, error) {
	set, err := p.Stage(stage)
	if err != nil {
		return nil, err
	}
	have := set.guards()
	var gone []guard
	for _, g := range set.needed(stage) {
		if _, ok := have[g]; !ok {
			gone = append(gone, g)
		}
	}
	return p.losses(stage, gone, p), nil
}

// Lost lists the protection that would be lost, at any stage, if p came into force: what
// a Cell needs, what something has in before, the project in force (nil at the start),
// and the ends of files. What before lacks already is not listed. An edit that only widens
// a rule is no loss, but its author's decision.
func (p *Project) Lost(before *Project) (Losses, error) {
	if cut := p.incomplete(); len(cut) > 0 {
		return nil, cut
	}
	var all Losses
	if before != nil {
		for _, name := range p.names() {
			was, now := bytes.TrimSpace(before.files[name]), bytes.TrimSpace(p.files[name])
			if len(now) < len(was) && bytes.HasPrefix(was, now) {
				all = append(all, Loss{File: p.path(name), What: fmt.Sprintf("ends after line %d of %d of what is in "+
					"force: it was cut off",
					bytes.Count(now, []byte("\n"))+1, bytes.Count(was, []byte("\n"))+1)})
			}
		}
	}
	stages := catalog.Stages()
	slices.Reverse(stages) // the others are made from the last
	for _, stage := range stages {
		if !p.has(stage) && (before == nil || !before.has(stage)) {
			continue
		}
		set, err := p.Stage(stage)
		var old *Set
		var oldErr error
		if before != nil {
			old, oldErr = before.Stage(stage)
		}
		if err != nil && stage != catalog.ZeroTrust && (len(all) > 0 || oldErr != nil) {
			continue // a stage that lacks what is lost, now or before, is refused when it is asked for
		}
		if err != nil {
			return nil, err
		}
		have, gone := set.guards(), map[guard]bool{}
		for _, g := range set.needed(stage) {
			if _, ok := have[g]; !ok {
				gone[g] = true
			}
		}
		if old != nil {
			had := old.guards()
			for _, g := range old.needed(stage) {
				if _, ok := had[g]; !ok { // given up before
					delete(gone, g)
				}
			}
			for g := range had {
				if _, ok := have[g]; !ok && set.there(g) {
					gone[g] = true
				}
			}
		}
		all = append(all, p.losses(stage, slices.Collect(maps.Keys(gone)), cmp.Or(before, p))...)
	}
	return all, nil
}

// losses puts guards that are gone into words, those of a kind in a namespace
// together. Where they were is what the project before says.
func (p *Project) losses(stage string, gone []guard, before *Project) Losses {
	slices.SortFunc(gone, func(a, b guard) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), cmp.Compare(a.kind, b.kind), strings.Compare(a.name,
			b.name))
	})
	var out Losses
	for len(gone) > 0 {
		first := gone[0]
		n := 1
		for n < len(gone) && gone[n].namespace == first.namespace && gone[n].kind == first.kind {
			n++
		}
		of := first.namespace
		if first.name != "" {
			of = first.namespace + "/" + first.name
		}
		if n > 1 {
			of += fmt.Sprintf(" and %d more of the namespace", n-1)
		}
		out = append(out, Loss{p.whereWas(stage, first, before), stage, lacks[first.kind] + " " + of})
		gone = gone[n:]
	}
	return out
}

// whereWas returns the file that gave a guard in before, or the one that it
// belongs to.
func (p *Project) whereWas(stage string, g guard, before *Project) string {
	set, err := before.Stage(stage)
	if err == nil {
		if key, ok := set.guards()[g]; ok {
			if origin, ok := set.Origins[key]; ok {
				return origin.File
			}
		}
		for _, d := range set.Deployments {
			if cell := d.Spec.Template.Labels[labelProject]; d.Namespace == g.namespace && cell != "" {
				if g.kind == isolated || g.kind == meshed {
					return p.path(renderedFolder + "/" + cell + "/cell.yaml")
				}
				return p.path(cellsFolder + "/" + cell + ".yaml")
			}
		}
	}
	return filepath.Join(p.root, "the manifests of "+g.namespace)
}
