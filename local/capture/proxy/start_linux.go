package proxy

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
)

// starter starts processes on one thread that lives as long as this process:
// the kernel kills a child when the thread that forked it ends.
type starter struct {
	requests chan startRequest
	done     chan struct{}
}

type startRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newStarter() (*starter, error) {
	s := &starter{requests: make(chan startRequest), done: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		for {
			select {
			case r := <-s.requests:
				r.reply <- r.cmd.Start()
			case <-s.done:
				return
			}
		}
	}()
	return s, nil
}

var errClosed = errors.New("the node is closed")

func (s *starter) start(cmd *exec.Cmd) error {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // Ctrl-C comes to us only
	cmd.SysProcAttr = attr
	r := startRequest{cmd: cmd, reply: make(chan error, 1)}
	select {
	case s.requests <- r:
		return <-r.reply
	case <-s.done:
		return errClosed
	}
}

// close ends the thread, and with it what it started and is still there.
func (s *starter) close() error {
	close(s.done)
	return nil
}
