package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync"

	"artemis.example/local/capture"
)

// Pod is an outbound listener and the ports on 127.0.0.1 that stand for the
// ones its program listens on.
type Pod struct {
	node     *Node
	spec     capture.PodSpec
	outbound net.Listener
	ports    map[uint16]reservation // by the port that the manifests name
	captured *capture.Handed        // their local address is where they are to go
	closing  sync.Once
	serving  sync.WaitGroup
}

func newPod(n *Node, spec capture.PodSpec) (*Pod, error) {
	p := &Pod{node: n, spec: spec, ports: map[uint16]reservation{}, captured: capture.NewHanded(nil)}
	var err error
	if p.outbound, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	for _, port := range spec.Ports {
		if p.ports[port], err = n.reserve(); err != nil {
			delete(p.ports, port)
			return nil, errors.Join(err, p.Close())
		}
	}
	p.serving.Go(p.acceptOutbound)
	return p, nil
}

func (p *Pod) acceptOutbound() {
	for {
		conn, err := p.outbound.Accept()
		if err != nil {
			return
		}
		go p.serve(conn.(*net.TCPConn))
	}
}

// Accept returns the next connection that a program of the pod asks for.
func (p *Pod) Accept() (capture.Captured, error) {
	c, err := p.captured.Accept()
	if err != nil {
		return capture.Captured{}, err
	}
	return capture.Captured{Conn: c, Dst: c.LocalAddr().(*net.TCPAddr).AddrPort()}, nil
}

// DialApp connects to the pod's program. It sees 127.0.0.1 as its peer.
func (p *Pod) DialApp(ctx context.Context, _ netip.Addr, port uint16) (net.Conn, error) {
	actual, ok := p.ports[port]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.spec.IP,
			port)), Err: errRefused}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", netip.AddrPortFrom(loopback, actual.port()).String())
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Environ asks the pod's programs to use the outbound listener, and says where
// to listen in place of the manifests' ports.
func (p *Pod) Environ() []string {
	proxy := "http://" + p.outbound.Addr().String()
	env := []string{
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"NO_PROXY=", "no_proxy=", "LISTEN_ADDRESS=" + loopback.String(),
	}
	for i, name := range []string{"PORT", "ADMIN_PORT"} {
		if i < len(p.spec.Ports) {
			env = append(env, fmt.Sprintf("%s=%d", name, p.ports[p.spec.Ports[i]].port()))
		}
	}
	return env
}

// Start starts a command on this machine; it ends when this process does.
func (p *Pod) Start(cmd *exec.Cmd) error { return p.node.starter.start(cmd) }

// Close closes the outbound listener.
func (p *Pod) Close() error {
	var err error
	p.closing.Do(func() {
		p.node.forget(p)
		err = errors.Join(p.captured.Close(), p.outbound.Close())
		for _, port := range p.ports {
			err = errors.Join(err, port.Close())
		}
		p.serving.Wait()
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
