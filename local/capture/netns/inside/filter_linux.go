package inside

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The filter refuses what no service, no Envoy and no shell with curl needs and
// what has been a way out of containers: namespaces, mounts, other processes'
// memory, and the parts of the kernel that are reached by a call of their own. A
// call that is newer than this list does not exist. It is the complement of
// Docker's default list (github.com/moby/profiles/seccomp), less ptrace and the
// like, and written as what is refused because whatever a person runs in a pod is
// to go on working; assembled by hand because that takes forty lines.

// refused fail as for lack of rights.
var refused = append([]uintptr{
	// namespaces and mounts
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE,
	unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_MOUNT_SETATTR, unix.SYS_STATMOUNT, unix.SYS_LISTMOUNT, unix.SYS_LISTNS, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_OPEN_BY_HANDLE_AT,
	// other processes
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PROCESS_MRELEASE,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	// a session of its own would be a share of the processors of its own
	unix.SYS_SETSID,
	// the kernel
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER,
	unix.SYS_USERFAULTFD, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_FANOTIFY_INIT,
	unix.SYS_FANOTIFY_MARK,
	unix.SYS_LSM_SET_SELF_ATTR, unix.SYS_SYSLOG, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
	unix.SYS_QUOTACTL_FD,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_SETHOSTNAME,
	unix.SYS_SETDOMAINNAME,
	unix.SYS_VHANGUP, unix.SYS_NFSSERVCTL, unix.SYS_PERSONALITY, unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY,
	unix.SYS_MIGRATE_PAGES,
	unix.SYS_MOVE_PAGES, unix.SYS_SET_MEMPOLICY_HOME_NODE,
}, refusedHere...)

// absent do not exist: who asks for them has another way. The flags of clone3 lie
// in memory, where a filter cannot look; the rest is memory that no process is
// charged with, so that nobody would be ended over it.
var absent = []uintptr{
	unix.SYS_CLONE3, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET,
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_MSGGET, unix.SYS_MQ_OPEN,
}

const (
	// lastCall is the newest system call that was looked at.
	lastCall = unix.SYS_RSEQ_SLICE_YIELD

	newNamespace = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

// Offsets in struct seccomp_data, of which a filter sees the lower half of each
// argument (seccomp(2)); both processors that we know are little-endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// Filter returns the program (bpf(2), classic) that a pod's processes have before
// every system call. For a call that it refuses whatever the arguments, or allows
// whatever they are, the kernel remembers the answer and does not run it.
func Filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	argument := func(i uint32) unix.SockFilter { return load(offArgs + 8*i) }
	// when has the next instruction run only if the comparison holds.
	when := func(comparison uint16, k uintptr) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | comparison | unix.BPF_K, Jf: 1, K: uint32(k)}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	failWith := func(e unix.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(e)) }
	allow := answer(unix.SECCOMP_RET_ALLOW)
	// of has the instructions that follow run only for that call; they have to
	// answer it.
	of := func(call uintptr, then ...unix.SockFilter) []unix.SockFilter {
		skip := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(len(then)), K: uint32(call)}
		return append([]unix.SockFilter{skip}, then...)
	}

	program := []unix.SockFilter{
		load(offArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: auditArch}, failWith(unix.ENOSYS),
		load(offNumber), when(unix.BPF_JGT, lastCall), failWith(unix.ENOSYS), // the x32 calls are above it too
	}
	for _, call := range refused {
		program = append(program, when(unix.BPF_JEQ, call), failWith(unix.EPERM))
	}
	for _, call := range absent {
		program = append(program, when(unix.BPF_JEQ, call), failWith(unix.ENOSYS))
	}
	return slices.Concat(program,
		of(unix.SYS_CLONE, argument(0), when(unix.BPF_JSET, newNamespace), failWith(unix.EPERM), allow),
		of(unix.SYS_SOCKET, argument(0),
			when(unix.BPF_JEQ, unix.AF_UNIX), allow, when(unix.BPF_JEQ, unix.AF_INET), allow, when(unix.BPF_JEQ,
				unix.AF_INET6), allow,
			// Of the netlinks only the one that lists interfaces and routes.
			when(unix.BPF_JEQ, unix.AF_NETLINK), argument(2), when(unix.BPF_JEQ, unix.NETLINK_ROUTE), allow,
			failWith(unix.EAFNOSUPPORT)),
		of(unix.SYS_IOCTL, argument(1), // what a terminal's user cannot have wanted
			when(unix.BPF_JEQ, unix.TIOCSTI), failWith(unix.EPERM), when(unix.BPF_JEQ, unix.TIOCLINUX),
			failWith(unix.EPERM),
			when(unix.BPF_JEQ, unix.TIOCSETD), failWith(unix.EPERM), allow),
		[]unix.SockFilter{allow},
	)
}
