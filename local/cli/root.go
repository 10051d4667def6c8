// Package cli is the command line of artemis, a file per command. A command
// parses, asks and shows; what it starts or asks lives in the packages beside.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// exitError ends the command with a code and nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// interrupted is the exit code of a command that Ctrl-C ended, as shells have it.
const interrupted = 128 + int(syscall.SIGINT)

// Main runs artemis, linked as a version, with the arguments and returns its exit
// code: 0, 1 for a failure, 2 for wrong usage, 130 for an interruption, or what a
// command that was run inside a pod gave: 126 or 127 where it could not be started.
func Main(version string, args []string) int {
	keepDescriptors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := newRootCommand(version)
	if filepath.Base(os.Args[0]) == "kubectl-artemis" { // by this name on PATH kubectl takes it for its own
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl artemis"}
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "artemis: interrupted")
		return interrupted
	}
	fmt.Fprintln(os.Stderr, "artemis:", err)
	var started notRun
	if errors.As(err, &started) && started.code != 0 {
		return started.code
	}
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), unknownCommand) {
		return 2
	}
	return 1
}

// unknownCommand begins what cobra says of a command that there is not; it has no
// type of its own.
const unknownCommand = "unknown command"

// usageError is a command line that makes no sense.
type usageError struct{ error }

func newRootCommand(version string) *cobra.Command {
	var at place
	root := &cobra.Command{
		Use:   "artemis",
		Short: "The Artemis II mission on this machine: zero trust networking for real, without a cluster",
		Long: "artemis runs the rendered manifests of the mission: a process per Deployment, real identities, real " +
			"mTLS and the manifests' own policies between them. It needs no root and no cluster.",
		Version:       buildVersion(version),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate(versionLine(version))
	setHelp(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&at.root, "root", "", "the project's directory (default: the one with "+
		"openchoreo/rendered, from here upwards or beside the program)")
	root.PersistentFlags().StringVar(&at.state, "state-dir", "",
		"where the running suite keeps its logs and sockets (default: .artemis in the project's directory)")
	root.AddCommand(
		newUpCommand(&at), newStatusCommand(&at), newDownCommand(&at), newLogsCommand(&at), newStageCommand(&at),
		newApplyCommand(&at),
		newExecCommand(&at), newDecisionsCommand(&at), newWiretapCommand(&at),
		newAttackCommand(&at), newExplainCommand(&at), newLintCommand(&at), newWhoCanCommand(&at), newProveCommand(&at),
		newDiffCommand(&at), newVersionCommand(version),
		newNodeCommand(), newRequestCommand(),
	)
	setCompletion(root, &at)
	return root
}
