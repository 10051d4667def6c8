package netns

import (
	"errors"
	"runtime"

	"github.com/vishvananda/netns"
)

// spendThread runs fn on a thread that nobody uses afterwards: a goroutine that
// ends while it is locked to its thread ends the thread too. It is for what
// leaves the thread in other namespaces.
func spendThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// inNetwork runs fn, which opens sockets, in a network namespace. fn may not
// start goroutines that open some, nor resolve names: they would be on other
// threads.
func inNetwork(ns netns.NsHandle, fn func() error) error {
	runtime.LockOSThread()
	back, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err = netns.Set(ns); err == nil {
		err = fn()
	}
	if e := netns.Set(back); e != nil {
		return errors.Join(err, e) // stay locked: this thread must not be used again
	}
	runtime.UnlockOSThread()
	return err
}
