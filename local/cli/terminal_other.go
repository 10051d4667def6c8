//go:build !linux

package cli

import "os"

// screen is only needed where a pod has an inside.
type screen struct{}

func newScreen(_, _, _ *os.File) *screen { return nil }

func (*screen) restore() {}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
