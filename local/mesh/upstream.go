package mesh

import (
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"artemis.example/local/http1"
)

const (
	// maxIdle bounds the unused connections kept per pod's port, idleFor how long.
	maxIdle = 64
	idleFor = 60 * time.Second
)

// upstream is a connection to a backend, used by one request at a time.
type upstream struct {
	net.Conn
	reader *http1.Reader
	to     backend
	judged *state // the latest by which the connection may be used
	way    route
	used   bool // has served a request before
	since  time.Time
}

// upstreams keeps the unused ones.
type upstreams struct {
	mu     sync.Mutex
	idle   map[backend][]*upstream
	timer  *time.Timer
	closed bool
}

// alive reports whether an unused connection is still good: nothing has ended or
// arrived on it.
func alive(c net.Conn) bool {
	switch c := c.(type) {
	case interface{ Alive() bool }:
		return c.Alive()
	case syscall.Conn:
		return quiet(c)
	}
	return false
}

// get returns the connection that was used last, nil when there is none.
func (u *upstreams) get(to backend) *upstream {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		list := u.idle[to]
		if len(list) == 0 {
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		u.idle[to] = list[:len(list)-1]
		if alive(c.Conn) {
			c.used = true
			return c
		}
		_ = c.Close()
	}
}

// reuse returns an unused connection to a backend that is as good under a state as
// the one that find would lead to, nil when there is none.
func (m *Mesh) reuse(u *upstreams, s *state, to backend, find func(*state) route) *upstream {
	for {
		c := u.get(to)
		if c == nil || c.judged == s {
			return c
		}
		if m.reevaluateRoute(s, c.way, find(s)) == keep {
			c.judged = s
			return c
		}
		_ = c.Close()
	}
}

// put takes a connection back. One that cannot tell whether it is alive is not
// worth keeping.
func (u *upstreams) put(c *upstream) {
	if c.reader.Buffered() > 0 || !alive(c.Conn) {
		_ = c.Close()
		return
	}
	c.reader.Release()
	c.since = time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(u.idle[c.to]) >= maxIdle {
		_ = c.Close()
		return
	}
	if u.idle == nil {
		u.idle = map[backend][]*upstream{}
	}
	u.idle[c.to] = append(u.idle[c.to], c)
	if u.timer == nil {
		u.timer = time.AfterFunc(idleFor/2, u.sweep)
	}
}

// sweep closes what is dead or was not used for long.
func (u *upstreams) sweep() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer = nil
	now, left := time.Now(), 0
	for to, list := range u.idle {
		u.idle[to] = slices.DeleteFunc(list, func(c *upstream) bool {
			over := now.Sub(c.since) >= idleFor || !alive(c.Conn)
			if over {
				_ = c.Close()
			}
			return over
		})
		left += len(u.idle[to])
	}
	if left > 0 && !u.closed {
		u.timer = time.AfterFunc(idleFor/2, u.sweep)
	}
}

// close closes the unused connections, and every one that comes back.
func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, list := range u.idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
	u.idle = nil
}
