//go:build !linux

package proxy

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// starter asks a small shell, which outlives this process by a moment, what was
// started: it kills that when this process ends, however it does.
type starter struct {
	reaper *exec.Cmd
	line   io.WriteCloser
}

// reaperScript collects process numbers and kills their groups at the end of
// its input.
const reaperScript = `trap '' INT TERM HUP
pids=
while read -r pid; do pids="$pids -$pid"; done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null`

func newStarter() (*starter, error) {
	reaper := exec.Command("/bin/sh", "-c", reaperScript)
	reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	line, err := reaper.StdinPipe()
	if err != nil {
		return nil, err
	}
	reaper.Stderr = os.Stderr
	if err := reaper.Start(); err != nil {
		return nil, err
	}
	return &starter{reaper: reaper, line: line}, nil
}

func (s *starter) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.line, cmd.Process.Pid)
	return err
}

func (s *starter) close() error {
	_ = s.line.Close()
	return s.reaper.Wait()
}
