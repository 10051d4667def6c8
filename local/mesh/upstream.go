package mesh

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"artemis.example/local/mesh/http1"
)

const (
	// maxIdle bounds the unused connections kept per pod's port, idleFor how long.
	maxIdle = 64
	idleFor = 60 * time.Second
)

// upstream is a waypoint's connection to a pod, used by one request at a time.
type upstream struct {
	net.Conn
	reader *http1.Reader
	to     netip.AddrPort
	used   bool // has served a request before
	since  time.Time
}

// upstreams keeps the unused ones.
type upstreams struct {
	mu     sync.Mutex
	idle   map[netip.AddrPort][]*upstream
	timer  *time.Timer
	closed bool
}

// alive is what can tell whether an unused connection is still good.
type alive interface{ Alive() bool }

// get returns the connection that was used last, nil when there is none.
func (u *upstreams) get(to netip.AddrPort) *upstream {
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
		if c.Conn.(alive).Alive() {
			c.used = true
			return c
		}
		_ = c.Close()
	}
}

// put takes a connection back. One that cannot tell whether it is alive is not
// worth keeping.
func (u *upstreams) put(c *upstream) {
	a, ok := c.Conn.(alive)
	if !ok || c.reader.Buffered() > 0 || !a.Alive() {
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
		u.idle = map[netip.AddrPort][]*upstream{}
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
		kept := list[:0]
		for _, c := range list {
			if now.Sub(c.since) < idleFor && c.Conn.(alive).Alive() {
				kept = append(kept, c)
				continue
			}
			_ = c.Close()
		}
		clear(list[len(kept):])
		u.idle[to] = kept
		left += len(kept)
	}
	if left > 0 && !u.closed {
		u.timer = time.AfterFunc(idleFor/2, u.sweep)
	}
}

func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, list := range u.idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
	u.idle = nil
}
