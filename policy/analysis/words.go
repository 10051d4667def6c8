package analysis

import (
	"fmt"
	"slices"
	"strings"

	"artemis.example/policy/authz"
)

// Requests are some requests in words: every combination of them.
type Requests struct {
	Words string `json:"words"`
	// Methods and Paths are as policies write them, "any", or "any but ...".
	Methods []string `json:"methods"`
	Paths   []string `json:"paths"`
	// Conditions are what else has to hold.
	Conditions []string `json:"conditions,omitempty"`
	// Uncertain is set where something that cannot be judged decides.
	Uncertain bool `json:"uncertain,omitempty"`
	// Ways are those by which they are admitted.
	Ways []string `json:"ways"`
	// Example is one of them.
	Example Example `json:"example"`
}

// anything stands for all values.
const anything = "any"

// region is a part of a diagram: for each attribute that was cut, the classes.
type region struct {
	attributes []authz.Attribute
	cuts       []*cut
	classes    [][]int
	leaf       *diagram
}

// regions calls yield with every part whose mask is of interest.
func (n *diagram) regions(interest func(uint) bool, at region, yield func(region)) {
	if n.kids == nil {
		if interest(n.mask) {
			at.leaf = n
			yield(at)
		}
		return
	}
	for _, k := range n.kids {
		if !k.any(interest) {
			continue
		}
		k.regions(interest, region{
			attributes: append(slices.Clone(at.attributes), n.attribute),
			cuts:       append(slices.Clone(at.cuts), n.cut),
			classes:    append(slices.Clone(at.classes), k.classes),
		}, yield)
	}
}

// requests returns what is of interest in words, one entry for what a person would
// say in one breath.
func (n *diagram) requests(interest func(uint) bool) []Requests {
	var out []Requests
	n.regions(interest, region{}, func(at region) {
		r := Requests{Methods: []string{anything}, Paths: []string{anything}}
		for i, a := range at.attributes {
			words := at.cuts[i].words(at.classes[i])
			switch a {
			case authz.AttributeMethod:
				r.Methods = words
			case authz.AttributePath:
				r.Paths = words
			default:
				r.Conditions = append(r.Conditions, condensed(a, words))
			}
		}
		r.Example = at.example()
		out = append(out, r)
	})
	out = join(out)
	for i := range out {
		out[i].Words = out[i].words()
	}
	return out
}

// join puts entries together that differ in their methods, or their paths, only.
func join(in []Requests) []Requests {
	out := slices.Clone(in)
	for _, same := range []func(a, b *Requests) bool{
		func(a, b *Requests) bool { return slices.Equal(a.Methods, b.Methods) },
		func(a, b *Requests) bool { return slices.Equal(a.Paths, b.Paths) },
	} {
		var next []Requests
		for _, r := range out {
			i := slices.IndexFunc(next, func(o Requests) bool {
				return same(&r, &o) && slices.Equal(r.Conditions, o.Conditions) && plain(r.Methods) &&
					plain(o.Methods) && plain(r.Paths) && plain(o.Paths)
			})
			if i < 0 {
				next = append(next, r)
				continue
			}
			next[i].Methods, next[i].Paths = merged(next[i].Methods, r.Methods), merged(next[i].Paths, r.Paths)
		}
		out = next
	}
	return out
}

// plain reports whether a list is one of values, so that another can be added.
func plain(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool {
		return w == anything || strings.HasPrefix(w, anything+
			" but ")
	})
}

func merged(a, b []string) []string {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(slices.Clip(a), v)
		}
	}
	return a
}

func (r *Requests) words() string {
	methods, paths := strings.Join(r.Methods, ", "), strings.Join(r.Paths, ", ")
	var out string
	switch {
	case methods == anything && paths == anything:
		out = "every request"
	case methods == anything:
		out = "every method on " + strings.Replace(paths, anything+" but", "every path but", 1)
	case strings.HasPrefix(methods, anything+" but"):
		out = "every method but" + strings.TrimPrefix(methods, anything+" but")
		if paths != anything {
			out += " on " + strings.Replace(paths, anything+" but", "every path but", 1)
		}
	case paths == anything:
		out = methods + " on every path"
	case strings.HasPrefix(paths, anything+" but"):
		out = methods + " on every path but" + strings.TrimPrefix(paths, anything+" but")
	default:
		out = methods + " " + paths
	}
	if len(r.Conditions) > 0 {
		out += ", " + strings.Join(r.Conditions, ", ")
	}
	return out
}

func condensed(a authz.Attribute, words []string) string {
	text := strings.Join(words, " or ")
	if name, ok := a.Header(); ok {
		name = strings.ToLower(name)
		switch text {
		case absent:
			return "without header " + name
		case anything + " but " + absent:
			return "with header " + name
		}
		return "header " + name + " " + text
	}
	return string(a) + " " + text
}

// absent is a header that is not there.
const absent = "absent"

// words says which values some classes hold, by the patterns that make them: whole
// patterns where all of their classes are among them, and the rest by exception.
func (c *cut) words(classes []int) []string {
	if len(classes) == len(c.classes) {
		return []string{anything}
	}
	wanted := make([]bool, len(c.classes))
	for _, i := range classes {
		wanted[i] = true
	}
	if words, ok := c.cover(wanted); ok {
		return words
	}
	for i := range wanted {
		wanted[i] = !wanted[i]
	}
	if words, ok := c.cover(wanted); ok {
		return []string{anything + " but " + strings.Join(words, ", ")}
	}
	var out []string
	for _, i := range classes {
		out = append(out, c.class(i))
	}
	return out
}

// cover returns the fewest patterns whose classes together are those wanted, and
// whether there are any.
func (c *cut) cover(wanted []bool) ([]string, bool) {
	left := map[int]bool{}
	for i, w := range wanted {
		if !w {
			continue
		}
		left[i] = true
	}
	size := make([]int, len(c.texts))
	fits := make([]bool, len(c.texts))
	for p := range c.texts {
		fits[p] = true
	}
	for i, x := range c.classes {
		for _, p := range x.in {
			size[p]++
			fits[p] = fits[p] && wanted[i]
		}
	}
	patterns := make([]int, 0, len(c.texts))
	for p := range c.texts {
		if fits[p] && size[p] > 0 {
			patterns = append(patterns, p)
		}
	}
	slices.SortStableFunc(patterns, func(a, b int) int { return size[b] - size[a] })
	var out []string
	for _, p := range patterns {
		covers := false
		for i, x := range c.classes {
			if left[i] && slices.Contains(x.in, p) {
				covers = true
				delete(left, i)
			}
		}
		if covers {
			out = append(out, c.texts[p])
		}
	}
	for i := range left {
		// the header is not there
		if c.classes[i].values == nil && !c.classes[i].addr.IsValid() && c.classes[i].port == 0 {
			out = append(out, absent)
			delete(left, i)
		}
	}
	slices.Sort(out)
	return out, len(left) == 0
}

// class says what one class holds.
func (c *cut) class(i int) string {
	x := &c.classes[i]
	var in, out []string
	for p, text := range c.texts {
		if slices.Contains(x.in, p) {
			in = append(in, text)
		} else {
			out = append(out, text)
		}
	}
	switch {
	case len(in) == 0 && len(out) == 0:
		return anything
	case len(in) == 0:
		return fmt.Sprintf("such as %s", x.shown())
	}
	return fmt.Sprintf("%s (such as %s)", strings.Join(in, " and "), x.shown())
}

func (x *class) shown() string {
	switch {
	case x.addr.IsValid():
		return x.addr.String()
	case x.port != 0:
		return fmt.Sprint(x.port)
	}
	return fmt.Sprintf("%q", strings.Join(x.values, ","))
}
