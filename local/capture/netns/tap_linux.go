package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
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
		if s, ok := tcpSegment(buf[:size]); ok {
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

// tcpSegment reads an IPv4 packet (RFC 791) with TCP (RFC 9293) that carries data.
func tcpSegment(packet []byte) (capture.Segment, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_TCP {
		return capture.Segment{}, false
	}
	header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if total == 0 { // segmentation offload: longer than the field can say
		total = len(packet)
	}
	if header < 20 || total > len(packet) || total < header+20 {
		return capture.Segment{}, false
	}
	tcp := packet[header:total]
	offset := int(tcp[12]>>4) * 4
	if offset < 20 || offset >= len(tcp) {
		return capture.Segment{}, false
	}
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:16])), binary.BigEndian.Uint16(tcp))
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:20])), binary.BigEndian.Uint16(tcp[2:]))
	return capture.Segment{Src: src, Dst: dst, From: src.String(), To: dst.String(), Data: append([]byte(nil), tcp[offset:]...)}, true
}
