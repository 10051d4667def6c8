package mesh

import (
	"sync/atomic"
	"time"

	"artemis.example/policy/decision"
	"artemis.example/policy/evaluate"
	"artemis.example/policy/topology"
)

// state is a World with its policies compiled. It never changes; the next one
// replaces it as a whole.
type state struct {
	number   uint64 // a later state has a higher one
	stage    string
	world    *topology.World
	policies *evaluate.Policies
	// before is the state that this one replaced, until what was under way then has
	// arrived.
	before atomic.Pointer[state]
}

// inTransit is how long a connection may take from one end to the other.
const inTransit = time.Second

// follows makes the state the one after another.
func (s *state) follows(before *state) {
	s.number = before.number + 1
	s.before.Store(before)
	time.AfterFunc(inTransit, func() { s.before.Store(nil) })
}

func compile(stage string, w *topology.World) *state {
	return &state{stage: stage, world: w, policies: evaluate.New(w)}
}

func peerOf(p *topology.Pod) decision.Peer {
	if p == nil {
		return decision.Peer{}
	}
	return decision.Peer{Identity: p.Identity, Namespace: p.Namespace, Cell: p.Cell, Component: p.Component}
}
