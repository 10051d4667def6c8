//go:build !linux

package cli

import "syscall"

// keepDescriptors has what this process inherited end with it: nothing that it
// starts is to find an open file of whoever started artemis.
func keepDescriptors() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	for fd := 3; fd < int(min(limit.Cur, 4096)); fd++ {
		syscall.CloseOnExec(fd)
	}
}
