package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is who the node runs as when root starts it: with root itself behind
// the namespaces a pod could write root's files, /proc/sys among them.
const nobody = 65534

// The main goroutine stays on the main thread. The parent death signal follows
// the thread that forked, and /proc/self/ns shows the main thread's namespaces,
// so no goroutine that enters a pod may ever run there.
func init() { runtime.LockOSThread() }

// Command returns this program, to be started with args as process 1 of a new
// node. The files become its descriptors from 3 on, the working directory is
// the present one. It has to be started by the main goroutine: the node is
// killed when the thread that started it ends, however that happens.
//
// Nothing else comes along: whatever descriptors this process inherited itself are
// closed in the node (CVE-2024-21626).
func Command(args []string, files []*os.File) (*Cmd, error) {
	root, err := isHostRoot()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// As process 1 the node takes every process in it along when it ends.
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
		Setpgid:     true, // Ctrl-C comes to us only
	}
	if root {
		cmd.SysProcAttr.UidMappings[0].HostID = nobody
		cmd.SysProcAttr.GidMappings[0].HostID = nobody
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
		pods := syscall.SysProcIDMap{ContainerID: 1, HostID: freeUsers(), Size: podUsers}
		cmd.SysProcAttr.UidMappings = append(cmd.SysProcAttr.UidMappings, pods)
		cmd.SysProcAttr.GidMappings = append(cmd.SysProcAttr.GidMappings, pods)
		return &Cmd{Cmd: cmd}, nil
	}
	c := &Cmd{Cmd: cmd, uids: subordinate("/etc/subuid"), gids: subordinate("/etc/subgid")}
	if c.gids == 0 {
		c.uids = 0
	}
	return c, nil
}

// Owner returns the user and group on the host that own what the node writes.
func Owner() (uid, gid int, err error) {
	root, err := isHostRoot()
	if err != nil || root {
		return nobody, nobody, err
	}
	return os.Geteuid(), os.Getegid(), nil
}

// isHostRoot reports whether we are root outside of any user namespace.
func isHostRoot() (bool, error) {
	idMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false, err
	}
	return os.Geteuid() == 0 && slices.Equal(strings.Fields(string(idMap)), []string{"0", "0", "4294967295"}), nil
}

// Unavailable turns the failure to start a Command into an error that says what
// this machine forbids and how to allow it. What it has too little of at the moment
// it does not forbid: that error comes back as it is, so that nobody gets a weaker
// capture for it.
func Unavailable(err error) error {
	for _, passing := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EIO} {
		if errors.Is(err, passing) {
			return err
		}
	}
	return fmt.Errorf("%w: %w%s", ErrUnavailable, err, hint(err))
}

func hint(err error) string {
	sysctl := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		return strings.TrimSpace(string(b))
	}
	switch {
	case sysctl("user.max_user_namespaces") == "0" || errors.Is(err, unix.ENOSPC):
		return " (user namespaces are off or used up; allow them: sudo sysctl user.max_user_namespaces=15000)"
	case sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return " (AppArmor restricts user namespaces; allow them: sudo sysctl " +
			"kernel.apparmor_restrict_unprivileged_userns=0)"
	case sysctl("kernel.unprivileged_userns_clone") == "0":
		return " (user namespaces are for root only; allow them: sudo sysctl kernel.unprivileged_userns_clone=1)"
	case errors.Is(err, errNFT):
		return " (the kernel lacks nftables; load it: sudo modprobe nf_tables nft_redir nft_reject_inet)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (a seccomp filter, a container's covered /proc or a security module forbids it; in a container: " +
			"--security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
	}
	return ""
}
