package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

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

// protected is a Set with everything that protects something in it, and what gives
// that.
type protected struct {
	*Set
	by map[guard]Key
}

// protect finds every protection in a set.
func protect(s *Set) *protected {
	out := map[guard]Key{}
	namespaces, running := s.NamespaceLabels(), s.running()
	for namespace, own := range namespaces {
		name := own[labelUseWaypoint]
		if !s.waypoint(namespace, name) {
			continue
		}
		out[guard{waypoint, namespace, ""}] = Key{"Gateway", namespace, name}
		for _, p := range s.AuthorizationPolicies {
			if allows(p) && len(p.Spec.Rules) == 0 && Targets(p, "Gateway", namespace, name) {
				out[guard{defaultDeny, namespace, ""}] = KeyOf(p)
			}
		}
	}
	for _, w := range running {
		own := w.Template.Labels
		if cmp.Or(own[labelDataplaneMode], namespaces[w.Namespace][labelDataplaneMode]) == "ambient" {
			out[guard{meshed, w.Namespace, w.Name}] = Key{"Namespace", "", w.Namespace}
		}
		if p := s.strict(w.Namespace, own); p != nil {
			out[guard{strict, w.Namespace, w.Name}] = KeyOf(p)
		}
		if p := s.listed(w.Namespace, own); p != nil {
			out[guard{l4, w.Namespace, w.Name}] = KeyOf(p)
		}
	}
	for _, p := range s.NetworkPolicies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !restrictsIngress(p) {
			continue
		}
		for _, w := range running {
			if w.Namespace == p.Namespace && selector.Matches(labels.Set(w.Template.Labels)) {
				out[guard{isolated, w.Namespace, w.Name}] = KeyOf(p)
			}
		}
	}
	for _, svc := range s.Services {
		name := cmp.Or(svc.Labels[labelUseWaypoint], namespaces[svc.Namespace][labelUseWaypoint])
		if !s.waypoint(svc.Namespace, name) {
			continue
		}
		for _, p := range s.AuthorizationPolicies {
			if allows(p) && (Targets(p, "Service", svc.Namespace, svc.Name) ||
				Targets(p, "Gateway", svc.Namespace, name)) {
				out[guard{authorized, svc.Namespace, svc.Name}] = KeyOf(p)
			}
		}
	}
	for _, p := range s.AuthorizationPolicies {
		if p.Spec.Action == v1beta1.AuthorizationPolicy_DENY {
			out[guard{deny, p.Namespace, p.Name}] = KeyOf(p)
		}
	}
	return &protected{s, out}
}

// running returns the workloads that have pods.
func (s *Set) running() []Workload {
	return slices.DeleteFunc(s.AllWorkloads(), func(w Workload) bool { return w.Replicas <= 0 })
}

func (s *Set) waypoint(namespace, name string) bool {
	g := Find(s.Gateways, namespace, name)
	return g != nil && g.Spec.GatewayClassName == catalog.WaypointClass && g.Labels[labelWaypointFor] != "none"
}

func allows(p *securityv1.AuthorizationPolicy) bool {
	return p.Spec.Action == v1beta1.AuthorizationPolicy_ALLOW
}

func restrictsIngress(p *networkingv1.NetworkPolicy) bool {
	return len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

// strict returns the policy by which a pod takes mTLS only, nil where it takes more:
// one that selects it beats the namespace's.
func (s *Set) strict(namespace string, of map[string]string) (by *securityv1.PeerAuthentication) {
	var whole, own v1beta1.PeerAuthentication_MutualTLS_Mode
	for _, p := range s.PeerAuthentications {
		selector := p.Spec.GetSelector().GetMatchLabels()
		if p.Namespace != namespace || !Selects(selector, of) {
			continue
		}
		mode := p.Spec.GetMtls().GetMode()
		if len(selector) == 0 {
			whole = mode
		} else {
			own = cmp.Or(mode, own)
		}
		if mode == v1beta1.PeerAuthentication_MutualTLS_STRICT {
			by = p
		}
		for _, port := range p.Spec.PortLevelMtls {
			if m := port.GetMode(); m == v1beta1.PeerAuthentication_MutualTLS_PERMISSIVE ||
				m == v1beta1.PeerAuthentication_MutualTLS_DISABLE {
				return nil
			}
		}
	}
	if cmp.Or(own, whole) != v1beta1.PeerAuthentication_MutualTLS_STRICT {
		return nil
	}
	return by
}

// listed returns a policy by which a pod's node proxy admits only whom policies list,
// nil where it admits others: where there is no ALLOW policy for it, or a rule of one
// is for everybody.
func (s *Set) listed(namespace string, of map[string]string) (by *securityv1.AuthorizationPolicy) {
	for _, p := range s.AuthorizationPolicies {
		nobody := p.Spec.Selector != nil && p.Spec.Selector.MatchLabels == nil // as authz.SelectsNothing has it
		if p.Namespace != namespace || !allows(p) || len(TargetRefs(p)) > 0 || nobody ||
			!Selects(p.Spec.GetSelector().GetMatchLabels(), of) {
			continue
		}
		for _, rule := range p.Spec.Rules {
			if len(rule.From) == 0 || slices.ContainsFunc(rule.From, admitsAll) {
				return nil
			}
		}
		by = p
	}
	return by
}

func admitsAll(from *v1beta1.Rule_From) bool {
	s := from.GetSource()
	return len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces())+
		len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts())+len(s.GetIpBlocks())+len(s.GetNotIpBlocks()) == 0
}

// lacking returns the guards that a Cell or a component of one has to have at a stage,
// and has not.
func (s *protected) lacking(stage string) map[guard]bool {
	ofPods, ofCells := []guardKind{isolated}, []guardKind{}
	if stage != catalog.Open {
		ofPods = append(ofPods, meshed, strict)
	}
	if stage == catalog.ZeroTrust {
		ofPods, ofCells = append(ofPods, l4), append(ofCells, waypoint, defaultDeny)
	}
	out := map[guard]bool{}
	need := func(kinds []guardKind, namespace, name string) {
		for _, kind := range kinds {
			if g := (guard{kind, namespace, name}); s.by[g] == (Key{}) {
				out[g] = true
			}
		}
	}
	for namespace, own := range s.NamespaceLabels() {
		if own[labelProject] != "" {
			need(ofCells, namespace, "")
		}
	}
	for _, w := range s.AllWorkloads() {
		if w.Template.Labels[labelProject] == "" {
			continue
		}
		need(ofCells, w.Namespace, "")
		if w.Replicas > 0 {
			need(ofPods, w.Namespace, w.Name)
		}
	}
	return out
}

// there reports whether what a guard protects is in the set.
func (s *Set) there(g guard) bool {
	if g.kind == authorized {
		return Find(s.Services, g.namespace, g.name) != nil
	}
	all := g.kind == waypoint || g.kind == defaultDeny || g.kind == deny // of the namespace
	return slices.ContainsFunc(s.running(), func(w Workload) bool {
		return w.Namespace == g.namespace && (all || w.Name == g.name)
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
	return lines(l)
}

// Error returns "FILE: what is lost at which stage".
func (l Loss) Error() string {
	if l.Stage == "" {
		return l.File + ": " + l.What
	}
	return l.File + ": at stage " + l.Stage + ": " + l.What
}

// Missing lists what Cells lack of the protection that is theirs at a stage.
func (p *Project) Missing(stage string) (Losses, error) {
	now, err := p.at(stage)
	if err != nil {
		return nil, err
	}
	return p.losses(stage, now.lacking(stage), p), nil
}

// Lost lists the protection that would be lost, at any stage, if p came into force: what
// a Cell needs, what something has in before, the project in force (nil at the start),
// and the ends of files. What before lacks already is not listed. An edit that only widens
// a rule is no loss, but its author's decision.
func (p *Project) Lost(before *Project) (Losses, error) {
	if cut := p.incomplete(p.names()); len(cut) > 0 {
		return nil, cut
	}
	var all Losses
	if before != nil {
		p.takeOver(before)
		all = p.cutOff(before)
	}
	stages := catalog.Stages()
	slices.Reverse(stages) // the others are made from the last
	for _, stage := range stages {
		if !p.has(stage) && (before == nil || !before.has(stage)) {
			continue
		}
		now, err := p.at(stage)
		var old *protected
		var oldErr error
		if before != nil {
			old, oldErr = before.at(stage)
		}
		if err != nil && stage != catalog.ZeroTrust && (len(all) > 0 || oldErr != nil) {
			continue // a stage that lacks what is lost, now or before, is refused when it is asked for
		}
		if err != nil {
			return nil, err
		}
		gone := now.lacking(stage)
		if old != nil {
			for g := range old.lacking(stage) { // given up before
				delete(gone, g)
			}
			for g := range old.by {
				if _, ok := now.by[g]; !ok && now.there(g) {
					gone[g] = true
				}
			}
		}
		all = append(all, p.losses(stage, gone, cmp.Or(before, p))...)
	}
	return all, nil
}

// cutOff lists the files that begin as they did before, and end sooner.
func (p *Project) cutOff(before *Project) Losses {
	var out Losses
	for _, name := range p.names() {
		was, now := bytes.TrimSpace(before.files[name]), bytes.TrimSpace(p.files[name])
		if len(now) < len(was) && bytes.HasPrefix(was, now) {
			out = append(out, Loss{File: p.path(name), What: fmt.Sprintf("ends after line %d of %d of what is in "+
				"force: it was cut off", bytes.Count(now, []byte("\n"))+1, bytes.Count(was, []byte("\n"))+1)})
		}
	}
	return out
}

// losses puts guards that are gone into words, those of a kind in a namespace
// together. Where they were is what the project before says.
func (p *Project) losses(stage string, all map[guard]bool, before *Project) Losses {
	gone := slices.SortedFunc(maps.Keys(all), func(a, b guard) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
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
	if was, err := before.at(stage); err == nil {
		if origin, ok := was.Origins[was.by[g]]; ok {
			return origin.File
		}
		for _, d := range was.Deployments {
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
