package envoy

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end Envoy when this process dies.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
