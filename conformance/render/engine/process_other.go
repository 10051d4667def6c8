//go:build !linux

package engine

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
