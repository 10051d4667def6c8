package cli

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
	"strings"
	"syscall"
	"time"

	"artemis.example/catalog"
	"artemis.example/local/capture"
	"artemis.example/local/capture/netns"
	"artemis.example/local/launcher"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	readyLimit = 60 * time.Second        // from the start until every pod is ready
	drainLimit = 1800 * time.Millisecond // from the signal until the node has to be gone
)

type upOptions struct {
	launcher.Options
	gateway          string
	capture          string
	service          string
	detach           bool
	withoutAdversary bool
	share            []string
}

// What the flags of up take.
var (
	captures  = []string{"netns", "proxy"}
	waypoints = []string{"builtin", "envoy"}
	actions   = []string{"reject", "drop"}
)

func newUpCommand(at *place) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the whole mission on this machine and stay in front of it",
		Long: "up starts a process per Deployment of the rendered manifests, each in a pod of its own, with the " +
			"mesh between them, and serves the gateway. Ctrl-C drains and stops everything; nothing outlives " +
			"artemis.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			if err := at.resolve(); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(at.root, "openchoreo", "rendered")); err != nil {
				return usageError{fmt.Errorf("find the rendered manifests: %w; name the project's directory, the one "+
					"with openchoreo/rendered, with --root DIR", err)}
			}
			o.Adversary = !o.withoutAdversary
			for i, dir := range o.share {
				shared, err := sharedDir(dir, at.state)
				if err != nil {
					return usageError{err}
				}
				o.share[i] = shared
			}
			if o.detach {
				return upDetached(cmd, *at)
			}
			return up(cmd.Context(), cmd.OutOrStdout(), *at, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Stage, "stage", catalog.ZeroTrust, "the layers to start with: "+strings.Join(catalog.Stages(), ", "))
	f.BoolVar(&o.detach, "detach", false, "return when everything is ready and leave it running")
	f.StringVar(&o.capture, "capture", "", "how a pod's traffic is taken: netns (Linux; no way around it) or proxy "+
		"(anywhere; cooperative); default: netns where it works")
	f.StringVar(&o.Waypoint, "waypoint", "builtin", "who judges requests: builtin, or envoy (real Envoys, configured "+
		"by istiod's own code; needs 'make envoy' and the capture netns)")
	f.BoolVar(&o.AcceptLoss, "accept-loss", false, "start in spite of protection that the manifests of a Cell lack")
	f.BoolVar(&o.withoutAdversary, "without-adversary", false, "leave the attacker's pods out")
	f.StringVar(&o.gateway, "gateway", "127.0.0.1:19080", "where the gateway listens")
	f.StringVar(&o.NetworkPolicyAction, "network-policy-action", "reject",
		"what a NetworkPolicy does to a connection: reject (as k3s) or drop (a time-out, as others)")
	f.Float64Var(&o.TimeScale, "time-scale", 0, "mission seconds per second after lift-off, 1 to 1e7 (default: what "+
		"the manifests say; ten days in ten minutes)")
	f.StringArrayVar(&o.share, "share", nil, "a directory of yours that pods see too, read-only: they see the "+
		"system's only (capture netns)")
	f.StringVar(&o.service, "service-binary", "", "the services' program (default: the file service beside artemis)")
	return cmd
}

// sharedDir returns where a directory that pods are to see really is. It is an error
// if they have one of their own in its place, or would see the suite's state in it.
func sharedDir(dir, state string) (string, error) {
	real, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("--share: %w", err)
	}
	if real, err = filepath.EvalSymlinks(real); err != nil { // the working directory may lead by a link, too
		return "", fmt.Errorf("--share: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("--share: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("--share %s: it takes a directory", dir)
	}
	if slices.Contains([]string{"/", "/run", "/tmp"}, real) ||
		slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(top string) bool { return within(real, top) }) {
		return "", fmt.Errorf("--share %s: pods have a %s of their own; share a directory of yours", dir, real)
	}
	if to, err := filepath.EvalSymlinks(state); err == nil {
		state = to
	}
	if within(state, real) || within(real, state) {
		return "", fmt.Errorf("--share %s: the suite's state is there (%s), which is nothing for pods; share a "+
			"directory without it, or keep the state elsewhere with --state-dir", dir, state)
	}
	return real, nil
}

// within reports whether a directory is another one, or lies in it.
func within(dir, in string) bool {
	rel, err := filepath.Rel(in, dir)
	return err == nil && filepath.IsLocal(rel)
}

func (o upOptions) check() error {
	for _, c := range []struct {
		flag, value string
		of          []string
	}{
		{"stage", o.Stage, catalog.Stages()},
		{"capture", o.capture, append([]string{""}, captures...)},
		{"waypoint", o.Waypoint, waypoints},
		{"network-policy-action", o.NetworkPolicyAction, actions},
	} {
		if !slices.Contains(c.of, c.value) {
			return fmt.Errorf("--%s %s: it takes %s", c.flag, c.value, strings.Join(slices.DeleteFunc(c.of,
				func(s string) bool { return s == "" }), ", "))
		}
	}
	if o.TimeScale != 0 && !(o.TimeScale >= 1 && o.TimeScale <= 1e7) { // NaN is neither
		return fmt.Errorf("--time-scale %g: it takes 1 to 1e7", o.TimeScale)
	}
	if o.Waypoint == "envoy" && o.capture == "proxy" {
		return errors.New("--waypoint envoy needs --capture netns: an Envoy is a pod of its own, with addresses that " +
			"a cooperative capture does not have")
	}
	return nil
}

// up runs the suite in this process and its node until ctx ends.
func up(ctx context.Context, out io.Writer, at place, o upOptions) error {
	if err := checkLimits(); err != nil {
		return err
	}
	if o.capture != "proxy" {
		if err := checkReadable(at.root, o.Adversary); err != nil {
			return err
		}
	}
	stopped := context.AfterFunc(ctx, func() { fmt.Fprintln(os.Stderr, "artemis: stopping everything") })
	defer stopped()
	h, err := openHostFiles(at, o)
	if h.lock != nil {
		defer h.lock.Close()
		defer at.clear()
	}
	if err != nil {
		return err
	}
	if err := os.Chdir(at.root); err != nil { // the node may not be able to walk there
		return err
	}
	o.Gateway, o.StartedAt, o.Command = h.gateway.Addr().String(), time.Now(), at.command("")

	// The main thread stays with the node: it is killed when that thread ends.
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go func() {
		c := newClient(at)
		if announce(watching, out, c, o.StartedAt) == nil && writeURLs(watching, out, c, o.Gateway) == nil {
			fmt.Fprintln(out, "\nCtrl-C stops everything")
		}
	}()
	if o.capture != "proxy" {
		err := runNode(ctx, at, o, h)
		if !errors.Is(err, netns.ErrUnavailable) || o.capture == "netns" || o.Waypoint == "envoy" {
			return err
		}
		o.CaptureNote = err.Error() + "; so the capture is proxy: a program that ignores HTTP_PROXY is not confined"
		fmt.Fprintln(os.Stderr, "artemis:", o.CaptureNote)
	}
	return runHere(ctx, at, o.Options, h)
}

// openHostFiles opens what up works with. What it returns with an error may hold the
// lock.
func openHostFiles(at place, o upOptions) (h hostFiles, err error) {
	if h.gateway, err = listenGateway(o.gateway, at); err != nil {
		return h, err
	}
	if h.service, err = openProgram(o.service, "service", "the services' program", "make binaries"); err != nil {
		return h, err
	}
	if o.Waypoint == "envoy" {
		if h.envoy, err = openProgram(os.Getenv("ENVOY"), "envoy", "Envoy", "make envoy"); err != nil {
			return h, err
		}
		if h.config, err = openProgram("", "waypoint-config", "the program that configures Envoy",
			"make envoy"); err != nil {
			return h, err
		}
	}
	h.lock, err = at.lock()
	if errors.Is(err, errRunning) {
		r, _ := at.running()
		return h, fmt.Errorf("a suite is running already with %s (process %d): see `%s`, stop it with `%s`, or give "+
			"this one its own --state-dir", at.state, r.PID, at.command("status"), at.command("down"))
	}
	if err != nil {
		return h, err
	}
	at.clear() // of a launcher that was killed: we hold the lock, it is gone
	if err := prepareLogs(at); err != nil {
		return h, err
	}
	now := running{PID: os.Getpid(), StartedAt: time.Now(), Gateway: h.gateway.Addr().String()}
	if err := at.write(now); err != nil {
		return h, err
	}
	if h.token, err = at.token(); err != nil {
		return h, err
	}
	if h.control, err = listenUnix(at.controlSocket()); err != nil {
		return h, err
	}
	h.execs, err = listenUnix(at.execSocket())
	return h, err
}

func listenGateway(address string, at place) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	var malformed *net.AddrError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the gateway's port %s is taken: stop what listens there (is a suite running? `%s`), "+
			"or choose another with --gateway 127.0.0.1:PORT", address, at.command("down"))
	case errors.As(err, &malformed):
		return nil, usageError{fmt.Errorf("--gateway %s: it takes HOST:PORT, such as 127.0.0.1:19081: %w", address,
			err)}
	case err != nil:
		return nil, fmt.Errorf("open the gateway's port %s: %w; choose another with --gateway 127.0.0.1:PORT", address,
			err)
	}
	return ln, nil
}

func listenUnix(path string) (*net.UnixListener, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("keep %s to ourselves: %w", path, err)
	}
	return ln, nil
}

// prepareLogs makes the directory of the logs, which the node writes to.
func prepareLogs(at place) error {
	if err := os.MkdirAll(at.logs(), 0o755); err != nil {
		return fmt.Errorf("make the directory of the logs: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(at.logs(), "*_*.log*")) // CELL_COMPONENT: others' files stay
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove an old log: %w", err)
		}
	}
	uid, gid, err := netns.Owner()
	if err != nil || uid == os.Geteuid() {
		return err
	}
	return os.Chown(at.logs(), uid, gid)
}

// openProgram opens a program: the one at path, or the one of that name beside
// artemis.
func openProgram(path, name, what, target string) (*os.File, error) {
	if path == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		if exe, err = filepath.EvalSymlinks(exe); err != nil {
			return nil, err
		}
		path = filepath.Join(filepath.Dir(exe), name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s is missing: %w; build it with `%s`", what, err, target)
	}
	if info, err := f.Stat(); err != nil || info.Mode()&0o111 == 0 || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s, %s, cannot be executed; build it with `%s`", what, path, target)
	}
	return f, nil
}

// announce shows the progress until all is ready, and then the table.
func announce(ctx context.Context, out io.Writer, c *client, began time.Time) error {
	terminal := isTerminal(out)
	last, told := "", map[string]bool{}
	return capture.Until(ctx, askAgain, func() (bool, error) {
		s, err := c.state(ctx)
		if err != nil || len(s.Pods) == 0 {
			return false, nil // it does not listen yet
		}
		if s.Ready() == len(s.Pods) {
			if terminal {
				fmt.Fprint(out, "\r\033[K")
			}
			fmt.Fprintf(out, "%d pods ready after %.2f s\n\n", len(s.Pods), time.Since(began).Seconds())
			return true, writeTable(out, s)
		}
		if !terminal { // a line per trouble, and no more
			for _, p := range s.Pods {
				if p.State == "back-off" && !told[p.Name()] {
					told[p.Name()] = true
					fmt.Fprintf(out, "%s does not stay up: %s; see %s\n", p.Name(), p.Reason, filepath.Join(c.at.logs(),
						p.Log))
				}
			}
			return false, nil
		}
		line := fmt.Sprintf("%d of %d ready", s.Ready(), len(s.Pods))
		if waiting := waitingFor(s); waiting != "" {
			line += ", waiting for " + waiting
		}
		if line != last {
			last = line
			fmt.Fprint(out, "\r\033[K"+line)
		}
		return false, nil
	})
}

// upDetached starts `up` in a session of its own and waits until it is ready.
func upDetached(cmd *cobra.Command, at place) error {
	if err := at.makeState(); err != nil {
		return err
	}
	log, err := os.CreateTemp(at.state, "artemis-*.log")
	if err != nil {
		return err
	}
	defer log.Close()
	defer os.Remove(log.Name()) // renamed by then, if it ran
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"up", "--root", at.root, "--state-dir", at.state}
	cmd.Flags().Visit(func(f *pflagFlag) {
		if f.Name != "detach" && f.Name != "root" && f.Name != "state-dir" {
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			for _, v := range values {
				args = append(args, "--"+f.Name+"="+v)
			}
		}
	})
	child := exec.Command(exe, args...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	began := time.Now()
	if err := child.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	ctx, cancel := context.WithTimeout(cmd.Context(), readyLimit)
	defer cancel()
	ready := make(chan error, 1)
	go func() {
		if err := capture.Until(ctx, askAgain, func() (bool, error) { // it is the one that runs
			r, err := at.running()
			return err == nil && r.PID == child.Process.Pid, nil
		}); err != nil {
			ready <- err
			return
		}
		_ = os.Rename(log.Name(), at.launcherLog())
		ready <- announce(ctx, cmd.OutOrStdout(), newClient(at), began)
	}()
	select {
	case err = <-ended:
		return backgroundFailure(log.Name(), at.launcherLog(), err)
	case err = <-ready:
	}
	if err == nil {
		r, err := at.running()
		if err != nil {
			return err
		}
		if err := writeURLs(cmd.Context(), cmd.OutOrStdout(), newClient(at), r.Gateway); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "\n`%s` stops everything\n", at.command("down"))
		return nil
	}
	// Interrupted or too late: nothing half-started stays.
	_ = child.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(drainLimit):
		_ = child.Process.Kill()
	}
	if cmd.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("not everything was ready after %v: see %s", readyLimit, at.state)
}

// backgroundFailure says what the process in the background said last.
func backgroundFailure(temporary, final string, err error) error {
	text, readErr := os.ReadFile(temporary)
	if readErr != nil {
		text, _ = os.ReadFile(final)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	said := strings.TrimPrefix(lines[len(lines)-1], "artemis: ")
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "artemis: ") }); i >= 0 {
		said = strings.TrimPrefix(strings.Join(lines[i:], "\n"), "artemis: ")
	}
	if said == "" {
		return fmt.Errorf("the suite ended: %w", err)
	}
	return errors.New(said)
}
