package hbone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Stream is one tunnel: a connection within a connection. Reading and writing
// may be done by two goroutines at a time.
type Stream struct {
	c  *conn
	id uint32

	method, authority string
	malformed         bool

	mu        sync.Mutex
	readable  sync.Cond
	buf       []byte // received, from off on not yet read
	off       int
	window    int // what the peer may still send
	consumed  int // read but not yet given back
	readErr   error
	status    int
	readUntil deadline
	// What Forward writes to: while its reader waits, arriving bytes go there
	// without waking it.
	sink    syscall.RawConn
	moved   func()
	waiting bool
	broken  func() // as OnBreak has it
	broke   bool   // the other end, or the connection

	// Guarded by c.mu.
	sendable   sync.Cond
	sendWindow int64
	sendErr    error
	writeUntil deadline
	ended      bool // both directions are over
	sent       bool // our END_STREAM
	received   bool // the peer's

	answered bool // by Accept or Refuse
}

func newStream(c *conn, id uint32) *Stream {
	s := &Stream{c: c, id: id, window: streamWindow}
	s.readable.L = &s.mu
	s.sendable.L = &c.mu
	return s
}

// open takes the peer's request. Only what routes the tunnel is kept: baggage,
// forwarded and the like are claims that nothing may rest on.
func (s *Stream) open(f *http2.MetaHeadersFrame) {
	s.method = f.PseudoValue("method")
	s.authority = f.PseudoValue("authority")
	s.malformed = f.Truncated || s.method != "CONNECT" || s.authority == "" ||
		f.PseudoValue("scheme") != "" || f.PseudoValue("path") != "" || f.PseudoValue("protocol") != ""
}

// answer takes the server's response; false when there was one already.
func (s *Stream) answer(f *http2.MetaHeadersFrame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != 0 {
		return false
	}
	code, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil || code < 100 || code > 599 {
		code = 502
	}
	if code >= 200 {
		s.status = code
		s.readable.Broadcast()
	}
	return true
}

// Peer returns the identity that the peer has proven.
func (s *Stream) Peer() spiffeid.ID { return s.c.peer }

// Authority returns where the peer wants to go.
func (s *Stream) Authority() string { return s.authority }

// Malformed reports whether the request was anything but a plain CONNECT.
func (s *Stream) Malformed() bool { return s.malformed }

// LocalAddr returns the address of this end of the connection under the tunnel.
func (s *Stream) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr returns the other end's.
func (s *Stream) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// Accept opens the tunnel with 200.
func (s *Stream) Accept() error { return s.respond(200, false) }

// Refuse answers with a status and ends the stream.
func (s *Stream) Refuse(status int) error { return s.respond(status, true) }

func (s *Stream) respond(status int, end bool) error {
	if s.answered {
		return nil
	}
	s.answered = true
	err := s.c.w.headers([]hpack.HeaderField{{Name: ":status", Value: strconv.Itoa(status)}}, end,
		func() uint32 { return s.id })
	if end {
		s.c.mu.Lock()
		s.sent = true
		s.sendErr = ErrClosed
		s.c.mu.Unlock()
	}
	return err
}

// receive takes bytes; false when the peer sends more than it may.
func (s *Stream) receive(p []byte, size int, end bool) bool {
	s.mu.Lock()
	if s.window -= size; s.window < 0 {
		s.mu.Unlock()
		return false
	}
	read := size - len(p) // padding is read already
	if s.readErr != nil {
		read = size // nobody will read it
	} else {
		if s.off == len(s.buf) {
			s.buf, s.off = s.buf[:0], 0
			if s.sink != nil && s.waiting && len(p) > 0 {
				n := tryWrite(s.sink, p)
				read += n
				p = p[n:]
				s.moved()
			}
		}
		s.keep(p)
		if end {
			s.readErr = io.EOF
		}
	}
	s.consumed += read
	give := s.give()
	if len(s.buf) > s.off || s.readErr != nil {
		s.readable.Signal()
	}
	s.mu.Unlock()
	s.gaveBack(read, give)
	if end {
		s.c.mu.Lock()
		s.received = true
		over := s.sent
		s.c.mu.Unlock()
		if over {
			s.forget()
		}
	}
	return true
}

// keep puts bytes behind those that are not yet read. What is read goes first,
// or a reader who is always a little behind would have all of it kept.
func (s *Stream) keep(p []byte) {
	if s.off > 0 && len(s.buf)+len(p) > cap(s.buf) {
		s.buf = s.buf[:copy(s.buf, s.buf[s.off:])]
		s.off = 0
	}
	s.buf = append(s.buf, p...)
}

// gaveBack announces to the peer what it may send again: what was read to the
// connection, and to the stream in larger steps.
func (s *Stream) gaveBack(read, give int) {
	if read > 0 {
		s.c.consumed(read)
	}
	if give > 0 {
		s.c.w.windowUpdate(s.id, give)
	}
}

// fail ends the stream on this side with an error. What was received before
// stays readable, and what was complete stays complete: a peer may end a stream
// whose answer is sent without waiting for the rest of the request (RFC 9113,
// 8.1).
func (s *Stream) fail(err error) {
	s.mu.Lock()
	if s.readErr == nil {
		s.readErr = err
	}
	s.broke = true
	if s.broken != nil {
		s.broken()
	}
	s.readable.Broadcast()
	s.mu.Unlock()
	s.c.mu.Lock()
	if s.sendErr == nil {
		s.sendErr = err
	}
	s.sendable.Broadcast()
	s.c.mu.Unlock()
}

// forget takes the stream off its connection.
func (s *Stream) forget() {
	c := s.c
	c.mu.Lock()
	if s.ended {
		c.mu.Unlock()
		return
	}
	s.ended = true
	delete(c.streams, s.id)
	done := false
	if len(c.streams) == 0 {
		c.idleSince = time.Now()
		done = c.leaving && c.handlers == 0 && c.err == nil
	}
	c.mu.Unlock()
	if done {
		c.close(errGone, http2.ErrCodeNo)
	}
}

// OnBreak has f called when the other end breaks the stream, or the connection
// under it breaks, at once if that has happened; nil takes that back, and f is not
// running any more then. It may not use the stream.
func (s *Stream) OnBreak(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = f
	if f != nil && s.broke {
		f()
	}
}

// Read reads what the peer sent.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	if err := s.await(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	n := copy(p, s.buf[s.off:])
	s.off += n
	if s.off == len(s.buf) && cap(s.buf) > 64<<10 {
		s.buf, s.off = nil, 0
	}
	s.consumed += n
	give := s.give()
	s.mu.Unlock()
	s.gaveBack(n, give)
	return n, nil
}

// give says how much to give back to the peer's window: in large steps, as each
// is a frame.
func (s *Stream) give() int {
	if s.consumed < streamWindow/2 || s.readErr != nil {
		return 0
	}
	n := s.consumed
	s.consumed = 0
	s.window += n
	return n
}

// Forward writes what arrives to a connection until the stream ends; moved is
// called for each piece. It is a copy that wakes nobody for bytes which the
// connection takes at once. An error of that connection's own is an ErrForward.
func (s *Stream) Forward(dst *net.TCPConn, buf []byte, moved func()) error {
	raw, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.sink, s.moved = raw, moved
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.sink, s.moved = nil, nil
		s.mu.Unlock()
	}()
	for {
		n, err := s.Read(buf)
		if n > 0 {
			moved()
			if _, err := dst.Write(buf[:n]); err != nil {
				return fmt.Errorf("%w: %w", ErrForward, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write sends p. It waits while the peer takes no more.
func (s *Stream) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n, err := s.reserve(len(p))
		if err != nil {
			return written, err
		}
		if err := s.c.w.data(s.id, p[:n], false); err != nil {
			return written, err
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// reserve takes up to n bytes from both windows.
func (s *Stream) reserve(n int) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case s.sendErr != nil:
			return 0, s.sendErr
		case s.sent:
			return 0, ErrClosed
		case s.sendWindow > 0 && c.sendWindow > 0:
			n = min(n, c.peerFrame, maxFrame, int(min(s.sendWindow, c.sendWindow)))
			s.sendWindow -= int64(n)
			c.sendWindow -= int64(n)
			return n, nil
		case s.writeUntil.passed():
			return 0, os.ErrDeadlineExceeded
		}
		s.sendable.Wait()
	}
}

// CloseWrite says that nothing more will be sent.
func (s *Stream) CloseWrite() error {
	c := s.c
	c.mu.Lock()
	if s.sent || s.sendErr != nil {
		c.mu.Unlock()
		return nil
	}
	s.sent = true
	over := s.received
	c.mu.Unlock()
	err := c.w.data(s.id, nil, true)
	if over {
		s.forget()
	}
	return err
}

// Close ends both directions, with a reset unless both had ended.
func (s *Stream) Close() error { return s.end(http2.ErrCodeCancel) }

// Reset ends the tunnel as a connection that breaks.
func (s *Stream) Reset() error { return s.end(http2.ErrCodeConnect) }

func (s *Stream) end(code http2.ErrCode) error {
	c := s.c
	c.mu.Lock()
	abort := !s.ended && c.err == nil && !(s.sent && s.received)
	if s.sendErr == nil {
		s.sendErr = ErrClosed
	}
	if s.sent && code == http2.ErrCodeCancel {
		code = http2.ErrCodeNo // we are done, and want no more
	}
	s.sent = true
	s.sendable.Broadcast()
	s.writeUntil.stop()
	if abort && !s.received {
		c.remember(s.id)
	}
	c.mu.Unlock()
	if abort {
		c.w.reset(s.id, code)
	}
	s.mu.Lock()
	s.readErr = ErrClosed
	unread := len(s.buf) - s.off
	s.buf, s.off = nil, 0
	s.readUntil.stop()
	s.readable.Broadcast()
	s.mu.Unlock()
	s.gaveBack(unread, 0)
	s.forget()
	return nil
}

// Await waits until there is something to read, or nothing more will come.
func (s *Stream) Await() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.await()
}

// await is Await with the lock held.
func (s *Stream) await() error {
	for s.off == len(s.buf) && s.readErr == nil {
		if s.readUntil.passed() {
			return os.ErrDeadlineExceeded
		}
		s.waiting = true
		s.readable.Wait()
		s.waiting = false
	}
	if s.off < len(s.buf) {
		return nil
	}
	return s.readErr
}

// Alive reports whether nothing has ended or arrived on the stream: whether an
// idle one may be used again.
func (s *Stream) Alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readErr == nil && s.off == len(s.buf)
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline bounds waiting in Read.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.readUntil.set(t, &s.readable)
	return nil
}

// SetWriteDeadline bounds waiting in Write for the peer to take more.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.writeUntil.set(t, &s.sendable)
	return nil
}

// deadline bounds waiting on a condition, whose lock guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, waiting *sync.Cond) {
	waiting.L.Lock()
	defer waiting.L.Unlock()
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			waiting.L.Lock()
			defer waiting.L.Unlock()
			waiting.Broadcast()
		})
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// openStream asks the server of a client's connection for a tunnel.
func (c *conn) openStream(ctx context.Context, authority string, extra []hpack.HeaderField) (*Stream, error) {
	s := newStream(c, 0)
	var refused error
	fields := append([]hpack.HeaderField{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: authority}},
		extra...)
	err := c.w.headers(fields, false, func() uint32 {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.err != nil || c.leaving:
			refused = errGone
			return 0
		case len(c.streams) >= int(min(maxStreams, c.peerStreams)):
			refused = errFull
			return 0
		}
		s.id = c.next
		if c.next += 2; c.next > 1<<30 {
			c.leaving = true
		}
		s.sendWindow = c.peerWindow
		c.streams[s.id] = s
		c.idleSince = time.Time{}
		return s.id
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		s.forget()
		return nil, errGone
	}
	stop := context.AfterFunc(ctx, func() { s.fail(ctx.Err()) })
	defer stop()
	s.mu.Lock()
	for s.status == 0 && s.readErr == nil {
		s.readable.Wait()
	}
	status, failure := s.status, s.readErr
	s.mu.Unlock()
	switch {
	case status == 200:
		return s, nil
	case status != 0:
		s.Close()
		return nil, &StatusError{Code: status}
	}
	s.Close()
	return nil, failure
}
