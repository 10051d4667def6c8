package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/automaton"
	"artemis.example/policy/message"
)

// A diagram says of every request what some deciders say to it: one attribute
// after the other is cut into the classes that the rules which are then left
// cannot tell apart, and only as long as they matter. Its leaves are decided by
// the data path's own evaluators, on a request of the class.
type diagram struct {
	// mask has a bit for every decider that allows, at a leaf; example is a request
	// of the leaf's.
	mask    uint
	example *authz.Request
	// attribute, cut and kids are those of an inner node.
	attribute authz.Attribute
	cut       *cut
	kids      []kid
	text      string // the same for diagrams that say the same
}

// kid is what follows for some classes of a cut.
type kid struct {
	classes []int
	*diagram
}

// cut is the classes of one attribute.
type cut struct {
	values  []authz.Value // that make the classes
	texts   []string      // of them, as policies write them
	classes []class
}

// class is one class with the patterns that take it, and a value of it.
type class struct {
	in     []int
	values []string // the lines of a header, otherwise one; nil for a header that is not there
	addr   netip.Addr
	port   uint16
}

// known reports what a request of the class has.
func (c *class) set(a authz.Attribute, r *authz.Request) {
	switch a {
	case authz.AttributeMethod:
		r.Method = c.values[0]
	case authz.AttributePath:
		r.Path = c.values[0]
	case authz.AttributeHost:
		r.Host = c.values[0]
	case authz.AttributeScheme:
		r.Scheme = c.values[0]
	case authz.AttributeRemoteIP:
		r.RemoteIP = c.addr
	case authz.AttributePort:
		r.DestPort = c.port
	default:
		if name, ok := a.Header(); ok {
			r.Header = maps.Clone(r.Header)
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if c.values != nil {
				r.Header[name] = c.values
			}
		}
	}
}

// order is the order in which attributes are cut; headers come behind, by name.
var order = []authz.Attribute{
	authz.AttributePort, authz.AttributeMethod, authz.AttributePath, authz.AttributeHost, authz.AttributeScheme,
	authz.AttributeRemoteIP,
}

// condition is a pattern that matters though no rule has it: what the gateway's
// routes tell apart.
type condition struct {
	attribute authz.Attribute
	text      string
	pattern   automaton.Pattern
	// soft ones count where the attribute is cut anyway.
	soft bool
}

// limits bound what is looked at.
const (
	maxStates  = 200_000
	maxClasses = 10_000 // of one attribute
	maxLeaves  = 20_000 // of one diagram
	// manyClasses are worth comparing what follows them.
	manyClasses = 16
)

// errTooMany is returned for what would be too much to look at.
var errTooMany = errors.New("there would be too many classes of requests")

// errCorrelated is returned for rules that look at one thing in two ways.
var errCorrelated = errors.New("rules look at the client's address by remoteIpBlocks and by header x-forwarded-for: " +
	"not judged together")

// errUpgrade is returned for rules that look at both headers of an upgrade.
var errUpgrade = errors.New("rules look at header connection and at header upgrade, which come together: not judged")

// errAddress is returned for rules that look at what a cluster makes up.
var errAddress = errors.New("rules look at destination.ip, which is not in the manifests")

// builder makes diagrams, and counts.
type builder struct {
	leaves, decisions int
	budget            int
	hosts             []string // that people would use, tried first for a witness
	// forwarded is set where a gateway has added its client to x-forwarded-for.
	forwarded bool
	cuts      map[string]*cut
}

// build makes the diagram of what some deciders say. always is what has to be cut
// though the deciders do not name it.
func (b *builder) build(ds []decider, r authz.Request, always []condition) (*diagram, error) {
	b.budget = maxLeaves
	r.Method, r.Path = http.MethodGet, "/" // as long as they do not matter
	if len(b.hosts) > 0 {
		r.Host = b.hosts[0]
	}
	return b.node(ds, r, always)
}

func (b *builder) node(ds []decider, r authz.Request, always []condition) (*diagram, error) {
	a, found := next(ds, always)
	if wants(ds, authz.AttributeHeader+" Upgrade") && wants(ds, authz.AttributeHeader+" Connection") {
		return nil, errUpgrade
	}
	if forwarded, client := wants(ds, authz.AttributeHeader+" X-Forwarded-For"),
		wants(ds, authz.AttributeRemoteIP); forwarded && client {
		return nil, errCorrelated
	}
	if !found {
		return b.leaf(ds, r)
	}
	c, err := b.cutBy(a, ds, always)
	if err != nil {
		return nil, err
	}
	var rest []condition
	for _, x := range always {
		if x.attribute != a {
			rest = append(rest, x)
		}
	}
	n := &diagram{attribute: a, cut: c}
	at, alike := map[string]int{}, map[string]int{}
	for i := range c.classes {
		with := r
		c.classes[i].set(a, &with)
		given := make([]decider, len(ds))
		for j := range ds {
			given[j] = ds[j]
			if !given[j].closed {
				given[j].rest = ds[j].rest.Given(&with, func(x authz.Attribute) bool { return x == a })
			}
		}
		// Of many classes, those after which the rules have the same to say are followed
		// once. What the gateway's routes tell apart is not in the rules.
		left := ""
		for j := range given {
			if len(c.classes) > manyClasses && len(always) == 0 {
				left += given[j].key() + "\x00"
			}
		}
		if k, ok := alike[left]; ok && left != "" {
			n.kids[k].classes = append(n.kids[k].classes, i)
			continue
		}
		child, err := b.node(given, with, rest)
		if err != nil {
			return nil, err
		}
		if k, ok := at[child.text]; ok {
			n.kids[k].classes = append(n.kids[k].classes, i)
			alike[left] = k
			continue
		}
		at[child.text], alike[left] = len(n.kids), len(n.kids)
		n.kids = append(n.kids, kid{[]int{i}, child})
	}
	if len(n.kids) == 1 {
		return n.kids[0].diagram, nil
	}
	n.text = n.describe()
	return n, nil
}

func (n *diagram) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%p{", n.attribute, n.cut)
	for _, k := range n.kids {
		fmt.Fprintf(&b, "%v:%s;", k.classes, k.text)
	}
	b.WriteByte('}')
	return b.String()
}

// next returns the attribute to cut by, and false where nothing is left to tell
// apart: all is decided, or all that is not is refused.
func next(ds []decider, always []condition) (authz.Attribute, bool) {
	open := false
	wanted := map[authz.Attribute]bool{}
	for i := range ds {
		d := &ds[i]
		if d.closed {
			continue
		}
		allowed, ok := d.rest.Decided()
		open = open || !ok || allowed
		if !ok {
			d.rest.Names(func(a authz.Attribute) { wanted[a] = true })
		}
	}
	if !open {
		return "", false
	}
	for _, c := range always {
		wanted[c.attribute] = wanted[c.attribute] || !c.soft
	}
	for _, a := range order {
		if wanted[a] {
			return a, true
		}
	}
	for _, a := range slices.Sorted(maps.Keys(wanted)) {
		if wanted[a] {
			return a, true
		}
	}
	return "", false
}

// wants reports whether an attribute is still compared with something.
func wants(ds []decider, a authz.Attribute) bool {
	found := false
	for i := range ds {
		if !ds[i].closed {
			ds[i].rest.Names(func(x authz.Attribute) { found = found || x == a })
		}
	}
	return found
}

func (b *builder) leaf(ds []decider, r authz.Request) (*diagram, error) {
	if b.budget--; b.budget < 0 {
		return nil, errTooMany
	}
	b.leaves++
	n := &diagram{example: &r}
	for i := range ds {
		if !ds[i].closed {
			b.decisions++
		}
		if ds[i].allows(&r) {
			n.mask |= 1 << i
		}
	}
	n.text = fmt.Sprint(n.mask)
	return n, nil
}

// cutBy makes the classes of an attribute that the deciders and the conditions
// tell apart.
func (b *builder) cutBy(a authz.Attribute, ds []decider, always []condition) (*cut, error) {
	var values []authz.Value
	seen := map[string]bool{}
	add := func(v authz.Value) {
		if !seen[v.Key] {
			seen[v.Key] = true
			values = append(values, v)
		}
	}
	for i := range ds {
		if !ds[i].closed {
			ds[i].rest.Values(a, add)
		}
	}
	for _, c := range always {
		if c.attribute == a {
			add(authz.Value{Text: c.text, Key: "condition " + c.text, Pattern: c.pattern})
		}
	}
	slices.SortFunc(values, func(x, y authz.Value) int {
		return cmp.Or(strings.Compare(x.Text, y.Text), strings.Compare(x.Key, y.Key))
	})
	texts, key := make([]string, len(values)), string(a)
	for i, v := range values {
		texts[i] = v.Text
		key += "\n" + v.Key
	}
	if a == authz.AttributeHost && len(b.hosts) > 0 {
		key += "\n" + b.hosts[0]
	}
	if b.forwarded {
		key += "\nforwarded"
	}
	if c := b.cuts[key]; c != nil {
		return c, nil
	}
	c, err := b.cutValues(a, values)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errTooMany, a, err)
	}
	if len(c.classes) > maxClasses {
		return nil, fmt.Errorf("%w: %d of %s", errTooMany, len(c.classes), a)
	}
	c.values, c.texts = values, texts
	if b.cuts == nil {
		b.cuts = map[string]*cut{}
	}
	b.cuts[key] = c
	return c, nil
}

func (b *builder) cutValues(a authz.Attribute, values []authz.Value) (*cut, error) {
	switch a {
	case authz.AttributeRemoteIP:
		return cutAddresses(values), nil
	case authz.AttributePort:
		return cutPorts(values), nil
	}
	patterns := make([]automaton.Pattern, len(values))
	for i, v := range values {
		patterns[i] = v.Pattern
	}
	var domain *automaton.Domain
	var preferred []string
	header, filled := false, false
	switch a {
	case authz.AttributeMethod:
		domain, preferred = authz.MethodDomain, methods
	case authz.AttributePath:
		domain, preferred = authz.PathDomain(), []string{"/", "/x"}
		if slices.ContainsFunc(values, func(v authz.Value) bool { return v.Query }) {
			domain = authz.TargetDomain()
		}
	case authz.AttributeScheme:
		return among(patterns, "http", "https"), nil
	case authz.AttributeHost:
		domain, preferred = authz.HostDomain, b.hosts
	default:
		domain, header = authz.HeaderDomain, true
		switch name, _ := a.Header(); {
		case name == "X-Forwarded-Proto", name == "X-Request-Id": // Envoy fills them in
			domain, filled = authz.FilledDomain, true
		case name == "X-Forwarded-For" && b.forwarded:
			domain, filled = authz.ForwardedDomain(), true
		case name == "Connection":
			domain = authz.UpgradeDomain
		}
	}
	classes, err := automaton.Cut(domain, patterns, maxStates)
	if err != nil {
		return nil, err
	}
	c := &cut{}
	at := map[string]int{}
	for _, x := range classes {
		at[fmt.Sprint(x.In)] = len(c.classes)
		c.classes = append(c.classes, class{in: x.In, values: []string{x.Witness}})
	}
	given := map[int]bool{}
	for _, v := range preferred {
		var in []int
		for i := range patterns {
			if patterns[i].Matches(v) {
				in = append(in, i)
			}
		}
		if i, ok := at[fmt.Sprint(in)]; ok && !given[i] && domain.Contains(v) {
			c.classes[i].values, given[i] = []string{v}, true
		}
	}
	if !header {
		return c, nil
	}
	name, _ := a.Header()
	switch name { // Envoy keeps nothing else of them
	case "Te":
		c = among(patterns, "trailers", "")
	case "Upgrade":
		c = among(patterns, "websocket", "WebSocket", "WEBSOCKET")
	}
	if c, err = sent(c, name, values); err != nil {
		return nil, err
	}
	c, err = headerClasses(c, message.Joined(name))
	if filled { // it is never absent
		c.classes = c.classes[1:]
	}
	return c, err
}

// sent leaves out the classes of a header's line that no policy ever sees: one value
// each that Envoy takes off or refuses. Of what is more than one value that is not
// known, and so it is said.
func sent(c *cut, name string, values []authz.Value) (*cut, error) {
	if name == "Connection" || name == "Upgrade" {
		return c, nil // they come together, and their domains are what Envoy leaves
	}
	out := &cut{}
	for _, x := range c.classes {
		switch {
		case message.Passes(name, x.values):
			out.classes = append(out.classes, x)
		case !slices.ContainsFunc(x.in, func(i int) bool { return values[i].Exact }):
			return nil, fmt.Errorf("header %s: some values of it, such as %q, are seen otherwise than they are sent",
				strings.ToLower(name), x.values[0])
		}
	}
	return out, nil
}

// among makes the classes of a few values.
func among(patterns []automaton.Pattern, values ...string) *cut {
	c := &cut{}
	for _, v := range values {
		x := class{values: []string{v}}
		for i := range patterns {
			if patterns[i].Matches(v) {
				x.in = append(x.in, i)
			}
		}
		c.classes = append(c.classes, x)
	}
	return c
}

// methods are those that people know, in the order in which they come to mind.
var methods = []string{
	"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "COPY", "LOCK", "MERGE", "MKCOL", "MOVE",
	"PROPFIND", "PURGE", "REPORT", "SEARCH", "UNLOCK",
}

// headerClasses makes the classes of a header out of those of a line: it may be
// absent, and where lines are matched one by one it is as good as all that its
// lines are.
func headerClasses(lines *cut, joined bool) (*cut, error) {
	out := &cut{classes: append([]class{{}}, lines.classes...)}
	if joined {
		return out, nil
	}
	at := map[string]bool{}
	for _, c := range out.classes[1:] {
		at[fmt.Sprint(c.in)] = true
	}
	for i := 1; i < len(out.classes); i++ {
		for _, line := range lines.classes {
			in := union(out.classes[i].in, line.in)
			if k := fmt.Sprint(in); !at[k] {
				at[k] = true
				out.classes = append(out.classes, class{in: in, values: append(slices.Clone(out.classes[i].values),
					line.values...)})
				if len(out.classes) > maxClasses {
					return nil, fmt.Errorf("more than %d combinations of lines", maxClasses)
				}
			}
		}
	}
	return out, nil
}

func union(a, b []int) []int {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
