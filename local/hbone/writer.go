package hbone

import (
	"bytes"
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

	encoder *hpack.Encoder
	block   bytes.Buffer
}

func newWriter(nc net.Conn) *writer {
	w := &writer{nc: nc}
	w.room.L = &w.mu
	w.encoder = hpack.NewEncoder(&w.block)
	return w
}

func appendFrame(b []byte, length int, t http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(t), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// awaitRoom waits while the peer takes nothing.
func (w *writer) awaitRoom() {
	for w.flushing && len(w.pending) > maxPending && w.err == nil {
		w.room.Wait()
	}
}

// data writes one DATA frame and returns when it is written or on its way.
func (w *writer) data(stream uint32, p []byte, end bool) error {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	w.mu.Lock()
	w.awaitRoom()
	w.pending = append(appendFrame(w.pending, len(p), http2.FrameData, flags, stream), p...)
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
	flags := http2.FlagHeadersEndHeaders
	if end {
		flags |= http2.FlagHeadersEndStream
	}
	w.pending = append(appendFrame(w.pending, w.block.Len(), http2.FrameHeaders, flags, stream), w.block.Bytes()...)
	return w.flushAndUnlock()
}

// control adds small frames without ever waiting for the peer: it is called by
// the one who reads, and two readers that wait for each other would wait forever.
func (w *writer) control(add func([]byte) []byte) {
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
	w.pending = add(w.pending)
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
	w.control(func(b []byte) []byte {
		return appendUint32(appendFrame(b, 4, http2.FrameWindowUpdate, 0, stream), uint32(n))
	})
}

func (w *writer) reset(stream uint32, code http2.ErrCode) {
	w.control(func(b []byte) []byte {
		return appendUint32(appendFrame(b, 4, http2.FrameRSTStream, 0, stream), uint32(code))
	})
}

func (w *writer) ping(ack bool, data [8]byte) {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	w.control(func(b []byte) []byte {
		return append(appendFrame(b, 8, http2.FramePing, flags, 0), data[:]...)
	})
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode) []byte {
	return appendUint32(appendUint32(appendFrame(b, 8, http2.FrameGoAway, 0, 0), last), uint32(code))
}

func (w *writer) goAway(last uint32, code http2.ErrCode) {
	w.control(func(b []byte) []byte { return appendGoAway(b, last, code) })
}

func (w *writer) settings(list ...http2.Setting) {
	w.control(func(b []byte) []byte {
		b = appendFrame(b, 6*len(list), http2.FrameSettings, 0, 0)
		for _, s := range list {
			b = appendUint32(append(b, byte(s.ID>>8), byte(s.ID)), s.Val)
		}
		return b
	})
}

// tableSize bounds the table that headers are packed with, as the peer asks
// (RFC 7541, 4.2).
func (w *writer) tableSize(n uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.encoder.SetMaxDynamicTableSize(min(n, headerTable))
}

func (w *writer) settingsAck() {
	w.control(func(b []byte) []byte { return appendFrame(b, 0, http2.FrameSettings, http2.FlagSettingsAck, 0) })
}

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
