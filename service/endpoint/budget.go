package endpoint

import (
	"context"
	"sync"
	"time"
)

// budgeted is a context with a deadline that sets a timer only when somebody
// waits for it: most answers are ready long before, and need none.
type budgeted struct {
	context.Context
	deadline time.Time

	once   sync.Once
	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelFunc
}

func (b *budgeted) Deadline() (time.Time, bool) { return b.deadline, true }

// waited returns the context with a timer, if there is one.
func (b *budgeted) waited() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inner
}

func (b *budgeted) Done() <-chan struct{} {
	b.once.Do(func() {
		inner, cancel := context.WithDeadline(b.Context, b.deadline)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.inner, b.cancel = inner, cancel
	})
	return b.waited().Done()
}

func (b *budgeted) Err() error {
	if inner := b.waited(); inner != nil {
		return inner.Err()
	}
	if err := b.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(b.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value returns what the context with the timer holds, once there is one: contexts
// made of this one then find the timer's own and need no goroutine to watch it.
func (b *budgeted) Value(key any) any {
	if inner := b.waited(); inner != nil {
		return inner.Value(key)
	}
	return b.Context.Value(key)
}

// release lets go of the timer.
func (b *budgeted) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
}
