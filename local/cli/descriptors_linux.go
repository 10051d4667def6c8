package cli

import (
	"os"
	"strconv"
	"syscall"

	"artemis.example/local/capture/netns/inside"
)

// keepDescriptors has what this process inherited end with it: nothing that it
// starts is to find an open file of whoever started artemis.
func keepDescriptors() {
	if inside.CloseOnExec() == nil {
		return
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
