package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"artemis.example/local/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/singleflight"
)

// Dialer opens the connection under a tunnel.
type Dialer func(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error)

// Target is one way to a peer. Connections are shared among the calls of one
// Target and never between two, as ztunnel's are
// (istio/ztunnel src/proxy/h2/client.rs, WorkloadKey).
type Target struct {
	Source   *identity.Source // who calls
	SourceIP netip.Addr
	Address  netip.AddrPort // where the peer listens
	Peer     spiffeid.ID    // who it has to be
}

type key struct {
	source, peer spiffeid.ID
	sourceIP     netip.Addr
	address      netip.AddrPort
}

// Pool keeps the connections of a client. It may be used from many goroutines.
type Pool struct {
	dial Dialer

	mu     sync.Mutex
	to     map[key]*entry
	closed bool
}

type entry struct {
	dialing singleflight.Group // of several callers one dials

	mu    sync.Mutex
	conns []*conn
}

// NewPool returns an empty pool.
func NewPool(dial Dialer) *Pool { return &Pool{dial: dial, to: map[key]*entry{}} }

// Open opens a tunnel through the target to authority, an IP:port. forwarded, if
// not empty, tells the peer who asks; nobody may rest a decision on it. A refusal
// by the peer is a *StatusError.
func (p *Pool) Open(ctx context.Context, t Target, authority, forwarded string) (*Stream, error) {
	var extra []hpack.HeaderField
	if forwarded != "" {
		extra = []hpack.HeaderField{{Name: "forwarded", Value: forwarded}}
	}
	k := key{t.Source.ID(), t.Peer, t.SourceIP, t.Address}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, net.ErrClosed
	}
	e := p.to[k]
	if e == nil {
		e = &entry{}
		p.to[k] = e
	}
	p.mu.Unlock()
	// A connection may end between being found and being used; its peer has then
	// seen nothing, and another will do.
	for attempt := 0; ; attempt++ {
		c, err := p.connection(ctx, e, t)
		if err != nil {
			return nil, err
		}
		s, err := c.openStream(ctx, authority, extra)
		switch {
		case err == nil:
			return s, nil
		case errors.Is(err, errFull):
			continue
		case errors.Is(err, errGone):
			e.drop(c)
			// One that never said a word will not say more when asked again.
			if attempt < 3 && c.heard.Load() > 0 {
				continue
			}
		}
		return nil, err
	}
}

// connection returns one with room, or dials.
func (p *Pool) connection(ctx context.Context, e *entry, t Target) (*conn, error) {
	for {
		if c := e.withRoom(); c != nil {
			return c, nil
		}
		dialled := e.dialing.DoChan("", func() (any, error) { return nil, p.connect(ctx, e, t) })
		select {
		case r := <-dialled:
			if r.Err != nil {
				return nil, r.Err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// withRoom returns a connection that takes one more stream, nil where there is none.
func (e *entry) withRoom() *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.IndexFunc(e.conns, (*conn).hasRoom); i >= 0 {
		return e.conns[i]
	}
	return nil
}

// connect adds a connection to an entry.
func (p *Pool) connect(ctx context.Context, e *entry, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := p.dial(ctx, t.SourceIP, t.Address)
	if err != nil {
		return err
	}
	nc := tls.Client(raw, t.Source.ClientConfig(t.Peer))
	if err := nc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return fmt.Errorf("hbone: handshake with %s: %w", t.Address, err)
	}
	if nc.ConnectionState().NegotiatedProtocol != "h2" {
		raw.Close()
		return fmt.Errorf("hbone: %s speaks no HTTP/2", t.Address)
	}
	c := newConn(nc, t.Peer, nil)
	c.ended = func(c *conn) { e.drop(c) }
	// Goes out ahead of the first frame.
	c.w.pending = append(c.w.pending, http2.ClientPreface...)
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		raw.Close()
		return net.ErrClosed
	}
	c.start()
	e.mu.Lock()
	e.conns = append(e.conns, c)
	e.mu.Unlock()
	go func() { _ = c.read() }()
	return nil
}

func (c *conn) hasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.leaving && len(c.streams) < int(min(maxStreams, c.peerStreams))
}

// drop forgets a connection that is gone.
func (e *entry) drop(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = slices.DeleteFunc(e.conns, func(x *conn) bool { return x == c })
}

// Connections says how many connections are open.
func (p *Pool) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.to {
		e.mu.Lock()
		n += len(e.conns)
		e.mu.Unlock()
	}
	return n
}

// Close closes every connection; the Pool opens no more.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*conn
	for _, e := range p.to {
		e.mu.Lock()
		all = append(all, e.conns...)
		e.mu.Unlock()
	}
	p.mu.Unlock()
	for _, c := range all {
		c.close(net.ErrClosed, http2.ErrCodeNo)
	}
}
