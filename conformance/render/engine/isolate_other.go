//go:build !linux

package engine

// Isolate does nothing here: the ports 8080 and 9443 must be free.
func Isolate() error { return nil }

// Isolated is always false here.
func Isolated() bool { return false }
