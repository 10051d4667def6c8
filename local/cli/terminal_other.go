//go:build !linux

package cli

import (
	"errors"
	"os"
	"syscall"
)

// relay is only needed where a pod has an inside.
type relay struct{ inner *os.File }

func newRelay(_, _ *os.File) (*relay, error) { return nil, errors.New("only on Linux") }

func (*relay) start()       {}
func (*relay) drain()       {}
func (*relay) Close() error { return nil }

func foreground(bool) *syscall.SysProcAttr { return nil }

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
