package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"artemis.example/local/capture"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is the network of the one machine that the pods run on. Its loopback
// holds every address of the pod network; nothing leads out of it.
type Node struct {
	view     *view
	users    int // how many user numbers, from 1 on, there are for pods; 0: they share ours
	hostProc int // the host's /proc, in which processes have the numbers that people see

	mu      sync.Mutex
	pods    map[*Pod]struct{}
	used    map[int]bool   // user numbers of pods
	started map[int]string // pods by the processes that were started in them
	stop    context.CancelFunc
}

// NewNode makes the present process, started by Command, a node. An error that
// wraps ErrUnavailable means that this machine does not allow it.
func NewNode(cfg Config) (*Node, error) {
	n := &Node{hostProc: -1, pods: map[*Pod]struct{}{}, used: map[int]bool{}, started: map[int]string{}}
	if err := awaitUsers(); err != nil {
		return nil, err
	}
	unix.Umask(0o022) // what pods share is for their users, whatever the one who starts the suite keeps to himself
	// A thread may have been closed to others meanwhile: pods' user maps are
	// written through /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	if fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		n.hostProc = fd
	}
	// What the host mounts later on does not show up here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, Unavailable(fmt.Errorf("make the mounts private: %w", err))
	}
	// /proc has to fit the process namespace: Go writes /proc/PID/uid_map, and a
	// thread finds its own namespace there.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, Unavailable(fmt.Errorf("mount /proc: %w", err))
	}
	var err error
	if n.users, err = usersFor(); err != nil {
		return nil, err
	}
	if n.view, err = newView(cfg); err != nil {
		return nil, fmt.Errorf("make the pods' view of the files: %w", err)
	}
	if err := setUpLoopback(netlink.NewHandle, NodeIP); err != nil {
		return nil, fmt.Errorf("set up the node's network: %w", err)
	}
	// nftables first shows whether it works when it is used: try it on a pod.
	trial, err := n.addPod(capture.PodSpec{Name: "trial", IP: NodeIP})
	if err != nil {
		return nil, Unavailable(fmt.Errorf("make a pod's network: %w", err))
	}
	if err := trial.Close(); err != nil {
		return nil, fmt.Errorf("close the trial pod: %w", err)
	}
	watching, stop := context.WithCancel(context.Background())
	n.stop = stop
	go n.watchMemory(watching)
	return n, nil
}

// Name is "netns".
func (n *Node) Name() string { return "netns" }

// Listen listens on an address of the pod network.
func (n *Node) Listen(addr netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp4", addr.String())
}

// Dial connects over the node's loopback.
func (n *Node) Dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: latePort}
	if src.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))
	}
	return d.DialContext(ctx, "tcp4", dst.String())
}

// latePort has the source port chosen at connect instead of at bind: only then
// may it reuse one in TIME_WAIT. Without it new connections slow down to a
// twentieth once 16,000 ports wait.
func latePort(_, _ string, rc syscall.RawConn) error {
	return onSocket(rc, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

func onSocket(rc syscall.RawConn, fn func(fd int) error) error {
	var err error
	return errors.Join(rc.Control(func(fd uintptr) { err = fn(int(fd)) }), err)
}

// AddPod makes the namespaces, mounts, addresses, rules and name server of a
// pod, and opens its node proxy's listeners inside it.
func (n *Node) AddPod(spec capture.PodSpec) (capture.Pod, error) {
	p, err := n.addPod(spec)
	if err != nil {
		return nil, fmt.Errorf("make the network of pod %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	return p, nil
}

func (n *Node) addPod(spec capture.PodSpec) (*Pod, error) {
	user, err := n.takeUser()
	if err != nil {
		return nil, err
	}
	p, err := newPod(n, spec, user)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		delete(n.used, user)
		return nil, err
	}
	n.pods[p] = struct{}{}
	return p, nil
}

// Close closes every pod that is still there.
func (n *Node) Close() error {
	n.stop()
	n.mu.Lock()
	pods := slices.Collect(maps.Keys(n.pods))
	n.mu.Unlock()
	var errs []error
	for _, p := range pods {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

func (n *Node) forget(p *Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, p)
	delete(n.used, p.user)
}

// takeUser returns a user number that no other pod has, or 0, our own, where there
// are none.
func (n *Node) takeUser() (int, error) {
	if n.users == 0 {
		return 0, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for user := 1; user <= n.users; user++ {
		if !n.used[user] {
			n.used[user] = true
			return user, nil
		}
	}
	return 0, fmt.Errorf("all %d user numbers are taken", n.users)
}

// HostPID returns the number that a process of the node has on the host, or pid
// where it cannot be told. A pidfd's fdinfo, read through a /proc of another
// process namespace, gives the number in that one (proc(5), pidfd).
func (n *Node) HostPID(pid int) int {
	if n.hostProc < 0 {
		return pid
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return pid
	}
	defer unix.Close(pidfd)
	fd, err := unix.Openat(n.hostProc, "self/fdinfo/"+strconv.Itoa(pidfd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return pid
	}
	f := os.NewFile(uintptr(fd), "fdinfo")
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "Pid:"); ok {
			if host, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && host > 0 {
				return host
			}
		}
	}
	return pid
}

// setUpLoopback sets lo up with the address and the two routes on which everything in
// a node and in a pod rests.
func setUpLoopback(open func(...int) (*netlink.Handle, error), addr netip.Addr) error {
	// Only this family: with none given it opens netfilter sockets too, and a
	// machine without them would fail here instead of where it can be explained.
	h, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	ip := net.IP(addr.AsSlice())
	host := &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}
	pods := &net.IPNet{IP: PodNetwork.Addr().AsSlice(), Mask: net.CIDRMask(PodNetwork.Bits(), 32)}
	return errors.Join(
		h.LinkSetUp(lo),
		h.AddrAdd(lo, &netlink.Addr{IPNet: host}),
		// Every pod address is local: the proxy binds the caller's address, and the
		// answer comes back to the proxy.
		h.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: pods, Src: ip,
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}),
		// All else needs a route, or connect would fail before nftables sees the
		// packet. It leads nowhere.
		h.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Src: ip, Scope: netlink.SCOPE_LINK,
			Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}),
	)
}
