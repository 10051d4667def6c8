//go:build linux

package netns_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"artemis.example/local/capture/netns"
)

// insideVariable says that this test binary was started again as a node.
const insideVariable = "ARTEMIS_TEST_NODE"

// TestMain runs the tests inside a node: the binary starts itself again. Some
// tests need it a third time, as the cheating program in a pod.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == cheatCommand {
		os.Exit(cheat(os.Args[2:]))
	}
	if os.Getenv(insideVariable) != "" {
		os.Exit(m.Run())
	}
	os.Exit(runInside())
}

func runInside() int {
	// Started by root, the node is nobody and may not write go test's own files.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile") })
	cmd, err := netns.Command(args, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd.Env = append(os.Environ(), insideVariable+"=1", "HOME=/nonexistent")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, netns.Unavailable(err))
		if os.Getenv("CI") == "" {
			fmt.Fprintln(os.Stderr, "skipped: no user namespaces here")
			return 0
		}
		return 1
	}
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}
