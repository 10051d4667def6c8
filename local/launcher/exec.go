package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns/inside"
	"golang.org/x/sys/unix"
)

// ExecRequest asks to run a command inside a pod. The answer comes in two parts,
// the first with descriptors: the near ends of pipes to the command's standard
// input, output and error, or of its terminal. After that part, each byte on the
// connection is the number of a signal for the command; its end ends the command.
// Nothing of who asks comes into the pod: no descriptor and no environment.
type ExecRequest struct {
	Namespace, Component string
	Argv                 []string
	Dir                  string // where the command runs, if the pod has it; else in /
	Terminal             bool   // it gets a terminal of its own
	Term                 string // which kind of terminal shows it
}

// ExecReply is one part of the answer. The first part has Started set: the command runs,
// or, with Here, whoever asked is to run it. The last part says how it ended.
type ExecReply struct {
	Started bool
	Code    int
	Error   string
	// Here has the one who asked run the command, with Environ added to its
	// environment: a cooperative capture has no inside.
	Here    bool
	Environ []string
}

const (
	maxExecRequest = 1 << 20
	// requestLimit bounds how long a request may take to come.
	requestLimit = 10 * time.Second
)

func (l *launcher) serveExec(ln *net.UnixListener) {
	for {
		conn, err := capture.AcceptNext(ln.AcceptUnix)
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
	req, err := receiveExec(conn)
	if err != nil {
		return ExecReply{}, err
	}
	p := l.processOf(req.Namespace, req.Component)
	if p == nil {
		return ExecReply{}, fmt.Errorf("no pod %s/%s", req.Namespace, req.Component)
	}
	pod, ok := p.pod.(capture.Confined)
	if !ok {
		return ExecReply{Started: true, Here: true, Environ: p.pod.Environ()}, nil
	}
	path, err := pod.LookPath(req.Argv[0])
	if err != nil {
		return ExecReply{Code: inside.ExitNotFound}, err
	}
	cmd := &exec.Cmd{Path: path, Args: req.Argv, Dir: req.Dir, Env: append(p.environ(), "PATH="+capture.Path,
		"HOME=/tmp")}
	if req.Term != "" {
		cmd.Env = append(cmd.Env, "TERM="+req.Term)
	}
	near, err := streams(cmd, pod, req.Terminal)
	if err != nil {
		return ExecReply{}, err
	}
	defer closeAll(near)
	far := []*os.File{cmd.Stdin.(*os.File), cmd.Stdout.(*os.File), cmd.Stderr.(*os.File)}
	err = pod.StartCommand(cmd, req.Terminal)
	closeAll(far)
	if err != nil {
		return ExecReply{Code: inside.StartCode(err)}, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	err = sendStreams(conn, near)
	closeAll(near)
	return awaitCommand(conn, cmd, err)
}

// streams sets up a command's standard streams, and returns their other ends.
func streams(cmd *exec.Cmd, pod capture.Confined, terminal bool) (near []*os.File, err error) {
	if terminal {
		master, inner, err := pod.OpenTerminal()
		if err != nil {
			return nil, err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = inner, inner, inner
		return []*os.File{master}, nil
	}
	var all [6]*os.File
	for i := range 3 {
		if all[2*i], all[2*i+1], err = os.Pipe(); err != nil {
			closeAll(all[:2*i])
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = all[0], all[3], all[5]
	return []*os.File{all[1], all[2], all[4]}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // it may be closed already
	}
}

func sendStreams(conn *net.UnixConn, files []*os.File) error {
	data, err := json.Marshal(ExecReply{Started: true})
	if err != nil {
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	_, _, err = conn.WriteMsgUnix(append(data, '\n'), unix.UnixRights(fds...), nil)
	return err
}

// awaitCommand waits for a command's end, and ends it when who asked is gone.
func awaitCommand(conn *net.UnixConn, cmd *exec.Cmd, gone error) (ExecReply, error) {
	ended := make(chan struct{})
	go func() {
		for signals := make([]byte, 1); gone == nil; {
			if _, gone = conn.Read(signals); gone == nil {
				_ = cmd.Process.Signal(syscall.Signal(signals[0]))
			}
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Second):
			_ = cmd.Process.Kill()
		}
	}()
	err := cmd.Wait()
	close(ended)
	code, err := inside.ExitCode(cmd, err)
	return ExecReply{Code: code}, err
}

// receiveExec reads a request. Its sender is known by the socket's file, which is
// ours alone, and by being outside: no process of a pod may ask, whatever user it
// is.
func receiveExec(conn *net.UnixConn) (ExecRequest, error) {
	var req ExecRequest
	if err := fromOutside(conn); err != nil {
		return req, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(requestLimit))
	defer conn.SetReadDeadline(time.Time{})
	limited := &io.LimitedReader{R: conn, N: maxExecRequest}
	if err := json.NewDecoder(limited).Decode(&req); err != nil {
		if limited.N == 0 {
			err = fmt.Errorf("a command line of more than %d bytes", maxExecRequest)
		}
		return req, fmt.Errorf("read the request: %w", err)
	}
	if len(req.Argv) == 0 {
		return req, errors.New("no command")
	}
	return req, nil
}
