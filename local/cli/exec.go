package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"artemis.example/local/capture/netns/inside"
	"artemis.example/local/control"
	"artemis.example/local/launcher"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newExecCommand(at *place) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec CELL/COMPONENT -- COMMAND [ARG...]",
		Short: "Run any command with a pod's network identity",
		Long: "exec runs a command of this machine where the pod is: with its address, its DNS and its identity, so " +
			"that the mesh sees the pod call. Captured as netns it sees the pod's files too. The exit code is the " +
			"command's; 126 or 127 where it could not be started.",
		Example: "  artemis exec orion/comms-system -- curl -s http://guidance-nav:8080/position\n" +
			"  artemis exec orion/adversary -- sh",
		Args: func(_ *cobra.Command, args []string) error {
			if len(commandOf(args)) == 0 {
				return usageError{errors.New("which pod and which command? exec CELL/COMPONENT -- COMMAND [ARG...]")}
			}
			return nil
		},
		RunE: withSuite(at, func(cmd *cobra.Command, args []string, c *client) error {
			state, pod, err := c.pod(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			code, err := execInPod(*at, state, pod, commandOf(args), [3]*os.File{os.Stdin, os.Stdout, os.Stderr})
			if err != nil {
				return notRun{fmt.Errorf("in %s: %w", pod.Name(), err), code}
			}
			if code != 0 {
				return exitError(code)
			}
			return nil
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// notRun is a command that did not run to its end in a pod, and the exit code that
// says so: as shells have it where it could not be started, else 0.
type notRun struct {
	error
	code int
}

// Unwrap returns why.
func (e notRun) Unwrap() error { return e.error }

// commandOf returns what follows the pod's name.
func commandOf(args []string) []string {
	args = args[min(1, len(args)):]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	return args
}

const (
	// startLimit bounds how long the suite may take to start a command.
	startLimit = 10 * time.Second
	// goLimit bounds how long a command that was told to end may take; then it is
	// left to the suite, which kills it.
	goLimit = 2 * time.Second
	// lastWords bounds how long something that a command left running may hold its
	// output.
	lastWords = 500 * time.Millisecond
)

// execInPod runs a command in a pod with these standard streams and returns its
// exit code. The command has pipes, or a terminal of the pod's: whatever our
// streams are stays out here, and what goes through is bytes.
func execInPod(at place, state control.State, pod control.Pod, argv []string, stdio [3]*os.File) (int, error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: at.execSocket(), Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("ask the launcher: %w", err)
	}
	defer conn.Close()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/" // it was removed
	}
	req := launcher.ExecRequest{Namespace: pod.Namespace, Component: pod.Component, Argv: argv, Dir: dir}
	if state.Capture == "netns" && isTerminal(stdio[0]) && isTerminal(stdio[1]) {
		req.Terminal, req.Term = true, os.Getenv("TERM")
	}
	answer := make(chan execAnswer, 1)
	go func() { answer <- askExec(conn, req) }()
	var a execAnswer
	select {
	case a = <-answer:
	case s := <-signals:
		return 128 + int(s.(syscall.Signal)), nil
	}
	switch {
	case a.err != nil:
		return 0, a.err
	case a.reply.Error != "":
		return a.reply.Code, errors.New(a.reply.Error)
	case a.reply.Here:
		return execHere(argv, a.reply.Environ, stdio, signals)
	}
	relayed, err := relayStreams(a.streams, stdio, req.Terminal)
	if err != nil {
		return 0, err
	}
	defer relayed.Close()
	ended := make(chan execAnswer, 1)
	go func() {
		var reply launcher.ExecReply
		err := a.more.Decode(&reply)
		ended <- execAnswer{reply: reply, err: err}
	}()
	var leave <-chan time.Time
	for {
		select {
		case a := <-ended:
			relayed.drain()
			switch {
			case a.err != nil:
				return 0, errGone
			case a.reply.Error != "":
				return 0, errors.New(a.reply.Error)
			}
			return a.reply.Code, nil
		case s := <-signals:
			_ = conn.SetWriteDeadline(time.Now().Add(goLimit))
			_, _ = conn.Write([]byte{byte(s.(syscall.Signal))}) // a suite that is gone ends the other case
			if leave == nil && (s == syscall.SIGTERM || s == syscall.SIGHUP) {
				leave = time.After(goLimit)
			}
		case <-leave: // the end of the connection has the suite kill it
			return 128 + int(syscall.SIGTERM), nil
		}
	}
}

var errGone = errors.New("the suite ended while it was asked: see `artemis status`, and `artemis up` to start one")

// execAnswer is one part of what the suite answers.
type execAnswer struct {
	reply   launcher.ExecReply
	streams []*os.File
	more    *json.Decoder // the next part comes from here
	err     error
}

// askExec sends the request and takes the first part of the answer.
func askExec(conn *net.UnixConn, req launcher.ExecRequest) execAnswer {
	data, err := json.Marshal(req)
	if err != nil {
		return execAnswer{err: err}
	}
	_ = conn.SetDeadline(time.Now().Add(startLimit))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write(data); err != nil {
		return execAnswer{err: fmt.Errorf("ask the launcher: %w", err)}
	}
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(3*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return execAnswer{err: fmt.Errorf("the suite did not start it within %v: see `artemis status`", startLimit)}
	case err != nil || n == 0:
		return execAnswer{err: errGone}
	}
	a := execAnswer{}
	if a.streams, err = receivedFiles(oob[:oobn]); err != nil {
		return execAnswer{err: err}
	}
	a.more = json.NewDecoder(io.MultiReader(bytes.NewReader(buf[:n]), conn))
	a.err = a.more.Decode(&a.reply)
	return a
}

// receivedFiles takes up descriptors that came with a message.
func receivedFiles(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			if err := unix.SetNonblock(fd, true); err != nil { // reading from it can be ended
				return nil, err
			}
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	return files, nil
}

// relayed are the streams of a command that runs in a pod, copied to and from ours.
type relayed struct {
	streams []*os.File
	outputs []*os.File
	copied  sync.WaitGroup
	screen  *screen // nil without a terminal
}

func relayStreams(streams []*os.File, stdio [3]*os.File, terminal bool) (*relayed, error) {
	r := &relayed{streams: streams}
	switch {
	case terminal && len(streams) == 1:
		r.screen = newScreen(stdio[0], stdio[1], streams[0])
		r.outputs = streams
		go func() { _, _ = io.Copy(streams[0], stdio[0]) }() // ends with this process
		r.copied.Go(func() { copyOut(stdio[1], streams[0]) })
	case !terminal && len(streams) == 3:
		r.outputs = streams[1:]
		go func() {
			_, _ = io.Copy(streams[0], stdio[0])
			_ = streams[0].Close()
		}()
		r.copied.Go(func() { copyOut(stdio[1], streams[1]) })
		r.copied.Go(func() { copyOut(stdio[2], streams[2]) })
	default:
		closeFiles(streams)
		return nil, fmt.Errorf("the suite sent %d streams: its version is another than this command's", len(streams))
	}
	return r, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// copyOut copies until the end, or until the deadline for reading; what has been
// written by then comes through whole, however slowly it is taken. Where it cannot
// go the command is told, as by a pipe.
func copyOut(to io.Writer, from *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			drainTo(to, from, buf)
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drainTo copies what is there without waiting for more.
func drainTo(to io.Writer, from *os.File, buf []byte) {
	raw, err := from.SyscallConn()
	if err != nil || from.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for {
		n := 0
		if err := raw.Read(func(fd uintptr) bool { n, _ = unix.Read(int(fd), buf); return true }); err != nil ||
			n <= 0 {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// drain waits for the last output of a command that has ended.
func (r *relayed) drain() {
	for _, f := range r.outputs {
		_ = f.SetReadDeadline(time.Now().Add(lastWords))
	}
	r.copied.Wait()
}

// Close closes the streams and gives a terminal back as it was.
func (r *relayed) Close() {
	if r.screen != nil {
		r.screen.restore()
	}
	closeFiles(r.streams)
}

// execHere runs the command in this process's own surroundings, asked by its
// environment to go through the pod's proxy.
func execHere(argv, environ []string, stdio [3]*os.File, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio[0], stdio[1], stdio[2]
	if err := cmd.Start(); err != nil {
		return inside.StartCode(err), err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var leave <-chan time.Time
	for {
		select {
		case err := <-ended:
			return inside.ExitCode(cmd, err)
		case s := <-signals: // what a terminal sends, it sends to the command too
			if s == syscall.SIGTERM || s == syscall.SIGHUP {
				_ = cmd.Process.Signal(s)
				leave = time.After(goLimit)
			}
		case <-leave:
			_ = cmd.Process.Kill()
			leave = nil
		}
	}
}
