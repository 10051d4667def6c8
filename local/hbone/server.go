package hbone

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"artemis.example/local/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/net/http2"
)

// Bounds on what strangers and friends may hold open.
const (
	// maxHandshakes are connections that have proven nothing yet. One more, and
	// the oldest goes: whoever means it is through in milliseconds.
	maxHandshakes = 128
	// maxConns are connections that have. One more, and an unused one of the
	// identity that has most goes.
	maxConns = 512
)

// Server takes tunnels. Identity and Handle are needed.
type Server struct {
	Identity *identity.Source
	// Handle serves one tunnel that a peer asks for: it accepts or refuses it. The
	// stream is closed when Handle returns.
	Handle func(*Stream)
	// Admit, if set, is asked before a handshake; on false the connection is reset.
	Admit func(net.Conn) bool
	// Failed, if set, is told of connections that come to nothing, and why.
	Failed func(remote net.Addr, err error)
	// Logger takes the panics of Handle, each of which costs its own stream and
	// nothing else, as in net/http; slog.Default when nil.
	Logger *slog.Logger

	mu       sync.Mutex
	closed   bool
	lns      map[net.Listener]struct{}
	pending  []net.Conn // oldest first
	conns    map[*conn]struct{}
	tlsOnce  sync.Once
	settings *tls.Config
}

// Serve takes connections until the listener fails or Close.
func (s *Server) Serve(ln net.Listener) error {
	s.tlsOnce.Do(func() { s.settings = s.Identity.ServerConfig() })
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(net.ErrClosed, ln.Close())
	}
	if s.lns == nil {
		s.lns, s.conns = map[net.Listener]struct{}{}, map[*conn]struct{}{}
	}
	s.lns[ln] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		if s.Admit != nil && !s.Admit(nc) || !s.enqueue(nc) {
			abort(nc)
			continue
		}
		go s.serve(nc)
	}
}

func (s *Server) enqueue(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.pending) >= maxHandshakes {
		abort(s.pending[0])
		s.pending = s.pending[1:]
	}
	s.pending = append(s.pending, nc)
	return true
}

// dequeue reports whether the connection was still waiting.
func (s *Server) dequeue(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := len(s.pending)
	s.pending = slices.DeleteFunc(s.pending, func(x net.Conn) bool { return x == nc })
	return len(s.pending) < waiting
}

func (s *Server) failed(nc net.Conn, err error) {
	if s.Failed != nil {
		s.Failed(nc.RemoteAddr(), err)
	}
}

func (s *Server) serve(raw net.Conn) {
	nc, peer, err := s.handshake(raw)
	if !s.dequeue(raw) && err == nil {
		err = errors.New("hbone: gave way to newer connections")
	}
	if err != nil {
		abort(raw)
		s.failed(raw, err)
		return
	}
	c := newConn(nc, peer, s.handle)
	c.ended = s.forget
	if !s.remember(c) {
		abort(raw)
		return
	}
	c.start()
	if err := c.read(); err != nil && !errors.Is(err, errGone) {
		s.failed(raw, err)
	}
}

// handle serves a stream. A panic breaks the stream and goes to the log.
func (s *Server) handle(st *Stream) {
	defer func() {
		if v := recover(); v != nil {
			cmp.Or(s.Logger, slog.Default()).Error("the handler of a tunnel panicked", "peer", st.Peer().String(),
				"authority", st.Authority(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			_ = st.Reset()
		}
	}()
	s.Handle(st)
}

// handshake ends before the peer's first frame; the deadline stays on until that
// has come too.
func (s *Server) handshake(raw net.Conn) (*tls.Conn, spiffeid.ID, error) {
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, spiffeid.ID{}, err
	}
	nc := tls.Server(raw, s.settings)
	if err := nc.Handshake(); err != nil {
		return nil, spiffeid.ID{}, fmt.Errorf("hbone: handshake: %w", err)
	}
	if nc.ConnectionState().NegotiatedProtocol != "h2" {
		return nil, spiffeid.ID{}, errors.New("hbone: the peer speaks no HTTP/2")
	}
	peer, err := identity.PeerID(nc.ConnectionState())
	if err != nil {
		return nil, peer, err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(nc, preface); err != nil || string(preface) != http2.ClientPreface {
		return nil, peer, fmt.Errorf("hbone: %s sent no HTTP/2 preface", peer)
	}
	return nc, peer, raw.SetWriteDeadline(time.Time{})
}

func (s *Server) remember(c *conn) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.conns[c] = struct{}{}
	var victim *conn
	if len(s.conns) > maxConns {
		victim = s.unused(c)
	}
	s.mu.Unlock()
	if victim != nil {
		victim.close(errGone, http2.ErrCodeEnhanceYourCalm)
	}
	return true
}

// unused finds a connection to give up: of the identity with the most, the one
// that has had no stream for longest, or the newcomer when all are in use.
func (s *Server) unused(newcomer *conn) *conn {
	most, of := newcomer.peer, map[spiffeid.ID]int{}
	for c := range s.conns {
		if of[c.peer]++; of[c.peer] > of[most] {
			most = c.peer
		}
	}
	victim, since := newcomer, time.Now()
	for c := range s.conns {
		if c.peer != most {
			continue
		}
		c.mu.Lock()
		if idle := c.idleSince; !idle.IsZero() && c.handlers == 0 && idle.Before(since) {
			victim, since = c, idle
		}
		c.mu.Unlock()
	}
	return victim
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Connections says how many connections are open: those that have proven who
// they are, and those that have not.
func (s *Server) Connections() (proven, pending int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns), len(s.pending)
}

// Close closes the listeners and every connection.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	lns, pending := s.lns, s.pending
	s.lns, s.pending = nil, nil
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for ln := range lns {
		_ = ln.Close()
	}
	for _, nc := range pending {
		abort(nc)
	}
	for _, c := range conns {
		c.close(errGone, http2.ErrCodeNo)
	}
}

// abort closes a connection with a reset where it can.
func abort(nc net.Conn) {
	if t, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}
