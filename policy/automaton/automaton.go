// Package automaton cuts a domain of strings into the classes that a set of
// patterns cannot tell apart, each with a shortest witness: what "for every
// path" rests on. A pattern is a small automaton, or several. They run side by
// side with the automaton of the domain, by subset construction: where they
// stand together after a string is all that they know of it, so the strings that
// end in one set of accepting patterns are one class. It knows no policies and
// no HTTP; what may be added here is a set of bytes or a kind of step.
package automaton

import (
	"fmt"
	"slices"
	"strings"
)

// Set is a set of bytes that a step takes.
type Set uint8

// The sets.
const (
	Any       Set = iota
	NoSlash       // anything but a slash
	Segment       // pchar of RFC 3986, as Envoy's path templates take it
	Segments      // the same and the slash
	NoQuery       // anything but a question mark
	NoColon       // anything but a colon
	NoBracket     // anything but a colon or a closing bracket
	setCount
)

// Contains reports whether a byte is in the set.
func (s Set) Contains(c byte) bool {
	switch s {
	case NoSlash:
		return c != '/'
	case Segment:
		return pchar(c)
	case Segments:
		return c == '/' || pchar(c)
	case NoQuery:
		return c != '?'
	case NoColon:
		return c != ':'
	case NoBracket:
		return c != ':' && c != ']'
	}
	return true
}

func pchar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~%!$&'()*+,;:@=", c) >= 0
}

// step is one element of a pattern: a byte, or one or any number of a set's.
type step struct {
	byte, other byte // a literal in both cases, the same where case counts
	set         Set
	literal     bool
	loop        bool
}

func (s *step) takes(c byte) bool {
	if s.literal {
		return c == s.byte || c == s.other
	}
	return s.set.Contains(c)
}

// Pattern is a set of strings: those that one of its alternatives takes.
type Pattern struct {
	alternatives [][]step
}

// Sequence is a pattern that is being written, from left to right.
type Sequence []step

// Literal appends a string.
func (q Sequence) Literal(s string) Sequence {
	for i := range len(s) {
		q = append(q, step{byte: s[i], other: s[i], literal: true})
	}
	return q
}

// Fold appends a string whose ASCII letters may have either case.
func (q Sequence) Fold(s string) Sequence {
	for i := range len(s) {
		lower, upper := s[i], s[i]
		switch {
		case 'a' <= s[i] && s[i] <= 'z':
			upper = s[i] - 'a' + 'A'
		case 'A' <= s[i] && s[i] <= 'Z':
			lower = s[i] - 'A' + 'a'
		}
		q = append(q, step{byte: lower, other: upper, literal: true})
	}
	return q
}

// Many appends any number of bytes of a set, none included.
func (q Sequence) Many(s Set) Sequence { return append(q, step{set: s, loop: true}) }

// One appends one byte of a set.
func (q Sequence) One(s Set) Sequence { return append(q, step{set: s}) }

// Some appends one or more bytes of a set.
func (q Sequence) Some(s Set) Sequence { return append(q, step{set: s}, step{set: s, loop: true}) }

// Or returns the pattern of what one of the sequences takes.
func Or(sequences ...Sequence) Pattern {
	p := Pattern{}
	for _, q := range sequences {
		p.alternatives = append(p.alternatives, q)
	}
	return p
}

// Either returns the pattern of what one of two takes.
func Either(a, b Pattern) Pattern {
	return Pattern{alternatives: slices.Concat(a.alternatives, b.alternatives)}
}

// Matches reports whether the pattern takes a string.
func (p Pattern) Matches(v string) bool {
	for _, steps := range p.alternatives {
		at := map[int]bool{}
		reach(steps, 0, at)
		for i := range len(v) {
			next := map[int]bool{}
			for n := range at {
				if n == len(steps) || !steps[n].takes(v[i]) {
					continue
				}
				if steps[n].loop {
					reach(steps, n, next)
				} else {
					reach(steps, n+1, next)
				}
			}
			at = next
		}
		if at[len(steps)] {
			return true
		}
	}
	return false
}

func reach(steps []step, n int, at map[int]bool) {
	for at[n] = true; n < len(steps) && steps[n].loop; n++ {
		at[n+1] = true
	}
}

// Class is one set of strings: those of the domain that exactly the patterns In
// take.
type Class struct {
	In      []int // indices of the patterns, ascending
	Witness string
}

// ErrTooMany is returned where the patterns make more states than were allowed;
// nothing is known then.
type ErrTooMany struct{ States int }

// Error says how many states were looked at.
func (e *ErrTooMany) Error() string {
	return fmt.Sprintf("the patterns make more than %d states", e.States)
}

// Cut returns every class of the domain that has a string, the class of the
// shortest first. No more than limit states are looked at.
func Cut(d *Domain, patterns []Pattern, limit int) ([]Class, error) {
	c := &cutter{domain: d}
	for i, p := range patterns {
		for _, steps := range p.alternatives {
			for n := range steps {
				c.places = append(c.places, place{steps: steps, at: n, pattern: i})
			}
			c.places = append(c.places, place{steps: steps, at: len(steps), pattern: i})
		}
	}
	return c.run(patterns, limit)
}

// place is one position of one alternative.
type place struct {
	steps   []step
	at      int
	pattern int
}

type cutter struct {
	domain *Domain
	places []place
	mark   []int // the round in which a place was last reached
	round  int
	buffer []int32
	key    []byte
}

// state is where all patterns stand after a word, and the domain.
type state struct {
	at     []int32
	domain int16
	before int // the state that it was reached from, -1 for the first
	by     byte
}

func (c *cutter) run(patterns []Pattern, limit int) ([]Class, error) {
	c.mark = make([]int, len(c.places))
	c.round++
	n := int32(0)
	for _, p := range patterns {
		for _, steps := range p.alternatives {
			c.reach(n)
			n += int32(len(steps)) + 1
		}
	}
	states := []state{{at: c.take(), before: -1}}
	seen := map[string]bool{string(c.keyOf(states[0])): true}
	found := map[string]bool{}
	var classes []Class
	var candidates []byte
	for i := 0; i < len(states); i++ {
		s := states[i]
		if c.domain.accept[s.domain] {
			in := c.accepted(s)
			k := fmt.Sprint(in)
			if !found[k] {
				found[k] = true
				classes = append(classes, Class{In: in, Witness: word(states, i)})
			}
		}
		candidates = c.distinct(s, candidates[:0])
		for _, b := range candidates {
			next := c.domain.next[s.domain][c.domain.kind[b]]
			if next < 0 {
				continue
			}
			c.round++
			for _, p := range s.at {
				q := &c.places[p]
				if q.at == len(q.steps) || !q.steps[q.at].takes(b) {
					continue
				}
				if q.steps[q.at].loop {
					c.reach(p)
				} else {
					c.reach(p + 1)
				}
			}
			t := state{at: c.buffer, domain: next, before: i, by: b}
			slices.Sort(t.at)
			if k := c.keyOf(t); !seen[string(k)] {
				seen[string(k)] = true
				if len(seen) > limit {
					return nil, &ErrTooMany{limit}
				}
				t.at = slices.Clone(t.at)
				states = append(states, t)
			}
			c.buffer = c.buffer[:0]
		}
	}
	return classes, nil
}

// reach adds a place and those that follow without a byte to the buffer.
func (c *cutter) reach(p int32) {
	for {
		if c.mark[p] == c.round {
			return
		}
		c.mark[p] = c.round
		c.buffer = append(c.buffer, p)
		q := &c.places[p]
		if q.at == len(q.steps) || !q.steps[q.at].loop {
			return
		}
		p++
	}
}

func (c *cutter) take() []int32 {
	slices.Sort(c.buffer)
	out := slices.Clone(c.buffer)
	c.buffer = c.buffer[:0]
	return out
}

func (c *cutter) keyOf(s state) []byte {
	c.key = append(c.key[:0], byte(s.domain), byte(s.domain>>8))
	for _, p := range s.at {
		c.key = append(c.key, byte(p), byte(p>>8), byte(p>>16))
	}
	return c.key
}

func (c *cutter) accepted(s state) []int {
	var in []int
	for _, p := range s.at {
		if q := &c.places[p]; q.at == len(q.steps) && (len(in) == 0 || in[len(in)-1] != q.pattern) {
			in = append(in, q.pattern)
		}
	}
	return in
}

// distinct appends the bytes that are told apart here: those that some live place
// names, and of the others one of each kind.
func (c *cutter) distinct(s state, out []byte) []byte {
	var named [256]bool
	for _, p := range s.at {
		if q := &c.places[p]; q.at < len(q.steps) && q.steps[q.at].literal {
			for _, b := range []byte{q.steps[q.at].byte, q.steps[q.at].other} {
				if !named[b] && c.domain.kind[b] >= 0 {
					named[b] = true
					out = append(out, b)
				}
			}
		}
	}
	for _, kind := range c.domain.bytes {
		for _, b := range kind {
			if !named[b] {
				out = append(out, b)
				break
			}
		}
	}
	return out
}

func word(states []state, i int) string {
	var b []byte
	for ; states[i].before >= 0; i = states[i].before {
		b = append(b, states[i].by)
	}
	slices.Reverse(b)
	return string(b)
}
