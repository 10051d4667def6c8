// Package proxy is the capture for any machine: every pod has an outbound
// listener on the loopback interface, and its environment asks its programs to
// use that as their HTTP proxy. It is cooperative: a program that ignores
// HTTP_PROXY is not confined. It carries bytes; it knows no policy and no
// identity.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"artemis.example/local/capture"
)

// An accepted connection waits to be known as one that Dial opened: the two ends
// finish in any order, on a crowded machine some time apart. Of those of a listener
// that nobody knows yet, a few wait at a time.
const (
	introduction = 5 * time.Second
	unknown      = 64
)

// Node maps every address of the pod network to a port on 127.0.0.1.
type Node struct {
	starter *starter
	tap     tap

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	pods      map[*Pod]struct{}
	sources   map[netip.AddrPort]source // by the local address of a connection that Dial opened
	arrived   chan struct{}
	nextPort  uint16
}

// The pods' programs listen on ports from this range: below those that systems
// give to outgoing connections (from 32768 on Linux, 49152 on macOS), one of
// which could otherwise be in the way when a program starts again.
const (
	firstPort = 20000
	lastPort  = 32000
)

// reservation keeps a TCP port on 127.0.0.1 for a pod's program, which is not there
// yet, or ends and starts again: it is the UDP port of the same number, which one
// node of this machine at a time can have.
type reservation struct{ net.PacketConn }

func (r reservation) port() uint16 { return r.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// reserve finds a port that is free.
func (n *Node) reserve() (reservation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range lastPort - firstPort {
		if n.nextPort++; n.nextPort >= lastPort {
			n.nextPort = firstPort
		}
		r, err := reserve(n.nextPort)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return r, err
		}
	}
	return reservation{}, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

func reserve(port uint16) (reservation, error) {
	addr := netip.AddrPortFrom(loopback, port).String()
	held, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return reservation{}, err
	}
	free, err := net.Listen("tcp4", addr)
	if err != nil {
		return reservation{}, errors.Join(err, held.Close())
	}
	return reservation{held}, free.Close()
}

type source struct{ from, to netip.AddrPort }

// NewNode makes a node. Its pods' processes end with this one.
func NewNode() (*Node, error) {
	s, err := newStarter()
	if err != nil {
		return nil, fmt.Errorf("prepare to start processes: %w", err)
	}
	return &Node{
		starter:   s,
		listeners: map[netip.AddrPort]*listener{},
		pods:      map[*Pod]struct{}{},
		sources:   map[netip.AddrPort]source{},
		arrived:   make(chan struct{}),
		nextPort:  firstPort + uint16(rand.IntN(lastPort-firstPort)),
	}, nil
}

// Name is "proxy".
func (n *Node) Name() string { return "proxy" }

// listener returns what Dial sends to one address. What other programs on this
// machine connect to its port is turned away.
type listener struct {
	*capture.Handed
	node *Node
	addr netip.AddrPort
	port net.Listener
}

// Listen listens under an address of the pod network.
func (n *Node) Listen(addr netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("listen on %v: address already in use", addr)
	}
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &listener{Handed: capture.NewHanded(net.TCPAddrFromAddrPort(addr)), node: n, addr: addr, port: port}
	n.listeners[addr] = l
	go l.acceptAll()
	return l, nil
}

func (l *listener) acceptAll() {
	waiting := make(chan struct{}, unknown)
	for {
		conn, err := capture.AcceptNext(l.port.Accept)
		if err != nil {
			return
		}
		waiting <- struct{}{}
		go func() {
			defer func() { <-waiting }()
			l.receive(conn.(*net.TCPConn))
		}()
	}
}

func (l *listener) receive(conn *net.TCPConn) {
	s, ok := l.node.sourceOf(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	if !ok || l.Hand(context.Background(), &hop{TCPConn: conn, local: l.addr, remote: s.from}) != nil {
		_ = conn.Close()
	}
}

// Close frees the address.
func (l *listener) Close() error {
	l.node.mu.Lock()
	if l.node.listeners[l.addr] == l {
		delete(l.node.listeners, l.addr)
	}
	l.node.mu.Unlock()
	return errors.Join(l.Handed.Close(), l.port.Close())
}

// sourceOf waits a little for the end that dialled to make itself known.
func (n *Node) sourceOf(local netip.AddrPort) (source, bool) {
	limit := time.NewTimer(introduction)
	defer limit.Stop()
	for {
		n.mu.Lock()
		s, ok := n.sources[local]
		delete(n.sources, local)
		arrived := n.arrived
		n.mu.Unlock()
		if ok {
			return s, true
		}
		select {
		case <-arrived:
		case <-limit.C:
			return source{}, false
		}
	}
}

// Dial connects to an address of the pod network that somebody listens on.
func (n *Node) Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[dst]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(dst), Err: errRefused}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", l.port.Addr().String())
	if err != nil {
		return nil, err
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	s := source{from: netip.AddrPortFrom(src, local.Port()), to: dst}
	n.mu.Lock()
	n.sources[local] = s
	close(n.arrived)
	n.arrived = make(chan struct{})
	n.mu.Unlock()
	return &hop{TCPConn: conn.(*net.TCPConn), local: s.from, remote: dst, tap: &n.tap}, nil
}

// AddPod opens a pod's outbound listener and reserves its ports.
func (n *Node) AddPod(spec capture.PodSpec) (capture.Pod, error) {
	p, err := newPod(n, spec)
	if err != nil {
		return nil, fmt.Errorf("make the network of pod %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[p] = struct{}{}
	return p, nil
}

// Close closes what is still open.
func (n *Node) Close() error {
	n.mu.Lock()
	var closers []interface{ Close() error }
	for p := range n.pods {
		closers = append(closers, p)
	}
	for _, l := range n.listeners {
		closers = append(closers, l)
	}
	n.mu.Unlock()
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, n.starter.close())...)
}

func (n *Node) forget(p *Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, p)
}
