package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/automaton"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
)

// Kind is what a caller is.
type Kind string

// The kinds of callers.
const (
	Workload Kind = "workload" // a pod of the manifests
	Ingress  Kind = "ingress"  // whoever comes through the north/south gateway
	Account  Kind = "account"  // an identity that no pod of the manifests has
	Unmeshed Kind = "unmeshed" // a pod that nobody wrote, outside of the mesh
	Outside  Kind = "outside"  // an address that is no pod's
)

// caller is one class of callers, with one of it for every side.
type caller struct {
	name    string
	kind    Kind
	account string // "namespace/account" of its identity
	// workloads are those with a sidecar that have the account.
	workloads []string
	identity  string
	// cell, namespace and labels are what pods that nobody wrote have.
	cell      string
	namespace string
	labels    map[string]string
	in        []topology.Caller // by side; what it is in each state
	pod       *topology.Pod     // of the first side that has one
}

// listed returns the callers that the manifests name: every pod of a workload, and the
// gateways.
func listed(sides []*side) (pods, gateways []*caller) {
	type key struct {
		workload
		account string
		nth     int // of the pods that have both
	}
	at := map[key]*caller{}
	for i, s := range sides {
		seen := map[key]int{}
		for _, p := range s.world.Pods {
			if p.Kind != topology.App {
				continue
			}
			k := key{workloadOf(p), p.ServiceAccount, 0}
			k.nth, seen[k] = seen[k], seen[k]+1
			name := Name(p)
			if k.nth > 0 { // its labels may be others
				name = cmp.Or(p.Cell, p.Namespace) + "/" + p.Name
			}
			c := at[k]
			if c == nil {
				c = &caller{
					name: name, kind: Workload, account: p.Namespace + "/" + p.ServiceAccount, identity: p.Identity,
					pod: p, in: make([]topology.Caller, len(sides)),
				}
				at[k] = c
				pods = append(pods, c)
			}
			if c.in[i].Pod == nil {
				c.in[i] = p.Caller()
			}
		}
	}
	for _, c := range pods {
		for i, s := range sides {
			if c.in[i].Pod == nil { // there it would be a pod that nobody wrote
				c.in[i] = s.stranger(c.pod.Namespace, c.pod.ServiceAccount, c.pod.Labels, c.pod.Meshed, nil)
			}
		}
	}
	slices.SortFunc(pods, func(a, b *caller) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.account, b.account))
	})
	names := map[string]*caller{}
	for i, s := range sides {
		for _, g := range s.world.Gateways {
			name := s.gatewayName(g)
			c := names[name]
			if c == nil {
				c = &caller{
					name: name, kind: Ingress, identity: g.Pod.Identity, pod: g.Pod, account: g.Pod.Namespace + "/" +
						g.Pod.ServiceAccount,
					in: make([]topology.Caller, len(sides)),
				}
				names[name] = c
				gateways = append(gateways, c)
			}
			c.in[i] = g.Pod.Caller()
		}
	}
	return pods, gateways
}

// gatewayName is how people name who comes through a gateway: ingress, where it is
// the one that local mode runs or there is no other.
func (s *side) gatewayName(g *topology.Gateway) string {
	if g.Pod == s.world.Gateway || len(s.world.Gateways) == 1 {
		return "ingress"
	}
	return "ingress " + g.Pod.Ref.String()
}

// stranger is a pod that nobody wrote. namespaceLabels are those of a namespace that
// nobody wrote either.
func (s *side) stranger(namespace, account string, labels map[string]string, meshed bool,
	namespaceLabels map[string]string) topology.Caller {
	c := topology.Caller{Meshed: meshed}
	if meshed {
		if id, err := topology.ID(namespace, account); err == nil {
			c.Identity = id.String()
		}
	}
	of, known := s.world.Namespaces[namespace]
	if !known {
		of = maps.Clone(namespaceLabels)
		if of == nil {
			of = map[string]string{}
		}
		of[corev1.LabelMetadataName] = namespace
	}
	c.Endpoint = netpol.Endpoint{IP: strangerIP, Namespace: namespace, NamespaceLabels: of, PodLabels: labels}
	return c
}

// strangerIP is an address as pods have them.
var strangerIP = netip.MustParseAddr("10.244.255.254")

// anyAccount is a name that no policy has.
const anyAccount = "any-other"

// anyNamespace is one that no manifest has.
const anyNamespace = "any-other"

// space is where a pod that nobody wrote may be: a namespace, with what its labels
// can be where nobody wrote that either.
type space struct {
	namespace string
	labels    map[string]string // of a namespace that nobody wrote
	pods      []map[string]string
	words     string
}

const maxCombinations = 2048

// spaces returns the places of pods that nobody wrote, as far as the NetworkPolicies
// before some pods tell them apart, and those namespaces of which something is
// claimed by name.
func spaces(sides []*side, hops [][]*topology.Pod, claimed []string) ([]space, error) {
	m := netpol.NewMentions()
	for i, s := range sides {
		s.Mentions(m, hops[i])
	}
	known := map[string]*topology.World{}
	for _, s := range sides {
		for name := range s.world.Namespaces {
			known[name] = s.world
		}
	}
	var out []space
	for _, name := range slices.Sorted(maps.Keys(known)) {
		own := &netpol.Mentions{Namespaces: map[string][]string{}, Pods: maps.Clone(m.Pods)}
		for _, s := range sides {
			s.Mentions(own, nil, name)
		}
		pods, err := combinations(own.Pods)
		if err != nil {
			return nil, fmt.Errorf("labels of pods in %s: %w", name, err)
		}
		out = append(out, space{namespace: name, pods: pods, words: cellOf(known[name], name)})
	}
	pods, err := combinations(m.Pods)
	if err != nil {
		return nil, fmt.Errorf("labels of pods: %w", err)
	}
	named := slices.Concat(m.Namespaces[corev1.LabelMetadataName], claimed)
	for _, list := range hops { // of pods whose Namespace is not among the manifests
		for _, p := range list {
			named = append(named, p.Namespace)
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	keys := maps.Clone(m.Namespaces)
	delete(keys, corev1.LabelMetadataName)
	labels, err := combinations(keys)
	if err != nil {
		return nil, fmt.Errorf("labels of namespaces: %w", err)
	}
	slices.SortStableFunc(labels, func(a, b map[string]string) int { return len(a) - len(b) })
	for _, l := range labels {
		words := "another namespace"
		if len(l) > 0 {
			words += " labelled " + labelWords(l)
		}
		out = append(out, space{namespace: anyNamespace, labels: l, pods: pods, words: words})
		for _, name := range named {
			if known[name] == nil {
				out = append(out, space{namespace: name, labels: l, pods: pods, words: name})
			}
		}
	}
	return out, nil
}

// cellOf is how people name a namespace: by its Cell.
func cellOf(w *topology.World, namespace string) string {
	return cmp.Or(w.Namespaces[namespace][topology.LabelProject], namespace)
}

func labelWords(l map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		out = append(out, k+"="+l[k])
	}
	return strings.Join(out, ",")
}

// combinations returns every choice of labels that some selectors can tell apart:
// each key absent, with each of the values that count, and with another one.
func combinations(values map[string][]string) ([]map[string]string, error) {
	out := []map[string]string{{}}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		choices := append(slices.Clone(values[key]), "any-other")
		var next []map[string]string
		for _, base := range out {
			next = append(next, base)
			for _, v := range choices {
				with := maps.Clone(base)
				with[key] = v
				next = append(next, with)
			}
		}
		if out = next; len(out) > maxCombinations {
			return nil, fmt.Errorf("%w: more than %d combinations of labels", errTooMany, maxCombinations)
		}
	}
	return out, nil
}

// someone is an identity that no pod of the manifests has.
type someone struct {
	namespace, account string
	words              string
}

// identities are all that there can be.
var identities = authz.IdentityDomain(topology.TrustDomain.Name())

// identities returns those of a space that rules tell apart and no pod of the
// manifests has: those that rules name, those that patterns tell apart, and any
// other.
func (w *sweep) identities(where *space, n *named) ([]someone, error) {
	elsewhere := where.namespace == anyNamespace
	var out []someone
	for _, account := range slices.Sorted(maps.Keys(n.accounts)) {
		ns, sa, _ := strings.Cut(account, "/")
		switch {
		case w.isTaken(account):
		case w.strange[account] != "" && (ns == where.namespace || elsewhere && !slices.Contains(w.spoken, ns)):
			out = append(out, someone{ns, sa, "account " + account + ", " + w.strange[account]})
		case elsewhere && !slices.Contains(w.spoken, ns):
			out = append(out, someone{ns, sa, "account " + account + ", which is not among the manifests"})
		case ns == where.namespace:
			out = append(out, someone{ns, sa, "account " + where.words + "/" + sa + ", which no workload here runs as"})
		}
	}
	if len(n.patterns) == 0 {
		return append(out, someone{where.namespace, anyAccount, "any other account of " + where.words}), nil
	}
	// not are the identities that are asked about by themselves.
	root := "spiffe://" + topology.TrustDomain.Name() + "/ns/"
	var patterns []automaton.Pattern
	exact := func(v string) { patterns = append(patterns, automaton.Or(automaton.Sequence{}.Literal(v))) }
	prefix := func(v string) {
		patterns = append(patterns, automaton.Or(automaton.Sequence{}.Literal(v).Many(automaton.Any)))
	}
	if elsewhere {
		for _, ns := range w.spoken {
			prefix(root + ns + "/")
		}
	}
	for _, accounts := range []map[string]bool{w.taken, n.accounts} {
		for account := range accounts {
			ns, sa, _ := strings.Cut(account, "/")
			if (n.accounts[account] || w.isTaken(account)) &&
				(ns == where.namespace || elsewhere && !slices.Contains(w.spoken, ns)) {
				exact(root + ns + "/sa/" + sa)
			}
		}
	}
	not := len(patterns)
	for _, v := range n.patterns {
		patterns = append(patterns, v.Pattern)
	}
	if !elsewhere {
		prefix(root + where.namespace + "/")
	}
	classes, err := automaton.Cut(identities, patterns, maxStates)
	if err != nil {
		return nil, err
	}
	for _, c := range classes {
		inside := elsewhere || len(c.In) > 0 && c.In[len(c.In)-1] == len(patterns)-1
		if !inside || len(c.In) > 0 && c.In[0] < not {
			continue
		}
		ns, sa, _ := strings.Cut(strings.TrimPrefix(c.Witness, root), "/sa/")
		words := "any other account of " + where.words
		var like []string
		for _, i := range c.In {
			if i < not+len(n.patterns) {
				like = append(like, n.patterns[i-not].Text)
			}
		}
		if len(like) > 0 {
			words += " that matches " + strings.Join(like, " and ")
		}
		out = append(out, someone{ns, sa, words})
	}
	return out, nil
}
