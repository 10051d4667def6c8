//go:build linux

package netns

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// scarce is a listener without descriptors for a while.
type scarce struct {
	net.Listener
	failures int
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.failures > 0 {
		s.failures--
		return nil, &net.OpError{Op: "accept", Err: unix.EMFILE}
	}
	return s.Listener.Accept()
}

func TestAListenerOutlivesALackOfDescriptorsAndKeepsItsBound(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	bounded := &boundedListener{Listener: &scarce{ln, 5}, free: 2}
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := bounded.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	beyond := dial()
	if _, err := beyond.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served")
	}
	_ = first.Close()
	_ = first.Close() // twice makes room for one
	dial()
	<-accepted
	beyond = dial()
	if _, err := beyond.Read(make([]byte, 1)); err == nil {
		t.Error("a third connection is served after one has gone")
	}
	_ = ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
}
