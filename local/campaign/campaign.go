package campaign

import (
	"context"
	"fmt"
	"slices"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/capture"
)

// Options are what part of the campaign is played, and where.
type Options struct {
	// IDs are the attacks, all if empty.
	IDs []string
	// Stages are switched to one after the other; empty plays at the stage that
	// is in force.
	Stages []string
	// Launch sees to it that there is a flight before each stage is played.
	Launch bool
	// Progress is told each result as it comes; may be nil.
	Progress func(adversary.Result)
	// Note is told what somebody who watches should know; may be nil.
	Note func(string)
}

// Arena is where the campaign is played: the suite of this machine behind its
// launcher, or a Cluster.
type Arena interface {
	// State returns the stage in force and how pods' traffic is taken.
	State(ctx context.Context) (State, error)
	// SetStage returns when the next call is judged at that stage.
	SetStage(ctx context.Context, stage string) error
	// Attack plays one attack and has it judged. Its error says that it could not
	// be asked for.
	Attack(ctx context.Context, a adversary.Attack) (adversary.Result, error)
	// Fly sees to it that a mission is in flight.
	Fly(ctx context.Context) error
	// Lacks returns why an attack cannot be played there, empty if it can.
	Lacks(a adversary.Attack) string
}

// State is what an Arena says of itself.
type State struct {
	Stage   string
	Capture string // empty on a cluster
}

// Play plays the campaign. The stage that was in force is in force again
// afterwards. Its error says that the campaign could not be played; attacks
// that came out differently are in the report.
func Play(ctx context.Context, where Arena, c *adversary.Campaign, o Options) (Report, error) {
	report := Report{At: time.Now().UTC()}
	attacks, err := choose(c, o.IDs)
	if err != nil {
		return report, err
	}
	before, err := where.State(ctx)
	if err != nil {
		return report, err
	}
	report.Capture = before.Capture
	if report.Stages = o.Stages; len(report.Stages) == 0 {
		report.Stages = []string{before.Stage}
	}
	defer func() {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if now, err := where.State(back); err == nil && now.Stage != before.Stage {
			_ = where.SetStage(back, before.Stage) // who stopped the suite knows that it is gone
		}
	}()
	for _, stage := range report.Stages {
		if err := report.playStage(ctx, where, stage, attacks, o); err != nil {
			return report, err
		}
	}
	return report, nil
}

// playStage plays attacks at a stage and adds their results.
func (r *Report) playStage(ctx context.Context, where Arena, stage string, attacks []adversary.Attack,
	o Options) error {
	if err := where.SetStage(ctx, stage); err != nil {
		return fmt.Errorf("switch to stage %s: %w", stage, err)
	}
	if o.Launch {
		if err := where.Fly(ctx); err != nil {
			return err
		}
	}
	note := o.Note
	if note == nil {
		note = func(string) {}
	}
	for _, a := range attacks {
		if lacks := where.Lacks(a); lacks != "" {
			note(a.ID + " is not played here: " + lacks)
			continue
		}
		result, err := playInFlight(ctx, where, State{stage, r.Capture}, a, o.Launch)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Results = append(r.Results, result)
		if o.Progress != nil {
			o.Progress(result)
		}
		if a.Spoils != "" && result.Evidence != nil && result.Evidence.Effect {
			note(a.ID + " succeeded: " + a.Spoils)
		}
	}
	return nil
}

// flightPatience is how long an attack that ends the flight waits for a place in
// the orbit from which the spacecraft can come down.
const flightPatience = 15 * time.Second

// playInFlight plays an attack; one that ends the flight needs one that can be
// ended, so it is played again while the spacecraft itself has no room for it.
func playInFlight(ctx context.Context, where Arena, now State, a adversary.Attack, launch bool) (adversary.Result,
	error) {
	e, _ := a.Expected(now.Stage, now.Capture)
	if !launch || !a.Last || e.Effect == nil || !*e.Effect {
		return where.Attack(ctx, a)
	}
	var r adversary.Result
	trying, cancel := context.WithTimeout(ctx, flightPatience)
	defer cancel()
	err := capture.Until(trying, flightPause, func() (bool, error) {
		err := where.Fly(ctx)
		if err != nil {
			return false, err
		}
		if r, err = where.Attack(ctx, a); err != nil {
			return false, err
		}
		return r.Differs == "" || r.Verdict != adversary.Allowed, nil
	})
	if err != nil && r.ID == "" {
		return r, err
	}
	return r, nil
}

func choose(c *adversary.Campaign, ids []string) ([]adversary.Attack, error) {
	out := slices.Clone(c.Attacks)
	if len(ids) > 0 {
		out = nil
	}
	for _, id := range ids {
		a, ok := c.Attack(id)
		if !ok {
			return nil, fmt.Errorf("the campaign has no attack %q; `artemis attack --list` names them", id)
		}
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b adversary.Attack) int {
		switch {
		case a.Last == b.Last:
			return 0
		case a.Last:
			return 1
		}
		return -1
	})
	return out, nil
}
