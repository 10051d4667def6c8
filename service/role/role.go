// Package role holds what each service of the mission knows, answers and asks:
// one file per role. A role knows no mesh, no probes and no ports; it gets the
// mission clock, its declared peers and a log, and gives endpoints and loops.
package role

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	campaign "artemis.example/adversary"
	"artemis.example/service/config"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/peer"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// Kit is what a role has to work with.
type Kit struct {
	Service, Cell string
	Config        config.Config
	Clock         *missionclock.Clock
	Peers         *peer.Client
	Metrics       *telemetry.Metrics
	Log           *slog.Logger
	// Round does something outside of any request as one traced round: its
	// peer calls become the hops of a trace that Watch gets.
	Round func(ctx context.Context, operation string, do func(ctx context.Context))
}

// Program is what a role consists of.
type Program struct {
	// Endpoints are those of the catalog, exactly.
	Endpoints []endpoint.Endpoint
	// Loops run from the start until their context ends.
	Loops []func(ctx context.Context)
	// Watch is told every trace of this service; may be nil.
	Watch func(trace.Trace)
	// NewMission is told of every clock adopted; may be nil. A role whose state
	// belongs to one flight starts over here.
	NewMission func()
	// Close ends streams, so that a drain does not wait for them; may be nil.
	Close func()
}

// New makes the program of a role.
func New(kit Kit) (Program, error) {
	switch kit.Service {
	case "adversary":
		return adversaryPod(kit)
	case campaign.Console:
		return adversaryConsole(kit)
	}
	roles := map[string]func(Kit) Program{
		"flight-director":        flightDirector,
		"capcom":                 capcom,
		"telemetry-monitor":      telemetryMonitor,
		"flight-dynamics":        flightDynamics,
		"launch-control":         launchControl,
		"ground-systems":         groundSystems,
		"weather-station":        weatherStation,
		"pad-operations":         padOperations,
		"comms-system":           commsSystem,
		"guidance-nav":           guidanceNav,
		"life-support":           lifeSupport,
		"crew-interface":         crewInterface,
		"signal-router":          signalRouter,
		"goldstone":              station,
		"madrid":                 station,
		"canberra":               station,
		"service-module-monitor": serviceModuleMonitor,
		"mission-relay":          missionRelay,
	}
	make, ok := roles[kit.Service]
	if !ok {
		return Program{}, fmt.Errorf("SERVICE_ROLE: there is no role %q", kit.Service)
	}
	return make(kit), nil
}

// every runs a round at once and then each interval until the context ends. A
// round that takes longer delays the next one: rounds of a loop never overlap,
// and one that has begun is finished even when the service stops.
func every(kit Kit, interval time.Duration, operation string, do func(ctx context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			kit.Round(context.WithoutCancel(ctx), operation, do)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}
}

// question is a GET of a peer; out may be nil.
type question struct {
	peer, path string
	out        any
}

// askAll asks all questions at once and returns the error of each.
func (k Kit) askAll(ctx context.Context, questions ...question) []error {
	errs := make([]error, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		all.Go(func() { errs[i] = k.Peers.Get(ctx, q.peer, q.path, q.out) })
	}
	all.Wait()
	return errs
}

// passOn posts a message to a peer, whose answer is this service's as well.
func passOn[Answer any](ctx context.Context, k Kit, peer, path string, in any) (any, error) {
	var out Answer
	if err := k.Peers.Post(ctx, peer, path, in, &out); err != nil {
		return nil, err
	}
	return out, nil
}
