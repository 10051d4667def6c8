package launcher

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// fromOutside refuses a peer that is a process of this node. One from outside
// has no number in the node's process namespace and shows as 0. Where there is
// no node, everybody is outside.
func fromOutside(conn *net.UnixConn) error {
	if os.Getpid() != 1 {
		return nil
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if e := rc.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return errors.Join(e, err)
	}
	if cred.Pid != 0 {
		return fmt.Errorf("process %d of a pod may not steer the launcher", cred.Pid)
	}
	return nil
}
