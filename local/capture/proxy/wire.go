package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
)

// wire is one end of a connection inside this process, between a pod's outbound
// listener and its node proxy. It tells a reset from an end, as TCP does.
type wire struct {
	*net.UnixConn
	local, remote net.Addr
	linger        atomic.Bool // close is a reset
	peer          *wire
	reset         atomic.Bool // the other end was reset
}

func newWire(pod netip.Addr, dst netip.AddrPort) (ours, theirs *wire, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "wire")
		defer f.Close() // the connection has a copy
		conn, cerr := net.FileConn(f)
		err = errors.Join(err, cerr)
		ends[i], _ = conn.(*net.UnixConn)
	}
	if err != nil {
		for _, e := range ends {
			if e != nil {
				_ = e.Close()
			}
		}
		return nil, nil, err
	}
	here, there := net.TCPAddrFromAddrPort(netip.AddrPortFrom(pod, 0)), net.TCPAddrFromAddrPort(dst)
	ours = &wire{UnixConn: ends[0], local: here, remote: there}
	theirs = &wire{UnixConn: ends[1], local: there, remote: here}
	ours.peer, theirs.peer = theirs, ours
	return ours, theirs, nil
}

func (w *wire) LocalAddr() net.Addr  { return w.local }
func (w *wire) RemoteAddr() net.Addr { return w.remote }

// SetLinger with 0 makes Close a reset, as that of a TCP connection.
func (w *wire) SetLinger(sec int) error {
	w.linger.Store(sec == 0)
	return nil
}

// Close ends the connection; the peer learns whether it was a reset.
func (w *wire) Close() error {
	if w.linger.Load() {
		w.peer.reset.Store(true)
	}
	return w.UnixConn.Close()
}

func (w *wire) wasReset() bool { return w.reset.Load() }

// bufferedConn is a connection of which a reader has taken in something already.
type bufferedConn struct {
	halfCloser
	reader io.Reader
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice copies both ways until both are done, or one fails.
func splice(a, b bufferedConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pump(a, b)
	}()
	pump(b, a)
	<-done
}

func pump(dst, src bufferedConn) {
	if _, err := io.Copy(dst.halfCloser, src.reader); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	_ = dst.CloseWrite()
}
