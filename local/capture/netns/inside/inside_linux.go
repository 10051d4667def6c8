package inside

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) < 5 || os.Args[0] != Name {
		return
	}
	mode, dir, path, argv := Mode(os.Args[1]), os.Args[2], os.Args[3], os.Args[4:]
	switch mode {
	case supervise, superviseTerminal:
		os.Exit(superviseCommand(mode == superviseTerminal, path, argv))
	}
	// Rights and filters are a thread's: this one is to make the next program.
	runtime.LockOSThread()
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "artemis: this process cannot be confined:", err)
		os.Exit(ExitNotConfined)
	}
	if os.Chdir(dir) != nil { // the pod does not have it
		_ = os.Chdir("/")
	}
	switch mode { // where we were asked from is nobody's business in here
	case Command:
		argv, path = Args(supervise, ".", path, argv), ProgramsDir+"/artemis"
	case Terminal:
		argv, path = Args(superviseTerminal, ".", path, argv), ProgramsDir+"/artemis"
	}
	err := syscall.Exec(path, argv, os.Environ())
	os.Exit(notStarted(path, err))
}

// notStarted says why a program does not run, and returns the exit code for it.
func notStarted(path string, err error) int {
	fmt.Fprintf(os.Stderr, "artemis: start %s: %v\n", path, err)
	if errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "a pod sees the system's directories only (docs/how-it-works.md): a program to run "+
			"in it lies in /usr, /opt or /nix")
	}
	return StartCode(err)
}

func confine() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"close what was inherited", closeInherited},
		{"be the first to be killed when memory runs out", offerToOOM},
		{"mount /proc", mountProc},
		{"set limits", limit},
		{"give up rights", giveUpRights},
		{"filter system calls", filter},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// CloseOnExec has every descriptor but 0, 1 and 2 end with the present program.
func CloseOnExec() error {
	return unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// closeInherited leaves 0, 1 and 2, and those only if they lead nowhere: a pipe, a
// terminal or /dev/null. A directory or a file of the host would be a way out
// (CVE-2024-21626).
func closeInherited() error {
	if err := CloseOnExec(); err != nil { // this one's runtime has some too
		return err
	}
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFIFO:
			continue
		case unix.S_IFCHR:
			if st.Rdev == unix.Mkdev(1, 3) { // /dev/null
				continue
			}
			if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
				continue
			}
		}
		return fmt.Errorf("descriptor %d is neither a pipe nor a terminal", fd)
	}
	return nil
}

// offerToOOM has the kernel take this process before the node and the desktop. It
// is done through the node's /proc, which is still there.
func offerToOOM() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("800"), 0) }

// mountProc covers the node's /proc with one of the pod's processes, which nobody
// writes to, and covers in it what runc covers: what it tells is the machine's.
func mountProc() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return err
	}
	for _, dir := range []string{"acpi", "asound", "scsi"} {
		if err := cover(ProgramsDir+"/empty", "/proc/"+dir); err != nil {
			return err
		}
	}
	for _, file := range []string{
		"interrupts", "kallsyms", "kcore", "key-users", "keys", "latency_stats", "sched_debug", "timer_list",
		"timer_stats",
	} {
		if err := cover("/dev/null", "/proc/"+file); err != nil {
			return err
		}
	}
	return nil
}

// cover mounts one over another, if there is another.
func cover(with, what string) error {
	err := unix.Mount(with, what, "", unix.MS_BIND, "")
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cover %s: %w", what, err)
	}
	return nil
}

func limit() error {
	limits := map[int]uint64{
		unix.RLIMIT_NOFILE: MaxFiles, unix.RLIMIT_DATA: MaxData, unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 1 << 20,
		unix.RLIMIT_MSGQUEUE: 0, unix.RLIMIT_SIGPENDING: 1024, unix.RLIMIT_RTPRIO: 0, unix.RLIMIT_NICE: 0,
	}
	if countsPerNamespace() {
		limits[unix.RLIMIT_NPROC] = MaxProcesses
	}
	for which, most := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(which, &now); err != nil {
			return err
		}
		most = min(most, now.Max)
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d: %w", which, err)
		}
	}
	return nil
}

// countsPerNamespace reports whether the kernel counts the processes of a user
// namespace by themselves (since 5.14). Before, they are counted with all of the
// user's own.
func countsPerNamespace() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(strings.TrimRight(parts[1], "-+abcdefghijklmnopqrstuvwxyz"))
	return major > 5 || major == 5 && minor >= 14
}

// giveUpRights leaves this thread no capability and no way to one.
func giveUpRights() error {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// filter puts the program of Filter before every call of this thread.
func filter() error {
	program := Filter()
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Without the flag a kernel before 5.16 slows the process down (Documentation/
	// userspace-api/spec_ctrl.rst), for an attack that a pod has no neighbour for.
	const flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&p))); e != 0 {
		return e
	}
	return nil
}
