package hbone

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is one HTTP/2 connection, either end of it.
type conn struct {
	nc     *tls.Conn
	peer   spiffeid.ID
	w      *writer
	framer *http2.Framer
	// serve takes a stream that the peer opens; nil at a client.
	serve func(*Stream)
	// ended is called once, when the connection is over.
	ended func(*conn)

	mu          sync.Mutex
	streams     map[uint32]*Stream
	handlers    int    // of streams that the peer opened, also of those that are over
	next        uint32 // our next stream
	last        uint32 // the peer's last stream
	sendWindow  int64
	peerWindow  int64 // of a new stream
	peerFrame   int
	peerStreams uint32
	leaving     bool // no new streams
	err         error
	started     time.Time
	idleSince   time.Time // zero while there are streams
	expires     time.Time // when either certificate does
	pinged      time.Time // zero when the last ping was answered
	ticked      uint64    // frames by the last tick
	timer       *time.Timer

	heard atomic.Uint64 // frames

	// abandoned are the streams that this end reset last: what the peer had sent
	// by then may still arrive, and is no fault of it.
	abandoned [256]uint32
	abandons  int

	creditMu sync.Mutex
	credit   int // bytes that were read, not yet given back to the connection's window

	calm controlFrameLimiter
}

func newConn(nc *tls.Conn, peer spiffeid.ID, serve func(*Stream)) *conn {
	now := time.Now()
	c := &conn{
		nc:          nc,
		peer:        peer,
		w:           newWriter(nc),
		serve:       serve,
		streams:     map[uint32]*Stream{},
		next:        1,
		sendWindow:  65535,
		peerWindow:  65535,
		peerFrame:   16 << 10,
		peerStreams: maxStreams,
		started:     now,
		idleSince:   now,
	}
	if certs := nc.ConnectionState().PeerCertificates; len(certs) > 0 {
		c.expires = certs[0].NotAfter
	}
	c.framer = http2.NewFramer(io.Discard, bufio.NewReaderSize(nc, 16<<10))
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	c.framer.MaxHeaderListSize = maxHeaderList
	return c
}

// start sends what opens a connection. The reader is the caller's to run.
func (c *conn) start() {
	c.w.settings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: maxStreams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)
	c.w.windowUpdate(0, connectionWindow-65535)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.timer = time.AfterFunc(pingAfter, c.tick)
	}
}

// tick looks after a quiet connection: it asks whether the peer is still there,
// and ends what is unused or whose certificate is over.
func (c *conn) tick() {
	c.mu.Lock()
	now := time.Now()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	over := !c.leaving && !c.expires.IsZero() && now.After(c.expires)
	c.leaving = c.leaving || over
	last := c.last
	idle := !c.idleSince.IsZero() && c.handlers == 0
	switch {
	case !c.pinged.IsZero() && now.Sub(c.pinged) >= pingTimeout:
		c.mu.Unlock()
		c.close(errors.New("hbone: the peer answers no ping"), http2.ErrCodeNo)
		return
	case idle && (c.leaving || now.Sub(c.idleSince) >= idleTimeout):
		c.mu.Unlock()
		c.close(errGone, http2.ErrCodeNo)
		return
	}
	heard := c.heard.Load()
	ping := c.pinged.IsZero() && heard == c.ticked
	c.ticked = heard
	if ping {
		c.pinged = now
	}
	c.timer.Reset(pingAfter)
	c.mu.Unlock()
	if over { // whoever goes on is to do so on another connection
		c.w.goAway(last, http2.ErrCodeNo)
	}
	if ping {
		c.w.ping(false, [8]byte{'a', 'r', 't', 'e', 'm', 'i', 's'})
	}
}

// close ends the connection and every stream on it.
func (c *conn) close(err error, code http2.ErrCode) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err, c.leaving = err, true
	streams := slices.Collect(maps.Values(c.streams))
	clear(c.streams)
	last := c.last
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	go c.farewell(err, last, code)
	for _, s := range streams {
		s.fail(err)
	}
	if c.ended != nil {
		c.ended(c)
	}
}

// farewell says why the connection ends, for as long as a peer that reads needs
// to hear it, and closes it. What the peer has under way is taken off the wire, or
// the kernel would answer it with a reset, which overtakes the words.
func (c *conn) farewell(err error, last uint32, code http2.ErrCode) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	c.w.goAway(last, code)
	c.w.fail(err)
	if code != http2.ErrCodeNo {
		_ = c.nc.CloseWrite()
		raw := c.nc.NetConn()
		if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_ = raw.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, raw)
		}
	}
	_ = c.nc.Close()
}

// read runs until the connection is over and returns the reason.
func (c *conn) read() error {
	err := c.frames()
	code := http2.ErrCodeNo
	var ce http2.ConnectionError
	if errors.As(err, &ce) {
		code = http2.ErrCode(ce)
	}
	switch {
	case errors.Is(err, http2.ErrFrameTooLarge):
		code = http2.ErrCodeFrameSize
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		err = errGone
	case code == http2.ErrCodeNo:
		// It broke: streams of it may be opened again on another.
		c.close(fmt.Errorf("%w: %w", errGone, err), code)
		return err
	}
	c.close(err, code)
	return err
}

func (c *conn) frames() error {
	settled := false
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			var se http2.StreamError
			if errors.As(err, &se) && settled {
				if err := c.streamError(se); err != nil {
					return err
				}
				continue
			}
			return err
		}
		c.heard.Add(1)
		if !settled {
			if s, ok := f.(*http2.SettingsFrame); !ok || s.IsAck() {
				return http2.ConnectionError(http2.ErrCodeProtocol)
			}
			settled = true
			if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
		}
		if err := c.frame(f); err != nil {
			return err
		}
	}
}

func (c *conn) streamError(se http2.StreamError) error {
	if err := c.calm.take(); err != nil {
		return err
	}
	c.mu.Lock()
	if c.serve != nil && se.StreamID%2 == 1 && se.StreamID > c.last {
		c.last = se.StreamID
	}
	s := c.streams[se.StreamID]
	if s == nil {
		c.remember(se.StreamID)
	}
	c.mu.Unlock()
	if s == nil {
		c.w.reset(se.StreamID, se.Code)
		return nil
	}
	c.abandon(s, se.Code)
	return nil
}

// abandon resets a stream for a fault of the peer.
func (c *conn) abandon(s *Stream, code http2.ErrCode) {
	c.mu.Lock()
	if !s.received {
		c.remember(s.id)
	}
	c.mu.Unlock()
	c.w.reset(s.id, code)
	s.fail(ErrReset)
	s.forget()
}

// remember notes that this end resets a stream before the peer has ended it. It
// is called with c.mu held.
func (c *conn) remember(id uint32) {
	c.abandoned[c.abandons%len(c.abandoned)] = id
	c.abandons++
}

// late reports whether a frame on a stream that is no more may have been sent
// before the peer knew.
func (c *conn) late(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.abandoned[:], id)
}

// closed answers DATA on a stream that has ended (RFC 9113, 5.1).
func (c *conn) closed(id uint32) error {
	if c.late(id) {
		return nil
	}
	if err := c.calm.take(); err != nil {
		return err
	}
	c.w.reset(id, http2.ErrCodeStreamClosed)
	return nil
}

// consumed hands bytes back to the connection's window once they are read: in
// large steps, as each is a frame.
func (c *conn) consumed(n int) {
	c.creditMu.Lock()
	c.credit += n
	give := 0
	if c.credit >= streamWindow/2 { // all the other streams may be full
		give, c.credit = c.credit, 0
	}
	c.creditMu.Unlock()
	if give > 0 {
		c.w.windowUpdate(0, give)
	}
}

func (c *conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.WindowUpdateFrame:
		return c.window(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.GoAwayFrame:
		c.goAway(f)
		return nil
	case *http2.RSTStreamFrame:
		if err := c.calm.take(); err != nil {
			return err
		}
		c.mu.Lock()
		s := c.streams[f.StreamID]
		idle := c.isIdle(f.StreamID)
		if i := slices.Index(c.abandoned[:], f.StreamID); i >= 0 {
			c.abandoned[i] = 0 // the peer sends nothing more on it
		}
		c.mu.Unlock()
		if idle {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		if s != nil {
			err := ErrReset
			if f.ErrCode == http2.ErrCodeRefusedStream {
				err = errGone
			}
			s.fail(err)
			s.forget()
		}
		return nil
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return c.streamError(http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol})
		}
	}
	return c.calm.take()
}

// isIdle reports whether a stream of that number was never opened.
func (c *conn) isIdle(id uint32) bool {
	if c.serve != nil {
		return id%2 == 0 || id > c.last
	}
	return id%2 == 0 || id >= c.next
}

func (c *conn) data(f *http2.DataFrame) error {
	size := int(f.Length)
	if size == 0 && !f.StreamEnded() {
		if err := c.calm.take(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	s := c.streams[f.StreamID]
	ended := s != nil && s.received
	idle := c.isIdle(f.StreamID)
	c.mu.Unlock()
	switch {
	case idle:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil:
		c.consumed(size)
		return c.closed(f.StreamID)
	case ended:
		c.consumed(size)
		c.abandon(s, http2.ErrCodeStreamClosed)
	case !s.receive(f.Data(), size, f.StreamEnded()):
		c.consumed(size)
		c.abandon(s, http2.ErrCodeFlowControl)
	}
	return nil
}

func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	idle := c.isIdle(f.StreamID)
	c.mu.Unlock()
	if s != nil {
		return c.moreHeaders(s, f)
	}
	switch {
	case !idle && c.late(f.StreamID):
		return nil
	case !idle:
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	case c.serve == nil || f.StreamID%2 == 0:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case f.HasPriority() && f.Priority.StreamDep == f.StreamID, !wellFormed(f):
		return c.streamError(http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol})
	}
	s = newStream(c, f.StreamID)
	c.mu.Lock()
	c.last = f.StreamID
	if c.leaving || c.handlers >= maxHandlers || len(c.streams) >= maxStreams {
		c.remember(f.StreamID)
		c.mu.Unlock()
		if err := c.calm.take(); err != nil {
			return err
		}
		c.w.reset(f.StreamID, http2.ErrCodeRefusedStream)
		return nil
	}
	s.sendWindow = c.peerWindow
	c.streams[f.StreamID] = s
	c.handlers++
	c.idleSince = time.Time{}
	c.mu.Unlock()
	s.open(f)
	if f.StreamEnded() {
		s.receive(nil, 0, true)
	}
	go func() {
		defer func() {
			s.Close()
			c.mu.Lock()
			c.handlers--
			done := c.leaving && c.handlers == 0 && len(c.streams) == 0
			c.mu.Unlock()
			if done {
				c.close(errGone, http2.ErrCodeNo)
			}
		}()
		c.serve(s)
	}()
	return nil
}

// wellFormed reports whether a request is one at all (RFC 9113, 8.2.2, 8.3.1, 8.5).
// One that is, and asks for something else than a tunnel, gets an answer.
func wellFormed(f *http2.MetaHeadersFrame) bool {
	method := f.PseudoValue("method")
	if method == "" || method != "CONNECT" && (f.PseudoValue("scheme") == "" || f.PseudoValue("path") == "") {
		return false
	}
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return false
		case "te":
			if field.Value != "trailers" {
				return false
			}
		}
	}
	return true
}

// moreHeaders takes the answer to our request, or trailers.
func (c *conn) moreHeaders(s *Stream, f *http2.MetaHeadersFrame) error {
	if c.serve == nil && s.answer(f) {
		if f.StreamEnded() {
			s.receive(nil, 0, true)
		}
		return nil
	}
	c.mu.Lock()
	ended := s.received
	c.mu.Unlock()
	switch {
	case ended:
		c.abandon(s, http2.ErrCodeStreamClosed)
	case !f.StreamEnded() || len(f.PseudoFields()) > 0:
		c.abandon(s, http2.ErrCodeProtocol)
	default:
		s.receive(nil, 0, true)
	}
	return nil
}

// maxWindow is the largest window that there may be (RFC 9113, 6.9.1).
const maxWindow = 1<<31 - 1

func (c *conn) window(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	overflow := false
	switch {
	case f.StreamID == 0:
		c.sendWindow += int64(f.Increment)
		overflow = c.sendWindow > maxWindow
		for _, s := range c.streams {
			s.sendable.Broadcast()
		}
	case s != nil:
		s.sendWindow += int64(f.Increment)
		overflow = s.sendWindow > maxWindow
		s.sendable.Broadcast()
	}
	idle := f.StreamID != 0 && s == nil && c.isIdle(f.StreamID)
	c.mu.Unlock()
	switch {
	case idle:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case overflow && s == nil:
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	case overflow:
		c.abandon(s, http2.ErrCodeFlowControl)
	}
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if err := c.calm.take(); err != nil {
		return err
	}
	var table uint32
	resized := false
	c.mu.Lock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			delta := int64(s.Val) - c.peerWindow
			c.peerWindow = int64(s.Val)
			for _, stream := range c.streams {
				stream.sendWindow += delta
				if stream.sendWindow > maxWindow {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
				stream.sendable.Broadcast()
			}
		case http2.SettingMaxFrameSize:
			c.peerFrame = int(s.Val)
		case http2.SettingMaxConcurrentStreams:
			c.peerStreams = s.Val
		case http2.SettingHeaderTableSize:
			table, resized = s.Val, true
		}
		return nil
	})
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if resized {
		c.w.tableSize(table)
	}
	c.w.settingsAck()
	return nil
}

func (c *conn) ping(f *http2.PingFrame) error {
	if f.IsAck() {
		c.mu.Lock()
		c.pinged = time.Time{}
		c.mu.Unlock()
		return nil
	}
	if err := c.calm.take(); err != nil {
		return err
	}
	c.w.ping(true, f.Data)
	return nil
}

func (c *conn) goAway(f *http2.GoAwayFrame) {
	c.mu.Lock()
	c.leaving = true
	var lost []*Stream
	for id, s := range c.streams {
		if c.serve == nil && id > f.LastStreamID {
			lost = append(lost, s)
		}
	}
	empty := len(c.streams) == len(lost)
	c.mu.Unlock()
	for _, s := range lost {
		s.fail(errGone)
		s.forget()
	}
	if empty {
		c.close(errGone, http2.ErrCodeNo)
	}
}

// controlFrameLimiter bounds the frames that cost more to answer than to send.
type controlFrameLimiter struct {
	tokens float64
	at     time.Time
}

const (
	controlFramesPerSecond = 500
	controlFramesBurst     = 2000
)

// take fails when there were too many.
func (l *controlFrameLimiter) take() error {
	now := time.Now()
	if l.at.IsZero() {
		l.tokens = controlFramesBurst
	} else {
		l.tokens = min(controlFramesBurst, l.tokens+now.Sub(l.at).Seconds()*controlFramesPerSecond)
	}
	l.at = now
	if l.tokens--; l.tokens < 0 {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}
