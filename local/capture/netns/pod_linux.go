package netns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns/inside"
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
	user    int // in the node's user namespace; of no other pod, unless it is 0
	traffic net.Listener
	names   *nameServer
	closing sync.Once
	handles sync.RWMutex // held for reading while somebody enters the namespaces
}

func newPod(n *Node, spec capture.PodSpec, user int) (_ *Pod, err error) {
	p := &Pod{node: n, spec: spec, user: user, network: netns.None(), mounts: -1}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	search := fmt.Sprintf(
		"nameserver %v\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", NameServer,
		spec.Namespace)
	err = spendThread(func() (err error) {
		if p.network, err = netns.New(); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new mount namespace: %w", err)
		}
		if err = n.view.mount(search, user); err != nil {
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

// Accept returns the next connection that a program in the pod opens. It fails
// when the pod is closed, and only then.
func (p *Pod) Accept() (capture.Captured, error) {
	for {
		conn, err := capture.AcceptNext(p.traffic.Accept)
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
	return p.dial(ctx, src, netip.AddrPortFrom(p.spec.IP, port))
}

func (p *Pod) dial(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
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
		conn, err = d.DialContext(ctx, "tcp4", dst.String())
		return err
	})
	return conn, err
}

// CheckProxy dials the listener that the pod's connections are redirected to: Accept
// ends a connection that was meant for nobody.
func (p *Pod) CheckProxy(ctx context.Context) error {
	conn, err := p.dial(ctx, netip.Addr{}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), capturePort))
	if errors.Is(err, unix.ECONNRESET) { // it was quick
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it takes no connections")
	}
	return nil
}

// Environ adds nothing: in here the manifests hold literally.
func (p *Pod) Environ() []string { return nil }

// Start starts the pod's program. It has a user namespace of its own below the
// node's, and a user of its own where there are some, and so no rights over the
// pod's network: it cannot change the rules, set a mark, open a raw socket or enter
// another pod. In its own process namespace it neither sees nor signals other
// pods, and its children end when it does. Package inside has what the process
// does before it becomes the program.
func (p *Pod) Start(cmd *exec.Cmd) error {
	return p.start(cmd, inside.Program, &syscall.SysProcAttr{Setsid: true})
}

// StartCommand starts a command that a person has run in the pod. With terminal
// its standard input is one, which becomes its controlling terminal.
func (p *Pod) StartCommand(cmd *exec.Cmd, terminal bool) error {
	if terminal {
		return p.start(cmd, inside.Terminal, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	}
	return p.start(cmd, inside.Command, &syscall.SysProcAttr{Setsid: true})
}

func (p *Pod) start(cmd *exec.Cmd, mode inside.Mode, attr *syscall.SysProcAttr) error {
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: appUser, HostID: p.user, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: appUser, HostID: p.user, Size: 1}}
	attr.GidMappingsEnableSetgroups = maySetGroups()
	attr.Credential = &syscall.Credential{Uid: appUser, Gid: appUser, NoSetGroups: !maySetGroups()}
	if err := p.own(cmd); err != nil {
		return fmt.Errorf("hand pod %s its standard streams: %w", p.spec.Name, err)
	}
	// For mounting /proc and for giving up what else there is.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP}
	// No Pdeathsig: the thread that forks is about to end. The node is process 1 of
	// its process namespace, nothing in it outlives it.
	cmd.Args = inside.Args(mode, cmp.Or(cmd.Dir, "/"), cmd.Path, cmd.Args)
	cmd.Path, cmd.SysProcAttr, cmd.Dir = insideProg, attr, "/"
	if err := p.within(cmd.Start); err != nil {
		return err
	}
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	p.node.started[cmd.Process.Pid] = p.spec.Namespace + "/" + p.spec.Name
	return nil
}

// OpenTerminal makes a terminal that is the pod's: of the host's none can be seen
// in there.
func (p *Pod) OpenTerminal() (master, inner *os.File, err error) {
	err = p.within(func() error {
		fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		peer, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER,
			unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if e != 0 {
			return errors.Join(e, unix.Close(fd))
		}
		master, inner = os.NewFile(uintptr(fd), "terminal"), os.NewFile(peer, "terminal")
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make a terminal in pod %s: %w", p.spec.Name, err)
	}
	return master, inner, nil
}

// LookPath finds a program where a shell of the pod would.
func (p *Pod) LookPath(name string) (path string, err error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	err = p.within(func() error {
		for _, dir := range filepath.SplitList(capture.Path) {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				path = file
				return nil
			}
		}
		return fmt.Errorf("%s: not found in the pod, whose PATH is %s", name, capture.Path)
	})
	return path, err
}

// own hands the descriptors that a command gets to its user, so that it may open
// them again by /dev/stdout and the like.
func (p *Pod) own(cmd *exec.Cmd) error {
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if f, ok := stream.(*os.File); ok && f != nil {
			if err := f.Chown(p.user, p.user); err != nil {
				return err
			}
		}
	}
	return nil
}

// within runs fn on a thread that is in the pod's network and sees its files.
func (p *Pod) within(fn func() error) error {
	p.handles.RLock()
	defer p.handles.RUnlock()
	if !p.network.IsOpen() {
		return fmt.Errorf("enter pod %s: %w", p.spec.Name, net.ErrClosed)
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
		return fn()
	})
}

// Close closes the pod's listeners and gives its namespaces up. Its programs
// are the caller's to end.
func (p *Pod) Close() error {
	var err error
	p.closing.Do(func() {
		p.node.forget(p)
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
