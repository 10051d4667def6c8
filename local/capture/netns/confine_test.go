//go:build linux

package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns/inside"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// list names what is in directories.
func list(dirs []string) (string, error) {
	var found []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	if len(found) == 0 {
		return "nothing", nil
	}
	return strings.Join(found, " "), nil
}

// openDescriptors says what each of this process's descriptors is, but for those
// that end with it.
func openDescriptors([]string) (string, error) {
	var found []string
	for fd := range 256 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		what, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return "", err
		}
		found = append(found, fmt.Sprintf("%d %s", fd, strings.TrimRight(what, ":[]0123456789")))
	}
	return strings.Join(found, ", "), nil
}

// processes lists those that can be seen.
func processes([]string) (string, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	return strings.Join(all, " "), err
}

// fork starts processes until it is refused, and says how many there were.
func fork([]string) (string, error) {
	var started []*exec.Cmd
	defer func() {
		for _, c := range started {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range 2000 {
		c := exec.Command("/bin/sleep", "60")
		if err := c.Start(); err != nil {
			return strconv.Itoa(len(started)), nil
		}
		started = append(started, c)
	}
	return "no end", nil
}

// eat takes that many MiB of memory, in processes of as many each.
func eat(a []string) (string, error) {
	sum, err1 := strconv.Atoi(a[0])
	each, err2 := strconv.Atoi(a[1])
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	for ; sum > each; sum -= each {
		if err := exec.Command("/proc/self/exe", cheatCommand, "eat", strconv.Itoa(each),
			strconv.Itoa(each)).Start(); err != nil {
			return "", err
		}
	}
	b, err := unix.Mmap(-1, 0, sum<<20, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return "", err
	}
	time.Sleep(time.Minute)
	return strconv.Itoa(len(b)), nil
}

// hold tries to open so many connections, and says how many there were in the end
// and how many of them were still open.
func hold(a []string) (string, error) {
	count, err := strconv.Atoi(a[1])
	if err != nil {
		return "", err
	}
	var conns []net.Conn
	for range count {
		if c, err := net.DialTimeout("tcp4", a[0], 2*time.Second); err == nil {
			conns = append(conns, c)
		}
	}
	open := 0
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	return fmt.Sprintf("%d of %d", open, len(conns)), nil
}

func raw(call, a, b, c uintptr) error {
	if _, _, e := unix.RawSyscall(call, a, b, c); e != 0 {
		return e
	}
	return nil
}

// calls are the system calls that a pod is refused, with arguments that would do
// something, or at least come to another error.
func calls() map[string]func() error {
	var buf [256]byte
	p := uintptr(unsafe.Pointer(&buf[0]))
	socket := func(family, kind, protocol int) func() error {
		return func() error { _, err := unix.Socket(family, kind, protocol); return err }
	}
	return map[string]func() error{
		"unshare": func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
		"clone": func() error {
			return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0)
		},
		"clone3": func() error { return raw(unix.SYS_CLONE3, p, 64, 0) },
		"mount":  func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		"umount": func() error { return unix.Unmount("/proc", unix.MNT_DETACH) },
		"fsopen": func() error { _, err := unix.Fsopen("tmpfs", 0); return err },
		"open_tree": func() error {
			_, err := unix.OpenTree(unix.AT_FDCWD, "/",
				unix.OPEN_TREE_CLONE)
			return err
		},
		"pivot_root":       func() error { return unix.PivotRoot("/", "/") },
		"chroot":           func() error { return unix.Chroot("/") },
		"setns":            func() error { return unix.Setns(0, unix.CLONE_NEWNET) },
		"ptrace":           func() error { return raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0) },
		"process_vm_readv": func() error { return raw(unix.SYS_PROCESS_VM_READV, 1, p, 0) },
		"pidfd_getfd":      func() error { return raw(unix.SYS_PIDFD_GETFD, 0, 0, 0) },
		"bpf":              func() error { return raw(unix.SYS_BPF, 0, p, 128) },
		"perf_event_open":  func() error { return raw(unix.SYS_PERF_EVENT_OPEN, p, 0, 0) },
		"io_uring":         func() error { return raw(unix.SYS_IO_URING_SETUP, 8, p, 0) },
		"keyctl": func() error {
			_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, -3, 1, 0,
				0)
			return err
		},
		"userfaultfd":       func() error { return raw(unix.SYS_USERFAULTFD, 1, 0, 0) },
		"memfd_create":      func() error { _, err := unix.MemfdCreate("x", 0); return err },
		"shmget":            func() error { return raw(unix.SYS_SHMGET, 0, 4096, 0o1600) },
		"setsid":            func() error { _, err := unix.Setsid(); return err },
		"a call to come":    func() error { return raw(1<<20, 0, 0, 0) },
		"AF_VSOCK":          socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		"AF_ALG":            socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		"netfilter":         socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
		"AF_UNSPEC":         socket(unix.AF_UNSPEC, unix.SOCK_RAW, 0),
		"pushing input":     func() error { return unix.IoctlSetPointerInt(0, unix.TIOCSTI, 'x') },
		"a line discipline": func() error { return unix.IoctlSetPointerInt(0, unix.TIOCSETD, 21) },
	}
}

func TestAPodIsRefusedTheKernelsSpecialCalls(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	absent := []string{"clone3", "memfd_create", "shmget", "a call to come"}
	families := []string{"AF_VSOCK", "AF_ALG", "netfilter", "AF_UNSPEC"}
	for name := range calls() {
		want := unix.EPERM
		switch {
		case slices.Contains(absent, name):
			want = unix.ENOSYS
		case slices.Contains(families, name):
			want = unix.EAFNOSUPPORT
		}
		t.Run(name, func(t *testing.T) {
			said, code := inPod(t, comms, "call", name)
			if want := "refused: " + want.Error(); said != want || code != 3 {
				t.Errorf("got %q, code %d; want %q", said, code, want)
			}
		})
	}
}

func TestAPodInheritsNothing(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	said, _ := inPod(t, comms, "open")
	if diff := cmp.Diff("done: 0 /dev/null, 1 pipe, 2 pipe", said); diff != "" {
		t.Errorf("a pod's open descriptors (-want +got):\n%s", diff)
	}
}

// TestAStreamOfTheHostIsNotHandedOn: through a file as standard output its owner's
// could be cut, through a directory the host be walked.
func TestAStreamOfTheHostIsNotHandedOn(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for what, stdin := range map[string]*os.File{"a directory": dir, "a file": file} {
		cmd := exec.Command("/proc/self/exe", cheatCommand, "open")
		cmd.Stdin = stdin
		if err := comms.Start(cmd); err != nil {
			continue // it could not even be made the pod's
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != inside.ExitNotConfined {
			t.Errorf("%s as standard input: %v", what, err)
		}
	}
}

func TestAPodSeesItsOwnProcessesOnlyAndWritesToNone(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	if said, _ := inPod(t, comms, "processes"); said != "done: /proc/1" {
		t.Errorf("a pod's program sees %q, want itself", said)
	}
	for _, file := range []string{
		"/proc/1/autogroup", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj", "/proc/sysrq-trigger",
		"/proc/sys/kernel/core_pattern",
		"/proc/sys/net/ipv4/ip_forward", "/proc/self/uid_map", "/proc/irq/default_smp_affinity", "/dev/kmsg",
		"/dev/fuse", "/dev/net/tun",
		"/dev/vsock", "/dev/kvm", "/dev/mem", "/sys/kernel/uevent_helper", "/run/artemis/artemis", "/run/artemis/new",
		"/dev/new",
	} {
		if said, code := inPod(t, comms, "write", file); code != 3 {
			t.Errorf("writing %s: %q", file, said)
		}
	}
	for _, file := range []string{"/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/kallsyms"} {
		if said, code := inPod(t, comms, "read", file); code == 0 && said != "done:" {
			t.Errorf("%s says %.60q", file, said)
		}
	}
}

// TestNoWayLeadsToAProgramOfTheHost tries CVE-2019-5736's on everything that a pod
// can execute.
func TestNoWayLeadsToAProgramOfTheHost(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	for _, program := range []string{"/proc/self/exe", "/proc/1/exe", "/run/artemis/artemis", "/bin/sh", "/dev/null"} {
		if said, code := inPod(t, comms, "chmod", program); code != 3 {
			t.Errorf("chmod of %s: %q", program, said)
		}
	}
	info, err := os.Stat("/proc/self/exe")
	if err != nil || info.Mode()&os.ModeSetuid != 0 {
		t.Errorf("this test's own program is %v, %v", info.Mode(), err)
	}
}

func TestEachPodIsAUserOfItsOwn(t *testing.T) {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	comms, guidance := addPod(t, n, "comms-system", commsIP), addPod(t, n, "guidance-nav", guidanceIP)
	one, _ := inPod(t, comms, "read", "/proc/self/uid_map")
	other, _ := inPod(t, guidance, "read", "/proc/self/uid_map")
	single := strings.Count(string(data), "\n") == 1
	if os.Getenv("CI") != "" && single {
		t.Fatal("there are no users for pods: root has some, an ordinary user needs an entry in /etc/subuid and " +
			"newuidmap (package uidmap)")
	}
	if single != (one == other) {
		t.Errorf("a single user is %v; the pods' users are %q and %q", single, one, other)
	}
}

func TestAForkBombIsThePodsOwn(t *testing.T) {
	n := newNode(t)
	comms, guidance := addPod(t, n, "comms-system", commsIP), addPod(t, n, "guidance-nav", guidanceIP)
	said, _ := inPod(t, comms, "fork")
	count, err := strconv.Atoi(strings.TrimPrefix(said, "done: "))
	if err != nil || count < 5 || count > inside.MaxProcesses {
		t.Errorf("a pod that forks without end: %q", said)
	}
	if said, code := inPod(t, guidance, "processes"); code != 0 {
		t.Errorf("its neighbour: %q", said)
	}
}

func TestMemoryBeyondAPodsBoundEndsWhatTookIt(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	// One process takes less than it may have at all, which the race detector's own memory counts to.
	for name, take := range map[string][2]string{"one process": {"560", "560"}, "many processes": {"700", "60"}} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			said, code := inPod(t, comms, "eat", take[0], take[1])
			if code != -1 || said != "" { // killed
				t.Errorf("after %v: %q, code %d", time.Since(began), said, code)
			}
		})
	}
	if said, code := inPod(t, comms, "eat", "5000", "5000"); code != 3 || !strings.Contains(said, "cannot allocate") {
		t.Errorf("more than a process may have at all: %q, code %d", said, code)
	}
}

func TestAFloodOfANameServerIsThePodsOwn(t *testing.T) {
	n := newNode(t)
	comms, guidance := addPod(t, n, "comms-system", commsIP), addPod(t, n, "guidance-nav", guidanceIP)
	before := descriptors(t)
	holding := exec.Command("/proc/self/exe", cheatCommand, "hold", "10.96.0.10:53", "1500")
	out, err := holding.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := comms.Start(holding); err != nil {
		t.Fatal(err)
	}
	most := 0
	said := make(chan string, 1)
	go func() { b, _ := io.ReadAll(out); said <- string(b) }()
	for done := false; !done; {
		most = max(most, descriptors(t))
		select {
		case s := <-said:
			var open, opened int
			if k, _ := fmt.Sscanf(s, "done: %d of %d", &open, &opened); k != 2 || opened == 0 {
				t.Errorf("the flood says %q", s)
			}
			done = true
		default:
		}
	}
	_ = holding.Wait()
	if most > before+200 {
		t.Errorf("the node held %d descriptors during the flood, %d before", most, before)
	}
	if said, _ := inPod(t, guidance, "resolve", "guidance-nav"); said != "done: [10.96.0.8]" {
		t.Errorf("a neighbour's question: %q", said)
	}
	if said, _ := inPod(t, comms, "resolve", "guidance-nav"); said != "done: [10.96.0.8]" {
		t.Errorf("its own question afterwards: %q", said)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

func TestAPodWhoseProxyIsGoneIsNoticed(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	attended := comms.(capture.Attended)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := attended.CheckProxy(ctx); err == nil {
		t.Error("nobody takes what the pod opens, and the check says that all is well")
	}
	go func() { // a node proxy
		for {
			c, err := comms.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	if err := attended.CheckProxy(t.Context()); err != nil {
		t.Errorf("with a proxy: %v", err)
	}
}

// TestACommandInAPod runs what a person does.
func TestACommandInAPod(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP).(capture.Confined)
	type outcome struct {
		Said string
		Code int
	}
	run := func(dir, script string) outcome {
		t.Helper()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		cmd := &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: dir, Stdout: write}
		err = comms.StartCommand(cmd, false)
		write.Close()
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(read)
		err = cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return outcome{strings.TrimSpace(string(said)), cmd.ProcessState.ExitCode()}
	}
	for _, c := range []struct {
		name, dir, script string
		want              outcome
	}{
		{"its code comes back", "/", "exit 7", outcome{"", 7}},
		{"the signal that ended it comes back", "/", "kill -9 $$", outcome{"", 137}},
		{"it runs where the pod has that directory", "/etc", "pwd", outcome{"/etc", 0}},
		{"it runs in / where not", "/home/nobody-here", "pwd", outcome{"/", 0}},
		{"where it was asked from is not seen", "/home/nobody-here", "grep -c nobody-h[e]re /proc/1/cmdline",
			outcome{"0", 1}},
		{"nobody looks into process 1", "/", "(: < /proc/1/environ) 2>/dev/null || echo shut", outcome{"shut", 0}},
		{"what it leaves running ends with it", "/", "(while :; do :; done) & echo left", outcome{"left", 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, run(c.dir, c.script)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestATerminalIsThePodsOwn runs a shell on a terminal: it is the only one in the
// pod, and the shell's to control.
func TestATerminalIsThePodsOwn(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP).(capture.Confined)
	master, inner, err := comms.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd := &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", "tty; ls /dev/pts; echo by name > /dev/tty; exec cat"},
		Stdin: inner, Stdout: inner, Stderr: inner}
	err = comms.StartCommand(cmd, true)
	_ = inner.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.Write([]byte("line\n")); err != nil { // cat's answer says that it runs
		t.Fatal(err)
	}
	_ = master.SetReadDeadline(time.Now().Add(20 * time.Second))
	said, buf := "", make([]byte, 4096)
	for strings.Count(said, "line\r\n") < 2 { // what was typed, and what cat says
		n, err := master.Read(buf)
		if said += string(buf[:n]); err != nil {
			t.Fatalf("the terminal shows %q: %v", said, err)
		}
	}
	for _, want := range []string{"/dev/pts/0\r\n", "0  ptmx\r\n", "by name\r\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the terminal shows %q, without %q", said, want)
		}
	}
	if _, err := master.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGINT) {
		t.Errorf("after Ctrl-C: %v", cmd.ProcessState)
	}
}
