package role

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/problem"
)

// States of the countdown.
const (
	countIdle     = "idle"
	countCounting = "counting"
	countHolding  = "holding"
	countScrubbed = "scrubbed"
	countLaunched = "launched"
)

// Poll is one position's answer to go or no-go.
type Poll struct {
	Position string `json:"position"`
	Decision string `json:"decision"` // GO or NO-GO
	Reason   string `json:"reason,omitempty"`
}

const (
	goDecision   = "GO"
	noGoDecision = "NO-GO"
)

// Countdown is the state of the count.
type Countdown struct {
	State string `json:"state"`
	// TMinusS is in seconds before lift-off; null unless there is a count.
	TMinusS    *float64   `json:"tMinusS"`
	HoldReason string     `json:"holdReason,omitempty"`
	Polls      []Poll     `json:"polls"`
	LiftOff    *time.Time `json:"liftOff"`
	Handoff    string     `json:"handoff"` // pending, done or why not yet
}

// GoNoGo asks the flight director: at question launch for a poll of the
// consoles, at standby only whether anybody is there. It tells of the count.
type GoNoGo struct {
	Question string   `json:"question,omitempty"` // launch (default) or standby
	State    string   `json:"state,omitempty"`
	TMinusS  *float64 `json:"tMinusS,omitempty"`
}

// Decision is the flight director's answer.
type Decision struct {
	Decision string `json:"decision"` // GO, NO-GO or STANDBY
	Polls    []Poll `json:"polls"`
	Phase    string `json:"phase"`
	// Over reports that the flight has ended, so that another count may begin.
	Over bool `json:"over"`
}

// Lifted is what the handoff tells.
type Lifted struct {
	LiftOff   time.Time `json:"liftOff"`
	TimeScale float64   `json:"timeScale"`
	Vehicle   string    `json:"vehicle"`
}

// HandoffAnswer is the flight director's.
type HandoffAnswer struct {
	Status string `json:"status"`
	Phase  string `json:"phase"`
}

// launchControl counts down, asks everybody, and hands the flight over at T-0.
func launchControl(kit Kit) Program {
	l := &launchRole{Kit: kit, state: countIdle, wake: make(chan struct{}, 1)}
	kit.Metrics.Gauge("countdown_seconds", "Seconds before lift-off while counting or holding.", func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if left := l.tMinus(); left != nil {
			return *left
		}
		return 0
	})
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/countdown/status", l.status),
			endpoint.Post("/countdown/start", l.start),
			endpoint.Post("/countdown/hold", l.hold),
			endpoint.Post("/countdown/resume", l.resume),
			endpoint.Post("/countdown/scrub", l.scrub),
		},
		Loops: []func(context.Context){
			every(kit, kit.Config.Cycle, "launch watch", l.watch),
			l.count,
		},
	}
}

type launchRole struct {
	Kit
	wake chan struct{} // the count has changed

	mu    sync.Mutex
	state string
	tZero time.Time     // while counting
	left  time.Duration // while holding
	// reason is why it holds; byOperator, that only the operator resumes.
	reason     string
	byOperator bool
	polled     bool // the final poll was GO
	polls      []Poll
	handed     string
	over       bool // the last flight has ended, says the flight director
}

// finalPoll is when, before T-0, everybody is asked for the last time.
func (l *launchRole) finalPoll() time.Duration { return l.Config.Countdown / 4 }

func (l *launchRole) tMinus() *float64 {
	var left float64
	switch l.state {
	case countCounting:
		left = l.tZero.Sub(l.Clock.Now()).Seconds()
	case countHolding:
		left = l.left.Seconds()
	default:
		return nil
	}
	return &left
}

func (l *launchRole) snapshot() Countdown {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Countdown{State: l.state, TMinusS: l.tMinus(), HoldReason: l.reason, Polls: append([]Poll{}, l.polls...),
		Handoff: l.handed}
	if r := l.Clock.Reading(); r.IsSet() && l.flying() {
		c.State, c.LiftOff, c.TMinusS = countLaunched, &r.LiftOff, nil
		if c.Handoff == "" {
			c.Handoff = "done"
		}
	}
	return c
}

// flying reports whether there is a flight that this count is not for.
func (l *launchRole) flying() bool {
	return l.Clock.Reading().IsSet() && (l.state == countIdle || l.state == countLaunched || l.state == countScrubbed)
}

func (l *launchRole) status(ctx context.Context) (any, error) {
	c := l.snapshot()
	if c.State != countLaunched {
		// What Kennedy's own positions say, now, and what Houston's said at the
		// final poll.
		said := c.Polls
		c.Polls = l.pollCell(ctx)
		for _, p := range said {
			if !slices.ContainsFunc(c.Polls, func(own Poll) bool { return own.Position == p.Position }) {
				c.Polls = append(c.Polls, p)
			}
		}
	}
	return c, nil
}

func (l *launchRole) start(ctx context.Context, _ struct{}) (any, error) {
	l.mu.Lock()
	switch {
	case l.state == countCounting || l.state == countHolding:
		l.mu.Unlock()
		return nil, problem.New(problem.WrongPhase, "the count is already under way")
	case l.Clock.Reading().IsSet() && !l.over:
		l.mu.Unlock()
		return nil, problem.New(problem.WrongPhase, "the spacecraft is in flight")
	}
	l.state, l.tZero, l.reason, l.byOperator, l.polled, l.polls, l.handed = countCounting,
		l.Clock.Now().Add(l.Config.Countdown), "", false, false, nil, ""
	l.mu.Unlock()
	l.changed()
	l.Log.InfoContext(ctx, "countdown started", "countdown", l.Config.Countdown.String())
	// The stand is made ready while it counts.
	_ = l.Peers.Post(ctx, "ground-systems", "/fuel/pressurize", struct{}{}, nil)
	_ = l.Peers.Post(ctx, "pad-operations", "/pad/clear", struct{}{}, nil)
	return l.snapshot(), nil
}

// change does something to a count that is in one of some states, and returns the count.
func (l *launchRole) change(refusal string, do func(), states ...string) (any, error) {
	l.mu.Lock()
	possible := slices.Contains(states, l.state)
	if possible {
		do()
	}
	l.mu.Unlock()
	if !possible {
		return nil, problem.New(problem.WrongPhase, "%s", refusal)
	}
	l.changed()
	return l.snapshot(), nil
}

func (l *launchRole) hold(_ context.Context, in struct {
	Reason string `json:"reason"`
}) (any, error) {
	if err := endpoint.AtMost("reason", in.Reason, maxTextLength); err != nil {
		return nil, err
	}
	return l.change("there is no count to hold", func() {
		l.holdLocked(cmp.Or(in.Reason, "held by the operator"), true)
	}, countCounting)
}

func (l *launchRole) holdLocked(reason string, byOperator bool) {
	l.state, l.left, l.reason, l.byOperator = countHolding, max(0, l.tZero.Sub(l.Clock.Now())), reason, byOperator
}

func (l *launchRole) resume(context.Context, struct{}) (any, error) {
	return l.change("the count does not hold", l.resumeLocked, countHolding)
}

func (l *launchRole) resumeLocked() {
	// Behind the final poll the count goes back to it.
	l.left = max(l.left, l.finalPoll())
	l.state, l.tZero, l.reason, l.byOperator, l.polled = countCounting, l.Clock.Now().Add(l.left), "", false, false
}

func (l *launchRole) scrub(context.Context, struct{}) (any, error) {
	return l.change("there is no count to scrub", func() { l.state, l.reason = countScrubbed, "" },
		countCounting, countHolding)
}

func (l *launchRole) changed() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// count waits for the moments that matter: the final poll, and T-0.
func (l *launchRole) count(ctx context.Context) {
	for {
		l.mu.Lock()
		state, polled, next := l.state, l.polled, l.tZero
		l.mu.Unlock()
		if !polled {
			next = next.Add(-l.finalPoll())
		}
		var due <-chan time.Time
		if state == countCounting {
			due = time.After(next.Sub(l.Clock.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-due:
			// A round that has begun is finished even when the service stops.
			if polled {
				l.Round(context.WithoutCancel(ctx), "lift-off", l.liftOff)
			} else {
				l.Round(context.WithoutCancel(ctx), "final poll", l.poll)
			}
		}
	}
}

// poll asks Kennedy's positions all at once and then the flight director. A
// NO-GO holds the count.
func (l *launchRole) poll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(l.finalPoll()*4/5, 50*time.Millisecond))
	defer cancel()
	polls := l.pollCell(ctx)
	polls = append(polls, l.pollHouston(ctx)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != countCounting {
		return
	}
	l.polls = polls
	if p := noGo(polls); p != nil {
		l.holdLocked(p.Position+": "+p.Reason, false)
		l.Log.WarnContext(ctx, "hold", "position", p.Position, "reason", p.Reason)
		return
	}
	l.polled = true
	l.Log.InfoContext(ctx, "all positions are go")
}

func (l *launchRole) pollHouston(ctx context.Context) []Poll {
	l.mu.Lock()
	ask := GoNoGo{Question: "launch", State: l.state, TMinusS: l.tMinus()}
	l.mu.Unlock()
	var decision Decision
	if err := l.Peers.Post(ctx, "flight-director", "/decision/go-nogo", ask, &decision); err != nil {
		return []Poll{{Position: "flight-director", Decision: noGoDecision, Reason: problem.From(err).Detail}}
	}
	p := Poll{Position: "flight-director", Decision: decision.Decision}
	for _, console := range decision.Polls {
		if console.Decision != goDecision {
			p.Reason = console.Position + ": " + console.Reason
		}
	}
	return append([]Poll{p}, decision.Polls...)
}

// pollCell asks Kennedy's positions concurrently: one that does not answer in
// time is a NO-GO.
func (l *launchRole) pollCell(ctx context.Context) []Poll {
	ctx, cancel := context.WithTimeout(ctx, l.Config.PeerTimeout)
	defer cancel()
	var (
		fuel     FuelStatus
		arms     UmbilicalStatus
		criteria LaunchCriteria
		pad      PadStatus
	)
	errs := l.askAll(ctx,
		question{"ground-systems", "/fuel/status", &fuel},
		question{"ground-systems", "/umbilical/status", &arms},
		question{"weather-station", "/launch-criteria", &criteria},
		question{"weather-station", "/conditions", nil},
		question{"weather-station", "/forecast", nil},
		question{"pad-operations", "/pad/status", &pad},
		question{"pad-operations", "/pad/cameras", nil},
	)
	return []Poll{
		position("fuel", fuel.Ready, fuel.Status, errs[0]),
		position("umbilicals", arms.Ready, arms.Status, errs[1]),
		position("weather", criteria.Go, criteria.summary(), errs[2:5]...),
		position("pad", pad.Clear, pad.Status, errs[5], errs[6]),
	}
}

func position(name string, ready bool, reason string, errs ...error) Poll {
	for _, err := range errs {
		if err != nil {
			return Poll{Position: name, Decision: noGoDecision, Reason: problem.From(err).Detail}
		}
	}
	if !ready {
		return Poll{Position: name, Decision: noGoDecision, Reason: reason}
	}
	return Poll{Position: name, Decision: goDecision}
}

// noGo returns the first position that is no GO, or nil.
func noGo(polls []Poll) *Poll {
	if i := slices.IndexFunc(polls, func(p Poll) bool { return p.Decision != goDecision }); i >= 0 {
		return &polls[i]
	}
	return nil
}

// liftOff makes the clock, and hands the flight over.
func (l *launchRole) liftOff(ctx context.Context) {
	l.mu.Lock()
	if l.state != countCounting {
		l.mu.Unlock()
		return
	}
	// T-0 by the clock as it is now: it may have been set while it counted.
	now := l.Clock.Now()
	reading := Lifted{LiftOff: now.Add(l.tZero.Sub(now)).UTC(), TimeScale: l.Config.TimeScale, Vehicle: "Integrity"}
	l.state, l.handed = countLaunched, "pending"
	l.mu.Unlock()
	if _, err := l.Clock.Set(reading.clock()); err != nil {
		l.Log.ErrorContext(ctx, "no clock", "error", err)
	}
	l.Log.InfoContext(ctx, "lift-off", "at", reading.LiftOff)
	l.handoff(ctx)
}

// handoff informs the flight director of the lift-off; while it does not answer,
// the watch tries again.
func (l *launchRole) handoff(ctx context.Context) {
	r := l.Clock.Reading()
	err := l.Peers.Post(ctx, "flight-director", "/handoff", Lifted{LiftOff: r.LiftOff, TimeScale: r.Scale,
		Vehicle: "Integrity"}, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.handed = problem.From(err).Detail
		return
	}
	l.handed = "done"
}

// watch keeps Kennedy in step: its services hear the clock with the calls, and
// this one with the flight director's answer. It also ends an automatic hold
// when everybody is go.
func (l *launchRole) watch(ctx context.Context) {
	l.mu.Lock()
	state, byOperator, handed := l.state, l.byOperator, l.handed
	standby := GoNoGo{Question: "standby", State: l.state, TMinusS: l.tMinus()}
	l.mu.Unlock()
	if state == countLaunched && handed != "done" {
		l.handoff(ctx)
		return
	}
	var answer Decision
	if l.Peers.Post(ctx, "flight-director", "/decision/go-nogo", standby, &answer) == nil {
		l.mu.Lock()
		l.over = answer.Over
		l.mu.Unlock()
	}
	polls := l.pollCell(ctx)
	if state != countHolding || byOperator {
		return
	}
	polls = append(polls, l.pollHouston(ctx)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != countHolding || l.byOperator {
		return
	}
	l.polls = polls
	if p := noGo(polls); p != nil {
		l.reason = p.Position + ": " + p.Reason
		return
	}
	l.Log.InfoContext(ctx, "count resumes", "after", l.reason)
	l.resumeLocked()
	l.changed()
}
