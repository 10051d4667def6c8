package automaton

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
)

// Domain is the strings that there can be at all: those that a small
// deterministic automaton takes.
type Domain struct {
	accept []bool
	next   [][]int16 // by state and kind, from the first state on; -1 for nowhere
	kind   [256]int16
	bytes  [][]byte // by kind, the bytes that people like to read first
}

// readable is the order in which bytes are picked for a witness.
const readable = "xyzabcdefghijklmnopqrstuvwXYZABCDEFGHIJKLMNOPQRSTUVW0123456789-_.~/:,;=+@!$&'()*% \"#<>?[\\]^`{|}\t"

// NewDomain returns the domain of the strings that a regular expression takes as a whole,
// byte by byte. It panics where it cannot read the expression, as regexp.MustCompile.
func NewDomain(expression string) *Domain {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		panic(fmt.Errorf("domain %s: %w", expression, err))
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		panic(fmt.Errorf("domain %s: %w", expression, err))
	}
	d := &Domain{}
	var steps [][256]int16
	var states [][]uint32 // the instructions that wait for a byte, or for the end
	numbers := map[string]int16{}
	number := func(from []uint32) int16 {
		var reached []uint32
		for _, at := range from {
			reached = follow(program, at, reached)
		}
		reached = slices.DeleteFunc(reached, func(at uint32) bool { // what waits for no byte
			op := program.Inst[at].Op
			return op == syntax.InstAlt || op == syntax.InstAltMatch || op == syntax.InstCapture || op == syntax.InstNop
		})
		slices.Sort(reached)
		n, known := numbers[keyOf(reached)]
		if !known {
			n = int16(len(states))
			numbers[keyOf(reached)] = n
			states = append(states, reached)
		}
		return n
	}
	number([]uint32{uint32(program.Start)})
	for s := 0; s < len(states); s++ {
		d.accept = append(d.accept, slices.ContainsFunc(states[s], func(at uint32) bool {
			return program.Inst[at].Op == syntax.InstMatch
		}))
		var step [256]int16
		known := map[string]int16{keyOf(nil): -1} // by the instructions that come next
		for c := range step {
			var next []uint32
			for _, at := range states[s] {
				if i := &program.Inst[at]; i.MatchRune(rune(c)) {
					next = append(next, i.Out)
				}
			}
			to, found := known[keyOf(next)]
			if !found {
				to = number(next)
				known[keyOf(next)] = to
			}
			step[c] = to
		}
		steps = append(steps, step)
	}
	d.sort(steps)
	return d
}

func keyOf(list []uint32) string {
	key := make([]byte, 0, 4*len(list))
	for _, n := range list {
		key = binary.LittleEndian.AppendUint32(key, n)
	}
	return string(key)
}

// follow adds to reached an instruction and those to which it leads without a byte.
func follow(p *syntax.Prog, at uint32, reached []uint32) []uint32 {
	if slices.Contains(reached, at) {
		return reached
	}
	reached = append(reached, at)
	switch i := &p.Inst[at]; i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return follow(p, i.Arg, follow(p, i.Out, reached))
	case syntax.InstCapture, syntax.InstNop:
		return follow(p, i.Out, reached)
	}
	return reached
}

// sort puts the bytes into kinds: those of one kind lead to the same states, and are in
// the same sets.
func (d *Domain) sort(steps [][256]int16) {
	d.next = make([][]int16, len(steps))
	kinds := map[string]int16{}
	order := []byte(readable)
	for c := range 256 {
		if strings.IndexByte(readable, byte(c)) < 0 {
			order = append(order, byte(c))
		}
	}
	for _, c := range order {
		d.kind[c] = -1
		column := make([]int16, 0, len(steps)+int(setCount))
		for s := range steps {
			column = append(column, steps[s][c])
		}
		if slices.Max(column) < 0 {
			continue
		}
		for set := range setCount {
			if set.Contains(c) {
				column = append(column, int16(set))
			}
		}
		key := fmt.Sprint(column)
		k, known := kinds[key]
		if !known {
			k = int16(len(kinds))
			kinds[key] = k
			d.bytes = append(d.bytes, nil)
			for s := range steps {
				d.next[s] = append(d.next[s], steps[s][c])
			}
		}
		d.kind[c] = k
		d.bytes[k] = append(d.bytes[k], c)
	}
}

// Contains reports whether a string is in the domain.
func (d *Domain) Contains(v string) bool {
	s := int16(0)
	for i := range len(v) {
		k := d.kind[v[i]]
		if k < 0 || d.next[s][k] < 0 {
			return false
		}
		s = d.next[s][k]
	}
	return d.accept[s]
}
