// Package http1 reads HTTP/1.1 messages off a connection and passes them on; what a
// head says is read by package message. It decides nothing and knows no peer; what
// a proxy adds or takes away is its caller's business.
package http1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"

	"artemis.example/policy/message"
)

// Bounds of a message; message.MaxHead is that of its head.
const (
	// maxChunkLine bounds a chunk's size with its extensions.
	maxChunkLine = 1 << 10
	maxTrailer   = 8 << 10
	bufferSize   = 8 << 10
)

// Reader reads messages from a connection.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int
	err  error
}

// NewReader returns a Reader without a buffer: it takes one when it first reads.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Buffered returns how many bytes are read but not used.
func (r *Reader) Buffered() int { return r.w - r.r }

// pool keeps buffers of the ordinary size between messages.
var pool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Release returns the buffer up while nothing is in it.
func (r *Reader) Release() {
	if r.r != r.w {
		return
	}
	if len(r.buf) == bufferSize {
		pool.Put((*[bufferSize]byte)(r.buf))
	}
	r.buf, r.r, r.w = nil, 0, 0
}

// Await reads what comes next, if nothing is buffered.
func (r *Reader) Await() error {
	if r.Buffered() > 0 {
		return nil
	}
	return r.fill(message.MaxHead)
}

// Peek returns what is read but not used.
func (r *Reader) Peek() []byte { return r.buf[r.r:r.w] }

// More reads more behind what is buffered.
func (r *Reader) More() error { return r.fill(message.MaxHead) }

// Err returns the error with which the connection has ended, nil while it has not.
func (r *Reader) Err() error { return r.err }

// Take returns what is read but not used, and forgets it.
func (r *Reader) Take() []byte {
	b := r.buf[r.r:r.w]
	r.r = r.w
	return b
}

// fill reads more, with room for at least some bytes.
func (r *Reader) fill(limit int) error {
	switch {
	case r.buf == nil:
		r.buf = pool.Get().(*[bufferSize]byte)[:]
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf) && r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	case r.w == len(r.buf):
		if len(r.buf) >= limit {
			return message.ErrTooLarge
		}
		bigger := make([]byte, min(2*len(r.buf), max(limit, bufferSize)))
		r.w = copy(bigger, r.buf[r.r:r.w])
		r.r, r.buf = 0, bigger
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		r.err = err
	}
	return err
}

// ReadRequest reads a request's head. partial, if given, is called when the head
// does not arrive in one piece.
func (r *Reader) ReadRequest(h *message.Head, partial func()) error {
	raw, err := r.head(partial)
	if err != nil {
		return err
	}
	return h.ParseRequest(raw)
}

// ReadResponse reads the head of the response to a request with that method.
func (r *Reader) ReadResponse(h *message.Head, method string) error {
	raw, err := r.head(nil)
	if err != nil {
		return err
	}
	return h.ParseResponse(raw, method)
}

// head reads to the empty line that ends a head and gives the bytes before it,
// each line with its end. partial is called when the head does not come in one
// piece.
func (r *Reader) head(partial func()) (string, error) {
	for r.Buffered() == 0 {
		if err := r.fill(message.MaxHead); err != nil {
			return "", err
		}
	}
	// A client may end its last message with a stray empty line.
	for skipped := 0; skipped < 2 && r.Buffered() >= 2 && r.buf[r.r] == '\r' && r.buf[r.r+1] == '\n'; skipped++ {
		r.r += 2
	}
	searched := 0
	for {
		b := r.buf[r.r:r.w]
		if i := bytes.Index(b[searched:], []byte("\r\n\r\n")); i >= 0 {
			end := searched + i + 2
			head := string(b[:end])
			r.r += end + 2
			return head, nil
		}
		if len(b) >= message.MaxHead {
			return "", message.ErrTooLarge
		}
		searched = max(0, len(b)-3)
		if partial != nil {
			partial()
			partial = nil
		}
		if err := r.fill(message.MaxHead); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// line reads a short line without its end.
func (r *Reader) line(limit int) (string, error) {
	for {
		b := r.buf[r.r:r.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' {
				return "", message.Malformed("a line ends without a carriage return")
			}
			line := string(b[:i-1])
			r.r += i + 1
			return line, nil
		}
		if len(b) >= limit {
			return "", message.Malformed("a line of more than %d bytes", limit)
		}
		if err := r.fill(message.MaxHead); err != nil {
			return "", unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
