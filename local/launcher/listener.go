package launcher

import (
	"context"
	"net"
	"sync"
)

// handedListener is a listener of connections that somebody else has accepted or
// made.
type handedListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandedListener(addr net.Addr) *handedListener {
	return &handedListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand has Accept return a connection. It fails with net.ErrClosed after Close.
func (l *handedListener) hand(ctx context.Context, c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept returns the next connection.
func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener; what it returned stays open.
func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is where the connections were meant to go.
func (l *handedListener) Addr() net.Addr { return l.addr }

// Dial opens a connection that Accept returns the other end of: the launcher's way
// to its own gateway, whose port belongs to the host's network.
func (l *handedListener) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	if err := l.hand(ctx, addressedConn{far, l.addr}); err != nil {
		return nil, err
	}
	return addressedConn{near, l.addr}, nil
}

// addressedConn is a connection both ends of which have the address of its listener.
type addressedConn struct {
	net.Conn
	addr net.Addr
}

func (c addressedConn) LocalAddr() net.Addr  { return c.addr }
func (c addressedConn) RemoteAddr() net.Addr { return c.addr }
