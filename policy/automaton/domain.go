package automaton

// Domain is the strings that there can be at all: those that a small
// deterministic automaton takes.
type Domain struct {
	start  int
	accept []bool
	next   [][]int16 // by state and kind; -1 for nowhere
	kind   [256]int16
	bytes  [][]byte // by kind, the bytes that people like to read first
}

// readable is the order in which bytes are picked for a witness.
const readable = "xyzabcdefghijklmnopqrstuvwXYZABCDEFGHIJKLMNOPQRSTUVW0123456789-_.~/:,;=+@!$&'()*% \"#<>?[\\]^`{|}\t"

// NewDomain makes the domain of an automaton with that many states, of which the
// first is the start: step returns the state after a byte, or a negative number
// where no string goes on like that.
func NewDomain(states int, accept func(state int) bool, step func(state int, c byte) int) *Domain {
	d := &Domain{}
	for s := range states {
		d.accept = append(d.accept, accept(s))
		d.next = append(d.next, nil)
	}
	column := make([]byte, 0, 2*states+int(setCount))
	kinds := map[string]int16{}
	order := []byte(readable)
	for c := range 256 {
		if !contains(readable, byte(c)) {
			order = append(order, byte(c))
		}
	}
	for _, c := range order {
		column = column[:0]
		alive := false
		for s := range states {
			to := step(s, c)
			alive = alive || to >= 0
			column = append(column, byte(to), byte(to>>8))
		}
		if !alive {
			d.kind[c] = -1
			continue
		}
		for set := range setCount {
			if set.Contains(c) {
				column = append(column, byte(set))
			}
		}
		k, ok := kinds[string(column)]
		if !ok {
			k = int16(len(kinds))
			kinds[string(column)] = k
			d.bytes = append(d.bytes, nil)
			for s := range states {
				d.next[s] = append(d.next[s], int16(max(step(s, c), -1)))
			}
		}
		d.kind[c] = k
		d.bytes[k] = append(d.bytes[k], c)
	}
	return d
}

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

// Strings is the domain of all strings of the bytes that ok admits, the empty one
// included where empty is set.
func Strings(ok func(c byte) bool, empty bool) *Domain {
	return NewDomain(2, func(s int) bool { return s == 1 || empty }, func(_ int, c byte) int {
		if ok(c) {
			return 1
		}
		return -1
	})
}

// Contains reports whether a string is in the domain.
func (d *Domain) Contains(v string) bool {
	s := d.start
	for i := range len(v) {
		k := d.kind[v[i]]
		if k < 0 || d.next[s][k] < 0 {
			return false
		}
		s = int(d.next[s][k])
	}
	return d.accept[s]
}
