package hbone_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"artemis.example/local/hbone"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is a peer that writes frames one by one, with a valid certificate.
type wire struct {
	t   *testing.T
	nc  net.Conn
	fr  *http2.Framer
	hp  *hpack.Encoder
	buf bytes.Buffer
}

func (r *rig) wire(t *testing.T, settings ...http2.Setting) *wire {
	t.Helper()
	nc, err := tls.Dial("tcp4", r.addr, r.ca.Source(clientID).ClientConfig(serverID))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	w := &wire{t: t, nc: nc, fr: http2.NewFramer(nc, nc)}
	w.hp = hpack.NewEncoder(&w.buf)
	w.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.write([]byte(http2.ClientPreface))
	if err := w.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) open(id uint32, end bool, priority http2.PriorityParam) {
	w.t.Helper()
	w.headers(id, end, priority, hpack.HeaderField{Name: ":method", Value: "CONNECT"},
		hpack.HeaderField{Name: ":authority", Value: "x:1"})
}

func (w *wire) headers(id uint32, end bool, priority http2.PriorityParam, fields ...hpack.HeaderField) {
	w.t.Helper()
	w.buf.Reset()
	for _, f := range fields {
		_ = w.hp.WriteField(f)
	}
	if err := w.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.buf.Bytes(), EndHeaders: true,
		EndStream: end, Priority: priority}); err != nil {
		w.t.Fatal(err)
	}
}

// heard returns what the server says of streams and of the connection until it
// has answered a ping that is sent now, or has ended the connection.
func (w *wire) heard() []string {
	w.t.Helper()
	if err := w.fr.WritePing(false, [8]byte{'e', 'n', 'd'}); err != nil {
		return []string{"connection over"}
	}
	var out []string
	for {
		f, err := w.fr.ReadFrame()
		if err != nil {
			return append(out, "connection over")
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			out = append(out, fmt.Sprintf("%d answered %s", f.StreamID, f.PseudoValue("status")))
		case *http2.RSTStreamFrame:
			out = append(out, fmt.Sprintf("%d reset %v", f.StreamID, f.ErrCode))
		case *http2.GoAwayFrame:
			out = append(out, fmt.Sprintf("GOAWAY %v", f.ErrCode))
		case *http2.PingFrame:
			if f.IsAck() {
				return out
			}
		}
	}
}

// hold accepts a tunnel and serves it until the test is over.
func hold(t *testing.T) func(*hbone.Stream) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(st *hbone.Stream) {
		_ = st.Accept()
		<-over
	}
}

// TestFramesThatAStreamCannotHave has a peer send what RFC 9113 forbids in the
// state that a stream is in.
func TestFramesThatAStreamCannotHave(t *testing.T) {
	none := http2.PriorityParam{}
	for _, c := range []struct {
		name string
		send func(w *wire)
		want []string
	}{
		{"DATA after END_STREAM", func(w *wire) { w.open(1, true, none); _ = w.fr.WriteData(1, false, []byte("x")) },
			[]string{"1 reset STREAM_CLOSED"}},
		{"HEADERS after END_STREAM", func(w *wire) { w.open(1, true, none); w.open(1, true, none) },
			[]string{"1 reset STREAM_CLOSED"}},
		{"DATA after RST_STREAM", func(w *wire) {
			w.open(1, false, none)
			_ = w.fr.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = w.fr.WriteData(1, false, []byte("x"))
		}, []string{"1 reset STREAM_CLOSED"}},
		{"HEADERS after RST_STREAM", func(w *wire) {
			w.open(1, false, none)
			_ = w.fr.WriteRSTStream(1, http2.ErrCodeCancel)
			w.open(1, true, none)
		}, []string{"GOAWAY STREAM_CLOSED", "connection over"}},
		{"trailers with a pseudo-header", func(w *wire) { w.open(1, false, none); w.open(1, true, none) },
			[]string{"1 reset PROTOCOL_ERROR"}},
		{"trailers that do not end the stream", func(w *wire) {
			w.open(1, false, none)
			w.headers(1, false, none, hpack.HeaderField{Name: "a", Value: "b"})
		}, []string{"1 reset PROTOCOL_ERROR"}},
		{"a stream that depends on itself", func(w *wire) { w.open(1, false, http2.PriorityParam{StreamDep: 1}) },
			[]string{"1 reset PROTOCOL_ERROR"}},
		{"a PRIORITY by which a stream depends on itself", func(w *wire) {
			w.open(1, false, none)
			_ = w.fr.WritePriority(1, http2.PriorityParam{StreamDep: 1})
		}, []string{"1 reset PROTOCOL_ERROR"}},
		{"more window for a stream than there can be", func(w *wire) {
			w.open(1, false, none)
			_ = w.fr.WriteWindowUpdate(1, 1<<31-1)
		}, []string{"1 reset FLOW_CONTROL_ERROR"}},
		{"more window for the connection than there can be", func(w *wire) { _ = w.fr.WriteWindowUpdate(0, 1<<31-1) },
			[]string{"GOAWAY FLOW_CONTROL_ERROR", "connection over"}},
		{"DATA on a stream that was never opened", func(w *wire) { _ = w.fr.WriteData(1, false, []byte("x")) },
			[]string{"GOAWAY PROTOCOL_ERROR", "connection over"}},
		{"what follows a stream that we reset may have been under way", func(w *wire) {
			w.open(1, false, http2.PriorityParam{StreamDep: 1})
			_ = w.fr.WriteData(1, false, []byte("x"))
			w.headers(1, true, none, hpack.HeaderField{Name: "a", Value: "b"})
		}, []string{"1 reset PROTOCOL_ERROR"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, hold(t))
			w := r.wire(t)
			c.send(w)
			var got []string
			for _, h := range w.heard() {
				if !strings.Contains(h, "answered") {
					got = append(got, h)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestACompleteAnswerStaysComplete has a server answer and then stop the client
// without an error, as RFC 9113 8.1 allows it.
func TestACompleteAnswerStaysComplete(t *testing.T) {
	for _, code := range []http2.ErrCode{http2.ErrCodeNo, http2.ErrCodeCancel} {
		t.Run(code.String(), func(t *testing.T) {
			r := newRig(t, echo)
			ln, err := tls.Listen("tcp4", "127.0.0.1:0", r.ca.Source(serverID).ServerConfig())
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			stopped := make(chan struct{})
			go func() {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				fr := http2.NewFramer(nc, nc)
				_ = fr.WriteSettings()
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.HeadersFrame:
						_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: []byte{0x88},
							EndHeaders: true})
						_ = fr.WriteData(f.StreamID, true, []byte("the whole answer"))
						_ = fr.WriteRSTStream(f.StreamID, code)
						_ = fr.WritePing(false, [8]byte{1})
					case *http2.PingFrame: // it has seen all that came before
						close(stopped)
					}
				}
			}()
			r.pool = r.newPool(ln.Addr().String())
			st, err := r.open("x:1")
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			<-stopped
			if b, err := io.ReadAll(st); string(b) != "the whole answer" || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
			if _, err := st.Write([]byte("more of the request")); !errors.Is(err, hbone.ErrReset) {
				t.Errorf("writing after that: %v", err)
			}
		})
	}
}

// TestTheHeaderTableIsAsLargeAsThePeerAllows has a peer forbid a table at all:
// what refers to one would be a connection error on its side (RFC 7541, 4.2).
func TestTheHeaderTableIsAsLargeAsThePeerAllows(t *testing.T) {
	r := newRig(t, func(st *hbone.Stream) { _ = st.Refuse(418) })
	w := r.wire(t, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	w.fr.ReadMetaHeaders = nil
	decoder := hpack.NewDecoder(4096, nil)
	decoder.SetMaxDynamicTableSize(0)
	decoder.SetAllowedMaxDynamicTableSize(0)
	for acknowledged := false; !acknowledged; {
		f, err := w.fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok {
			acknowledged = s.IsAck()
		}
	}
	for id := uint32(1); id < 7; id += 2 {
		w.open(id, true, http2.PriorityParam{})
		for {
			f, err := w.fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			h, ok := f.(*http2.HeadersFrame)
			if !ok {
				continue
			}
			fields, err := decoder.DecodeFull(h.HeaderBlockFragment())
			if err != nil || len(fields) != 1 || fields[0].Value != "418" {
				t.Fatalf("stream %d: %v, %v", id, fields, err)
			}
			break
		}
	}
}

// TestAPeerThatAsksAndDoesNotRead costs a bounded queue, then its connection.
func TestAPeerThatAsksAndDoesNotRead(t *testing.T) {
	r := newRig(t, hold(t))
	w := r.wire(t)
	// Far more than the kernel's buffers take; each ping is to be answered.
	ping := append([]byte{0, 0, 8, byte(http2.FramePing), 0, 0, 0, 0, 0}, "unread.."...)
	pings := bytes.Repeat(ping, 1000)
	for range 100_000 {
		if _, err := w.nc.Write(pings); err != nil {
			return
		}
	}
	t.Error("it took 100 million pings without an answer being read")
}

// TestAConnectionHoldsNoMoreThanItsWindow has a peer send all that it may to
// streams that nobody reads: together no more than the connection's window, and
// none of them takes from another.
func TestAConnectionHoldsNoMoreThanItsWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(st *hbone.Stream) {
		_ = st.Accept()
		if st.Authority() == "read:1" {
			_, _ = io.Copy(st, st)
			return
		}
		<-t.Context().Done()
	})
	taken := make(chan int)
	const streams = 90
	for range streams {
		st, err := r.open("unread:1")
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		go func() {
			n, _ := st.Write(make([]byte, 1<<20))
			taken <- n
		}()
	}
	st, err := r.open("read:1")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const read = 20 << 20 // more than the connection may send ahead
	go func() { _, _ = st.Write(make([]byte, read)) }()
	if n, err := io.CopyN(io.Discard, st, read); err != nil {
		t.Fatalf("the stream that is read got %d bytes, %v", n, err)
	}
	if n := r.pool.Connections(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	r.pool.Close()
	sum := 0
	for range streams {
		sum += <-taken
	}
	if sum > 16<<20 {
		t.Errorf("%d bytes were taken for streams that nobody reads", sum)
	}
}
