package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/topology"
)

// Example is one request, ready to be sent.
type Example struct {
	Method string              `json:"method,omitempty"`
	Path   string              `json:"path,omitempty"`
	Host   string              `json:"host,omitempty"` // where it matters
	Header map[string][]string `json:"header,omitempty"`
	// Command sends it: to the suite that runs here where a pod of it can, otherwise
	// on a cluster.
	Command string `json:"command,omitempty"`

	hostCounts bool
	request    *authz.Request
}

// example returns a request of a region's as a client sends it: with what decides of
// its host, and with the headers that make a waypoint see what it is to see.
func (at *region) example() Example {
	r := at.leaf.example
	e := Example{Method: r.Method, Path: r.Path, request: r}
	add := func(name, value string) {
		if len(r.Header[name]) == 0 && len(e.Header[name]) == 0 {
			e.Header = maps.Clone(e.Header)
			if e.Header == nil {
				e.Header = map[string][]string{}
			}
			e.Header[name] = []string{value}
		}
	}
	if len(r.Header) > 0 {
		e.Header = r.Header
	}
	for _, a := range at.attributes {
		switch name, _ := a.Header(); {
		case a == authz.AttributeHost:
			e.Host, e.hostCounts = r.Host, true
		case a == authz.AttributeScheme && r.Scheme == "https":
			add("X-Forwarded-Proto", r.Scheme)
		case a == authz.AttributeRemoteIP:
			add("X-Forwarded-For", r.RemoteIP.String())
		case name == "Connection" && len(r.Header[name]) > 0:
			add("Upgrade", "websocket")
		case name == "Upgrade" && len(r.Header[name]) > 0:
			add("Connection", "upgrade")
		}
	}
	return e
}

// command writes the line that sends an example of what was found.
func (a *Analysis) command(e *Example, f *finding, s *side) string {
	url := target(f.to)
	if f.to.gateway() {
		if said := e.Header["X-Forwarded-For"]; len(said) > 0 { // to which the gateway adds who sends it
			own := *e
			own.Header = maps.Clone(e.Header)
			delete(own.Header, "X-Forwarded-For")
			if i := strings.LastIndexByte(said[0], ','); i >= 0 {
				own.Header["X-Forwarded-For"] = []string{said[0][:i]}
			}
			e = &own
		}
		p := passage{world: f.to.routes, route: f.to.to.Route}
		host := e.Host
		if !e.hostCounts {
			host = p.host()
		}
		path, _ := p.client(host, e.Path)
		url := p.host() + ":" + cmp.Or(a.options.GatewayPort, "19080")
		return fmt.Sprintf("curl%s http://%s%s", e.options(url), url, quote(path))
	}
	var b strings.Builder
	stdin := ""
	if f.bytes {
		b.WriteString("echo hello | ")
		stdin = " -i"
	}
	switch name := a.runner(f, s); {
	case name != "":
		fmt.Fprintf(&b, "%s %s -- ", cmp.Or(a.options.Exec, "artemis exec"), name)
	case f.caller.pod != nil:
		kind := strings.ToLower(cmp.Or(f.caller.pod.Workload.Kind, "deployment"))
		fmt.Fprintf(&b, "kubectl exec%s -n %s %s/%s -- ", stdin, f.caller.pod.Namespace, kind,
			f.caller.pod.Workload.Name)
	case f.caller.kind == Outside:
	default:
		fmt.Fprintf(&b, "kubectl run probe -n %s --rm %s --restart=Never --image=curlimages/curl%s -- ",
			f.caller.namespace, cmp.Or(strings.TrimSpace(stdin), "-it"), f.caller.podOptions())
	}
	if f.bytes {
		host, port, _ := net.SplitHostPort(url)
		fmt.Fprintf(&b, "nc -w 2 %s %s", host, port)
		return b.String()
	}
	fmt.Fprintf(&b, "curl%s http://%s%s", e.options(url), url, quote(e.Path))
	return b.String()
}

// runner returns the name of a pod that runs here and can send what was found: the
// caller itself, or one to whom the same is said. It is empty where there is none.
func (a *Analysis) runner(f *finding, s *side) string {
	if f.to.unwritten != nil {
		return ""
	}
	if f.caller.pod != nil && a.options.Running[f.caller.name] {
		return f.caller.name
	}
	i := slices.Index(a.sides, s)
	for _, p := range a.options.StandIns {
		c := p.Caller()
		if a.taken[p.Namespace+"/"+p.ServiceAccount] || f.caller.kind == Outside || c.Meshed != f.caller.in[i].Meshed ||
			!a.options.Running[Name(p)] {
			continue
		}
		q := f.ask[i]
		want := s.decider(q)
		q.from = c
		if got := s.decider(q); got.key() == want.key() && (f.caller.pod == nil && samePlace(p, f.caller)) {
			return Name(p)
		}
	}
	return ""
}

// samePlace reports whether a pod is one that a class of callers means.
func samePlace(p *topology.Pod, c *caller) bool {
	return p.Namespace == c.namespace || c.namespace == anyNamespace
}

// options are those of curl, which sends the host of its URL if not told otherwise.
func (e *Example) options(url string) string {
	var b strings.Builder
	switch e.Method {
	case "GET":
	case "HEAD":
		b.WriteString(" -I")
	default:
		b.WriteString(" -X " + e.Method)
	}
	if strings.Contains(e.Path, "//") || strings.Contains(e.Path, "/.") {
		b.WriteString(" --path-as-is")
	}
	if strings.ContainsAny(e.Path, "[]{}") {
		b.WriteString(" -g")
	}
	switch {
	case !e.hostCounts || e.Host == strings.TrimSuffix(url, ":80"):
	case e.Host == "":
		b.WriteString(" -H 'Host;'")
	default:
		b.WriteString(" -H " + quote("Host: "+e.Host))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Header)) {
		for _, line := range e.Header[name] {
			if line == "" {
				b.WriteString(" -H " + quote(strings.ToLower(name)+";")) // curl's way to send it empty
			} else {
				b.WriteString(" -H " + quote(strings.ToLower(name)+": "+line))
			}
		}
	}
	return b.String()
}

// podOptions make kubectl start a pod that is the caller.
func (c *caller) podOptions() string {
	var b strings.Builder
	if labels := maps.Clone(c.labels); len(labels) > 0 || c.kind == Unmeshed {
		if c.kind == Unmeshed {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[topology.LabelDataplaneMode] = "none"
		}
		b.WriteString(" --labels=" + quote(labelWords(labels)))
	}
	if _, account, ok := strings.Cut(c.account, "/"); ok {
		fmt.Fprintf(&b, ` --overrides='{"spec":{"serviceAccountName":"%s"}}'`, account)
	}
	return b.String()
}

// target is where a destination is called, without the scheme.
func target(d *destination) string {
	switch {
	case d.unwritten != nil:
		return fmt.Sprintf("a-new-service.%s:%d", d.pod.Namespace, d.to.Port)
	case d.to.Service != nil && d.to.Service.Entry:
		return fmt.Sprintf("%s:%d", d.to.Service.Host, d.to.Port)
	case d.to.Service != nil:
		return fmt.Sprintf("%s.%s:%d", d.to.Service.Name, d.to.Service.Namespace, d.to.Port)
	}
	return netip.AddrPortFrom(d.pod.IP, d.to.Port).String()
}

// quote makes one word of a shell's out of a text.
func quote(s string) string {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._/:=,@%+",
			c) >= 0) {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return s
}
