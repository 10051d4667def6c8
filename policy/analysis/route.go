package analysis

import (
	"slices"
	"strings"

	"artemis.example/policy/authz"
	"artemis.example/policy/automaton"
	"artemis.example/policy/topology"
)

// passage is what the gateway lets through to one of its routes: the paths are those
// that the backend gets.
type passage struct {
	world      *topology.World
	route      *topology.Route
	conditions []condition
}

// newPassage makes the passage of a route, with what tells apart the requests that
// take it from those that another route takes.
func newPassage(w *topology.World, r *topology.Route) *passage {
	p := &passage{world: w, route: r}
	prefix := p.prefix()
	if prefix != "" {
		below := []automaton.Sequence{automaton.Sequence{}.Literal(prefix + "/").Many(automaton.Any)}
		if r.Path != "" { // else what is asked for begins with a slash, and so does what is left of it
			below = append(below, automaton.Sequence{}.Literal(prefix))
		}
		p.path("below "+prefix, below...)
	}
	if r.Exact {
		p.path(r.Path, automaton.Sequence{}.Literal(r.Path))
	}
	uniform := true
	for i := range w.Routes {
		o := &w.Routes[i]
		uniform = uniform && slices.Equal(o.Hostnames, r.Hostnames)
		for _, h := range o.Hostnames {
			p.conditions = append(p.conditions,
				condition{attribute: authz.AttributeHost, text: h, pattern: hostPattern(h)})
		}
		rest, longer := strings.CutPrefix(o.Path, r.Path)
		if r.Exact || o == r || !longer || rest == "" && !o.Exact && slices.Equal(o.Hostnames, r.Hostnames) ||
			rest != "" && rest[0] != '/' {
			continue // it cannot take what this one would
		}
		exact := automaton.Sequence{}.Literal(prefix + rest)
		if o.Exact {
			p.path("="+prefix+rest, exact)
		} else {
			p.path(prefix+rest, exact, automaton.Sequence{}.Literal(prefix+rest+"/").Many(automaton.Any))
		}
	}
	if len(p.conditions) > 0 && slices.ContainsFunc(p.conditions,
		func(c condition) bool { return c.attribute == authz.AttributePath }) {
		p.path("=/", automaton.Sequence{}.Literal("/")) // the one path that two of the client's come to
	}
	for i := range p.conditions {
		if p.conditions[i].attribute == authz.AttributeHost {
			p.conditions[i].soft = uniform
		}
	}
	return p
}

// hostPattern is what a gateway takes for a hostname: with a port, which it cuts off behind
// the last colon.
func hostPattern(hostname string) automaton.Pattern {
	name := func(wild automaton.Set) automaton.Sequence {
		suffix, is := strings.CutPrefix(hostname, "*")
		if !is {
			return automaton.Sequence{}.Fold(hostname)
		}
		return automaton.Sequence{}.Some(wild).Fold(suffix)
	}
	return automaton.Or(name(automaton.NoColon), name(automaton.Any).Literal(":"),
		name(automaton.Any).Literal(":").Many(automaton.NoColon).One(automaton.NoBracket))
}

func (p *passage) path(text string, q ...automaton.Sequence) {
	p.conditions = append(p.conditions, condition{attribute: authz.AttributePath, text: text,
		pattern: automaton.Or(q...)})
}

// prefix is what the backend's paths begin with.
func (p *passage) prefix() string {
	switch {
	case p.route.Exact:
		return ""
	case p.route.Rewrites:
		return strings.TrimRight(p.route.Rewrite, "/")
	}
	return p.route.Path
}

// client returns the path that a client asks for so that the backend gets another,
// and whether there is one.
func (p *passage) client(host, path string) (string, bool) {
	var candidates []string
	rest, ok := strings.CutPrefix(path, p.prefix())
	switch {
	case p.route.Exact:
		candidates = []string{p.route.Path}
	case !ok || rest != "" && rest[0] != '/':
	case rest == "/":
		candidates = []string{p.route.Path + rest, p.route.Path}
	default:
		candidates = []string{p.route.Path + rest}
	}
	for _, c := range candidates {
		if c == "" || c[0] != '/' {
			continue
		}
		if r, rewritten := p.world.Route(host, c); r != nil && sameRule(r, p.route) && rewritten == path {
			return c, true
		}
	}
	return "", false
}

// serves reports whether the route is for a host.
func (p *passage) serves(host string) bool {
	return len(p.route.Hostnames) == 0 || slices.ContainsFunc(p.route.Hostnames, func(h string) bool {
		return hostPattern(h).Matches(host)
	})
}

// host is one that the route is for.
func (p *passage) host() string {
	if len(p.route.Hostnames) == 0 {
		return "localhost"
	}
	return strings.Replace(p.route.Hostnames[0], "*", "any-other", 1)
}
