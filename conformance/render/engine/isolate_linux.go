package engine

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolated marks the child that lives in a network namespace of its own.
const isolated = "ARTEMIS_ENGINES_ISOLATED"

// Isolate runs this program again in a network namespace of its own and ends
// with its exit code, so that OpenChoreo's fixed ports (8080, 9443) meet nobody
// else's. In the child, and where the system allows no such namespace, it
// returns. Everything that needs the real network comes before it.
func Isolate() error {
	if os.Getenv(isolated) != "" {
		return loopbackUp()
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), isolated+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	// The child handles the signal itself; this process only passes on its end.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		fmt.Fprintf(os.Stderr,
			"no network namespace of our own (%v): the ports 8080 and 9443 of this machine must be free\n", err)
		return nil
	}
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s)
		}
	}()
	if err := c.Wait(); err != nil && c.ProcessState == nil {
		return fmt.Errorf("run in a network namespace: %w", err)
	}
	os.Exit(c.ProcessState.ExitCode())
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up the loopback interface: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("set up the loopback interface: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set up the loopback interface: %w", err)
	}
	return nil
}

// Isolated reports whether this process is the child that Isolate started.
func Isolated() bool { return os.Getenv(isolated) != "" }
