package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// newPodInitCommand is process 1 of a command that was run in a pod: it passes
// signals on and gives the command's exit code. What the command leaves running
// ends with it.
func newPodInitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pod-init plain|terminal DIR PATH ARGV...", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) < 4 {
				return usageError{errors.New("this command is for `artemis exec` to use")}
			}
			if err := os.Chdir(args[1]); err != nil { // below /tmp, for one: a pod has its own
				if err := os.Chdir("/"); err != nil {
					return err
				}
			}
			cmd := &exec.Cmd{Path: args[2], Args: args[3:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
			cmd.SysProcAttr = foreground(args[0] == "terminal")
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
			if err := cmd.Start(); err != nil {
				fmt.Fprintf(os.Stderr, "artemis: %v\n", err)
				if errors.Is(err, os.ErrNotExist) {
					fmt.Fprintln(os.Stderr, "a pod has its own /run and /tmp: a program to run in it lies elsewhere")
					return exitError(127) // as a shell says it
				}
				return exitError(126)
			}
			go func() {
				for s := range signals {
					_ = cmd.Process.Signal(s)
				}
			}()
			err := cmd.Wait()
			var exit *exec.ExitError
			switch {
			case err == nil:
				return nil
			case !errors.As(err, &exit):
				return err
			}
			if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
				return exitError(128 + int(s.Signal()))
			}
			return exitError(exit.ExitCode())
		},
	}
}
