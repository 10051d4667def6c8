//go:build !linux

package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"artemis.example/local/capture"
)

func unavailable() error {
	return fmt.Errorf("%w: they are a feature of Linux, this is %s", ErrUnavailable, runtime.GOOS)
}

// Command fails: there is no node on this system.
func Command([]string, []*os.File) (*Cmd, error) { return nil, unavailable() }

// Cmd is a node that is about to start.
type Cmd struct{ *exec.Cmd }

// Owner returns the present user.
func Owner() (uid, gid int, err error) { return os.Geteuid(), os.Getegid(), nil }

// Unavailable passes the error on.
func Unavailable(err error) error { return err }

// NewNode fails: there is no node on this system.
func NewNode(Config) (capture.Node, error) { return nil, unavailable() }
