package inside

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// superviseCommand is process 1 for a command: without one, a program that does
// not handle signals could not be interrupted.
func superviseCommand(terminal bool, path string, argv []string) int {
	// Nobody in here is to look into this process, whose program is the node's.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "artemis: hide process 1:", err)
		return ExitNotConfined
	}
	cmd := &exec.Cmd{Path: path, Args: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if terminal {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return notStarted(path, err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	code, err := ExitCode(cmd, cmd.Wait())
	if err != nil {
		fmt.Fprintln(os.Stderr, "artemis:", err)
		return ExitNotExecuted
	}
	return code
}
