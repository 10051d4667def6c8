package netns

import (
	"net"
	"sync"
	"sync/atomic"

	"artemis.example/local/capture"
)

// boundedListener lets at most so many of its connections be open at a time, and
// goes on when the process is out of descriptors.
type boundedListener struct {
	net.Listener
	free int64 // how many more
}

// Accept returns the next connection; it fails when the listener is closed.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := capture.AcceptNext(l.Listener.Accept)
		if err != nil {
			return nil, err
		}
		if atomic.AddInt64(&l.free, -1) >= 0 {
			return &boundedConn{Conn: c, done: func() { atomic.AddInt64(&l.free, 1) }}, nil
		}
		atomic.AddInt64(&l.free, 1)
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // nothing of it stays
		}
		_ = c.Close()
	}
}

type boundedConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close makes room for another.
func (c *boundedConn) Close() error {
	defer c.once.Do(c.done)
	return c.Conn.Close()
}
