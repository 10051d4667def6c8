package analysis

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
	"go.yaml.in/yaml/v3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Claim is what is claimed about one workload, in the words of allowFrom. Exactly
// one of the lists is given; an empty `only` claims that nobody can call it.
type Claim struct {
	To     string   `yaml:"to"`
	Only   *[]Allow `yaml:"only,omitempty"`   // these callers may ask for this, and nobody for anything else
	Never  []Allow  `yaml:"never,omitempty"`  // these callers may not ask for any of this, by any way
	Always []Allow  `yaml:"always,omitempty"` // these callers may ask for all of this, by some way
	line   int
}

// Allow is some callers with some requests, as in allowFrom. Without methods or
// paths every one is meant.
type Allow struct {
	Project   string   `yaml:"project,omitempty"`
	Component string   `yaml:"component,omitempty"`
	WholeCell bool     `yaml:"wholeCell,omitempty"`
	Ingress   bool     `yaml:"ingress,omitempty"` // whoever comes through the gateway
	Anyone    bool     `yaml:"anyone,omitempty"`
	Methods   []string `yaml:"methods,omitempty"`
	Paths     []string `yaml:"paths,omitempty"`
}

// who is the callers in words.
func (a *Allow) who() string {
	switch {
	case a.Anyone:
		return "anyone"
	case a.Ingress:
		return "ingress"
	case a.WholeCell:
		return "every workload of " + a.Project
	}
	return a.Project + "/" + a.Component
}

// means reports whether a caller is among those meant.
func (a *Allow) means(c *caller) bool {
	switch {
	case a.Anyone:
		return true
	case a.Ingress:
		return c.kind == Ingress
	case c.kind == Outside:
		return false
	}
	cell, name := c.namespace, ""
	if c.pod != nil {
		cell, name = c.pod.Cell, c.pod.Component
	} else {
		_, name, _ = strings.Cut(c.account, "/")
	}
	in := a.Project == cell || a.Project == c.namespace || c.pod != nil && a.Project == c.pod.Namespace ||
		c.cell != "" && a.Project == c.cell
	// A pod is whom its account says: two pods with one account are one caller.
	named := a.Component == name || slices.Contains(c.workloads, a.Component) ||
		c.kind == Workload && a.Component == c.pod.ServiceAccount
	return in && (a.WholeCell || named)
}

// meant returns the accounts that a claim names and no pod of the manifests runs as,
// and the namespaces that it names and the manifests do not have.
func (a *Analysis) meant(c *Claim) (accounts map[string]bool, places []string) {
	accounts = map[string]bool{}
	if c == nil {
		return accounts, nil
	}
	for _, entry := range c.allows() {
		if entry.Project == "" {
			continue
		}
		in := a.namespaces(entry.Project)
		if len(in) == 0 {
			in = []string{entry.Project}
			places = append(places, entry.Project)
		}
		for _, namespace := range in {
			account := namespace + "/" + entry.Component
			if _, err := topology.ID(namespace, entry.Component); err == nil && !entry.WholeCell && !a.taken[account] {
				accounts[account] = true
			}
		}
	}
	return accounts, places
}

// namespaces returns those that a Cell's name means, or the one of that name.
func (a *Analysis) namespaces(project string) []string {
	var out []string
	for _, s := range a.sides {
		for name := range s.world.Namespaces {
			if (name == project || cellOf(s.world, name) == project) && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ReadClaims reads a file of claims: a mapping with the list `claims`.
func ReadClaims(name string, data []byte) ([]Claim, error) {
	var doc struct {
		Claims []yaml.Node `yaml:"claims"`
	}
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read claims: %s: %w", name, err)
	}
	if len(doc.Claims) == 0 {
		return nil, fmt.Errorf("read claims: %s: there is no list `claims`", name)
	}
	var out []Claim
	for i := range doc.Claims {
		node := &doc.Claims[i]
		text, err := yaml.Marshal(node)
		if err != nil {
			return nil, fmt.Errorf("read claims: %s:%d: %w", name, node.Line, err)
		}
		c := Claim{line: node.Line}
		d := yaml.NewDecoder(strings.NewReader(string(text)))
		d.KnownFields(true)
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("read claims: %s:%d: %w", name, node.Line, err)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("read claims: %s:%d: %w", name, node.Line, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (c *Claim) check() error {
	if c.To == "" {
		return errors.New("`to` is missing: say CELL/COMPONENT or NAMESPACE/WORKLOAD")
	}
	given := 0
	for _, is := range []bool{c.Only != nil, len(c.Never) > 0, len(c.Always) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("a claim is one of `only`, `never` and `always`")
	}
	for _, a := range c.allows() {
		switch forms := btoi(a.Anyone) + btoi(a.Ingress) + btoi(a.Project != ""); {
		case forms != 1:
			return errors.New("each entry names its callers by `project` with `component` or `wholeCell: true`, by " +
				"`ingress: true`, or by `anyone: true`")
		case a.Project != "" && (a.Component == "") != a.WholeCell:
			return fmt.Errorf("project %s: say either `component` or `wholeCell: true`", a.Project)
		}
		if err := a.checkRequests(); err != nil {
			return err
		}
	}
	return nil
}

// checkRequests refuses methods and paths that no policy ever sees: of them everything
// could be claimed.
func (a *Allow) checkRequests() error {
	for _, m := range a.Methods {
		if m != strings.ToUpper(m) {
			return fmt.Errorf("method %s: there is none of that name; methods are written as they are sent: %s", m,
				strings.ToUpper(m))
		}
	}
	for _, p := range a.Paths {
		if strings.ContainsAny(p, "*{") && !strings.Contains(p, "?") {
			continue
		}
		if normal, err := authz.NormalizePath(p); err != nil || normal != p || strings.Contains(p, "?") {
			return fmt.Errorf(
				"path %s: no request has it when policies look; write an absolute path without a query, as "+
					"a proxy normalises it",
				p,
			)
		}
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Claim) allows() []Allow {
	if c.Only != nil {
		return *c.Only
	}
	return append(slices.Clone(c.Never), c.Always...)
}

// Kind is the claim's word.
func (c *Claim) Kind() string {
	switch {
	case c.Only != nil:
		return "only"
	case len(c.Never) > 0:
		return "never"
	}
	return "always"
}

// Mission returns what the catalog's table claims: for each service, that its rows
// and nobody else may call it, and that they can.
func Mission() []Claim {
	var out []Claim
	for _, s := range catalog.Services() {
		allows := []Allow{}
		for _, r := range s.Rules {
			for _, c := range r.Callers {
				a := Allow{Methods: []string{r.Method}, Paths: r.Paths}
				if c == catalog.Ingress {
					a.Ingress = true
				} else {
					a.Project, a.Component = c.Cell, c.Component
				}
				allows = append(allows, a)
			}
		}
		to := s.Caller().String()
		out = append(out, Claim{To: to, Only: &allows})
		if len(allows) > 0 {
			out = append(out, Claim{To: to, Always: allows})
		}
	}
	return out
}

// said returns what some entries say about a caller, as rules that the data path's
// own evaluator reads.
func said(entries []Allow, c *caller, bytes bool) *decider {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "claim", Namespace: "claims"}}
	p.Spec.Action = securityv1beta1.AuthorizationPolicy_ALLOW
	meant := false
	for _, a := range entries {
		if !a.means(c) {
			continue
		}
		meant = true
		rule := &securityv1beta1.Rule{}
		if len(a.Methods)+len(a.Paths) > 0 {
			rule.To = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: a.Methods,
				Paths: a.Paths}}}
		}
		p.Spec.Rules = append(p.Spec.Rules, rule)
	}
	if !meant {
		d := closed("nothing is claimed")
		return &d
	}
	e := authz.NewEngine(authz.Config{}, p)
	return &decider{rest: e.Rest(!bytes), decide: func(r *authz.Request) bool {
		asked := *r
		asked.HTTP = !bytes
		return e.Decide(&asked).Allowed
	}}
}

// target returns a pod of the workload that a name means: the workload's own name, or a
// Service's where one workload stands behind it.
func (a *Analysis) target(name string) (*topology.Pod, error) {
	s := a.sides[len(a.sides)-1]
	if s.names == nil {
		s.names = map[string][]*topology.Pod{}
		for of, pods := range s.byWorkload() {
			own, other := Name(pods[0]), of.namespace+"/"+of.component
			s.names[own] = append(s.names[own], pods[0])
			if other != own {
				s.names[other] = append(s.names[other], pods[0])
			}
		}
	}
	if same := s.names[name]; len(same) == 1 { // of several pods, perhaps
		return same[0], nil
	}
	if from, err := s.world.FindCaller(name); err == nil && from.Pod != nil && from.Pod.Kind == topology.App {
		return from.Pod, nil
	}
	to, _, err := s.world.FindDestination(name, 0)
	if err != nil {
		return nil, err
	}
	if to.Pod != nil {
		return to.Pod, nil
	}
	var found []*topology.Pod
	for _, port := range to.Service.Ports {
		for _, b := range to.Service.Backends(port.Number) {
			if !slices.ContainsFunc(found, func(o *topology.Pod) bool { return workloadOf(o) == workloadOf(b.Pod) }) {
				found = append(found, b.Pod)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("%s: no pod stands behind the Service", name)
	}
	return nil, fmt.Errorf("%s: %d workloads stand behind the Service; say which", name, len(found))
}
