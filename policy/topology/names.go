package topology

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Named is something that people call by a name.
type Named struct {
	Cell, Namespace string
	Host            string // a ServiceEntry's, perhaps with a wildcard in front
	// Names are those that it has within its Cell or namespace, the usual one
	// first.
	Names    []string
	Identity string
	Address  string
}

// String returns CELL/NAME, or NAMESPACE/NAME outside of the Cells.
func (n Named) String() string { return cmp.Or(n.Cell, n.Namespace) + "/" + n.Names[0] }

// reading is a name taken apart, in whichever form it was written.
type reading struct {
	where, what string // before and after the slash, or of a host's first two labels
	host        string // as a whole
	identity    string
	address     netip.Addr
	port        uint16
	path        string // of a URL
}

// read takes a name apart: CELL/COMPONENT, NAMESPACE/SERVICE, NAME,
// NAME.NAMESPACE[.svc[.cluster.local]], each with :PORT where one is meant, a URL of
// such a host, a principal with or without spiffe://, Kubernetes'
// system:serviceaccount:NAMESPACE:NAME, and an IP address.
func read(text string) (reading, error) {
	var r reading
	if text == "" {
		return r, errors.New("an empty name")
	}
	if rest, ok := strings.CutPrefix(text, "system:serviceaccount:"); ok {
		namespace, account, ok := strings.Cut(rest, ":")
		if !ok {
			return r, fmt.Errorf("%s: write system:serviceaccount:NAMESPACE:NAME", text)
		}
		r.identity = "spiffe://" + TrustDomain.String() + "/ns/" + namespace + "/sa/" + account
		return r, nil
	}
	if part := strings.Split(strings.TrimPrefix(text, "spiffe://"), "/"); strings.HasPrefix(text, "spiffe://") ||
		len(part) == 5 && part[1] == "ns" && part[3] == "sa" {
		r.identity = "spiffe://" + strings.TrimPrefix(text, "spiffe://")
		return r, nil
	}
	rest := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			return r, fmt.Errorf("%s: %w", text, err)
		}
		switch u.Scheme {
		case "http":
			r.port = 80
		case "https":
			r.port = 443
		default:
			return r, fmt.Errorf("%s: a URL begins with http:// or https://", text)
		}
		rest, r.path = u.Host, u.RequestURI()
	}
	ip, err := netip.ParseAddr(strings.Trim(rest, "[]"))
	if i := strings.LastIndexByte(rest, ':'); err != nil && i >= 0 {
		port, portErr := strconv.ParseUint(rest[i+1:], 10, 16)
		if portErr != nil || port == 0 {
			return r, fmt.Errorf("%s: %q is no port", text, rest[i+1:])
		}
		rest, r.port = rest[:i], uint16(port)
		ip, err = netip.ParseAddr(strings.Trim(rest, "[]"))
	}
	if err == nil {
		r.address = ip
		return r, nil
	}
	if where, what, ok := strings.Cut(rest, "/"); ok {
		if where == "" || what == "" || strings.Contains(what, "/") {
			return r, fmt.Errorf("%s: write CELL/COMPONENT or NAMESPACE/NAME", text)
		}
		r.where, r.what = where, what
		return r, nil
	}
	host := strings.TrimSuffix(strings.ToLower(rest), ".")
	r.host = host
	for _, suffix := range []string{"." + clusterDomain, ".svc"} {
		host = strings.TrimSuffix(host, suffix)
	}
	r.what, r.where, _ = strings.Cut(host, ".")
	return r, nil
}

// names reports whether a name is one of something.
func (r *reading) names(n Named) bool {
	switch {
	case r.identity != "":
		return n.Identity == r.identity
	case r.address.IsValid():
		return n.Address == r.address.String()
	case n.Host != "" && n.isHost(r.host):
		return true
	}
	return (r.where == "" || r.where == n.Cell || r.where == n.Namespace) && slices.Contains(n.Names, r.what)
}

// isHost reports whether a host is the one that is named, or matches it.
func (n *Named) isHost(host string) bool {
	if suffix, wild := strings.CutPrefix(n.Host, "*"); wild {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == n.Host
}

// Match returns the one of all that a name means.
func Match(text string, all []Named) (int, error) {
	r, err := read(text)
	if err != nil {
		return 0, err
	}
	var found []int
	for i, n := range all {
		if r.names(n) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, unknown(text, &r, all)
	}
	var names []string
	for _, i := range found {
		names = append(names, all[i].Namespace+"/"+all[i].Names[len(all[i].Names)-1])
	}
	slices.Sort(names)
	return 0, ambiguous(text, slices.Compact(names))
}

func ambiguous(text string, names []string) error {
	return fmt.Errorf("%s can mean %s: say which", text, strings.Join(names, " or "))
}

// unknown says that nobody has a name, and who has one like it.
func unknown(text string, r *reading, all []Named) error {
	var names []string
	for _, n := range all {
		names = append(names, n.String())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	asked := r.what
	if r.where != "" {
		asked = r.where + "/" + r.what
	}
	best, distance := "", 4
	for _, n := range names {
		candidate := n
		if r.where == "" {
			_, candidate, _ = strings.Cut(n, "/")
		}
		if d := editDistance(asked, candidate); d < distance && d <= len(candidate)/2 {
			best, distance = n, d
		}
	}
	if best == "" && r.where != "" { // the right name in the wrong place
		for _, n := range names {
			if strings.HasSuffix(n, "/"+r.what) {
				best = n
				break
			}
		}
	}
	switch {
	case best != "":
		return fmt.Errorf("nobody is called %s; did you mean %s?", text, best)
	case len(names) == 0:
		return fmt.Errorf("nobody is called %s: there is nothing to name", text)
	case len(names) > 30:
		return fmt.Errorf("nobody is called %s; there are %s and %d more", text, strings.Join(names[:30], ", "),
			len(names)-30)
	}
	return fmt.Errorf("nobody is called %s; there are %s", text, strings.Join(names, ", "))
}

// editDistance is how many letters have to be changed, added or taken away
// (Levenshtein).
func editDistance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := make([]int, len(b)+1)
		current[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j]+cost, previous[j+1]+1, current[j]+1)
		}
		previous = current
	}
	return previous[len(b)]
}

func (p *Pod) named() Named {
	names := []string{p.Component}
	if p.Name != p.Component {
		names = append(names, p.Name)
	}
	n := Named{Cell: p.Cell, Namespace: p.Namespace, Names: names, Identity: p.Identity, Address: p.IP.String()}
	if p.Kind == External {
		n.Host = p.Host
	}
	return n
}

func (w *World) namedPods(is func(*Pod) bool) (pods []*Pod, names []Named) {
	for _, p := range slices.Concat(w.Pods, w.External) {
		if is(p) {
			pods, names = append(pods, p), append(names, p.named())
		}
	}
	return pods, names
}

// FindCaller returns who a name means as a caller: a pod by any of its names, a
// gateway by its own or as ingress, an identity that nobody has, an address, or
// outside for one that is no pod.
func (w *World) FindCaller(text string) (Caller, error) {
	switch text {
	case "ingress":
		return w.ingress()
	case "outside":
		return Outside(netip.AddrFrom4([4]byte{203, 0, 113, 1})), nil // an address for examples (RFC 5737)
	}
	r, err := read(strings.TrimPrefix(text, "pod:"))
	if err != nil {
		return Caller{}, err
	}
	switch {
	case r.identity != "":
		return w.Identity(r.identity)
	case r.address.IsValid():
		if p := w.PodAt(r.address); p != nil {
			return p.Caller(), nil
		}
		return Outside(r.address), nil
	}
	pods, names := w.namedPods(func(p *Pod) bool { return p.Kind == App || p.Kind == Ingress })
	i, err := Match(strings.TrimPrefix(text, "pod:"), names)
	if err == nil {
		return pods[i].Caller(), nil
	}
	// By a Service's name, where one pod stands behind it.
	if s, _ := w.findService(&r); len(s) == 1 {
		if behind := s[0].pods(); len(behind) == 1 {
			return behind[0].Caller(), nil
		}
	}
	return Caller{}, err
}

func (w *World) ingress() (Caller, error) {
	switch {
	case w.Gateway != nil:
		return w.Gateway.Caller(), nil
	case len(w.Gateways) == 1:
		return w.Gateways[0].Pod.Caller(), nil
	case len(w.Gateways) == 0:
		return Caller{}, errors.New("ingress: no Gateway of class istio is among the files")
	}
	var names []string
	for _, g := range w.Gateways {
		names = append(names, g.Pod.Ref.String())
	}
	return Caller{}, ambiguous("ingress", names)
}

// FindDestination returns what a name means as a destination, and the path of a
// URL. With pod: in front, or as an address, it is the pod's own address. A port
// of 0 is the one in the name, or the first that there is.
func (w *World) FindDestination(text string, port uint16) (to Destination, path string, err error) {
	pod, byPod := strings.CutPrefix(text, "pod:")
	r, err := read(pod)
	if err != nil {
		return to, "", err
	}
	port = cmp.Or(port, r.port)
	if byPod || r.address.IsValid() {
		return w.findPod(pod, &r, port)
	}
	services, names := w.findService(&r)
	switch len(services) {
	case 1:
	case 0:
		if slices.ContainsFunc(w.Waypoints, func(g *WaypointGateway) bool { return r.names(g.Pod.named()) }) {
			return to, "", isWaypoint(text)
		}
		return to, "", unknown(text, &r, names)
	default:
		var list []string
		for _, s := range services {
			list = append(list, s.Ref.String())
		}
		return to, "", ambiguous(text, list)
	}
	s := services[0]
	if behind := s.pods(); len(behind) > 0 && behind[0].Kind == Waypoint {
		return to, "", isWaypoint(text)
	}
	to = s.at(port)
	if _, ok := s.Port(to.Port); !ok && len(s.Ports) > 0 {
		return to, "", fmt.Errorf("%s has no port %d; it has %s", text, to.Port, s.portList())
	}
	return to, r.path, nil
}

func isWaypoint(text string) error {
	return fmt.Errorf("%s is a waypoint, which nobody calls by that name: calls come through it to the Services that "+
		"it serves", text)
}

// at returns a port of the Service as a destination; 0 is its first.
func (s *Service) at(port uint16) Destination {
	if port == 0 && len(s.Ports) > 0 {
		port = s.Ports[0].Number
	}
	return Destination{Service: s, Port: port}
}

func (w *World) findPod(text string, r *reading, port uint16) (Destination, string, error) {
	if s := w.ServiceAt(r.address); r.address.IsValid() && s != nil {
		return s.at(port), r.path, nil
	}
	pods, names := w.namedPods(func(p *Pod) bool { return p.Kind == App || p.Kind == External })
	i, err := Match(text, names)
	if err != nil {
		return Destination{}, "", err
	}
	if port == 0 && len(pods[i].Ports) > 0 {
		port = pods[i].Ports[0]
	}
	return Destination{Pod: pods[i], Port: port}, r.path, nil
}

// findService returns the Services that a name can mean, by their own name, else by
// what is behind them; and the names that there are.
func (w *World) findService(r *reading) ([]*Service, []Named) {
	var own, behind []*Service
	var names []Named
	for _, s := range w.Services {
		n := Named{Cell: w.Namespaces[s.Namespace][LabelProject], Namespace: s.Namespace, Names: []string{s.Name}}
		if s.Entry {
			n.Host = s.Host
		}
		names = append(names, n)
		if r.identity == "" && r.names(n) {
			own = append(own, s)
			continue
		}
		if slices.ContainsFunc(s.pods(), func(p *Pod) bool { return r.names(p.named()) }) {
			behind = append(behind, s)
		}
	}
	if len(own) == 0 {
		own = behind
	}
	if slices.ContainsFunc(own, func(s *Service) bool { return !s.Entry }) {
		// A ServiceEntry of the same name has its host for a name.
		own = slices.DeleteFunc(own, func(s *Service) bool { return s.Entry })
	}
	// The hosts of one ServiceEntry are alike to its policies: the first stands for them.
	return slices.CompactFunc(own, func(a, b *Service) bool { return a.Entry && b.Entry && a.Ref == b.Ref }), names
}

// pods returns the pods behind a Service, each once.
func (s *Service) pods() []*Pod {
	var out []*Pod
	for _, p := range s.Ports {
		for _, b := range s.backends[p.Number] {
			if !slices.Contains(out, b.Pod) {
				out = append(out, b.Pod)
			}
		}
	}
	return out
}

func (s *Service) portList() string {
	var out []string
	for _, p := range s.Ports {
		out = append(out, strconv.Itoa(int(p.Number)))
	}
	return strings.Join(out, ", ")
}
