package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns"
	"artemis.example/local/capture/proxy"
	"artemis.example/local/launcher"
	"github.com/spf13/cobra"
)

// hostFiles is what belongs to the host and is handed into the node: a socket stays
// in the network namespace in which it was opened, so nothing has to be relayed.
// All of it ends with this process.
type hostFiles struct {
	gateway net.Listener
	lock    *os.File
	control *net.UnixListener
	execs   *net.UnixListener
	service *os.File
	token   string // of the operator
	// Only where Envoy does the waypoints' work.
	envoy, config *os.File
}

// The node's descriptors.
const (
	fdVerdict = iota + 3
	fdGateway
	fdControl
	fdExecs
	fdLogs
	fdToken
	fdService
	fdEnvoy
	fdConfig
)

// The names of the programs that run in pods.
const (
	serviceProgram = "service"
	envoyProgram   = "envoy"
)

// nodeOptionsVariable carries the launcher's options into the node.
const nodeOptionsVariable = "ARTEMIS_NODE"

// nodeVerdict is the node's first and only word to the process that started it:
// whether this machine lets it be one.
type nodeVerdict struct {
	Unavailable string `json:"unavailable,omitempty"`
}

// runNode starts this program again as a node and waits for its end.
func runNode(ctx context.Context, at place, o upOptions, h hostFiles) error {
	options, err := json.Marshal(o.Options)
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	ours := []*os.File{write}           // the node gets its own
	defer func() { closeFiles(ours) }() // they may be closed already
	for _, open := range []func() (*os.File, error){
		h.gateway.(*net.TCPListener).File, h.control.File, h.execs.File,
		func() (*os.File, error) { return os.Open(at.logs()) },
		func() (*os.File, error) { return filled(h.token) },
	} {
		f, err := open()
		if err != nil {
			return err
		}
		ours = append(ours, f)
	}
	files := append(slices.Clone(ours), h.service)
	if h.envoy != nil {
		files = append(files, h.envoy, h.config)
	}
	cmd, err := netns.Command(append([]string{"node", at.state}, o.share...), files)
	if err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), nodeOptionsVariable+"="+string(options))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Start()
	closeFiles(ours) // above all what the node writes to: its end is the node's
	if err != nil {
		return netns.Unavailable(fmt.Errorf("make a user namespace: %w", err))
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-ended:
		case <-ctx.Done():
			end(cmd.Process, ended)
		}
	}()
	var verdict nodeVerdict
	readErr := json.NewDecoder(read).Decode(&verdict)
	err = cmd.Wait()
	close(ended)
	switch {
	case verdict.Unavailable != "":
		return fmt.Errorf("%w%s", netns.ErrUnavailable, verdict.Unavailable)
	case ctx.Err() != nil:
		return nil
	case readErr != nil && err == nil:
		return errors.New("the node ended before it ran")
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitError(exit.ExitCode()) // it said why
	}
	return err
}

// end stops a node, and kills it when it does not drain in time. As process 1 of
// its namespace it does not get a signal that comes before its handler is there
// (pid_namespaces(7)): so it is sent again until it has an effect.
func end(node *os.Process, ended <-chan struct{}) {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for {
		_ = node.Signal(syscall.SIGTERM) // it may have ended just now
		select {
		case <-ended:
			return
		case <-again.C:
		case <-limit.C:
			_ = node.Kill()
			return
		}
	}
}

// filled returns a pipe to read text from: unlike the environment and the
// arguments, what it holds is nowhere to be seen.
func filled(text string) (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = write.WriteString(text)
	return read, errors.Join(err, write.Close())
}

// runHere runs the suite in this process, with the capture that needs no node.
func runHere(ctx context.Context, at place, o launcher.Options, h hostFiles) error {
	node, err := proxy.NewNode()
	if err != nil {
		return err
	}
	return run(ctx, o, launcher.Resources{
		Node: node, Gateway: h.gateway, Control: h.control, Execs: h.execs,
		Service: h.service.Name(), Logs: at.logs(), Root: ".", Token: h.token,
	})
}

func run(ctx context.Context, o launcher.Options, h launcher.Resources) error {
	defer h.Node.Close()
	return launcher.Run(ctx, o, h)
}

// newNodeCommand is what runs inside: process 1 of the node.
func newNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "node STATE-DIR [SHARED-DIR...]", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var options launcher.Options
			if err := json.Unmarshal([]byte(os.Getenv(nodeOptionsVariable)), &options); err != nil {
				return fmt.Errorf("this command is for `artemis up` to use: %w", err)
			}
			if err := os.Unsetenv(nodeOptionsVariable); err != nil {
				return err
			}
			verdict := os.NewFile(fdVerdict, "verdict")
			programs := map[string]*os.File{serviceProgram: os.NewFile(fdService, serviceProgram)}
			if options.Waypoint == "envoy" {
				programs[envoyProgram] = os.NewFile(fdEnvoy, envoyProgram)
			}
			node, err := netns.NewNode(netns.Config{Hide: args[:1], Share: args[1:], Programs: programs})
			for _, f := range programs {
				f.Close() // pods have copies
			}
			if err := reportReady(verdict, err); err != nil {
				return err
			}
			if err != nil {
				if errors.Is(err, netns.ErrUnavailable) {
					return exitError(1)
				}
				return err
			}
			h, err := adopt(node)
			if err != nil {
				return err
			}
			return run(cmd.Context(), options, h)
		},
	}
}

// reportReady reports to the process that started this one whether it is a node.
func reportReady(w io.WriteCloser, err error) error {
	var v nodeVerdict
	if errors.Is(err, netns.ErrUnavailable) {
		v.Unavailable = err.Error()[min(len(err.Error()), len(netns.ErrUnavailable.Error())):]
	}
	return errors.Join(json.NewEncoder(w).Encode(v), w.Close())
}

// adopt takes up what was inherited. The directory of the logs is used through its
// descriptor: the node may not be allowed to walk to it, as below root's home when
// root started it.
func adopt(node capture.Node) (launcher.Resources, error) {
	var listeners [3]net.Listener
	for i := range listeners {
		f := os.NewFile(uintptr(fdGateway+i), "listener")
		ln, err := net.FileListener(f)
		if err != nil {
			return launcher.Resources{}, fmt.Errorf("take up a listener: %w", err)
		}
		f.Close()
		listeners[i] = ln
	}
	execs, ok := listeners[2].(*net.UnixListener)
	if !ok {
		return launcher.Resources{}, errors.New("the socket for exec is none")
	}
	execs.SetUnlinkOnClose(false)
	if control, ok := listeners[1].(*net.UnixListener); ok {
		control.SetUnlinkOnClose(false)
	}
	token := os.NewFile(fdToken, "token")
	secret, err := io.ReadAll(token)
	if err = errors.Join(err, token.Close()); err != nil {
		return launcher.Resources{}, fmt.Errorf("take up the operator's token: %w", err)
	}
	return launcher.Resources{
		Node: node, Token: string(secret), Gateway: listeners[0], Control: listeners[1], Execs: execs,
		Service: netns.ProgramPath(serviceProgram),
		Logs:    filepath.Join("/proc/self/fd", fmt.Sprint(fdLogs)),
		Root:    ".",
		Envoy:   netns.ProgramPath(envoyProgram),
		Config:  filepath.Join("/proc/self/fd", fmt.Sprint(fdConfig)),
	}, nil
}
