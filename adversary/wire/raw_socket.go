package wire

import (
	"fmt"
	"syscall"

	"artemis.example/adversary"
)

// rawSocket asks the kernel for a socket on which segments are written by hand:
// with one, a program could speak in another pod's name. Having it is all there
// is to know, nothing is sent.
func rawSocket(r adversary.Request) *adversary.Evidence {
	e := &adversary.Evidence{Sent: "a socket for hand-written TCP segments to " + r.To, Remote: r.To}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_TCP)
	if err == nil {
		_ = syscall.Close(fd)
		e.Concluded, e.Effect, e.Note = adversary.Allowed, true, "the kernel gave a raw socket"
		return e
	}
	failed(e, fmt.Errorf("open a raw socket: %w", err))
	if e.Fault == adversary.NotPermitted {
		e.Concluded, e.Note = adversary.DeniedNetwork, "the pod's own kernel refused it: "+string(e.Fault)
	}
	return e
}
