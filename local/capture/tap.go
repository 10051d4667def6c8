package capture

import (
	"context"
	"net/netip"
	"time"
)

// Segment is what went over the node's network in one piece, as a listener on
// it sees it.
type Segment struct {
	At       time.Time      `json:"at"`
	Src, Dst netip.AddrPort `json:"-"`
	From     string         `json:"from"` // Src as text
	To       string         `json:"to"`   // Dst as text
	Data     []byte         `json:"data"`
}

// Tapper is a Node that lets somebody listen in on what its pods' proxies and
// waypoints send each other.
type Tapper interface {
	// Tap begins to listen. wait then calls see with every segment from the
	// beginning on, until ctx ends.
	Tap(ctx context.Context, see func(Segment)) (wait func() error, err error)
	// TapSource says in a few words where the bytes come from.
	TapSource() string
}
