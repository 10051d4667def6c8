package mesh

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"artemis.example/local/hbone"
)

const (
	connectTimeout = 10 * time.Second
	// retireAfter bounds how long a connection on an outdated way may go on.
	retireAfter = 200 * time.Millisecond
	// quietFor is how long nothing must have followed an answer before a
	// connection counts as unused.
	quietFor = 5 * time.Millisecond
)

// fate is what becomes of an open connection under a new state.
type fate int

const (
	keep   fate = iota
	retire      // it would now go another way: end it when it is unused, or soon
	cut         // it is no longer allowed
)

// link is one connection that the mesh carries, for as long as it is open.
type link struct {
	// judge says what a state makes of it, and records what it refuses.
	judge func(*state) fate
	// end breaks both sides. It may be called more than once.
	end func()

	answered atomic.Bool  // what moved last was an answer
	moved    atomic.Int64 // when, in Unix nanoseconds
	retiring atomic.Bool
}

// tracker knows every link.
type tracker struct {
	mu  sync.Mutex
	all map[*link]struct{}
}

// add takes a link that was allowed under a state. current gives the state in
// force: when that has changed meanwhile, the link is judged again.
func (t *tracker) add(l *link, s *state, current func() *state) {
	t.mu.Lock()
	t.all[l] = struct{}{}
	t.mu.Unlock()
	if now := current(); now != s {
		l.apply(now)
	}
}

func (t *tracker) remove(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, l)
}

func (t *tracker) snapshot() []*link {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*link, 0, len(t.all))
	for l := range t.all {
		all = append(all, l)
	}
	return all
}

// judge puts every link before a new state.
func (t *tracker) judge(s *state) {
	for _, l := range t.snapshot() {
		l.apply(s)
	}
}

func (t *tracker) cutAll() {
	for _, l := range t.snapshot() {
		l.end()
	}
}

func (l *link) apply(s *state) {
	switch l.judge(s) {
	case cut:
		l.end()
	case retire:
		if l.retiring.CompareAndSwap(false, true) {
			l.retireFrom(time.Now())
		}
	}
}

// retireFrom ends the link at the first moment at which nobody waits for an
// answer on it.
func (l *link) retireFrom(start time.Time) {
	now := time.Now()
	idle := l.answered.Load() && now.UnixNano()-l.moved.Load() >= int64(quietFor)
	if idle || l.moved.Load() == 0 || now.Sub(start) >= retireAfter {
		l.end()
		return
	}
	time.AfterFunc(quietFor, func() { l.retireFrom(start) })
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

// carry moves bytes between a caller and a callee until both are done, or until
// one side breaks; the other then breaks too.
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
func (l *link) pump(dst, src net.Conn, answer bool) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if st, ok := src.(*hbone.Stream); ok {
		if tcp, ok := dst.(*net.TCPConn); ok {
			err := st.Forward(tcp, *buf, func() {
				l.answered.Store(answer)
				l.moved.Store(time.Now().UnixNano())
			})
			if err != nil {
				abort(dst)
				abort(src)
				return
			}
			_ = tcp.CloseWrite()
			return
		}
	}
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			l.answered.Store(answer)
			l.moved.Store(time.Now().UnixNano())
			if _, werr := dst.Write((*buf)[:n]); werr != nil {
				abort(src)
				abort(dst)
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if h, ok := dst.(halfCloser); ok {
				_ = h.CloseWrite()
			} else {
				_ = dst.Close()
			}
			return
		default:
			abort(dst)
			abort(src)
			return
		}
	}
}
