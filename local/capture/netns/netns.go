// Package netns is the capture that nobody walks around: on Linux, without
// root, the launcher runs again as process 1 of a node made of a user, a
// network, a mount and a process namespace, and every pod in it is a network
// and a mount namespace whose nftables rules leave its node proxy as the only
// one to talk to. What belongs here is what the kernel has to be told; it
// carries bytes and knows no policy, no identity and no manifest.
package netns

import (
	"errors"
	"net/netip"
	"os"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns/inside"
)

// ErrUnavailable is wrapped by every error that says that this machine, and not
// the suite, is the reason why there can be no node. Its text says why and how
// to allow it.
var ErrUnavailable = errors.New("network namespaces cannot be used here")

// Config is what a node is made from.
type Config struct {
	// Hide names directories that no pod may see, such as the one with the
	// control socket: Unix sockets do not care about network namespaces.
	Hide []string
	// Share names directories that every pod sees, read-only, although no system's.
	Share []string
	// Programs are those that run in pods, by name: ProgramPath says where. They
	// are copied, so that they may be closed once the node is made.
	Programs map[string]*os.File
}

// The addresses that hold in every node and pod. They are the defaults of k3s:
// pods in 10.244.0.0/16, the name server at 10.96.0.10.
var (
	// NodeIP is the node's own address.
	NodeIP = capture.NodeIP
	// PodNetwork is what every pod, waypoint and gateway address lies in.
	PodNetwork = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 0, 0}), 16)
	// NameServer is the address in a pod's resolv.conf.
	NameServer = netip.AddrFrom4([4]byte{10, 96, 0, 10})
)

// ProgramPath returns where pods find a program of Config.Programs.
func ProgramPath(name string) string { return inside.ProgramsDir + "/" + name }

// Ports on 127.0.0.1 of a pod to which its traffic is redirected, and the mark
// on the node proxy's own sockets inside a pod, which a pod has no right to set.
const (
	capturePort = 15001
	dnsPort     = 15053
	proxyMark   = 0x539
)
