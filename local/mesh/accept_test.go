package mesh

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"artemis.example/policy/topology"
)

// exhausted is a node without descriptors: its listeners fail until it has some.
type exhausted struct {
	*loopback
	without atomic.Bool
	failed  atomic.Int64
}

type exhaustedListener struct {
	net.Listener
	node *exhausted
}

func (n *exhausted) Listen(addr netip.AddrPort) (net.Listener, error) {
	ln, err := n.loopback.Listen(addr)
	return &exhaustedListener{ln, n}, err
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	if l.node.without.Load() {
		l.node.failed.Add(1)
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	c, err := l.Listener.Accept()
	if err == nil && l.node.without.Load() {
		c.Close()
		l.node.failed.Add(1)
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return c, err
}

// TestAcceptLoopsOutliveAFullDescriptorTable has every listener of the mesh fail for
// want of descriptors: once there are some, all calls work again.
func TestAcceptLoopsOutliveAFullDescriptorTable(t *testing.T) {
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			node := &exhausted{loopback: newLoopback()}
			r := newRigOn(t, node, node.loopback, Config{}, suite(t, options{stage: stage, noNetwork: true}))
			comms, nav := app("orion", "comms-system"), endpoint(orion, "guidance-nav", "/position")
			if got := r.call(comms, "GET", nav); got != "200" {
				t.Fatalf("before: %s", got)
			}
			node.without.Store(true)
			var wg sync.WaitGroup
			for range 4 { // new connections, at whatever they come to
				wg.Go(func() { r.call(rogue(orion), "GET", nav) })
			}
			eventually(t, "failing listeners", func() bool { return node.failed.Load() >= 4 })
			node.without.Store(false)
			wg.Wait()
			for range 4 {
				for _, from := range []topology.Ref{comms, app("orion", "crew-interface")} {
					if got := r.call(from, "GET", nav); got != "200" {
						t.Errorf("after: %s got %s", from.Name, got)
					}
				}
			}
		})
	}
}

// TestAClosedListenerEndsItsLoop holds the patience to listeners that are open.
func TestAClosedListenerEndsItsLoop(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := patient{ln}.Accept()
		done <- err
	}()
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
