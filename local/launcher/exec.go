package launcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"golang.org/x/sys/unix"
)

// ExecRequest asks to run a command inside a pod, on the three descriptors that
// come with it. After it, each byte on the connection is the number of a signal
// for the command; its end ends the command.
type ExecRequest struct {
	Namespace, Component string
	Argv                 []string
	Env                  []string
	Dir                  string // where the command runs, if the pod has it; else in /
	Terminal             bool   // the descriptors are a terminal of the command's own
}

// ExecReply is how it went.
type ExecReply struct {
	Code  int
	Error string
	// Environ is set where the command is to be run by the one who asked, with
	// this added to its environment: a cooperative capture has no inside.
	Here    bool
	Environ []string
}

// initCommand is the hidden command of artemis that is process 1 for a command
// run in a pod: without one, a program that does not handle signals could not
// be interrupted.
const initCommand = "pod-init"

const maxExecRequest = 1 << 20

func (l *launcher) serveExec(ln *net.UnixListener) {
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			reply, err := l.exec(conn)
			if err != nil {
				reply.Error = err.Error()
			}
			// Who asked may have gone.
			_ = json.NewEncoder(conn).Encode(reply)
		}()
	}
}

func (l *launcher) exec(conn *net.UnixConn) (ExecReply, error) {
	req, stdio, err := receiveExec(conn)
	defer func() {
		for _, f := range stdio {
			f.Close()
		}
	}()
	if err != nil {
		return ExecReply{}, err
	}
	pod := l.podOf(req.Namespace, req.Component)
	if pod == nil {
		return ExecReply{}, fmt.Errorf("no pod %s/%s", req.Namespace, req.Component)
	}
	if l.node.Name() != "netns" {
		return ExecReply{Here: true, Environ: pod.Environ()}, nil
	}
	return l.runInPod(conn, pod, req, stdio)
}

func (l *launcher) runInPod(conn *net.UnixConn, pod capture.Pod, req ExecRequest, stdio []*os.File) (ExecReply, error) {
	path, err := lookPath(req.Argv[0], req.Env)
	if err != nil {
		return ExecReply{}, err
	}
	mode := "plain"
	if req.Terminal {
		mode = "terminal"
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe",
		Args: append([]string{"artemis", initCommand, mode, req.Dir, path}, req.Argv...),
		Env:  append(req.Env, pod.Environ()...),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio[0], stdio[1], stdio[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: req.Terminal}
	if err := pod.Start(cmd); err != nil {
		return ExecReply{}, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	ended := make(chan struct{})
	go func() {
		for signals := make([]byte, 1); ; {
			if _, err := conn.Read(signals); err != nil {
				break
			}
			_ = cmd.Process.Signal(syscall.Signal(signals[0]))
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // who asked is gone: so is the command
		select {
		case <-ended:
		case <-time.After(time.Second):
			_ = cmd.Process.Kill()
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return ExecReply{}, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ExecReply{Code: 128 + int(status.Signal())}, nil // as a shell says it
	}
	return ExecReply{Code: cmd.ProcessState.ExitCode()}, nil
}

// receiveExec reads a request and its descriptors. Its sender is known by the
// socket's file, which is ours alone, and by being outside: no process of a pod
// may ask, whatever user it is.
func receiveExec(conn *net.UnixConn) (ExecRequest, []*os.File, error) {
	var req ExecRequest
	if err := fromOutside(conn); err != nil {
		return req, nil, err
	}
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(3*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return req, nil, err
	}
	var files []*os.File
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return req, files, err
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "stdio"))
			}
		}
	}
	if len(files) != 3 {
		return req, files, fmt.Errorf("a request comes with three descriptors, not %d", len(files))
	}
	d := json.NewDecoder(io.LimitReader(io.MultiReader(bytes.NewReader(buf[:n]), conn), maxExecRequest))
	if err := d.Decode(&req); err != nil {
		return req, files, fmt.Errorf("read the request: %w", err)
	}
	if len(req.Argv) == 0 {
		return req, files, errors.New("no command")
	}
	return req, files, nil
}

// lookPath finds a program in the PATH of who asks for it.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, e := range env {
		value, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(value) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: not found in the PATH", name)
}
