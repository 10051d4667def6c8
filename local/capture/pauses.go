package capture

import (
	"context"
	"errors"
	"net"
	"time"
)

// Pauses are the waits after failures in a row: from First on twice as long each
// time, at most Last.
type Pauses struct {
	First, Last time.Duration
	next        time.Duration
}

// Reset begins again with First.
func (p *Pauses) Reset() { p.next = 0 }

// Wait waits for the next pause, or returns the context's error at its end.
func (p *Pauses) Wait(ctx context.Context) error {
	p.next = min(max(p.next, p.First), p.Last)
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next *= 2
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// AcceptNext returns the next connection of a listener. It goes on after errors that
// pass, such as having no descriptor left, and fails once the listener is closed.
func AcceptNext[C any](accept func() (C, error)) (C, error) {
	for pauses := (Pauses{First: time.Millisecond, Last: time.Second}); ; {
		c, err := accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return c, err
		}
		_ = pauses.Wait(context.Background())
	}
}

// Until asks every so often until it is so, or it cannot be said, or ctx ends.
func Until(ctx context.Context, every time.Duration, so func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if yes, err := so(); yes || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
