package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"artemis.example/local/control"
	"artemis.example/local/launcher"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newExecCommand(at *place) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec CELL/COMPONENT -- COMMAND [ARG...]",
		Short: "Run any command with a pod's network identity",
		Example: "  artemis exec orion/comms-system -- curl -s http://guidance-nav:8080/position\n" +
			"  artemis exec orion/adversary -- sh",
		Args: func(_ *cobra.Command, args []string) error {
			if len(commandOf(args)) == 0 {
				return usageError{errors.New("which pod and which command? exec CELL/COMPONENT -- COMMAND [ARG...]")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(at)
			if err != nil {
				return err
			}
			state, pod, err := c.pod(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			code, err := execInPod(*at, state, pod, commandOf(args), [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
			if err != nil {
				return fmt.Errorf("in %s: %w", pod.Name(), err)
			}
			if code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// commandOf returns what follows the pod's name.
func commandOf(args []string) []string {
	args = args[min(1, len(args)):]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	return args
}

// execInPod runs a command in a pod on the three descriptors and gives its exit
// code.
func execInPod(at place, state control.State, pod control.Pod, argv []string, stdio [3]*os.File) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: at.execSocket(), Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("ask the launcher: %w", err)
	}
	defer conn.Close()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/" // it was removed
	}
	req := launcher.ExecRequest{Namespace: pod.Namespace, Component: pod.Component, Argv: argv, Env: os.Environ(), Dir: dir}
	files := stdio
	var terminal *relay
	if state.Capture == "netns" && isTerminal(stdio[0]) && isTerminal(stdio[1]) {
		if terminal, err = newRelay(stdio[0], stdio[1]); err != nil {
			return 0, fmt.Errorf("make a terminal: %w", err)
		}
		defer terminal.Close()
		req.Terminal = true
		files = [3]*os.File{terminal.inner, terminal.inner, terminal.inner}
	}
	data, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	rights := unix.UnixRights(int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd()))
	n, _, err := conn.WriteMsgUnix(data, rights, nil)
	if err == nil && n < len(data) {
		_, err = conn.Write(data[n:])
	}
	if err != nil {
		return 0, fmt.Errorf("ask the launcher: %w", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			if _, err := conn.Write([]byte{byte(s.(syscall.Signal))}); err != nil {
				return
			}
		}
	}()
	if terminal != nil {
		terminal.start()
	}
	var reply launcher.ExecReply
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return 0, errors.New("the suite went away")
	}
	if terminal != nil {
		terminal.drain()
	}
	switch {
	case reply.Error != "":
		return 0, errors.New(reply.Error)
	case reply.Here:
		return execHere(argv, reply.Environ, stdio)
	}
	return reply.Code, nil
}

// execHere runs the command in this process's own surroundings, asked by its
// environment to go through the pod's proxy.
func execHere(argv, environ []string, stdio [3]*os.File) (int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio[0], stdio[1], stdio[2]
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil
	}
	return exit.ExitCode(), nil
}
