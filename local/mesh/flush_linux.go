package mesh

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// flushFor bounds how long a reader may take for what is left of an answer without
// taking any of it.
const flushFor = 5 * time.Second

// flush returns when what was written to a socket has reached the other end, or
// when that takes no more: before a reset, which would discard it.
func flush(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	last, since := -1, time.Now()
	for wait := time.Millisecond; time.Since(since) < flushFor; wait = min(2*wait, 50*time.Millisecond) {
		left := 0
		if err := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil ||
			left == 0 {
			return
		}
		if left != last {
			last, since = left, time.Now()
		}
		time.Sleep(wait)
	}
}
