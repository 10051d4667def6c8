//go:build unix

package hbone

import "syscall"

// tryWrite writes what the socket takes at once, and never waits.
func tryWrite(raw syscall.RawConn, p []byte) (n int) {
	err := raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), p) // a failure shows again at the next write
		return true
	})
	if err != nil || n < 0 {
		return 0
	}
	return n
}
