package launcher

import (
	"errors"

	"golang.org/x/sys/unix"
)

// beingWritten reports whether some process has a file open for writing: a read
// lease is granted when none has (fcntl(2), F_SETLEASE). Who does not own the
// file, or whose file system knows no leases, is not told.
func beingWritten(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN) // closing gives a lease back
}
