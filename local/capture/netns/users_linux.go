package netns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"artemis.example/local/capture/netns/inside"
	"golang.org/x/sys/unix"
)

// A pod's programs are a user of their own to the kernel, who owns nothing on the
// host and is no other pod's, where such numbers are to be had: root takes some
// that nobody has, an ordinary user those that /etc/subuid and /etc/subgid grant,
// by newuidmap(1) and newgidmap(1). In the node they are 1 and up.
const (
	podUsers = 1024

	// firstFree begins the range that systemd leaves free of users for good
	// (systemd.io/UIDS-GIDS); each suite takes others.
	firstFree  = 0x70000000
	freeRanges = 1 << 14
)

func freeUsers() int { return firstFree + os.Getpid()%freeRanges*podUsers }

// mappedVariable names the descriptor on which the node hears that its users are
// mapped.
const mappedVariable = "ARTEMIS_MAPPED"

// Cmd is a node that is about to start.
type Cmd struct {
	*exec.Cmd
	uids, gids int // the first of the subordinate users and groups; 0 where there are none
}

// Start starts the node.
func (c *Cmd) Start() error {
	if err := inside.CloseOnExec(); err != nil {
		return fmt.Errorf("keep descriptors from the node: %w", err)
	}
	if c.uids == 0 {
		return c.Cmd.Start()
	}
	alone := *c.Cmd.SysProcAttr
	err := c.startWithUsers()
	if err == nil {
		return nil
	}
	// They are granted and still not to be had, as without the set-user-ID bit of
	// newuidmap: then all pods are one user.
	again := exec.Command(c.Path, c.Args[1:]...)
	again.Args, again.ExtraFiles, again.Dir = c.Args, c.ExtraFiles, c.Dir
	again.Env, again.Stdin, again.Stdout, again.Stderr, again.SysProcAttr = c.Env, c.Stdin, c.Stdout, c.Stderr, &alone
	c.Cmd = again
	return c.Cmd.Start()
}

// startWithUsers starts the node without users, has them mapped, and tells it. Until
// then it keeps its rights as ambient ones: who is nobody loses others when a
// program starts.
func (c *Cmd) startWithUsers() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	defer write.Close()
	given := c.ExtraFiles
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	c.ExtraFiles = append(given[:len(given):len(given)], read)
	c.Env = append(env[:len(env):len(env)], fmt.Sprintf("%s=%d", mappedVariable, 3+len(given)))
	attr := *c.SysProcAttr
	attr.UidMappings, attr.GidMappings = nil, nil
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		attr.AmbientCaps = append(attr.AmbientCaps, capability)
	}
	c.SysProcAttr = &attr
	err = c.Cmd.Start()
	c.ExtraFiles, c.Env = given, env
	if err != nil {
		return err
	}
	pid := strconv.Itoa(c.Process.Pid)
	for _, m := range []struct {
		tool       string
		own, first int
	}{{"newuidmap", os.Geteuid(), c.uids}, {"newgidmap", os.Getegid(), c.gids}} {
		var said bytes.Buffer
		tool := exec.Command(m.tool, pid, "0", strconv.Itoa(m.own), "1", "1", strconv.Itoa(m.first),
			strconv.Itoa(podUsers))
		tool.Stdout, tool.Stderr = &said, &said
		if err := tool.Run(); err != nil {
			_ = c.Process.Kill()
			_ = c.Cmd.Wait()
			return fmt.Errorf("%s: %w: %s", m.tool, err, strings.TrimSpace(said.String()))
		}
	}
	_, err = write.Write([]byte{1})
	return err
}

// awaitUsers waits in the node until its users are mapped.
func awaitUsers() error {
	text, ok := os.LookupEnv(mappedVariable)
	if !ok {
		return nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s: %w", mappedVariable, err)
	}
	f := os.NewFile(uintptr(fd), "mapped")
	defer f.Close()
	if n, err := f.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("wait for the pods' users: %w", err)
	}
	if err := os.Unsetenv(mappedVariable); err != nil {
		return err
	}
	// We are the node's root now, as without them.
	return errors.Join(syscall.Setgid(0), syscall.Setuid(0))
}

// usersFor returns how many user numbers from 1 on this node has for its pods.
func usersFor() (int, error) {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var inside, outside, size int
		if n, _ := fmt.Sscan(line, &inside, &outside, &size); n == 3 && inside == 1 {
			return size, nil
		}
	}
	return 0, nil
}

// maySetGroups reports whether groups may be given up in here.
func maySetGroups() bool {
	data, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(data)) == "allow"
}

// subordinate returns the first of podUsers numbers that a file of the form of
// subuid(5) grants the present user; 0 for none.
func subordinate(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	names := []string{strconv.Itoa(os.Geteuid())}
	if u, err := user.Current(); err == nil {
		names = append(names, u.Username)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 || fields[0] != names[0] && fields[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		size, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && first > 0 && size >= podUsers {
			return first
		}
	}
	return 0
}
