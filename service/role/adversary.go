package role

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	campaign "artemis.example/adversary"
	"artemis.example/adversary/wire"
	"artemis.example/service/config"
	"artemis.example/service/endpoint"
	"artemis.example/service/peer"
)

// Order is what the console tells an attacker to do: nothing, while Run is empty.
type Order struct {
	Run    string `json:"run,omitempty"`
	Attack string `json:"attack,omitempty"`
}

// PhoneCall is an attacker asking for orders.
type PhoneCall struct {
	Name string `json:"name"`
}

// Report is what an attacker saw.
type Report struct {
	Run      string             `json:"run"`
	Name     string             `json:"name"`
	Evidence *campaign.Evidence `json:"evidence"`
}

// LootDelivery is what an attacker carried away.
type LootDelivery struct {
	Name string `json:"name"`
	Loot string `json:"loot"`
}

// Heard is the console's answer to everything else.
type Heard struct {
	Status string `json:"status"`
}

// adversaryPod is somebody's foot in the door. Nobody can call it: it phones
// home, takes attacks by name, sends what its own copy of the campaign says
// under that name, and reports what came back.
func adversaryPod(kit Kit) (Program, error) {
	cases, err := campaign.Load()
	if err != nil {
		return Program{}, err
	}
	name := kit.Config.Environ["ADVERSARY_NAME"]
	if a, ok := cases.Attacker(name); !ok || a.Pod == "" {
		return Program{}, fmt.Errorf("ADVERSARY_NAME: the campaign has no attacker %q that is a pod", name)
	}
	console, err := config.PeerURL(kit.Config.Environ["ADVERSARY_CONSOLE_URL"])
	if err != nil {
		return Program{}, fmt.Errorf("ADVERSARY_CONSOLE_URL: %w (where the attacker phones home to)", err)
	}
	p := &podRole{Kit: kit, cases: cases, name: name, console: console, http: &http.Client{Timeout: deaf}}
	p.sender = wire.Sender{
		Proxy: wire.ProxyFrom(kit.Config.Environ["HTTP_PROXY"]),
		Loot: func(ctx context.Context, body []byte) error {
			return p.tell(ctx, "/phone-home/loot", LootDelivery{Name: name, Loot: string(body)}, nil)
		},
	}
	return Program{Loops: []func(context.Context){p.obey}}, nil
}

type podRole struct {
	Kit
	cases   *campaign.Campaign
	name    string
	console *url.URL
	http    *http.Client
	sender  wire.Sender
}

// Pauses after a call home that failed.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// obey asks for orders for as long as it lives.
func (p *podRole) obey(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		var order Order
		err := p.tell(ctx, "/phone-home/poll", PhoneCall{Name: p.name}, &order)
		if err != nil {
			p.Log.DebugContext(ctx, "the console does not answer", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		if order.Run == "" {
			continue
		}
		if err := p.carryOut(ctx, order); err != nil {
			p.Log.WarnContext(ctx, "an order was not carried out", "attack", order.Attack, "error", err)
		}
	}
}

func (p *podRole) carryOut(ctx context.Context, order Order) error {
	attack, ok := p.cases.Attack(order.Attack)
	if !ok || attack.Attacker != p.name {
		return fmt.Errorf("the campaign has no attack %q for %s", order.Attack, p.name)
	}
	evidence := p.sender.Send(ctx, attack)
	p.Log.InfoContext(ctx, "attack sent", "attack", attack.ID, "status", evidence.Status, "fault", evidence.Fault)
	return p.tell(ctx, "/phone-home/report", Report{Run: order.Run, Name: p.name, Evidence: evidence}, nil)
}

// tell calls the console; out may be nil.
func (p *podRole) tell(ctx context.Context, path string, in, out any) error {
	r, err := peer.NewRequest(ctx, http.MethodPost, p.console.String()+path, in)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	answer, err := p.http.Do(r)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s was answered %s", path, answer.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, endpoint.MaxBody)).Decode(out); err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return nil
}
