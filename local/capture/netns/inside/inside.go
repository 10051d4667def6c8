// Package inside is what a process does to itself after it has entered a pod and
// before the pod's program takes its place: it closes what it inherited, gets a
// /proc and bounds of its own, gives up every right, and puts a filter before the
// kernel's calls. It runs in whatever program links it, before anything else
// does, when the program is started under Name; so it imports as little as it can.
package inside

import (
	"errors"
	"io/fs"
	"os/exec"
	"syscall"
)

// Name is the name, as first argument, that has a program run this package
// instead of itself. Args says what follows it.
const Name = "artemis-inside"

// A Mode says what a process becomes.
type Mode string

// The modes.
const (
	// Program becomes the program itself.
	Program Mode = "program"
	// Command stays as process 1, passes signals on to the command, and ends with
	// its exit code. What the command leaves running ends with it.
	Command Mode = "command"
	// Terminal is Command for one whose standard input is a terminal of its own.
	Terminal Mode = "terminal"

	// supervise is what Command and Terminal go on as when they are confined.
	supervise         Mode = "supervise"
	superviseTerminal Mode = "supervise-terminal"
)

// The exit codes of a process that did not become its program, as of a shell:
// what it is to do to itself failed, the program cannot be executed, there is none.
const (
	ExitNotConfined = 125
	ExitNotExecuted = 126
	ExitNotFound    = 127
)

// ProgramsDir is where a pod finds the programs that the node brought.
const ProgramsDir = "/run/artemis"

// StartCode returns the exit code of a command that could not be started.
func StartCode(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return ExitNotFound
	}
	return ExitNotExecuted
}

// ExitCode returns the exit code of a command, given what Wait returned: of one that a
// signal has ended as a shell says it. It fails where Wait has failed.
func ExitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// Args returns the arguments that start the program at path with argv in dir, or
// in / where the pod has no such directory.
func Args(mode Mode, dir, path string, argv []string) []string {
	return append([]string{Name, string(mode), dir, path}, argv...)
}

// The bounds of what is started in a pod, each a resource limit (setrlimit(2)) or
// watched by the node.
const (
	MaxFiles     = 4096    // descriptors, per process
	MaxProcesses = 256     // processes and threads, per start; from Linux 5.14 on, which counts them per user namespace
	MaxData      = 1 << 30 // bytes of memory of its own, per process
	MaxMemory    = 1 << 29 // resident bytes of all its processes together, watched by the node
)
