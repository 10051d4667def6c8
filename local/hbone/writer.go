package hbone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxPending bounds what waits to be written before those who add to it wait.
// The one who reads never waits; a peer that has it answer more than maxUnread
// and takes none of it is not to be had as a peer.
const (
	maxPending = 256 << 10
	maxUnread  = 2 * maxPending
)

var errUnread = errors.New("hbone: the peer asks and does not read the answers")

// writer puts frames on a connection. Whoever finds nobody writing writes, for
// everybody: frames that arrive meanwhile go out together, in one record where
// they fit.
type writer struct {
	nc net.Conn

	mu       sync.Mutex
	room     sync.Cond
	pending  []byte
	spare    []byte
	flushing bool
	err      error

	framer  *http2.Framer // writes to pending
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// pendingFrames appends what a framer writes to what is pending.
type pendingFrames struct{ *writer }

func (p pendingFrames) Write(frame []byte) (int, error) {
	p.pending = append(p.pending, frame...)
	return len(frame), nil
}

func newWriter(nc net.Conn) *writer {
	w := &writer{nc: nc}
	w.room.L = &w.mu
	w.framer = http2.NewFramer(pendingFrames{w}, nil)
	w.encoder = hpack.NewEncoder(&w.block)
	return w
}

// awaitRoom waits while the peer takes nothing.
func (w *writer) awaitRoom() {
	for w.flushing && len(w.pending) > maxPending && w.err == nil {
		w.room.Wait()
	}
}

// data writes one DATA frame and returns when it is written or on its way. It goes
// past the framer, which would copy it once more (RFC 9113, 4.1).
func (w *writer) data(stream uint32, p []byte, end bool) error {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	w.mu.Lock()
	w.awaitRoom()
	n := len(p)
	w.pending = append(w.pending, byte(n>>16), byte(n>>8), byte(n), byte(http2.FrameData), byte(flags))
	w.pending = append(binary.BigEndian.AppendUint32(w.pending, stream), p...)
	return w.flushAndUnlock()
}

// headers writes a HEADERS frame. prepare runs when its place in the order is
// certain and returns the stream's number; 0 calls it off.
func (w *writer) headers(fields []hpack.HeaderField, end bool, prepare func() uint32) error {
	w.mu.Lock()
	w.awaitRoom()
	stream := prepare()
	if stream == 0 {
		w.mu.Unlock()
		return nil
	}
	w.block.Reset()
	for _, f := range fields {
		// The buffer does not fail.
		_ = w.encoder.WriteField(f)
	}
	_ = w.framer.WriteHeaders(http2.HeadersFrameParam{ // into memory, as all that the framer writes
		StreamID: stream, BlockFragment: w.block.Bytes(), EndStream: end, EndHeaders: true,
	})
	return w.flushAndUnlock()
}

// control adds small frames without ever waiting for the peer: it is called by
// the one who reads, and two readers that wait for each other would wait forever.
func (w *writer) control(write func(*http2.Framer) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if w.flushing && len(w.pending) > maxUnread {
		w.err = errUnread
		w.room.Broadcast()
		_ = w.nc.Close() // ends the write in progress, and the reader
		return
	}
	_ = write(w.framer)
	if !w.flushing {
		w.flushing = true
		go func() {
			w.mu.Lock()
			w.flushing = false
			_ = w.flushAndUnlock()
		}()
	}
}

func (w *writer) windowUpdate(stream uint32, n int) {
	w.control(func(f *http2.Framer) error { return f.WriteWindowUpdate(stream, uint32(n)) })
}

func (w *writer) reset(stream uint32, code http2.ErrCode) {
	w.control(func(f *http2.Framer) error { return f.WriteRSTStream(stream, code) })
}

func (w *writer) ping(ack bool, data [8]byte) {
	w.control(func(f *http2.Framer) error { return f.WritePing(ack, data) })
}

func (w *writer) goAway(last uint32, code http2.ErrCode) {
	w.control(func(f *http2.Framer) error { return f.WriteGoAway(last, code, nil) })
}

func (w *writer) settings(list ...http2.Setting) {
	w.control(func(f *http2.Framer) error { return f.WriteSettings(list...) })
}

// tableSize bounds the table that headers are packed with, as the peer asks
// (RFC 7541, 4.2).
func (w *writer) tableSize(n uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.encoder.SetMaxDynamicTableSize(min(n, headerTable))
}

func (w *writer) settingsAck() { w.control((*http2.Framer).WriteSettingsAck) }

// flushAndUnlock writes what is pending, unless another does so already. It is
// called with the lock held and gives it up.
func (w *writer) flushAndUnlock() error {
	if w.flushing || w.err != nil {
		err := w.err
		w.mu.Unlock()
		return err
	}
	w.flushing = true
	for len(w.pending) > 0 && w.err == nil {
		out := w.pending
		w.pending, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		_, err := w.nc.Write(out)
		w.mu.Lock()
		if cap(out) <= maxPending {
			w.spare = out[:0]
		}
		if err != nil && w.err == nil {
			w.err = err
		}
		w.room.Broadcast()
	}
	w.flushing = false
	w.room.Broadcast()
	err := w.err
	w.mu.Unlock()
	return err
}

// fail makes every write from now on fail, after what is under way.
func (w *writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.flushing && w.err == nil {
		w.room.Wait()
	}
	if w.err == nil {
		w.err = err
	}
	w.room.Broadcast()
}
