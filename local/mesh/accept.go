package mesh

import (
	"net"
	"net/netip"

	"artemis.example/local/capture"
)

// patient is a listener that fails only once it is closed. Whatever else keeps it
// from accepting passes: when the descriptors are used up, others have to end first.
type patient struct{ net.Listener }

// Accept waits for the next connection.
func (p patient) Accept() (net.Conn, error) { return capture.AcceptNext(p.Listener.Accept) }

// listen listens on the node's network.
func (m *Mesh) listen(ip netip.Addr, port uint16) (net.Listener, error) {
	ln, err := m.cfg.Node.Listen(netip.AddrPortFrom(ip, port))
	if err != nil {
		return nil, err
	}
	return patient{ln}, nil
}

const (
	// maxConns bounds the connections that one pod may have open through its node
	// proxy, and those that come to it in plaintext; sharesOfNode, the part of the
	// node's descriptors that they may be. Each takes two.
	maxConns     = 4096
	sharesOfNode = 32
)

// connsPerPod is what a pod may hold open, each way.
func connsPerPod() int64 {
	return int64(max(64, min(maxConns, descriptors()/sharesOfNode)))
}
