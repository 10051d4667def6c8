// Package capture is the seam between a pod and the mesh: how a pod gets its
// network, how what it sends comes to its node proxy, and how the node proxy
// reaches the program in it. Two implementations: netns, where a pod has no
// other way out, and proxy, which asks it to use HTTP_PROXY. It carries bytes;
// it knows no policy and no identity.
package capture

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
)

// NodeIP is the node's own address in the pod network: probes come from it.
var NodeIP = netip.AddrFrom4([4]byte{10, 244, 0, 1})

// Path is the PATH of commands that are run in pods.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Node is the one machine that the pods run on.
type Node interface {
	// Name is "netns" or "proxy".
	Name() string
	// Listen opens a listener on the node's network under the address of a pod,
	// a waypoint or the gateway, such as 10.244.0.7:15008.
	Listen(addr netip.AddrPort) (net.Listener, error)
	// Dial connects two of them over the node's network, where an eavesdropper
	// may listen. The connection's source is src.
	Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error)
	// AddPod makes a pod's network.
	AddPod(spec PodSpec) (Pod, error)
	// Tap begins to listen in on what the pods' proxies and waypoints send each other.
	// wait then calls see with every segment from the beginning on, until ctx ends.
	Tap(ctx context.Context, see func(Segment)) (wait func() error, err error)
	// TapSource says in a few words where the bytes come from.
	TapSource() string
	// Close ends everything that the node holds.
	Close() error
}

// PodSpec is what a pod's network is made from.
type PodSpec struct {
	Namespace, Name string
	IP              netip.Addr
	// Ports are the ports that the manifests say the pod's program listens on.
	Ports []uint16
	// Resolve answers a name that the program asks for, with cluster search
	// domains already applied by the caller's namespace. ok is false where the
	// name does not exist.
	Resolve func(name string) (addrs []netip.Addr, ok bool)
}

// Captured is one connection that a pod opened to somewhere.
type Captured struct {
	net.Conn
	// Dst is where the program wanted to go.
	Dst netip.AddrPort
}

// Pod is the network of one pod.
type Pod interface {
	// Accept returns the next connection that the pod's program opens. It fails
	// with net.ErrClosed after Close.
	Accept() (Captured, error)
	// DialApp connects to the program in the pod on the port that the manifests
	// name. The program sees src as its peer where the capture can do that.
	DialApp(ctx context.Context, src netip.Addr, port uint16) (net.Conn, error)
	// Environ returns what the capture adds to the environment of the pod's
	// programs: nothing under netns; HTTP_PROXY, the address and the ports to
	// listen on under proxy.
	Environ() []string
	// Start starts the pod's program inside the pod's network.
	Start(cmd *exec.Cmd) error
	Close() error
}

// Confined is a Pod with an inside, which commands can be run in. Under a
// cooperative capture there is none.
type Confined interface {
	// StartCommand starts a command in cmd.Dir, or in / where the pod has no such
	// directory. With terminal its standard input is one of OpenTerminal's. Its
	// process passes signals on to it and ends with its exit code, or as a shell
	// says it: 126 when it cannot be executed, 127 when there is none, 128 and the
	// number of the signal that ended it.
	StartCommand(cmd *exec.Cmd, terminal bool) error
	// OpenTerminal makes a terminal of the pod's own: the end that shows it, and
	// the one for a command.
	OpenTerminal() (master, inner *os.File, err error)
	// LookPath finds a program as the pod's programs do.
	LookPath(name string) (string, error)
}

// Attended is a Pod that can say whether its node proxy is there.
type Attended interface {
	// CheckProxy returns nil when the proxy takes connections that the pod opens.
	CheckProxy(ctx context.Context) error
}

// HostPIDs is a Node whose processes have other numbers outside.
type HostPIDs interface {
	// HostPID returns the number that people see, or pid where it cannot be told.
	HostPID(pid int) int
}
