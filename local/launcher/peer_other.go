//go:build !linux

package launcher

import "net"

func fromOutside(*net.UnixConn) error { return nil }
