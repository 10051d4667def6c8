// Package analysis answers for every request at once: who can reach what, whether
// a claim holds, and what a change opens and closes. It cuts what requests can be
// into the finitely many classes that no rule on the way tells apart, and has one
// of each decided by the evaluators that decide live; it has no semantics of its
// own. Every way to a pod counts: each Service over it, its own address, each
// route of the gateway, and a Service that nobody wrote. What would be too much to
// look at is said, never guessed. It starts nothing and moves no byte.
package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/manifest"
	"artemis.example/policy/netpol"
	"artemis.example/policy/topology"
)

// Analysis is one state of the manifests, or two that are compared.
type Analysis struct {
	sides     []*side
	pods      []*caller
	byAccount map[string][]*caller
	gateways  []*caller
	// sidecars are the workloads with a sidecar, which speaks for them, by account.
	sidecars map[string][]string
	// taken are the accounts that somebody among the manifests runs as, those of
	// waypoints and the gateway included.
	taken   map[string]bool
	counted map[workload]bool // those whose ways are in count
	build   builder
	memo    map[string]*diagram
	count   Extent
	// options are what commands are written for.
	options Options
}

func newAnalysis(worlds ...*topology.World) *Analysis {
	a := &Analysis{
		taken: map[string]bool{}, sidecars: map[string][]string{}, counted: map[workload]bool{},
		byAccount: map[string][]*caller{}, memo: map[string]*diagram{},
	}
	for _, w := range worlds {
		s := newSide(w)
		s.worlds = worlds
		a.sides = append(a.sides, s)
		for _, p := range w.Pods {
			a.taken[p.Namespace+"/"+p.ServiceAccount] = true
		}
		namespaces := w.Set.NamespaceLabels()
		for _, of := range w.Set.AllWorkloads() {
			if manifest.Sidecar(of, namespaces[of.Namespace]) {
				account := of.Namespace + "/" + cmp.Or(of.Template.Spec.ServiceAccountName, "default")
				a.sidecars[account] = append(a.sidecars[account], of.Name)
			}
		}
	}
	a.pods, a.gateways = listed(a.sides)
	for _, c := range a.pods {
		a.byAccount[c.account] = append(a.byAccount[c.account], c)
	}
	return a
}

// Extent is how much was looked at.
type Extent struct {
	Destinations int `json:"destinations"` // ways to a workload
	Callers      int `json:"callers"`      // classes of callers
	Classes      int `json:"classes"`      // of requests
	Decisions    int `json:"decisions"`    // by the evaluators
}

// finding is what one class of callers can do by one way.
type finding struct {
	of     workload
	caller *caller
	to     *destination // of the last side that has it
	bytes  bool
	said   *diagram
	ask    []question // by side
}

// sweep looks at every way to a workload and every class of callers, and calls found
// where some request is of interest: by the mask of those who allow it, a bit for
// each side and one more for the claim, which may be nil. Callers who are refused
// everything everywhere are left out at once. It returns what could not be judged.
func (a *Analysis) sweep(of workload, claim *Claim, interest func(mask uint) bool, found func(*finding)) []string {
	w := &sweep{Analysis: a, of: of, claim: claim, interest: interest, found: found, reasons: map[string][]string{}}
	w.meant, w.places = a.meant(claim)
	byKey := map[string][]*destination{}
	for i, s := range a.sides {
		for _, d := range s.destinations(of) {
			if byKey[d.key] == nil {
				byKey[d.key] = make([]*destination, len(a.sides))
			}
			byKey[d.key][i] = d
		}
	}
	w.strange = w.proxies()
	w.stops = w.hops()
	w.blocks()
	a.walked(of, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		w.destination(byKey[key])
	}
	return w.notJudged()
}

// fail notes that something by a way cannot be judged.
func (w *sweep) fail(d *destination, err error) {
	if ways := w.reasons[err.Error()]; !slices.Contains(ways, d.name) {
		w.reasons[err.Error()] = append(ways, d.name)
	}
	if errors.Is(err, errTooMany) {
		w.exhausted = d.key
	}
}

// notJudged says by which ways something cannot be judged, and why.
func (w *sweep) notJudged() []string {
	var out []string
	for _, why := range slices.Sorted(maps.Keys(w.reasons)) {
		out = append(out, fmt.Sprintf("%s/%s by %s: %s", w.of.namespace, w.of.component,
			strings.Join(w.reasons[why], ", "), why))
	}
	return out
}

// proxies returns the accounts of sidecars, which speak for pods that are not in the
// ambient mesh, and of waypoints that do not take the workload's Services: they call
// whatever is behind a Service of their own.
func (w *sweep) proxies() map[string]string {
	out := map[string]string{}
	for account := range w.sidecars {
		out[account] = "a sidecar's"
	}
	for _, s := range w.sides {
		for _, g := range s.world.Waypoints {
			if account := g.Pod.Namespace + "/" + g.Pod.ServiceAccount; !s.world.Admits(g, w.of.namespace) {
				out[account] = "a waypoint's"
			}
		}
	}
	return out
}

// isTaken reports whether the callers with an account are pods of the manifests.
func (w *sweep) isTaken(account string) bool { return w.taken[account] && w.strange[account] == "" }

// walked counts the ways to a workload, once.
func (a *Analysis) walked(to workload, ways int) {
	if !a.counted[to] {
		a.counted[to] = true
		a.count.Destinations += ways
	}
}

func last(ds []*destination) *destination {
	for _, d := range slices.Backward(ds) {
		if d != nil {
			return d
		}
	}
	return nil
}

type sweep struct {
	*Analysis
	of       workload
	claim    *Claim
	interest func(uint) bool
	found    func(*finding)
	// reasons are why something cannot be judged, with the ways that are meant; exhausted is
	// the way of which more was to be looked at than can be.
	reasons   map[string][]string
	exhausted string
	// meant are the accounts that the claim names and no pod of the manifests has, places
	// the namespaces that it names and the manifests lack: what it claims of them it does
	// not claim of others.
	meant  map[string]bool
	places []string
	// strange are the accounts that a proxy has whose calls are not those of a pod of the
	// manifests, with what it is.
	strange map[string]string

	spaces []space // made when they are first needed
	spoken []string
	stops  [][]*topology.Pod
	// addresses are the blocks that matter, podBlocks those of them that pods can be in.
	addresses, podBlocks []netip.Prefix
	podClasses           map[netip.Addr][]class // that podBlocks make, by the address that is tried first
	spaceErr             error
	spaced               bool
	saidOf               map[string]map[string]bool
}

// told is what was told already of pods that differ in their namespace's labels only.
func (w *sweep) told(destination, name, where string, bytes bool) map[string]bool {
	key := fmt.Sprint(destination, strings.ReplaceAll(name, where, ""), bytes)
	if w.saidOf == nil {
		w.saidOf = map[string]map[string]bool{}
	}
	if w.saidOf[key] == nil {
		w.saidOf[key] = map[string]bool{}
	}
	return w.saidOf[key]
}

// closedTo says of each side whether callers in the mesh that no rule names, and
// callers outside of it, are refused everything by a way, whoever they are.
type closedTo struct {
	others, unmeshed []bool
	named            *named
}

func (c *closedTo) refuses(in []topology.Caller, account string) bool {
	for i := range in {
		switch {
		case !in[i].Meshed && c.unmeshed[i]:
		case in[i].Meshed && c.others[i] && !c.named.accounts[account]:
		default:
			return false
		}
	}
	return true
}

func (c *closedTo) everybody() bool {
	return !slices.Contains(c.others, false) && !slices.Contains(c.unmeshed, false)
}

func (w *sweep) destination(ds []*destination) {
	if last(ds).gateway() {
		for _, g := range w.gateways {
			if g.name == last(ds).gatewayName {
				w.ask(g, ds, false)
			}
		}
		return
	}
	w.kind(ds, false)
	if slices.ContainsFunc(ds, func(d *destination) bool { return d != nil && d.bytes }) {
		w.kind(ds, true)
	}
}

// kind looks at the calls of one destination that are HTTP, or that are not.
func (w *sweep) kind(ds []*destination, bytes bool) {
	to := w.closedTo(ds, bytes)
	pods := w.pods
	if to.everybody() { // who is not named is refused, in the mesh or not
		pods = nil
		for _, account := range slices.Sorted(maps.Keys(to.named.accounts)) {
			pods = append(pods, w.byAccount[account]...)
		}
	}
	for _, c := range pods {
		if !to.refuses(c.in, c.account) {
			w.ask(c, ds, bytes)
		}
	}
	strangersMatter := slices.ContainsFunc(slices.Collect(maps.Keys(to.named.accounts)),
		func(account string) bool { return !w.isTaken(account) })
	if to.everybody() && !strangersMatter {
		return
	}
	if err := w.space(); err != nil {
		w.fail(last(ds), err)
		return
	}
	w.strangers(to, ds, bytes)
	if last(ds).to.Pod != nil && last(ds).unwritten == nil && slices.Contains(to.unmeshed, false) {
		w.outside(ds, bytes)
	}
}

// closedTo asks once for all whom no rule names.
func (w *sweep) closedTo(ds []*destination, bytes bool) *closedTo {
	out := &closedTo{named: &named{accounts: maps.Clone(w.meant)}}
	for i, s := range w.sides {
		d := ds[i]
		if d == nil {
			out.others, out.unmeshed = append(out.others, true), append(out.unmeshed, true)
			continue
		}
		other := s.stranger(anyNamespace, anyAccount, nil, true, nil)
		e, http := s.firstEngine(d, other, bytes)
		n := s.namedBy(e, http)
		maps.Copy(out.named.accounts, n.accounts)
		out.named.patterns = append(out.named.patterns, n.patterns...)
		out.named.address = out.named.address || n.address
		others := s.decider(question{from: other, to: d, bytes: bytes, identityOnly: true})
		out.others = append(out.others, others.closed && len(n.patterns) == 0 && !n.address)
		plain := s.decider(question{from: topology.Outside(strangerIP), to: d, bytes: bytes, identityOnly: true})
		out.unmeshed = append(out.unmeshed, plain.closed && !n.address)
	}
	return out
}

// firstEngine returns the rules that a caller in the mesh meets first.
func (s *side) firstEngine(d *destination, from topology.Caller, bytes bool) (e *authz.Engine, http bool) {
	for _, way := range d.ways(s.world, from) {
		if len(way.Legs) == 0 {
			continue
		}
		l := &way.Legs[0]
		switch {
		case l.Waypoint != nil:
			return s.WaypointEngine(l.Waypoint, l.Service), !bytes && l.Protocol != topology.TCP
		case l.Pod.Meshed:
			return s.PodEngine(l.Pod), false
		}
	}
	return nil, false
}

// hops returns the pods at which NetworkPolicies are asked, by side.
func (w *sweep) hops() [][]*topology.Pod {
	out := make([][]*topology.Pod, len(w.sides))
	for i, s := range w.sides {
		out[i] = slices.Clone(s.pods(w.of))
		for _, d := range s.destinations(w.of) {
			for _, g := range []*topology.WaypointGateway{d.unwritten, d.waypoint(), d.pod.Waypoint} {
				if g != nil && !slices.Contains(out[i], g.Pod) {
					out[i] = append(out[i], g.Pod)
				}
			}
		}
	}
	return out
}

func (d *destination) waypoint() *topology.WaypointGateway {
	if d.to.Service != nil {
		return d.to.Service.Waypoint
	}
	return nil
}

// blocks finds the address blocks that anything on the way compares callers with.
func (w *sweep) blocks() {
	m := netpol.NewMentions()
	for i, s := range w.sides {
		s.Mentions(m, w.stops[i])
		add := func(v authz.Value) { m.Blocks = append(m.Blocks, v.Block) }
		for _, p := range s.pods(w.of) {
			s.PodEngine(p).Rest(false).Values(authz.AttributeSourceIP, add)
		}
		for _, d := range s.destinations(w.of) {
			if e, _ := s.firstEngine(d, s.stranger(anyNamespace, anyAccount, nil, true, nil), false); e != nil {
				e.Rest(true).Values(authz.AttributeSourceIP, add)
				e.Rest(false).Values(authz.AttributeSourceIP, add)
			}
		}
	}
	w.podClasses = map[netip.Addr][]class{}
	for _, b := range m.Blocks {
		if !b.IsValid() || slices.Contains(w.addresses, b) {
			continue
		}
		w.addresses = append(w.addresses, b)
		if b.Bits() > 0 || b.Addr().Is6() { // every pod is in 0.0.0.0/0
			w.podBlocks = append(w.podBlocks, b)
		}
	}
}

// space makes the places where those may be whom the manifests do not name.
func (w *sweep) space() error {
	if w.spaced {
		return w.spaceErr
	}
	w.spaced = true
	w.spaces, w.spaceErr = spaces(w.sides, w.stops, w.places)
	for _, s := range w.spaces {
		if s.namespace != anyNamespace {
			w.spoken = append(w.spoken, s.namespace)
		}
	}
	slices.Sort(w.spoken)
	w.spoken = slices.Compact(w.spoken)
	return w.spaceErr
}

// strangers asks for the pods that nobody wrote.
func (w *sweep) strangers(to *closedTo, ds []*destination, bytes bool) {
	for i := range w.spaces {
		where := &w.spaces[i]
		if !allOf(to.others) || len(to.named.accounts) > 0 {
			people, err := w.identities(where, to.named)
			if err != nil {
				w.fail(last(ds), err)
			}
			for _, who := range people {
				account := who.namespace + "/" + who.account
				w.stranger(&caller{name: who.words, kind: Account, account: account, workloads: w.sidecars[account],
					namespace: who.namespace, cell: where.words}, where, to, ds, bytes)
			}
		}
		if allOf(to.unmeshed) {
			continue
		}
		c := caller{name: "a pod of " + where.words + " outside of the mesh", kind: Unmeshed,
			namespace: where.namespace, cell: where.words}
		w.stranger(&c, where, to, ds, bytes)
		for _, account := range slices.Sorted(maps.Keys(w.meant)) {
			if ns, sa, _ := strings.Cut(account, "/"); ns == where.namespace {
				as := c
				as.name, as.account = c.name+" that runs as "+sa, account
				w.stranger(&as, where, to, ds, bytes)
			}
		}
	}
}

func allOf(list []bool) bool { return !slices.Contains(list, false) }

// stranger asks for one kind of pod that nobody wrote, with every choice of labels. Of
// those that come to the same, the one with fewest labels is told.
func (w *sweep) stranger(c *caller, where *space, to *closedTo, ds []*destination, bytes bool) {
	told := map[string]bool{}
	if where.namespace == anyNamespace { // of those whose labels make no difference, the one with fewest is told
		told = w.told(last(ds).key, c.name, where.words, bytes)
	}
	account := anyAccount
	if c.account != "" {
		_, account, _ = strings.Cut(c.account, "/")
	}
	choices := slices.Clone(where.pods)
	slices.SortStableFunc(choices, func(a, b map[string]string) int { return len(a) - len(b) })
	for _, labels := range choices {
		one := *c
		one.labels = labels
		for _, s := range w.sides {
			in := s.stranger(c.namespace, account, labels, c.kind != Unmeshed, where.labels)
			one.in, one.identity = append(one.in, in), in.Identity
		}
		if to.refuses(one.in, c.account) {
			return // labels do not matter to that
		}
		if len(labels) > 0 {
			one.name += " that is labelled " + labelWords(labels)
		}
		for _, each := range w.addressed(&one) {
			f := w.find(each, ds, bytes)
			if f == nil {
				continue
			}
			said := f.said.text + strings.TrimPrefix(each.name, one.name)
			if where.namespace == anyNamespace {
				said += labelWords(labels)
			}
			if !told[said] {
				told[said] = true
				w.found(f)
			}
		}
	}
}

// outside asks for addresses that are no pod's.
func (w *sweep) outside(ds []*destination, bytes bool) {
	for _, class := range addressClasses(w.addresses, anywhere, func(netip.Addr) bool { return true }) {
		name := "an address that is no pod's"
		if len(class.in) > 0 {
			var in []string
			for _, i := range class.in {
				in = append(in, w.addresses[i].String())
			}
			slices.Sort(in)
			name += ", in " + strings.Join(slices.Compact(in), " and ")
		}
		c := &caller{name: name, kind: Outside}
		for range w.sides {
			c.in = append(c.in, topology.Outside(class.addr))
		}
		w.ask(c, ds, bytes)
	}
}

// ask asks for one class of callers. Where address blocks matter that pods can be in,
// it asks for a pod in each: a cluster gives out the addresses, no manifest does.
func (w *sweep) ask(c *caller, ds []*destination, bytes bool) {
	for _, one := range w.addressed(c) {
		if f := w.find(one, ds, bytes); f != nil {
			w.found(f)
		}
	}
}

func (w *sweep) addressed(c *caller) []*caller {
	if len(w.podBlocks) == 0 || c.kind == Outside {
		return []*caller{c}
	}
	own := c.in[0].Endpoint.IP
	if w.podClasses[own] == nil {
		w.podClasses[own] = podClasses(w.podBlocks, own)
	}
	var out []*caller
	for _, class := range w.podClasses[own] {
		one := *c
		one.in = slices.Clone(c.in)
		for i := range one.in {
			one.in[i].Endpoint.IP = class.addr
		}
		if class.addr != own {
			words := ", with an address outside of all blocks"
			var in []string
			for _, i := range class.in {
				in = append(in, w.podBlocks[i].String())
			}
			if len(in) > 0 {
				slices.Sort(in)
				words = ", with an address in " + strings.Join(slices.Compact(in), " and ")
			}
			one.name += words
		}
		out = append(out, &one)
	}
	return out
}

// find returns what there is to say of interest about one caller and destination, nil for
// nothing.
func (w *sweep) find(c *caller, ds []*destination, bytes bool) *finding {
	if w.exhausted == last(ds).key {
		return nil
	}
	w.count.Callers++
	f := &finding{of: w.of, caller: c, to: last(ds), bytes: bytes}
	var deciders []decider
	var always []condition
	key := ""
	for i, s := range w.sides {
		q := question{from: c.in[i], to: ds[i], bytes: bytes, blocks: w.podBlocks}
		f.ask = append(f.ask, q)
		d := s.decider(q)
		if ds[i] != nil && ds[i].gateway() && !d.closed {
			p := newPassage(ds[i].routes, ds[i].to.Route)
			d, always = p.decider(d), append(always, p.conditions...)
			key += ds[i].key
		}
		if d.err != nil {
			w.fail(f.to, d.err)
			return nil
		}
		deciders = append(deciders, d)
	}
	if w.claim != nil {
		deciders = append(deciders, *said(w.claim.allows(), c, bytes))
	}
	for i := range deciders {
		key += "\x00" + deciders[i].key()
	}
	var err error
	if f.said = w.memo[key]; f.said == nil {
		if f.said, err = w.diagram(deciders, f.to, c, bytes, always); err != nil {
			w.fail(f.to, err)
			return nil
		}
		w.memo[key] = f.said
	}
	if !f.said.any(w.interest) {
		return nil
	}
	return f
}

// diagram makes the one of what some deciders say to a caller's requests.
func (w *sweep) diagram(ds []decider, to *destination, c *caller, bytes bool, always []condition) (*diagram, error) {
	w.build.hosts, w.build.forwarded = hosts(to), c.kind == Ingress
	own := c.in[0].Endpoint.IP
	r := authz.Request{Principal: c.identity, SourceIP: own, RemoteIP: own, DestPort: to.to.Port, HTTP: !bytes}
	n, err := w.build.build(ds, r, always)
	w.count.Classes, w.count.Decisions = w.build.leaves, w.build.decisions
	return n, err
}

// requests returns what is of interest of a finding, as whoever asks a side would send it.
func (f *finding) requests(a *Analysis, interest func(uint) bool, s *side) []Requests {
	out := f.said.requests(interest)
	for i := range out {
		r := &out[i]
		if f.bytes {
			r.Words = "bytes that are no HTTP"
		}
		r.Ways = []string{f.to.name}
		r.Example.Command = a.command(&r.Example, f, s)
	}
	return out
}

// any reports whether some leaf's mask is of interest.
func (n *diagram) any(interest func(uint) bool) bool {
	if n.kids == nil {
		return interest(n.mask)
	}
	return slices.ContainsFunc(n.kids, func(k kid) bool { return k.any(interest) })
}

// decider lets through what takes the route, and what is decided then.
func (p *passage) decider(d decider) decider {
	inner := d.decide
	d.decide = func(r *authz.Request) bool {
		_, ok := p.client(r.Host, r.Path)
		return ok && inner(r)
	}
	return d
}

// hosts are the names that people would use for a destination.
func hosts(d *destination) []string {
	switch {
	case d.gateway():
		p := passage{route: d.to.Route}
		return []string{p.host()}
	case d.to.Service != nil:
		s := d.to.Service
		return []string{fmt.Sprintf("%s:%d", s.Name, d.to.Port), fmt.Sprintf("%s:%d", s.Host, d.to.Port), s.Host,
			s.Name, s.Name + "." + s.Namespace}
	}
	return []string{fmt.Sprintf("%s:%d", d.pod.IP, d.to.Port)}
}
