package mesh

import (
	"cmp"
	"container/heap"
	"container/list"
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
	capacity int

	mu      sync.Mutex
	records list.List // of decision.Record, oldest first
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

// queue is the records of one kind, oldest first: elements of DecisionLog.records.
type queue struct {
	kind  kind
	list  list.List
	index int // in DecisionLog.longest
}

// queues is a heap with the longest queue first.
type queues []*queue

func (q queues) Len() int           { return len(q) }
func (q queues) Less(i, j int) bool { return q[i].list.Len() > q[j].list.Len() }
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
	return &DecisionLog{capacity: cmp.Or(max(0, capacity), 4096), kinds: map[kind]*queue{}}
}

// Append numbers a record and keeps it.
func (l *DecisionLog) Append(r decision.Record) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r.Seq = l.last
	if l.records.Len() == l.capacity {
		l.makeRoom()
	}
	q := l.queueOf(kind{party{r.From.Namespace, r.From.Component}, party{r.To.Namespace, r.To.Component}, r.Verdict})
	q.list.PushBack(l.records.PushBack(r))
	heap.Fix(&l.longest, q.index)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.last
}

// makeRoom takes away the oldest record of the kind that there is most of.
func (l *DecisionLog) makeRoom() {
	q := l.longest[0]
	l.records.Remove(q.list.Remove(q.list.Front()).(*list.Element))
	if q.list.Len() > 0 {
		heap.Fix(&l.longest, q.index)
		return
	}
	heap.Remove(&l.longest, q.index)
	delete(l.kinds, q.kind)
}

func (l *DecisionLog) queueOf(k kind) *queue {
	q := l.kinds[k]
	if q == nil {
		q = &queue{kind: k}
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
	// Who asks has mostly seen all but the latest.
	var first *list.Element
	count := 0
	for e := l.records.Back(); e != nil && e.Value.(decision.Record).Seq > seq; e = e.Prev() {
		first = e
		count++
	}
	if limit > 0 {
		count = min(count, limit)
	}
	records, next = make([]decision.Record, 0, count), l.last
	for e := first; len(records) < count; e = e.Next() {
		records = append(records, e.Value.(decision.Record))
		next = records[len(records)-1].Seq
	}
	return records, next
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
