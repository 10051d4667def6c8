package mesh

import (
	"container/heap"
	"context"
	"sync"

	"artemis.example/policy/decision"
)

// DecisionLog keeps a fixed number of decisions, numbered from 1 on. When it is
// full, the oldest of whatever there is most of makes room: of the calls of one
// caller to one callee with one verdict. So the noise of one pod takes the place of
// its own noise, and not of what another pod did, nor of its own refusals. Readers
// ask for what follows a number: a slow one misses some and sees it by the gaps,
// and costs nobody anything. It may be used from many goroutines.
type DecisionLog struct {
	mu      sync.Mutex
	slots   []slot
	used    int
	first   int32 // the oldest record's slot, none for an empty log
	latest  int32
	kinds   map[kind]*queue
	longest queues
	last    uint64
	changed chan struct{} // closed by the next record; nil while nobody waits
}

// kind is what records have in common that make room for each other.
type kind struct {
	from, to party
	verdict  decision.Verdict
}

// party is one end of a call, as far as the mesh knows it by itself: what a caller
// can choose, such as an address, would give it as many kinds as it likes.
type party struct{ namespace, component string }

const none = -1

// slot holds a record in two lists: of all, in order, and of its kind.
type slot struct {
	record       decision.Record
	before, next int32
	nextOfKind   int32
	queue        *queue
}

// queue is the records of one kind, oldest first.
type queue struct {
	kind          kind
	oldest, newer int32
	length        int
	index         int // in DecisionLog.longest
}

// queues is a heap with the longest queue first.
type queues []*queue

func (q queues) Len() int           { return len(q) }
func (q queues) Less(i, j int) bool { return q[i].length > q[j].length }
func (q queues) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }

// Push is for container/heap.
func (q *queues) Push(x any) {
	x.(*queue).index = len(*q)
	*q = append(*q, x.(*queue))
}

// Pop is for container/heap.
func (q *queues) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return x
}

// NewDecisionLog returns a log that keeps that many records, 4096 for 0.
func NewDecisionLog(capacity int) *DecisionLog {
	if capacity <= 0 {
		capacity = 4096
	}
	return &DecisionLog{slots: make([]slot, capacity), first: none, latest: none, kinds: map[kind]*queue{}}
}

// Append numbers a record and keeps it.
func (l *DecisionLog) Append(r decision.Record) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.Seq = l.last
	k := kind{party{r.From.Namespace, r.From.Component}, party{r.To.Namespace, r.To.Component}, r.Verdict}
	at := l.room()
	l.slots[at] = slot{record: r, before: l.latest, next: none, nextOfKind: none, queue: l.queueOf(k)}
	if l.latest == none {
		l.first = at
	} else {
		l.slots[l.latest].next = at
	}
	l.latest = at
	q := l.slots[at].queue
	if q.length == 0 {
		q.oldest = at
	} else {
		l.slots[q.newer].nextOfKind = at
	}
	q.newer = at
	q.length++
	heap.Fix(&l.longest, q.index)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.last
}

// room returns a free slot.
func (l *DecisionLog) room() int32 {
	if l.used < len(l.slots) {
		l.used++
		return int32(l.used - 1)
	}
	q := l.longest[0]
	at := q.oldest
	s := &l.slots[at]
	q.oldest = s.nextOfKind
	q.length--
	if q.length == 0 {
		heap.Remove(&l.longest, q.index)
		delete(l.kinds, q.kind)
	} else {
		heap.Fix(&l.longest, q.index)
	}
	if s.before == none {
		l.first = s.next
	} else {
		l.slots[s.before].next = s.next
	}
	if s.next == none {
		l.latest = s.before
	} else {
		l.slots[s.next].before = s.before
	}
	return at
}

func (l *DecisionLog) queueOf(k kind) *queue {
	q := l.kinds[k]
	if q == nil {
		q = &queue{kind: k, oldest: none, newer: none}
		l.kinds[k] = q
		heap.Push(&l.longest, q)
	}
	return q
}

// Since returns up to limit records that follow seq, oldest first, and the number
// to ask with next. A limit of 0 means all.
func (l *DecisionLog) Since(seq uint64, limit int) (records []decision.Record, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= l.last {
		return []decision.Record{}, l.last
	}
	// Who asks has mostly seen all but the latest.
	from, count := l.latest, 0
	for at := l.latest; at != none && l.slots[at].record.Seq > seq; at = l.slots[at].before {
		from = at
		count++
	}
	if limit > 0 {
		count = min(count, limit)
	}
	records = make([]decision.Record, 0, count)
	for at := from; len(records) < count; at = l.slots[at].next {
		records = append(records, l.slots[at].record)
	}
	if count > 0 {
		return records, records[count-1].Seq
	}
	return records, l.last
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
