package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"artemis.example/local/capture"
)

const errRefused = syscall.ECONNREFUSED

// hop is one end of a connection between two addresses of the pod network. The
// end that dialled is the one that is listened to.
type hop struct {
	*net.TCPConn
	local, remote netip.AddrPort
	tap           *tap
}

func (h *hop) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(h.local) }
func (h *hop) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(h.remote) }

func (h *hop) Read(b []byte) (int, error) {
	n, err := h.TCPConn.Read(b)
	if h.tap != nil && n > 0 {
		h.tap.heard(h.remote, h.local, b[:n])
	}
	return n, err
}

func (h *hop) Write(b []byte) (int, error) {
	if h.tap != nil && len(b) > 0 {
		h.tap.heard(h.local, h.remote, b)
	}
	return h.TCPConn.Write(b)
}

// ReadFrom and WriteTo keep the kernel's shortcut while nobody listens.
func (h *hop) ReadFrom(r io.Reader) (int64, error) {
	if h.tap == nil || !h.tap.active.Load() {
		return h.TCPConn.ReadFrom(r)
	}
	return io.Copy(writeOnly{h}, r)
}

func (h *hop) WriteTo(w io.Writer) (int64, error) {
	if h.tap == nil || !h.tap.active.Load() {
		return h.TCPConn.WriteTo(w)
	}
	return io.Copy(w, readOnly{h})
}

type writeOnly struct{ io.Writer }
type readOnly struct{ io.Reader }

// tap hands its listeners what goes over the hops.
type tap struct {
	active atomic.Bool
	mu     sync.Mutex
	next   int
	ears   map[int]func(capture.Segment)
}

func (t *tap) heard(src, dst netip.AddrPort, data []byte) {
	if !t.active.Load() {
		return
	}
	s := capture.Segment{At: time.Now(), Src: src, Dst: dst, Data: bytes.Clone(data)}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, see := range t.ears {
		see(s)
	}
}

// TapSource says where Tap reads.
func (n *Node) TapSource() string {
	return "the connections between the hops, inside artemis (cooperative capture)"
}

// Tap calls see with what goes between the hops until ctx ends.
func (n *Node) Tap(ctx context.Context, see func(capture.Segment)) (wait func() error, err error) {
	t := &n.tap
	t.mu.Lock()
	if t.ears == nil {
		t.ears = map[int]func(capture.Segment){}
	}
	t.next++
	id := t.next
	t.ears[id] = see
	t.active.Store(true)
	t.mu.Unlock()
	return func() error {
		<-ctx.Done()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.ears, id)
		t.active.Store(len(t.ears) > 0)
		return nil
	}, nil
}
