package endpoint

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestABudgetEndsLikeAnyDeadline(t *testing.T) {
	t.Parallel()
	type key struct{}
	parent := context.WithValue(t.Context(), key{}, "kept")
	b := &budgeted{Context: parent, deadline: time.Now().Add(20 * time.Millisecond)}
	defer b.release()
	if b.Err() != nil || b.Value(key{}) != "kept" {
		t.Errorf("before: %v, %v", b.Err(), b.Value(key{}))
	}
	child, cancel := context.WithTimeout(b, time.Hour)
	defer cancel()
	<-child.Done()
	if !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(b.Err(), context.DeadlineExceeded) ||
		child.Value(key{}) != "kept" {
		t.Errorf("after: %v, %v", child.Err(), b.Err())
	}
	unwaited := &budgeted{Context: parent, deadline: time.Now().Add(-time.Second)}
	if !errors.Is(unwaited.Err(), context.DeadlineExceeded) {
		t.Errorf("past: %v", unwaited.Err())
	}
}

func TestABudgetEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	b := &budgeted{Context: parent, deadline: time.Now().Add(time.Hour)}
	defer b.release()
	done := b.Done()
	cancel()
	<-done
	if !errors.Is(b.Err(), context.Canceled) {
		t.Errorf("got %v", b.Err())
	}
}
