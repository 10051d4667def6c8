package launcher

import (
	"errors"
	"io"
	"os"
	"sync"
)

// A pod's log is emptied when it is longer than maxLog, as a kubelet's default
// has it; what it held is kept until the next time, beside it.
const (
	maxLog = 10 << 20
	oldLog = ".1"
)

// podLog is the log of a pod's program. It never takes more room than two limits,
// however fast the program writes.
type podLog struct {
	mu    sync.Mutex
	file  *os.File
	limit int64
}

// Write never fails: a disk that takes no more costs the lines, not the program.
func (l *podLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.file.Stat(); err == nil && info.Size()+int64(len(p)) > l.limit {
		_ = rotate(l.file) // where no copy fits the log is emptied all the same
	}
	_, _ = l.file.Write(p)
	return len(p), nil
}

// rotate empties a log that appends, and keeps what it held.
func rotate(log *os.File) error {
	return errors.Join(copyFile(log.Name()+oldLog, log.Name()), log.Truncate(0))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
