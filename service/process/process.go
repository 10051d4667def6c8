// Package process runs one service from its environment to its exit: it listens,
// serves both ports, runs the role's loops, and on the end of its context goes
// unready, drains, flushes and returns.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"

	"artemis.example/catalog"
	"artemis.example/service/config"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/peer"
	"artemis.example/service/role"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// Options are what a test replaces; the zero value is a real process's.
type Options struct {
	Environ []string // in the form of os.Environ
	Log     io.Writer
	Version string
	// Mission and Admin are used instead of listening on the ports, if set.
	Mission, Admin net.Listener
	// Started is called when both ports answer; may be nil.
	Started func(mission, admin net.Addr)
}

// quiet is how long no request has to arrive until the drain believes that
// nobody sends any more: a part of the grace, and at most a second.
func quiet(grace time.Duration) time.Duration { return min(time.Second, grace/20) }

// Run serves until the context ends and everything accepted has been answered.
// Its error is one line for a person.
func Run(ctx context.Context, o Options) error {
	cfg, err := config.Load(o.Environ)
	if err != nil {
		return err
	}
	// A busy port is known before anything else happens.
	mission, err := listen(o.Mission, cfg.ListenAddress, cfg.Port)
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	defer mission.Close()
	admin, err := listen(o.Admin, cfg.ListenAddress, cfg.AdminPort)
	if err != nil {
		return fmt.Errorf("ADMIN_PORT: %w", err)
	}
	defer admin.Close()

	s, err := newService(ctx, cfg, o)
	if err != nil {
		return err
	}
	return s.run(ctx, mission, admin, o.Started)
}

func listen(given net.Listener, address string, port uint16) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	return net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// flushLimit is how long the last spans may take: a collector that is gone must
// not hold up a stop for all of its grace.
const flushLimit = 3 * time.Second

// service is what a process runs: what its endpoints share, its peers and its role.
type service struct {
	*endpoint.Server
	cfg     config.Config
	peers   *peer.Client
	program role.Program
	ready   atomic.Bool
	handler http.Handler
}

func newService(ctx context.Context, cfg config.Config, o Options) (*service, error) {
	cell := cfg.Environ["SERVICE_CELL"]
	if known, ok := catalog.Lookup(cfg.Role); ok {
		cell = known.Cell
	}
	tracing, err := telemetry.NewTracing(ctx, cfg.Environ, cell, cfg.Role, o.Version)
	if err != nil {
		return nil, err
	}
	own := func(d catalog.Service) bool { return d.Cell == cell }
	inCell := slices.ContainsFunc(catalog.Dependencies(cfg.Role), own)
	s := &service{cfg: cfg, Server: &endpoint.Server{
		Service: cfg.Role, Cell: cell, Tracing: tracing, Metrics: telemetry.NewMetrics(cell, cfg.Role, o.Version),
		Evidence: trace.NewEvidence(time.Now, 3*cfg.Cycle, inCell),
		Log:      telemetry.NewLogger(o.Log, cfg.LogLevel, cell, cfg.Role), Budget: cfg.PeerTimeout + time.Second,
	}}
	s.Clock = missionclock.New(time.Now, func(r missionclock.Reading) {
		s.Log.Info("mission clock adopted", "liftOff", r.LiftOff, "timeScale", r.Scale)
		if s.program.NewMission != nil {
			s.program.NewMission()
		}
	})
	s.peers = peer.New(peer.Config{
		Self: catalog.Caller{Cell: cell, Component: cfg.Role}, Addresses: cfg.Peers, Timeout: cfg.PeerTimeout,
		Clock: s.Clock, Tracing: tracing, Metrics: s.Metrics, Evidence: s.Evidence,
	})
	if s.program, err = role.New(role.Kit{
		Service: cfg.Role, Cell: cell, Config: cfg, Clock: s.Clock, Peers: s.peers, Metrics: s.Metrics, Log: s.Log,
		Round: s.round,
	}); err != nil {
		return nil, err
	}
	s.Finished = s.program.Watch
	s.handler = s.Handler(s.program.Endpoints)
	s.Metrics.Gauge("time_seconds", "Mission time since lift-off; 0 before it.", func() float64 {
		t, _ := s.Clock.MissionTime()
		return t
	})
	return s, nil
}

func (s *service) round(ctx context.Context, operation string, do func(ctx context.Context)) {
	recorder := new(trace.Recorder)
	ctx = trace.WithRecorder(s.Tracing.Root(ctx), recorder)
	if s.Tracing.On() {
		var span oteltrace.Span
		ctx, span = s.Tracing.Tracer.Start(ctx, operation, oteltrace.WithNewRoot(),
			oteltrace.WithAttributes(attribute.Bool("artemis.loop", true)))
		defer span.End()
	}
	do(ctx)
	if hops := recorder.Hops(); s.program.Watch != nil && len(hops) > 0 {
		s.program.Watch(s.Trace(ctx, operation, trace.Caller{Claimed: true, Proof: trace.ProofNone}, hops))
	}
}

func (s *service) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ready\n")
	})
	mux.Handle("GET /metrics", s.Metrics.Handler())
	return mux
}

func (s *service) run(ctx context.Context, missionListener, adminListener net.Listener, started func(mission,
	admin net.Addr)) error {
	// Requests and loops outlive ctx: they end when they are drained.
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	mission := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    endpoint.MaxHeader - 4096, // net/http adds 4096
		BaseContext:       func(net.Listener) context.Context { return working },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	admin := &http.Server{
		Handler: s.admin(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 4096,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 2)
	serve := func(server *http.Server, l net.Listener) {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	}
	go serve(mission, missionListener)
	go serve(admin, adminListener)
	s.ready.Store(true)
	s.Log.Info("serving", "mission", missionListener.Addr().String(), "admin", adminListener.Addr().String())
	if started != nil {
		started(missionListener.Addr(), adminListener.Addr())
	}
	looping, stopLoops := context.WithCancel(working)
	defer stopLoops()
	var loops sync.WaitGroup
	for _, loop := range s.program.Loops {
		loops.Go(func() { loop(looping) })
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
	defer cancel()
	s.Log.Info("draining", "grace", s.cfg.ShutdownGrace.String())
	s.ready.Store(false)
	s.Draining.Store(true)
	stopLoops()
	s.drain(deadline)
	// What is still being answered at four fifths of the grace is cut, so
	// that its span is sent in what remains.
	closing, cancelClosing := context.WithTimeout(deadline, s.cfg.ShutdownGrace*3/10)
	defer cancelClosing()
	if s.program.Close != nil {
		s.program.Close()
	}
	if closeErr := mission.Shutdown(closing); closeErr != nil {
		s.Log.Warn("requests were cut at the end of the grace", "error", closeErr)
		stopWorking()
		mission.Close()
	}
	loops.Wait()
	flushing, stopFlushing := context.WithTimeout(deadline, flushLimit)
	defer stopFlushing()
	if flushErr := s.Tracing.Stop(flushing); flushErr != nil {
		s.Log.Warn("spans were lost", "error", flushErr)
	}
	s.peers.Close()
	admin.Close()
	s.Log.Info("stopped")
	return err
}

// drain waits, while requests still arrive, until none has for a while; at most
// half of the grace.
func (s *service) drain(ctx context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ShutdownGrace/2)
	defer cancel()
	pause := quiet(s.cfg.ShutdownGrace)
	for {
		last := s.LastArrival()
		if last.Before(began) {
			last = began
		}
		left := pause - time.Since(last)
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(left):
		}
	}
}
