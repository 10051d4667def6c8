package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TapSource says where Tap reads.
func (n *Node) TapSource() string { return "AF_PACKET socket on the node's lo" }

// Tap reads the node's interface with a packet socket, as tcpdump does.
func (n *Node) Tap(ctx context.Context, see func(capture.Segment)) (wait func() error, err error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find the node's interface: %w", err)
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(proto))
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "packets")
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: lo.Attrs().Index}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind the packet socket: %w", err), f.Close())
	}
	return func() error {
		defer f.Close()
		return listen(ctx, f, see)
	}, nil
}

func listen(ctx context.Context, f *os.File, see func(capture.Segment)) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for {
		size, outgoing, err := receive(rc, buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a packet: %w", err)
		}
		if outgoing { // lo shows every packet as it leaves and as it arrives
			continue
		}
		if s, ok := capture.TCPSegment(buf[:size]); ok {
			s.At = time.Now()
			see(s)
		}
	}
}

func receive(rc syscall.RawConn, buf []byte) (size int, outgoing bool, err error) {
	e := rc.Read(func(fd uintptr) bool {
		var from unix.Sockaddr
		size, from, err = unix.Recvfrom(int(fd), buf, 0)
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			outgoing = ll.Pkttype == unix.PACKET_OUTGOING
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	return size, outgoing, errors.Join(e, err)
}
