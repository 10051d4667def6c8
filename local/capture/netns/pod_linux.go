package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"artemis.example/local/capture"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// appUser is the user and group that a pod's programs see themselves as: the
// one of distroless images.
const appUser = 65532

// Pod is one network and one mount namespace. Open descriptors keep them, no
// process has to.
type Pod struct {
	node    *Node
	spec    capture.PodSpec
	network netns.NsHandle
	mounts  int
	traffic net.Listener
	names   *nameServer
	closing sync.Once
	handles sync.RWMutex // held for reading while somebody enters the namespaces
}

func newPod(spec capture.PodSpec, hide []string) (_ *Pod, err error) {
	p := &Pod{spec: spec, network: netns.None(), mounts: -1}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	search := fmt.Sprintf("nameserver %v\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", NameServer, spec.Namespace)
	err = spendThread(func() (err error) {
		if p.network, err = netns.New(); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new mount namespace: %w", err)
		}
		if err = mountFiles(search, hide); err != nil {
			return err
		}
		// The pod's own /sys/class/net instead of the host's. Only for looks, so
		// that it may fail: a container with a covered /sys does not allow it.
		_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		p.mounts, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	openHere := func(family ...int) (*netlink.Handle, error) { return netlink.NewHandleAt(p.network, family...) }
	if err = setUpLoopback(openHere, spec.IP); err != nil {
		return nil, fmt.Errorf("set up its network: %w", err)
	}
	err = inNetwork(p.network, func() error {
		// Low ports are open to everybody in Kubernetes, and connections may reuse
		// ports in TIME_WAIT. Where /proc/sys cannot be written, go on without.
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv4/tcp_tw_reuse", []byte("1"), 0)
		if err := loadRules(spec.IP); err != nil {
			return err
		}
		// On 127.0.0.1: that is where a redirect of a local packet goes.
		var err error
		if p.traffic, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", capturePort)); err != nil {
			return err
		}
		p.names, err = newNameServer(spec.Resolve)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.names.start()
	return p, nil
}

// Accept returns the next connection that a program in the pod opens.
func (p *Pod) Accept() (capture.Captured, error) {
	for {
		conn, err := p.traffic.Accept()
		if err != nil {
			return capture.Captured{}, err
		}
		tcp := conn.(*net.TCPConn)
		dst, err := originalDestination(tcp)
		if err == nil && !dst.Addr().IsLoopback() {
			return capture.Captured{Conn: tcp, Dst: dst}, nil
		}
		// A program that dialled the listener itself meant nobody.
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// originalDestination asks the kernel where a redirected connection was going.
// The option fills in a sockaddr_in; IPv6Mreq is a type that is large enough.
func originalDestination(c *net.TCPConn) (netip.AddrPort, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var dst netip.AddrPort
	err = onSocket(rc, func(fd int) error {
		m, err := unix.GetsockoptIPv6Mreq(fd, unix.IPPROTO_IP, unix.SO_ORIGINAL_DST)
		if err == nil {
			a := m.Multiaddr
			dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), uint16(a[2])<<8|uint16(a[3]))
		}
		return err
	})
	return dst, err
}

// DialApp connects to the pod's program from inside the pod, with src as its
// peer.
func (p *Pod) DialApp(ctx context.Context, src netip.Addr, port uint16) (net.Conn, error) {
	d := net.Dialer{Control: func(network, address string, rc syscall.RawConn) error {
		return errors.Join(latePort(network, address, rc), onSocket(rc, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, proxyMark)
		}))
	}}
	if src.IsValid() && PodNetwork.Contains(src) {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))
	}
	p.handles.RLock()
	defer p.handles.RUnlock()
	if !p.network.IsOpen() {
		return nil, fmt.Errorf("dial into pod %s: %w", p.spec.Name, net.ErrClosed)
	}
	var conn net.Conn
	err := inNetwork(p.network, func() (err error) {
		conn, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(p.spec.IP, port).String())
		return err
	})
	return conn, err
}

// Environ adds nothing: in here the manifests hold literally.
func (p *Pod) Environ() []string { return nil }

// Start starts a command in the pod. It has a user namespace of its own below
// the node's and so no rights over the pod's network: it cannot change the
// rules, set a mark, open a raw socket or enter another pod. In its own process
// namespace it cannot signal other pods, and its children end when it does.
// Setsid, Setctty and Ctty are taken from the command.
func (p *Pod) Start(cmd *exec.Cmd) error {
	attr := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: appUser, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: appUser, HostID: 0, Size: 1}},
		// No Pdeathsig: the thread that forks is about to end. The node is process
		// 1 of its process namespace, nothing in it outlives it.
	}
	if a := cmd.SysProcAttr; a != nil {
		attr.Setsid, attr.Setctty, attr.Ctty = a.Setsid, a.Setctty, a.Ctty
	}
	cmd.SysProcAttr, cmd.Dir = attr, "/"
	p.handles.RLock()
	defer p.handles.RUnlock()
	if !p.network.IsOpen() {
		return fmt.Errorf("start in pod %s: %w", p.spec.Name, net.ErrClosed)
	}
	return spendThread(func() error {
		if err := netns.Set(p.network); err != nil {
			return fmt.Errorf("enter the pod's network: %w", err)
		}
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // or setns says EINVAL
			return err
		}
		if err := unix.Setns(p.mounts, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the pod's mounts: %w", err)
		}
		return cmd.Start()
	})
}

// Close closes the pod's listeners and gives its namespaces up. Its programs
// are the caller's to end.
func (p *Pod) Close() error {
	var err error
	p.closing.Do(func() {
		if p.node != nil {
			p.node.forget(p)
		}
		err = p.release()
	})
	return err
}

func (p *Pod) release() error {
	var errs []error
	if p.traffic != nil {
		errs = append(errs, p.traffic.Close())
	}
	if p.names != nil {
		p.names.stop()
	}
	p.handles.Lock() // nobody may be entering them
	defer p.handles.Unlock()
	if p.mounts >= 0 {
		errs = append(errs, unix.Close(p.mounts))
	}
	if p.network.IsOpen() {
		errs = append(errs, p.network.Close())
	}
	return errors.Join(errs...)
}
