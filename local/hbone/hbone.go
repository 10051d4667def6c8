// Package hbone carries connections through HTTP/2 CONNECT streams over mutually
// authenticated TLS, as ambient's node proxies and waypoints do
// (istio/ztunnel src/proxy/h2): a server, and a client that pools connections
// per pair of identities. It proves who the peer is; what the peer may do is its
// caller's business. Frames are read and headers packed by golang.org/x/net's
// http2; streams and windows are kept here, because each byte of a call passes
// four times and may not wait for a chain of goroutines each time.
package hbone

import (
	"errors"
	"fmt"
	"time"
)

// What is offered to a peer, close to ztunnel's figures. All streams of a
// connection together may send ahead what the connection may, so that a stream
// which nobody reads holds up no other, and a connection costs no more memory
// than its window.
const (
	maxStreams       = 100 // open streams per connection
	maxHandlers      = 2 * maxStreams
	connectionWindow = 16 << 20 // bytes that a connection may send ahead
	streamWindow     = connectionWindow / maxStreams
	maxFrame         = 64 << 10
	maxHeaderList    = 16 << 10
	headerTable      = 4096
)

// What a peer's patience and ours end with.
const (
	handshakeTimeout = 10 * time.Second
	pingAfter        = 10 * time.Second // without a frame
	pingTimeout      = 20 * time.Second
	idleTimeout      = 5 * time.Minute // without a stream
)

var (
	// ErrReset is what a stream's user sees when the other end reset it.
	ErrReset = errors.New("hbone: stream reset by peer")
	// ErrClosed is what a stream's user sees after closing it.
	ErrClosed = errors.New("hbone: stream closed")

	// ErrForward is what Forward fails with when its connection takes no more.
	ErrForward = errors.New("hbone: the connection forwarded to takes no more")

	errGone = errors.New("hbone: connection is gone") // nothing was processed: try another
	errFull = errors.New("hbone: connection has no stream left")
)

// StatusError is the answer of a server that did not open the tunnel: 401 for a
// policy's refusal, 400 for a bad request, 503 when the destination does not
// answer.
type StatusError struct{ Code int }

// Error names the code.
func (e *StatusError) Error() string { return fmt.Sprintf("hbone: the peer answered %d", e.Code) }
