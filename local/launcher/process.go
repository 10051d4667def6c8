package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/control"
)

// How long a process that ended waits before it starts again: doubled each time
// from the first to the last, and forgotten after it ran for steady.
const (
	firstBackOff = 200 * time.Millisecond
	lastBackOff  = 10 * time.Second
	steady       = 30 * time.Second

	quickProbe = 20 * time.Millisecond // until it is ready for the first time
	lastWords  = time.Second           // until the log of a program that ended is whole
)

// process keeps the process of one workload running.
type process struct {
	workload workload
	pod      capture.Pod
	command  func() (*exec.Cmd, error)           // a fresh one for each start
	output   func(log io.Writer, from io.Reader) // has what it prints logged, to the end
	ready    func()                              // at every probe that succeeds
	hostPID  func(int) int
	probeIP  netip.Addr // where probes come from
	openLog  func() (*os.File, error)
	changed  func()
	client   *http.Client

	mu     sync.Mutex
	view   control.Pod
	grace  time.Duration // once it is to stop; the workload's before
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *process) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.done = make(chan struct{})
	p.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _,
			addr string) (net.Conn, error) {
			dst, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return p.pod.DialApp(ctx, p.probeIP, dst.Port())
		}},
	}
	go func() {
		defer close(p.done)
		p.supervise(ctx)
	}()
}

// stop ends the process: SIGTERM, and SIGKILL after its grace period, which is
// at most limit.
func (p *process) stop(limit time.Duration) {
	p.mu.Lock()
	p.grace = min(p.workload.Grace, limit)
	p.mu.Unlock()
	p.cancel()
	<-p.done
}

func (p *process) snapshot() control.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

func (p *process) update(fn func(*control.Pod)) {
	p.mu.Lock()
	before := p.view
	fn(&p.view)
	same := before == p.view
	p.mu.Unlock()
	if !same {
		p.changed()
	}
}

func (p *process) supervise(ctx context.Context) {
	defer p.update(func(v *control.Pod) { v.State, v.Ready, v.PID = "stopped", false, 0 })
	pauses := capture.Pauses{First: firstBackOff, Last: lastBackOff}
	for ctx.Err() == nil {
		began := time.Now()
		err := p.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			pauses.Reset()
		}
		p.update(func(v *control.Pod) {
			v.State, v.Ready, v.PID, v.Restarts, v.Reason = "back-off", false, 0, v.Restarts+1, err.Error()
		})
		if pauses.Wait(ctx) != nil {
			return
		}
	}
}

// runOnce runs the process until it ends; the error says how it ended.
func (p *process) runOnce(ctx context.Context) error {
	log, err := p.openLog()
	if err != nil {
		return fmt.Errorf("open its log: %w", err)
	}
	defer log.Close()
	cmd, err := p.command()
	if err != nil {
		return err
	}
	p.update(func(v *control.Pod) { v.State = "starting" })
	finish, err := p.startLogged(cmd, &podLog{file: log, limit: maxLog})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer finish()
	p.update(func(v *control.Pod) { v.State, v.PID = "running", p.hostPID(cmd.Process.Pid) })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	probing, stopProbing := context.WithCancel(ctx)
	unhealthy := make(chan error, 1)
	var prober sync.WaitGroup
	prober.Go(func() {
		if err := p.probe(probing); err != nil {
			unhealthy <- err
		}
	})
	defer prober.Wait()
	defer stopProbing()

	select {
	case err := <-ended:
		return endOf(err)
	case err := <-unhealthy:
		p.terminate(cmd, ended)
		return err
	case <-ctx.Done():
		stopProbing()
		p.update(func(v *control.Pod) { v.State, v.Ready = "stopping", false })
		p.terminate(cmd, ended)
		return ctx.Err()
	}
}

// environ is what the manifests and the capture give the pod's programs.
func (p *process) environ() []string {
	return slices.Concat([]string{"HOSTNAME=" + p.workload.Deployment}, p.workload.Env, p.pod.Environ())
}

// startLogged starts the pod's program with pipes to its log: a file of the host is
// not for it to hold. finish, to be called when the program has ended, waits for
// its last words, if not for long: another program of the pod may hold the pipe.
func (p *process) startLogged(cmd *exec.Cmd, log io.Writer) (finish func(), err error) {
	var far, near []*os.File
	var copied sync.WaitGroup
	for _, stream := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		read, write, err := os.Pipe()
		if err != nil {
			closeAll(append(far, near...))
			return nil, err
		}
		far, near = append(far, write), append(near, read)
		*stream = write
		copied.Go(func() { p.output(log, read) })
	}
	err = p.pod.Start(cmd)
	closeAll(far)
	finish = func() {
		for _, f := range near {
			_ = f.SetReadDeadline(time.Now().Add(lastWords))
		}
		copied.Wait()
		closeAll(near)
	}
	if err != nil {
		finish()
		return nil, err
	}
	return finish, nil
}

func (p *process) terminate(cmd *exec.Cmd, ended <-chan error) {
	// It may have ended by itself just now: both ways it is gone.
	_ = cmd.Process.Signal(syscall.SIGTERM)
	p.mu.Lock()
	grace := time.NewTimer(cmp.Or(p.grace, p.workload.Grace))
	p.mu.Unlock()
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		_ = cmd.Process.Kill()
		<-ended
	}
}

func endOf(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return errors.New("it ended by itself")
	case errors.As(err, &exit):
		return errors.New(exit.String()) // "exit status 2", "signal: killed"
	}
	return err
}

// probe keeps the readiness up to date. It ends with an error when the process
// has to be restarted: not started in time, or no longer alive.
func (p *process) probe(ctx context.Context) error {
	w := p.workload
	ready := w.Readiness
	if ready.Period == 0 { // a pod without a probe is ready when it runs
		p.update(func(v *control.Pod) { v.Ready = true })
	}
	startBy := time.Now().Add(30 * time.Second)
	if s := w.Startup; s.Period > 0 {
		startBy = time.Now().Add(time.Duration(s.Failures) * s.Period)
	}
	interval := quickProbe
	started, notReady, notAlive := ready.Period == 0, 0, 0
	lastAlive := time.Now()
	for {
		if ready.Period > 0 {
			err := p.checkReady(ctx)
			if ctx.Err() != nil {
				return nil
			}
			switch {
			case err == nil:
				started, notReady, interval = true, 0, ready.Period
				p.ready()
				p.update(func(v *control.Pod) { v.Ready, v.Reason = true, "" })
			case !started && time.Now().After(startBy) && w.Startup.Period > 0 && p.check(ctx, w.Startup) != nil:
				return fmt.Errorf("not started in time: %w", err)
			default:
				if notReady++; started && notReady >= ready.Failures {
					p.update(func(v *control.Pod) { v.Ready, v.Reason = false, "readiness: "+err.Error() })
					interval = min(interval, time.Second)
				}
			}
		} else {
			interval = time.Second
		}
		if l := w.Liveness; started && l.Period > 0 && time.Since(lastAlive) >= l.Period {
			lastAlive = time.Now()
			err := p.check(ctx, l)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				notAlive = 0
			} else if notAlive++; notAlive >= l.Failures {
				return fmt.Errorf("liveness: %w", err)
			}
		}
		next := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-next.C:
		}
	}
}

// checkReady asks the program, and whether the pod's node proxy takes what it
// sends: a pod without its proxy reaches nobody.
func (p *process) checkReady(ctx context.Context) error {
	if err := p.check(ctx, p.workload.Readiness); err != nil {
		return err
	}
	pod, ok := p.pod.(capture.Attended)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.workload.Readiness.Timeout)
	defer cancel()
	if err := pod.CheckProxy(ctx); err != nil {
		return fmt.Errorf("its node proxy: %w", err)
	}
	return nil
}

func (p *process) check(ctx context.Context, c probe) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	url := fmt.Sprintf("http://%v%s", netip.AddrPortFrom(p.probeIP, c.Port), c.Path)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 10<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 399 { // as a kubelet's httpGet
		return fmt.Errorf("%s answers %d", c.Path, resp.StatusCode)
	}
	return nil
}
