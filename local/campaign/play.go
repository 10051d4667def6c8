package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"artemis.example/adversary"
	"artemis.example/adversary/wire"
	"artemis.example/local/control"
	"artemis.example/policy/decision"
)

// patience is how long a report may take, with the console's own deadlines
// within it.
const patience = 30 * time.Second

// logPatience is how long the decision log may lag behind a denial.
const logPatience = 2 * time.Second

const pageOfDecisions = 1000

// Player plays attacks and has them judged. It may play several at once.
type Player struct {
	Suite    *Suite
	Campaign *adversary.Campaign
	Capture  string // how pods' traffic is taken, empty on a cluster
	// Stage returns the stage that is in force.
	Stage func() string
	// Decisions is the mesh's decision log, nil where there is none to read.
	Decisions control.Decisions
	// Denials returns what the proxies of a cluster have logged about an attacker's
	// refused calls since a moment; nil where nobody can read that.
	Denials func(ctx context.Context, since time.Time, who adversary.Attacker) ([]adversary.Decision, error)
}

// Play plays one attack between two live controls and judges it. Its result is
// always one: what cannot be found out is unknown. The result's stage is empty
// when the stage was switched meanwhile and no decision names its own.
func (p *Player) Play(ctx context.Context, a adversary.Attack) adversary.Result {
	who, _ := p.Campaign.Attacker(a.Attacker)
	r := adversary.Result{ID: a.ID, Stage: p.Stage(), Capture: p.Capture, Attacker: a.Attacker}
	r.Control.Before = p.control(ctx, a.Target)
	c := adversary.Case{Attack: a, Attacker: who, Stage: r.Stage, LogRead: p.Decisions != nil, Before: r.Control.Before}
	var since uint64
	if p.Decisions != nil {
		since = p.Decisions.Last()
	}
	r.At = time.Now().UTC()
	evidence, run, err := p.send(ctx, a)
	r.Run, r.Evidence, c.Evidence = run, evidence, evidence
	if err != nil {
		verdict := adversary.Unknown
		if errors.Is(err, errNoConsole) {
			verdict = adversary.AttackerDown
		}
		return p.failed(r, a, verdict, err)
	}
	r.Control.After = p.control(ctx, a.Target)
	c.After = r.Control.After
	r.Judgement = adversary.Judge(c)
	if p.Denials != nil && r.Inferred {
		if c.Log, err = p.Denials(ctx, r.At, who); err != nil {
			return p.failed(r, a, adversary.Unknown, err)
		}
		r.Judgement = adversary.Judge(c)
	}
	if p.Decisions != nil && evidence != nil {
		if err := p.readLog(ctx, since, &c, &r); err != nil {
			return p.failed(r, a, adversary.Unknown, err)
		}
	}
	return p.expected(r.DecidedAt(p.Stage()), a)
}

// readLog judges again with what the decision log has since seq. The log may lag:
// it is asked until it names a denial, if one is in question.
func (p *Player) readLog(ctx context.Context, since uint64, c *adversary.Case, r *adversary.Result) error {
	waiting, stop := context.WithTimeout(ctx, logPatience)
	defer stop()
	for {
		records, next := p.Decisions.Since(since, pageOfDecisions)
		since = next
		c.Log = append(c.Log, about(records, c.Attacker)...)
		r.Judgement = adversary.Judge(*c)
		if r.Verdict != adversary.Unknown {
			return nil
		}
		if len(records) == pageOfDecisions {
			continue
		}
		if p.Decisions.Wait(waiting, since) != nil {
			return ctx.Err() // nil when only the log's time is up
		}
	}
}

func (p *Player) failed(r adversary.Result, a adversary.Attack, v adversary.Verdict, err error) adversary.Result {
	r.Judgement = adversary.Judgement{Verdict: v, Reason: err.Error()}
	return p.expected(r, a)
}

func (p *Player) expected(r adversary.Result, a adversary.Attack) adversary.Result {
	if e, ok := a.Expected(r.Stage, p.Capture); ok {
		r.Expected, r.Differs = &e, e.Differs(r.Judgement, r.Evidence)
	}
	return r
}

// control makes the live control, a second time if the first fails: a process
// that restarts just now is no verdict.
func (p *Player) control(ctx context.Context, target string) *adversary.Probe {
	probe := p.Suite.probe(ctx, target)
	if !probe.OK && ctx.Err() == nil {
		probe = p.Suite.probe(ctx, target)
	}
	return probe
}

// errNoConsole says that the attacker cannot be told what to do.
var errNoConsole = errors.New("the attacker's console is not there")

// send has the attack sent, and returns nil evidence when its attacker did not
// report.
func (p *Player) send(ctx context.Context, a adversary.Attack) (*adversary.Evidence, string, error) {
	switch who, _ := p.Campaign.Attacker(a.Attacker); {
	case a.Means == adversary.Wiretap:
		return p.Suite.eavesdrop(ctx, a), "", nil
	case who.Pod == "":
		return wire.Sender{Gateway: p.Suite.dial, GatewayHost: p.Suite.host}.Send(ctx, a), "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := p.Suite.ask(ctx, adversary.ConsolePath+"/attacks/"+url.PathEscape(a.ID), struct{}{})
	if err != nil {
		return nil, "", err
	}
	var launched struct {
		Run string `json:"run"`
	}
	if got.status != http.StatusAccepted || json.Unmarshal(got.body, &launched) != nil {
		return nil, "", fmt.Errorf("%w: ordering the attack was answered %d %.200s", errNoConsole, got.status, got.body)
	}
	for {
		got, err := p.Suite.ask(ctx, adversary.ConsolePath+"/results?run="+url.QueryEscape(launched.Run), nil)
		if err != nil {
			return nil, launched.Run, err
		}
		var results struct {
			Results []adversary.Result `json:"results"`
		}
		if got.status != http.StatusOK || json.Unmarshal(got.body, &results) != nil {
			return nil, launched.Run, fmt.Errorf("%w: asking for the result was answered %d %.200s", errNoConsole,
				got.status, got.body)
		}
		if len(results.Results) > 0 {
			return results.Results[0].Evidence, launched.Run, nil
		}
	}
}

// Attackers returns the campaign's attackers as their console knows them.
func (s *Suite) Attackers(ctx context.Context) ([]adversary.Presence, error) {
	got, err := s.ask(ctx, adversary.ConsolePath+"/attacks", nil)
	if err != nil {
		return nil, err
	}
	var list adversary.List
	if got.status != http.StatusOK || json.Unmarshal(got.body, &list) != nil {
		return nil, fmt.Errorf("%w: it answered %d %.200s", errNoConsole, got.status, got.body)
	}
	return list.Attackers, nil
}

// about picks the denials that an attack has met. What the attacker says to its
// console is no part of it.
func about(records []decision.Record, who adversary.Attacker) []adversary.Decision {
	var out []adversary.Decision
	for _, r := range records {
		from := r.From.Namespace == who.Namespace && r.From.Component == who.Pod
		if who.Pod == "" {
			from = r.From.Component == "ingress"
		} else if r.From.Identity != "" && r.From.Identity == who.Identity() {
			// Pods that share an account cannot be told apart behind a proxy.
			from = true
		}
		v := adversary.Verdict(r.Verdict)
		if !from || !v.Denied() {
			continue
		}
		out = append(out, adversary.Decision{
			Hop: string(r.Hop), Layer: r.Layer, Verdict: v, Policy: r.Policy, Rule: r.Rule, Reason: r.Reason,
			Stage: r.Stage,
		})
	}
	return out
}
