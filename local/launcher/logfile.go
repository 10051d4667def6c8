package launcher

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// A pod's log is emptied when it is longer than maxLog, as a kubelet's default
// has it; what it held is kept until the next time, beside it.
const (
	maxLog   = 10 << 20
	logCheck = 5 * time.Second
	oldLog   = ".1"
)

// keepShort keeps a log from growing without end, until ctx ends.
func keepShort(ctx context.Context, log *os.File) {
	tick := time.NewTicker(logCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// A disk that takes no copy has the log emptied all the same.
			_ = rotate(log, maxLog)
		}
	}
}

// rotate empties a log that is longer than limit. The program that writes it has
// the file open and appends, so it goes on at the beginning.
func rotate(log *os.File, limit int64) error {
	info, err := log.Stat()
	if err != nil || info.Size() <= limit {
		return err
	}
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
