package mesh

import (
	"sync"
	"sync/atomic"

	"artemis.example/policy/topology"
)

// Calls is how many requests one pod has had answered by another over connections
// that no waypoint looked into: those that one did are in the decision log, a
// record each.
type Calls struct {
	From, To  topology.Ref
	Encrypted bool
	Answered  uint64 // since the mesh was made
}

// callCounter counts requests by caller, callee and encryption.
type callCounter struct {
	mu    sync.Mutex
	pairs map[Calls]*atomic.Uint64 // by everything but the count
}

// between returns the counter of a route, nil for one through a waypoint.
func (c *callCounter) between(src *topology.Pod, r route) *atomic.Uint64 {
	if r.Pod == nil || r.Pod.Kind == topology.Waypoint {
		return nil
	}
	pair := Calls{From: src.Ref, To: r.Pod.Ref, Encrypted: r.HBONE}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pairs == nil {
		c.pairs = map[Calls]*atomic.Uint64{}
	}
	if c.pairs[pair] == nil {
		c.pairs[pair] = new(atomic.Uint64)
	}
	return c.pairs[pair]
}

// Calls returns the counts of all pairs so far, in no order.
func (m *Mesh) Calls() []Calls {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	all := make([]Calls, 0, len(m.calls.pairs))
	for pair, n := range m.calls.pairs {
		pair.Answered = n.Load()
		all = append(all, pair)
	}
	return all
}
