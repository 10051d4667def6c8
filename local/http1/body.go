package http1

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"

	"artemis.example/policy/message"
)

// CopyBody passes a message's body on, as it arrives and delimited as it was.
// keep says which trailer fields go along; nil drops them all. prefix is
// written first, together with what is there already.
func (r *Reader) CopyBody(dst io.Writer, h *message.Head, prefix []byte, keep func(name string) bool) error {
	switch h.Body {
	case message.Sized:
		return unexpected(r.copyUpTo(h.Length, dst, prefix))
	case message.Chunked:
		return r.copyChunked(dst, prefix, keep)
	case message.UntilClose:
		if err := r.copyUpTo(math.MaxInt64, dst, prefix); err != io.EOF {
			return err
		}
		return nil
	}
	if len(prefix) == 0 {
		return nil
	}
	_, err := dst.Write(prefix)
	return err
}

// Ready reports whether the whole body has arrived, so that passing it on waits
// for nobody.
func (r *Reader) Ready(h *message.Head) bool {
	return h.Body == message.NoBody || h.Body == message.Sized && int64(r.Buffered()) >= h.Length
}

// copyUpTo passes so many bytes on behind out; it fails with io.EOF where there are not
// as many.
func (r *Reader) copyUpTo(left int64, dst io.Writer, out []byte) error {
	for {
		n := int(min(int64(r.Buffered()), left))
		b := r.buf[r.r : r.r+n]
		r.r += n
		left -= int64(n)
		if len(out) > 0 {
			b, out = append(out, b...), nil
		}
		if len(b) > 0 {
			if _, err := dst.Write(b); err != nil {
				return err
			}
		}
		if left == 0 {
			return nil
		}
		if err := r.fillBody(); err != nil {
			return err
		}
	}
}

// fillBody reads more of a body, in larger pieces than a head.
func (r *Reader) fillBody() error {
	if r.r == r.w && len(r.buf) < 32<<10 {
		r.buf, r.r, r.w = make([]byte, 32<<10), 0, 0
	}
	return r.fill(message.MaxHead)
}

// copyChunked writes chunks again, without their extensions. What is buffered
// goes out in one piece, and never waits for more than is there.
func (r *Reader) copyChunked(dst io.Writer, out []byte, keep func(string) bool) error {
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		_, err := dst.Write(out)
		out = out[:0]
		return err
	}
	for {
		if !r.hasLine() {
			if err := flush(); err != nil {
				return err
			}
		}
		line, err := r.line(maxChunkLine, false)
		if err != nil {
			return err
		}
		size, err := chunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		out = append(strconv.AppendInt(out, size, 16), '\r', '\n')
		for size > 0 {
			if r.Buffered() == 0 {
				if err := flush(); err != nil {
					return err
				}
				if err := r.fillBody(); err != nil {
					return unexpected(err)
				}
			}
			n := min(size, int64(r.Buffered()))
			out = append(out, r.buf[r.r:r.r+int(n)]...)
			r.r += int(n)
			size -= n
		}
		end, err := r.lineAfter(flush)
		if err != nil {
			return err
		}
		if end != "" {
			return message.Malformed("a chunk is longer than it says")
		}
		out = append(out, '\r', '\n')
	}
	out = append(out, '0', '\r', '\n')
	total := 0
	for {
		line, err := r.lineAfter(flush)
		if err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if total += len(line); !ok || !message.ValidName(name) || !message.ValidValue(value) || total > maxTrailer {
			return message.Malformed("trailer")
		}
		if keep != nil && keep(name) {
			out = append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
		}
	}
	out = append(out, '\r', '\n')
	return flush()
}

// lineAfter reads a line, after writing out what waits if it is not there yet.
func (r *Reader) lineAfter(flush func() error) (string, error) {
	if !r.hasLine() {
		if err := flush(); err != nil {
			return "", err
		}
	}
	return r.line(maxChunkLine, true)
}

func (r *Reader) hasLine() bool { return bytes.IndexByte(r.Peek(), '\n') >= 0 }

// chunkSize reads a size in hexadecimal; extensions are ignored.
func chunkSize(line string) (int64, error) {
	digits, _, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	if digits == "" || len(digits) > 15 {
		return 0, message.Malformed("chunk size")
	}
	n, err := strconv.ParseUint(digits, 16, 62)
	if err != nil || strings.ContainsAny(digits, "+-_xX") {
		return 0, message.Malformed("chunk size")
	}
	return int64(n), nil
}
