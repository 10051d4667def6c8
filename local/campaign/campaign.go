package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"artemis.example/adversary"
)

// Options are what part of the campaign is played, and where.
type Options struct {
	// IDs are the attacks, all if empty.
	IDs []string
	// Stages are switched to one after the other; empty plays at the stage that
	// is in force. On a cluster nobody can switch from here: there it has to be
	// exactly one, the stage that is in force.
	Stages []string
	// Launch sees to it that there is a flight before each stage is played.
	Launch bool
	// Progress is told each result as it comes; may be nil.
	Progress func(adversary.Result)
	// Note is told what somebody who watches should know; may be nil.
	Note func(string)
}

// Play plays the campaign. The stage that was in force is in force again
// afterwards. Its error says that the campaign could not be played; attacks
// that came out differently are in the report.
func Play(ctx context.Context, s *Suite, c *adversary.Campaign, o Options) (Report, error) {
	report := Report{At: time.Now().UTC()}
	attacks, err := choose(c, o.IDs)
	if err != nil {
		return report, err
	}
	state, err := s.State(ctx)
	local := err == nil
	switch {
	case errors.Is(err, ErrNoLauncher):
		if len(o.Stages) != 1 {
			return report, errors.New("on a cluster the stage cannot be switched from here: say which is in force with --stage")
		}
		state.Stage = o.Stages[0]
	case err != nil:
		return report, err
	}
	report.Capture = state.Capture
	if report.Stages = o.Stages; len(report.Stages) == 0 {
		report.Stages = []string{state.Stage}
	}
	if local {
		before := state.Stage
		defer func() {
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if now, err := s.State(back); err == nil && now.Stage != before {
				_ = s.SetStage(back, before) // who stopped the suite knows that it is gone
			}
		}()
	}
	p := &Player{Suite: s, Campaign: c, Capture: state.Capture, Log: local}
	for _, stage := range report.Stages {
		if local {
			if err := s.SetStage(ctx, stage); err != nil {
				return report, fmt.Errorf("switch to stage %s: %w", stage, err)
			}
		}
		if o.Launch {
			if err := s.Fly(ctx); err != nil {
				return report, err
			}
		}
		p.Stage = stage
		if err := p.stage(ctx, attacks, local, o, &report); err != nil {
			return report, err
		}
	}
	return report, nil
}

func (p *Player) stage(ctx context.Context, attacks []adversary.Attack, local bool, o Options, report *Report) error {
	for _, a := range attacks {
		if a.Local != "" && !local {
			if o.Note != nil {
				o.Note(a.ID + " is not played here. " + a.Local)
			}
			continue
		}
		r, err := p.playInFlight(ctx, a, o.Launch)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		report.Results = append(report.Results, r)
		if o.Progress != nil {
			o.Progress(r)
		}
		if o.Note != nil && a.Spoils != "" && r.Evidence != nil && r.Evidence.Effect {
			o.Note(a.ID + " succeeded: " + a.Spoils)
		}
	}
	return nil
}

// flightPatience is how long an attack that ends the flight waits for a place in
// the orbit from which the spacecraft can come down.
const flightPatience = 15 * time.Second

// playInFlight plays an attack; one that ends the flight needs one that can be
// ended, so it is played again while the spacecraft itself has no room for it.
func (p *Player) playInFlight(ctx context.Context, a adversary.Attack, launch bool) (adversary.Result, error) {
	e, _ := a.Expected(p.Stage, p.Capture)
	if !launch || !a.Last || e.Effect == nil || !*e.Effect {
		return p.Play(ctx, a), nil
	}
	var r adversary.Result
	trying, cancel := context.WithTimeout(ctx, flightPatience)
	defer cancel()
	err := until(trying, func() (bool, error) {
		if err := p.Suite.Fly(ctx); err != nil {
			return false, err
		}
		r = p.Play(ctx, a)
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
