package mesh

import (
	"context"
	"sync"

	"artemis.example/policy/decision"
)

// DecisionLog keeps the latest decisions, numbered from 1 on, in a ring of fixed
// size. Readers ask for what follows a number: a slow one misses the oldest and
// sees it by the gap, and costs nobody anything. It may be used from many
// goroutines.
type DecisionLog struct {
	mu      sync.Mutex
	ring    []decision.Record
	last    uint64
	changed chan struct{} // closed by the next record; nil while nobody waits
}

// NewDecisionLog returns a log that keeps that many records, 4096 for 0.
func NewDecisionLog(capacity int) *DecisionLog {
	if capacity <= 0 {
		capacity = 4096
	}
	return &DecisionLog{ring: make([]decision.Record, capacity)}
}

// Append numbers a record and keeps it.
func (l *DecisionLog) Append(r decision.Record) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.Seq = l.last
	l.ring[(l.last-1)%uint64(len(l.ring))] = r
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.last
}

// Since returns up to limit records that follow seq, oldest first, and the number
// to ask with next. A limit of 0 means all.
func (l *DecisionLog) Since(seq uint64, limit int) (records []decision.Record, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := uint64(len(l.ring))
	if seq > l.last {
		seq = l.last
	}
	if l.last > size && seq < l.last-size {
		seq = l.last - size
	}
	n := l.last - seq
	if limit > 0 && n > uint64(limit) {
		n = uint64(limit)
	}
	records = make([]decision.Record, 0, n)
	for i := range n {
		records = append(records, l.ring[(seq+i)%size])
	}
	return records, seq + n
}

// Last returns the number of the latest record, 0 when there is none.
func (l *DecisionLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Wait returns when there is a record that follows seq, or with the error of the
// context.
func (l *DecisionLog) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		if l.last > seq {
			l.mu.Unlock()
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
