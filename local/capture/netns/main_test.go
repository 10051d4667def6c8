//go:build linux

package netns_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"artemis.example/local/capture/netns"
	"golang.org/x/sys/unix"
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
		code := m.Run()
		if sharedDir != "" {
			_ = os.RemoveAll(sharedDir)
		}
		os.Exit(code)
	}
	// Built with the race detector, each program that ends well would wait for a second.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(runInside())
}

func runInside() int {
	// Started by root, the node is nobody and may not write go test's own files.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile")
	})
	files, err := shareCoverage(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd, err := netns.Command(args, files)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd.Env = append(os.Environ(), insideVariable+"=1", "HOME=/nonexistent")
	// As a shell may have them open: a directory of the host and a file of it.
	for _, path := range []string{"/", "/proc/self/exe"} {
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer unix.Close(fd)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	own, err := ownProgram()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.Remove(own)
	cmd.Path = own
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

// shareCoverage has the node write where go test wants its coverage, although it
// may be another user: it gets the places as descriptors.
func shareCoverage(args []string) (files []*os.File, err error) {
	uid, gid, err := netns.Owner()
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		flag, path, _ := strings.Cut(a, "=")
		var f *os.File
		switch flag {
		case "-test.gocoverdir":
			f, err = os.Open(path)
		case "-test.coverprofile":
			f, err = os.Create(path)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		if uid != os.Geteuid() {
			if err := f.Chown(uid, gid); err != nil {
				return nil, err
			}
		}
		args[i] = fmt.Sprintf("%s=/proc/self/fd/%d", flag, 3+len(files))
		files = append(files, f)
	}
	return files, nil
}

// ownProgram copies this program for the node's user to own, as an ordinary user's
// artemis is the user's: whether it can be changed is what some tests are about.
func ownProgram() (path string, err error) {
	uid, gid, err := netns.Owner()
	if err != nil {
		return "", err
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.CreateTemp("", "artemis-netns-*.test")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return to.Name(), errors.Join(err, to.Chown(uid, gid), to.Chmod(0o755), to.Close())
}
