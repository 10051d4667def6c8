package mesh

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"artemis.example/local/hbone"
)

const (
	connectTimeout = 10 * time.Second
	// drainAfter bounds how long a connection on an outdated way may go on, and
	// answerAfter how long where that is for the sake of an answer only.
	drainAfter  = 200 * time.Millisecond
	answerAfter = 10 * time.Second
	// quietFor is how long nothing must have followed an answer before a
	// connection counts as unused.
	quietFor = 5 * time.Millisecond
)

// closedByChange begins the reason of a record of a connection that a new state
// has ended.
const closedByChange = "connection closed due to policy change: "

// disposition is what becomes of an open connection under a new state.
type disposition int

const (
	keep     disposition = iota
	drain                // it would now go another way: end it when it is unused, or soon
	leave                // the same, and whoever has opened it leaves it after the answer under way
	closeNow             // it is no longer allowed
)

// link is one connection that the mesh carries, for as long as it is open. newLink
// makes it, register and track put it where changes of state find it.
type link struct {
	// evaluate says what a state makes of it, and records what it refuses.
	evaluate func(*state) disposition
	// end breaks both sides. It may be called more than once.
	end func()
	// sets are those that hold the link.
	sets []*linkSet

	answered atomic.Bool  // what moved last was an answer
	moved    atomic.Int64 // when, in Unix nanoseconds

	judged atomic.Pointer[state] // the latest that the link was put before
	mu     sync.Mutex            // held while it is
	expiry *time.Timer           // ends the link, while it drains
	over   bool
	// answers counts the requests that were answered, where somebody counts.
	answers *atomic.Uint64
}

// note remembers that something moved; an answer after a request is one call.
func (l *link) note(answer bool) {
	if l.answered.Swap(answer) != answer && answer && l.answers != nil {
		l.answers.Add(1)
	}
	l.moved.Store(time.Now().UnixNano())
}

func newLink(evaluate func(*state) disposition, end func()) *link {
	return &link{evaluate: evaluate, end: end}
}

// unused reports whether nothing has moved.
func (l *link) unused() bool { return l.moved.Load() == 0 }

// track makes the link of a connection that state s allowed, and registers it.
func (m *Mesh) track(s *state, owner *linkSet, evaluate func(*state) disposition, end func()) *link {
	l := newLink(evaluate, end)
	m.register(l, s, owner)
	return l
}

// register puts a link where a change of state finds it, until done is called: it
// is there first and asked afterwards whether the state in force is still s, by
// which it was allowed, so that no change falls between the two. owner, if given,
// ends the link with everything else of a pod.
func (m *Mesh) register(l *link, s *state, owner *linkSet) {
	l.sets = []*linkSet{&m.links}
	if owner != nil {
		l.sets = append(l.sets, owner)
	}
	l.judged.Store(s)
	for _, set := range l.sets {
		if !set.add(l) {
			l.end()
		}
	}
	l.follow(m)
}

// follow puts the link before the state in force, when it has not been yet.
func (l *link) follow(m *Mesh) {
	if now := m.state.Load(); now != l.judged.Load() {
		l.reevaluate(now)
	}
}

// done takes the link out of its sets.
func (l *link) done() {
	for _, set := range l.sets {
		set.remove(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.stay()
}

// reevaluate puts the link before a new state, unless it knows that or a later one.
func (l *link) reevaluate(s *state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || s.number <= l.judged.Load().number {
		return
	}
	l.judged.Store(s)
	switch l.evaluate(s) {
	case keep:
		l.stay()
	case drain:
		if l.expiry == nil {
			l.endWhenUnused(time.Now())
		}
	case leave:
		if l.expiry == nil {
			l.expiry = time.AfterFunc(answerAfter, l.end)
		}
	case closeNow:
		l.end()
	}
}

// stay calls off what a state before had decided.
func (l *link) stay() {
	if l.expiry != nil {
		l.expiry.Stop()
		l.expiry = nil
	}
}

// linkSet holds the open links of the mesh or of one pod.
type linkSet struct {
	mu     sync.Mutex
	all    map[*link]struct{}
	closed bool
}

// add reports whether the set took the link: a closed one takes none.
func (t *linkSet) add(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if t.all == nil {
		t.all = map[*link]struct{}{}
	}
	t.all[l] = struct{}{}
	return true
}

func (t *linkSet) remove(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, l)
}

func (t *linkSet) snapshot() []*link {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.all))
}

// reevaluate puts every link before a new state.
func (t *linkSet) reevaluate(s *state) {
	for _, l := range t.snapshot() {
		l.reevaluate(s)
	}
}

// close ends every link, and every one that is still to come.
func (t *linkSet) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	for _, l := range t.snapshot() {
		l.end()
	}
}

// endWhenUnused ends the link at the first moment at which nobody waits for an
// answer on it. The caller holds mu.
func (l *link) endWhenUnused(start time.Time) {
	now := time.Now()
	idle := l.answered.Load() && now.UnixNano()-l.moved.Load() >= int64(quietFor)
	if idle || l.unused() || now.Sub(start) >= drainAfter {
		l.end()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(quietFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.expiry == timer {
			l.endWhenUnused(start)
		}
	})
	l.expiry = timer
}

// halfCloser is a connection that can end in one direction only.
type halfCloser interface{ CloseWrite() error }

// breaker is a connection that can end as one that breaks.
type breaker interface{ Reset() error }

// abort ends a connection as one that breaks: the other side sees a reset.
func abort(c net.Conn) {
	if b, ok := c.(breaker); ok {
		_ = b.Reset()
		return
	}
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// carry moves bytes of a connection that state s allowed, until both sides are done or
// evaluate has a later state end it. owner is as in register.
func (m *Mesh) carry(s *state, owner *linkSet, caller, callee net.Conn, evaluate func(*state) disposition) {
	l := m.track(s, owner, evaluate, func() { abort(caller); abort(callee) })
	defer l.done()
	l.carry(caller, callee)
}

// carry moves bytes between a caller and a callee until both are done, or until
// one side breaks; the other then breaks too, after what has arrived.
func (l *link) carry(caller, callee net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.pump(caller, callee, true)
	}()
	l.pump(callee, caller, false)
	<-done
	_ = caller.Close()
	_ = callee.Close()
}

// pump moves bytes from src to dst; answer tells that they come from the callee.
// A dst that takes no more ends this direction only: what it sent before it broke,
// the whole answer perhaps, is still on its way to src.
func (l *link) pump(dst, src net.Conn, answer bool) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	settle(l.copy(dst, src, *buf, answer), dst, src, *buf)
}

// settle ends what copy has done with.
func settle(err error, dst, src net.Conn, buf []byte) {
	switch {
	case err == nil:
		if h, ok := dst.(halfCloser); ok {
			_ = h.CloseWrite()
		} else {
			_ = dst.Close()
		}
	case errors.Is(err, errTakesNoMore):
		// What is still read now would otherwise turn the end of src into a reset.
		_ = src.SetReadDeadline(time.Now().Add(lingerFor))
		for err = nil; err == nil; _, err = src.Read(buf) {
		}
	case errors.Is(err, hbone.ErrReset):
		// As ztunnel does, and for the same reason: what the other end of a tunnel had
		// sent is to arrive. A caller that takes the end for no end is left to itself.
		if h, ok := dst.(halfCloser); ok && h.CloseWrite() == nil {
			_ = dst.SetReadDeadline(time.Now().Add(lingerFor))
			return
		}
		abort(dst)
	default:
		flush(dst)
		abort(dst)
		abort(src)
	}
}

// errTakesNoMore is returned when writing has failed, not reading.
var errTakesNoMore = errors.New("the other end takes no more")

// copy moves bytes from src to dst until src ends.
func (l *link) copy(dst, src net.Conn, buf []byte, answer bool) error {
	if st, ok := src.(*hbone.Stream); ok {
		if tcp, ok := dst.(*net.TCPConn); ok {
			err := st.Forward(tcp, buf, func() { l.note(answer) })
			if errors.Is(err, hbone.ErrForward) {
				return fmt.Errorf("%w: %w", errTakesNoMore, err)
			}
			return err
		}
	}
	for {
		n, err := src.Read(buf)
		if n > 0 {
			l.note(answer)
			if _, err := dst.Write(buf[:n]); err != nil {
				return fmt.Errorf("%w: %w", errTakesNoMore, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
