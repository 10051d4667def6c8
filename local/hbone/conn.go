package hbone

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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

	credit int // received bytes not yet given back to the connection's window
	noise  bucket
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
		peerStreams: clientStreams,
		started:     now,
		idleSince:   now,
	}
	if certs := nc.ConnectionState().PeerCertificates; len(certs) > 0 {
		c.expires = certs[0].NotAfter
	}
	c.framer = http2.NewFramer(io.Discard, bufio.NewReaderSize(nc, 16<<10))
	c.framer.SetMaxReadFrameSize(maxFrame)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
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
	streams := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	clear(c.streams)
	last := c.last
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	// What explains the end may be written if the peer still reads; the
	// connection closes in any case.
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	c.w.mu.Lock()
	if c.w.err == nil && !c.w.flushing {
		c.w.pending = appendGoAway(c.w.pending, last, code)
	}
	go func() {
		_ = c.w.flushAndUnlock()
		c.w.fail(err)
		_ = c.nc.Close()
	}()
	for _, s := range streams {
		s.fail(err)
	}
	if c.ended != nil {
		c.ended(c)
	}
}

// read runs until the connection is over and gives the reason.
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
	if !c.noise.take() {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.mu.Lock()
	if c.serve != nil && se.StreamID%2 == 1 && se.StreamID > c.last {
		c.last = se.StreamID
	}
	s := c.streams[se.StreamID]
	c.mu.Unlock()
	c.w.reset(se.StreamID, se.Code)
	if s != nil {
		s.fail(ErrReset)
		s.forget()
	}
	return nil
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
		if !c.noise.take() {
			return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
		}
		c.mu.Lock()
		s := c.streams[f.StreamID]
		idle := c.isIdle(f.StreamID)
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
	}
	if !c.noise.take() {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
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
	if c.credit += size; c.credit >= connectionWindow/4 {
		c.w.windowUpdate(0, c.credit)
		c.credit = 0
	}
	if size == 0 && !f.StreamEnded() && !c.noise.take() {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.mu.Lock()
	s := c.streams[f.StreamID]
	idle := c.isIdle(f.StreamID)
	c.mu.Unlock()
	switch {
	case idle:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case s == nil:
		return nil // reset a moment ago
	}
	if !s.receive(f.Data(), size, f.StreamEnded()) {
		c.w.reset(s.id, http2.ErrCodeFlowControl)
		s.fail(ErrReset)
		s.forget()
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
	if c.serve == nil || f.StreamID%2 == 0 {
		if idle {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	if !idle {
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	s = newStream(c, f.StreamID)
	c.mu.Lock()
	c.last = f.StreamID
	if c.leaving || c.handlers >= maxStreams || len(c.streams) >= maxStreams {
		c.mu.Unlock()
		if !c.noise.take() {
			return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
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

// moreHeaders takes the answer to our request, or trailers.
func (c *conn) moreHeaders(s *Stream, f *http2.MetaHeadersFrame) error {
	if c.serve == nil && s.answer(f) {
		if f.StreamEnded() {
			s.receive(nil, 0, true)
		}
		return nil
	}
	if !f.StreamEnded() {
		c.w.reset(f.StreamID, http2.ErrCodeProtocol)
		s.fail(ErrReset)
		s.forget()
		return nil
	}
	s.receive(nil, 0, true)
	return nil
}

func (c *conn) window(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		c.sendWindow += int64(f.Increment)
		if c.sendWindow > 1<<31-1 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		for _, s := range c.streams {
			s.sendable.Broadcast()
		}
		return nil
	}
	if s := c.streams[f.StreamID]; s != nil {
		s.sendWindow += int64(f.Increment)
		if s.sendWindow > 1<<31-1 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		s.sendable.Broadcast()
		return nil
	}
	if c.isIdle(f.StreamID) {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if !c.noise.take() {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
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
				if stream.sendWindow > 1<<31-1 {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
				stream.sendable.Broadcast()
			}
		case http2.SettingMaxFrameSize:
			c.peerFrame = int(s.Val)
		case http2.SettingMaxConcurrentStreams:
			c.peerStreams = s.Val
		}
		return nil
	})
	c.mu.Unlock()
	if err != nil {
		return err
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
	if !c.noise.take() {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
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

// bucket bounds the frames that cost more to answer than to send.
type bucket struct {
	tokens float64
	at     time.Time
}

const (
	noisePerSecond = 500
	noiseBurst     = 2000
)

func (b *bucket) take() bool {
	now := time.Now()
	if b.at.IsZero() {
		b.tokens = noiseBurst
	} else {
		b.tokens = min(noiseBurst, b.tokens+now.Sub(b.at).Seconds()*noisePerSecond)
	}
	b.at = now
	b.tokens--
	return b.tokens >= 0
}
