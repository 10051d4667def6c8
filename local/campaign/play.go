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
	"artemis.example/policy/decision"
)

const console = "/adversary-console-http"

// patience is how long a report may take, with the console's own deadlines
// within it.
const patience = 30 * time.Second

// logPatience is how long the decision log may lag behind a denial.
const logPatience = 2 * time.Second

// Player plays attacks at one stage.
type Player struct {
	Suite    *Suite
	Campaign *adversary.Campaign
	Stage    string
	Capture  string // empty on a cluster
	// Log reports whether there is a decision log to read.
	Log bool

	seq uint64 // of the last decision that is known
}

// Play plays one attack between two live controls and judges it. Its result is
// always one: what cannot be found out is unknown.
func (p *Player) Play(ctx context.Context, a adversary.Attack) adversary.Result {
	who, _ := p.Campaign.Attacker(a.Attacker)
	r := adversary.Result{ID: a.ID, Stage: p.Stage, Capture: p.Capture, Attacker: a.Attacker}
	r.Control.Before = p.control(ctx, a.Target)
	c := adversary.Case{Attack: a, Attacker: who, LogRead: p.Log, Before: r.Control.Before}
	if p.Log {
		var err error
		if _, p.seq, err = p.Suite.decisions(ctx, p.seq); err != nil {
			return p.failed(r, a, adversary.Unknown, err)
		}
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
	if p.Log && evidence != nil {
		// The log may lag: ask until it names a denial, if one is in question.
		waiting, stop := context.WithTimeout(ctx, logPatience)
		defer stop()
		since := p.seq
		err := until(waiting, func() (bool, error) {
			records, next, err := p.Suite.decisions(waiting, since)
			if err != nil {
				return false, err
			}
			since = next
			c.Log = append(c.Log, about(records, who)...)
			r.Judgement = adversary.Judge(c)
			return r.Verdict != adversary.Unknown, nil
		})
		if err != nil && ctx.Err() != nil {
			return p.failed(r, a, adversary.Unknown, err)
		}
	}
	return p.expected(r, a)
}

func (p *Player) failed(r adversary.Result, a adversary.Attack, v adversary.Verdict, err error) adversary.Result {
	r.Judgement = adversary.Judgement{Verdict: v, Reason: err.Error()}
	return p.expected(r, a)
}

func (p *Player) expected(r adversary.Result, a adversary.Attack) adversary.Result {
	if e, ok := a.Expected(p.Stage, p.Capture); ok {
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

// send has the attack sent, and gives nil evidence when its attacker did not
// report.
func (p *Player) send(ctx context.Context, a adversary.Attack) (*adversary.Evidence, string, error) {
	switch who, _ := p.Campaign.Attacker(a.Attacker); {
	case a.Means == adversary.Wiretap:
		return p.Suite.eavesdrop(ctx, a), "", nil
	case who.Pod == "":
		return wire.Sender{Gateway: p.Suite.address, GatewayHost: p.Suite.host}.Send(ctx, a), "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := p.Suite.ask(ctx, console+"/attacks/"+url.PathEscape(a.ID), struct{}{})
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
		got, err := p.Suite.ask(ctx, console+"/results?run="+url.QueryEscape(launched.Run), nil)
		if err != nil {
			return nil, launched.Run, err
		}
		var results struct {
			Results []adversary.Result `json:"results"`
		}
		if got.status != http.StatusOK || json.Unmarshal(got.body, &results) != nil {
			return nil, launched.Run, fmt.Errorf("%w: asking for the result was answered %d %.200s", errNoConsole, got.status, got.body)
		}
		if len(results.Results) > 0 {
			return results.Results[0].Evidence, launched.Run, nil
		}
	}
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
		})
	}
	return out
}
