package launcher

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"sync"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/campaign"
	"artemis.example/local/control"
)

const (
	keptResults   = 500
	attackBacklog = 64 // events that a listener may be behind
)

// attacks plays the campaign for whoever may steer the suite: the command line
// and the page ask here, so that both see the same verdict of the same evidence.
type attacks struct {
	campaign *adversary.Campaign
	player   campaign.Player

	mu        sync.Mutex
	under     []control.AttackEvent // under way
	kept      []adversary.Result
	listeners map[chan control.AttackEvent]struct{}
}

// newAttacks returns the campaign's player behind the gateway that dial connects to.
func newAttacks(l *launcher, dial campaign.Dial) (*attacks, error) {
	c, err := adversary.Load()
	if err != nil {
		return nil, err
	}
	suite := campaign.SuiteBehind(net.JoinHostPort(control.GatewayHost, portOf(l.options.Gateway)), dial)
	suite.Tap = l.resources.Node.Tap
	return &attacks{
		campaign: c,
		player: campaign.Player{Suite: suite, Campaign: c, Capture: l.resources.Node.Name(), Stage: l.stage,
			Decisions: l.mesh.Decisions()},
		listeners: map[chan control.AttackEvent]struct{}{},
	}, nil
}

func portOf(address string) string {
	if _, port, err := net.SplitHostPort(address); err == nil {
		return port
	}
	return "80"
}

// List returns the campaign, with who phones home as the attacker's console has it.
func (a *attacks) List(ctx context.Context) control.AttackList {
	list := control.AttackList{List: adversary.List{Attacks: a.campaign.Summaries()}}
	if known, err := a.player.Suite.Attackers(ctx); err == nil {
		list.Attackers = known
	} else { // without its console nobody can be told what to do
		for _, one := range a.campaign.Attackers {
			list.Attackers = append(list.Attackers, adversary.Presence{Attacker: one})
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	list.Results = append([]adversary.Result{}, a.kept...)
	return list
}

// Play plays an attack to its end, whoever asked for it may go meanwhile.
func (a *attacks) Play(ctx context.Context, id string) (adversary.Result, bool) {
	attack, ok := a.campaign.Attack(id)
	if !ok {
		return adversary.Result{}, false
	}
	event := control.AttackEvent{
		Run: rand.Text(), ID: id, Attacker: attack.Attacker, Target: attack.Target, Stage: a.player.Stage(),
		At: time.Now().UTC(),
	}
	a.mu.Lock()
	a.under = append(a.under, event)
	a.publish(event)
	a.mu.Unlock()
	result := a.player.Play(context.WithoutCancel(ctx), attack)
	result.Run = event.Run
	a.mu.Lock()
	defer a.mu.Unlock()
	a.under = slices.DeleteFunc(a.under, func(e control.AttackEvent) bool { return e.Run == event.Run })
	a.kept = append(a.kept, result)
	a.kept = a.kept[max(0, len(a.kept)-keptResults):]
	event.Result = &result
	a.publish(event)
	return result, true
}

// publish reaches every listener that is not too far behind; a.mu is held.
func (a *attacks) publish(event control.AttackEvent) {
	for listener := range a.listeners {
		select {
		case listener <- event:
		default:
		}
	}
}

// Follow returns what happens from now on, beginning with what is under way.
func (a *attacks) Follow(ctx context.Context) <-chan control.AttackEvent {
	listener := make(chan control.AttackEvent, attackBacklog)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, event := range a.under[:min(len(a.under), attackBacklog)] {
		listener <- event
	}
	a.listeners[listener] = struct{}{}
	context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.listeners, listener)
		close(listener)
	})
	return listener
}
