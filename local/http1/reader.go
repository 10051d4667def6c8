// Package http1 reads HTTP/1.1 messages off a connection and passes them on; what a
// head says is read by package message. It decides nothing and knows no peer; what
// a proxy adds or takes away is its caller's business.
package http1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
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

// Release lets go of the buffer while nothing is in it.
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
	head, err := r.straight(beginsLikeARequest, partial)
	if err != nil {
		return err
	}
	return h.ParseRequest(head)
}

// ReadResponse reads the head of the response to a request with that method.
func (r *Reader) ReadResponse(h *message.Head, method string) error {
	head, err := r.straight(nil, nil)
	if err != nil {
		return err
	}
	return h.ParseResponse(head, method)
}

// straight reads a head as Straighten writes it.
func (r *Reader) straight(begins func([]byte) bool, partial func()) (string, error) {
	raw, plain, err := r.head(begins, partial)
	if err == nil && !plain {
		raw = Straighten(raw)
	}
	return raw, err
}

// RawHead reads a head and returns its lines as they came, without the empty one
// that ends it.
func (r *Reader) RawHead() (string, error) {
	raw, _, err := r.head(nil, nil)
	return raw, err
}

// Read reads the connection as it is, behind what was read of it already.
func (r *Reader) Read(p []byte) (int, error) {
	if r.Buffered() > 0 {
		n := copy(p, r.Peek())
		r.r += n
		return n, nil
	}
	return r.src.Read(p)
}

// head reads to the empty line that ends a head and returns the lines before it, each
// with its end; plain when that is CR LF and there is nothing to Straighten. Heads are
// read as Envoy's parser reads them (quiche BalsaFrame): line ends before
// it are skipped, a line feed alone ends a line, and what is folded is one line.
// begins, if given, is asked about what has come as long as the head is not there:
// nobody waits for the rest of what cannot become one. partial is called when the
// head does not come in one piece.
func (r *Reader) head(begins func([]byte) bool, partial func()) (raw string, plain bool, err error) {
	at := 0
	plain = true
	for {
		for at == 0 && r.Buffered() > 0 && (r.buf[r.r] == '\r' || r.buf[r.r] == '\n') {
			r.r++
		}
		b := r.Peek()
		for {
			i := bytes.IndexByte(b[at:], '\n')
			if i < 0 {
				break
			}
			line, crlf := bytes.CutSuffix(b[at:at+i], []byte("\r"))
			if len(line) == 0 {
				head := string(b[:at])
				r.r += at + i + 1
				return head, plain, nil
			}
			folded := at > 0 && (line[0] == ' ' || line[0] == '\t')
			plain = plain && crlf && !folded && bytes.IndexByte(line, '\r') < 0
			at += i + 1
		}
		if len(b) >= message.MaxHead {
			return "", false, message.ErrTooLarge
		}
		if len(b) > 0 && begins != nil && !begins(b) {
			return "", false, message.Malformed("no request begins like this")
		}
		if len(b) > 0 && partial != nil {
			partial()
			partial = nil
		}
		if err := r.fill(message.MaxHead); err != nil {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", false, err
		}
	}
}

// Straighten writes a head that is not all lines with CR LF as one that is: a carriage
// return counts as a space in the first line and as nothing in a value.
func Straighten(head string) string {
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	out := lines[:1]
	out[0] = strings.TrimRight(strings.ReplaceAll(lines[0], "\r", " "), " ")
	for i, line := range lines[1:] {
		line = strings.TrimRight(line, "\r")
		if i > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			out[len(out)-1] += strings.ReplaceAll(line, "\r", "")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok {
			line = name + ":" + strings.ReplaceAll(value, "\r", "")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n") + "\r\n"
}

// beginsLikeARequest reports whether bytes may be the beginning of a request line.
func beginsLikeARequest(b []byte) bool {
	if i := bytes.IndexAny(b, " \t\r\n"); i >= 0 {
		return message.KnownMethod(string(b[:i]))
	}
	return message.ValidName(string(b))
}

// line reads a short line without its end. bare says that a line feed alone ends it
// too.
func (r *Reader) line(limit int, bare bool) (string, error) {
	for {
		b := r.buf[r.r:r.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, crlf := bytes.CutSuffix(b[:i], []byte("\r"))
			if !crlf && !bare || bytes.IndexByte(line, '\r') >= 0 {
				return "", message.Malformed("a carriage return where none may be, or none where one has to be")
			}
			r.r += i + 1
			return string(line), nil
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
