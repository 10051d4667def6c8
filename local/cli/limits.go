package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What the suite needs: descriptors, about ten a pod and what its connections
// take; processes and threads, about ten a pod, beside those that the user has.
const (
	needFiles = 640
	needTasks = 400
)

// checkLimits says what this shell allows too little of: a suite that runs into a
// limit half-way fails in ways that do not name it.
func checkLimits() error {
	for _, l := range []struct {
		resource   int
		need       uint64
		what, flag string
	}{
		{unix.RLIMIT_NOFILE, needFiles, "open files", "-n"},
		{unix.RLIMIT_NPROC, needTasks, "processes and threads", "-u"},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("ask for the limit of %s: %w", l.what, err)
		}
		if now.Max < l.need {
			return fmt.Errorf("the limit of %s is %d here, and the suite needs %d: raise it with `ulimit %s %d` in a "+
				"new shell, or where this one's limits are set",
				l.what, now.Max, l.need, l.flag, l.need)
		}
	}
	return nil
}
