package capture

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Handed is a listener of connections that somebody else has accepted or made.
type Handed struct {
	addr  net.Addr
	conns chan net.Conn
	over  chan struct{}
	close func()
}

// NewHanded returns a listener at an address, which is only told.
func NewHanded(addr net.Addr) *Handed {
	l := &Handed{addr: addr, conns: make(chan net.Conn), over: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.over) })
	return l
}

// Hand has Accept return a connection. It fails with net.ErrClosed after Close.
func (l *Handed) Hand(ctx context.Context, c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.over:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept returns the next connection.
func (l *Handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

// Close ends the listener; what it returned stays open.
func (l *Handed) Close() error {
	l.close()
	return nil
}

// Addr is where the connections were meant to go.
func (l *Handed) Addr() net.Addr { return l.addr }

// Dial opens a connection within this process, which Accept returns the other end
// of: there it seems to come from an address.
func (l *Handed) Dial(ctx context.Context, from net.Addr) (net.Conn, error) {
	near, far := net.Pipe()
	if err := l.Hand(ctx, addressed{far, l.addr, from}); err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	return addressed{near, from, l.addr}, nil
}

// addressed is a connection with other addresses than its own.
type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (c addressed) LocalAddr() net.Addr  { return c.local }
func (c addressed) RemoteAddr() net.Addr { return c.remote }
