package role

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	campaign "artemis.example/adversary"
	"artemis.example/catalog"
	"artemis.example/service/endpoint"
	"artemis.example/service/problem"
)

// Times of the console.
const (
	longPoll = 3 * time.Second // how long a call home is held while there is nothing to do
	// deaf is how long an attacker waits for the answer to a call home: a switch of
	// the stage can leave it with a connection on which nothing will ever come.
	deaf   = longPoll + time.Second
	online = 2 * deaf // after its last call an attacker counts as gone
	// An attack waits for its attacker to take it: absent long for one that has not
	// called home lately, and longer than one may be deaf for the others. overdue
	// bounds the time for the report then.
	absent  = 3 * time.Second
	overdue = 15 * time.Second
)

const (
	maxResults = 500
	maxQueue   = 32 // attacks waiting for one attacker
)

// Launched is the answer to an order.
type Launched struct {
	Run      string `json:"run"`
	ID       string `json:"id"`
	Attacker string `json:"attacker"`
}

// Results are the latest, oldest first. Next is the number to ask from.
type Results struct {
	Results []campaign.Result `json:"results"`
	Next    int               `json:"next"`
}

// adversaryConsole is the attacker's own service, outside of the mesh. What is
// under /operator/ is for people and comes through the gateway; what is under
// /phone-home/ is for the rogue pods and has no route. It knows attacks by name
// and forwards nothing anywhere: there is no address in any request that it
// would go to.
func adversaryConsole(kit Kit) (Program, error) {
	cases, err := campaign.Load()
	if err != nil {
		return Program{}, err
	}
	c := &consoleRole{Kit: kit, cases: cases, hub: newHub(), seen: map[string]time.Time{},
		queues: map[string]chan *run{}, runs: map[string]*run{}, handed: map[string]*run{}}
	for _, a := range cases.Attackers {
		if a.Pod != "" {
			c.queues[a.Name] = make(chan *run, maxQueue)
		}
	}
	return Program{
		Endpoints: []endpoint.Endpoint{
			endpoint.Get("/operator/attacks", c.list),
			endpoint.PostUnder("/operator/attacks/*", c.launch),
			endpoint.GetRequest("/operator/results", c.results),
			endpoint.PostUnder("/operator/results/*", c.judge),
			endpoint.Post("/operator/stage", c.hearStage),
			endpoint.Stream("/operator/events", c.hub.events),
			endpoint.Post("/phone-home/poll", c.poll),
			endpoint.Post("/phone-home/report", c.report),
			endpoint.Post("/phone-home/loot", c.loot),
			endpoint.Get("/phone-home/ping", func(context.Context) (any, error) { return Heard{Status: "heard"}, nil }),
		},
		Close: c.hub.close,
	}, nil
}

type consoleRole struct {
	Kit
	cases  *campaign.Campaign
	hub    *hub
	queues map[string]chan *run // by attacker

	mu     sync.Mutex
	seen   map[string]time.Time
	runs   map[string]*run // under way
	handed map[string]*run // by attacker: the last that it was given
	kept   []campaign.Result
	passed int    // results that are no longer kept
	stage  string // in force as somebody has said, empty where nobody has
	said   int    // how often somebody has
}

// run is one attack under way.
type run struct {
	id     string
	attack campaign.Attack
	at     time.Time
	said   int           // the console's when it was ordered
	taken  chan struct{} // closed when the attacker has it
	done   chan struct{} // closed when there is a result
}

func (c *consoleRole) list(context.Context) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := campaign.List{Attacks: c.cases.Summaries(), Stage: c.stage}
	for _, a := range c.cases.Attackers {
		one := campaign.Presence{Attacker: a}
		if at, ok := c.seen[a.Name]; ok {
			one.LastSeen, one.Online = &at, c.Clock.Now().Sub(at) < online
		}
		l.Attackers = append(l.Attackers, one)
	}
	return l, nil
}

func (c *consoleRole) launch(ctx context.Context, name string, _ struct{}) (any, error) {
	attack, ok := c.cases.Attack(name)
	if !ok {
		return nil, problem.New(problem.NotFound, "there is no attack %.60q: this console plays the attacks of its "+
			"campaign by name, against the targets written there. It is no proxy and goes to no address that it is "+
			"given", name)
	}
	queue := c.queues[attack.Attacker]
	if queue == nil {
		return nil, problem.New(problem.WrongPhase, "no pod plays %q: it comes from %s; `artemis attack %s` sends it",
			attack.ID, attack.Attacker, attack.ID)
	}
	r := &run{id: rand.Text(), attack: attack, at: c.Clock.Now(), taken: make(chan struct{}), done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.said = c.said
	select {
	case queue <- r:
	default:
		return nil, problem.New(problem.WrongPhase, "%d attacks wait for %s already", maxQueue, attack.Attacker)
	}
	c.runs[r.id] = r
	go c.expire(r)
	c.Log.InfoContext(ctx, "attack ordered", "attack", attack.ID, "attacker", attack.Attacker, "run", r.id)
	return endpoint.Accepted{Answer: Launched{Run: r.id, ID: attack.ID, Attacker: attack.Attacker}}, nil
}

// expire ends the wait for an attacker that does not come for its attack, or does not
// report.
func (c *consoleRole) expire(r *run) {
	select {
	case <-r.done:
		return
	case <-r.taken:
		select {
		case <-r.done:
			return
		case <-time.After(overdue):
		}
	case <-time.After(c.patience(r.attack.Attacker)):
	}
	c.finish(r.id, r.attack.Attacker, nil)
}

// patience is how long an attack waits for its attacker to take it.
func (c *consoleRole) patience(attacker string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.seen[attacker]; ok && c.Clock.Now().Sub(at) < online {
		return deaf + absent
	}
	return absent
}

// finish judges by what there is: the attacker's word alone. Without a live
// control there is no denial; whoever can make controls hands them to judge.
func (c *consoleRole) finish(id, attacker string, evidence *campaign.Evidence) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.runs[id]
	if r == nil || r.attack.Attacker != attacker {
		return false
	}
	delete(c.runs, id)
	who, _ := c.cases.Attacker(attacker)
	result := campaign.Result{Run: id, ID: r.attack.ID, At: r.at.UTC(), Attacker: attacker, Evidence: evidence}
	if r.said == c.said { // no switch since it was ordered
		result.Stage = c.stage
	}
	judgeAgain(&result, r.attack, who)
	c.kept = append(c.kept, result)
	if len(c.kept) > maxResults {
		c.kept, c.passed = c.kept[1:], c.passed+1
	}
	close(r.done)
	c.hub.publish("result", result)
	return true
}

// judgeAgain judges a result by what is in it.
func judgeAgain(r *campaign.Result, attack campaign.Attack, who campaign.Attacker) {
	r.Judgement = campaign.Judge(campaign.Case{
		Attack: attack, Attacker: who, Stage: r.Stage, Evidence: r.Evidence, Before: r.Control.Before,
		After: r.Control.After,
	})
	if e, ok := attack.Expect.At(r.Stage); ok {
		r.Expected, r.Differs = &e, e.Differs(r.Judgement, r.Evidence)
	}
}

// SaidStage is what the console is told of the cluster's stage: empty while it is
// switched.
type SaidStage struct {
	Stage string `json:"stage"`
}

// hearStage takes somebody's word for the stage that is in force, under which the
// results are filed from now on: the script that switches it says so.
func (c *consoleRole) hearStage(_ context.Context, in SaidStage) (any, error) {
	if _, ok := (campaign.Expect{}).At(in.Stage); !ok && in.Stage != "" {
		return nil, noStage()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = in.Stage
	c.said++
	return in, nil
}

func noStage() error {
	return problem.New(problem.OutOfRange, "stage: one of %s", strings.Join(catalog.Stages(), ", ")).In("stage")
}

// Controls are what the operator's legitimate calls just before and just after an
// attack were answered, and the stage that was in force all the while: empty is
// the one that the console was told.
type Controls struct {
	Stage  string         `json:"stage"`
	Before *ControlAnswer `json:"before"`
	After  *ControlAnswer `json:"after"`
}

// ControlAnswer is the answer to a Summary's ControlCall, as it came.
type ControlAnswer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// judge judges a result again, now with live controls: whoever watches a cluster
// makes them through the gateway, which the console cannot.
func (c *consoleRole) judge(_ context.Context, run string, in Controls) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(r campaign.Result) bool { return r.Run == run })
	if i < 0 {
		return nil, problem.New(problem.NotFound, "there is no run %.40q", run)
	}
	r := c.kept[i]
	attack, _ := c.cases.Attack(r.ID)
	who, _ := c.cases.Attacker(r.Attacker)
	r.Control = campaign.Controls{Before: in.Before.probe(attack.Target), After: in.After.probe(attack.Target)}
	r.Stage = cmp.Or(in.Stage, r.Stage)
	if _, ok := attack.Expect.At(r.Stage); !ok {
		return nil, noStage()
	}
	judgeAgain(&r, attack, who)
	c.kept[i] = r
	c.hub.publish("result", r)
	return r, nil
}

func (a *ControlAnswer) probe(target string) *campaign.Probe {
	call, ok := campaign.ControlFor(target)
	if a == nil || !ok {
		return nil
	}
	return campaign.ReadProbe(target, call, a.Status, []byte(a.Body))
}

// results returns those from number ?since= on; with ?run= only that one, waiting
// for it.
func (c *consoleRole) results(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	if id := query.Get("run"); id != "" {
		return c.resultOf(ctx, id)
	}
	since := 0
	if s := query.Get("since"); s != "" {
		var err error
		if since, err = strconv.Atoi(s); err != nil || since < 0 {
			return nil, problem.New(problem.OutOfRange, "since: want a whole number").In("since")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := min(max(since-c.passed, 0), len(c.kept))
	return Results{Results: append([]campaign.Result{}, c.kept[from:]...), Next: c.passed + len(c.kept)}, nil
}

func (c *consoleRole) resultOf(ctx context.Context, id string) (any, error) {
	c.mu.Lock()
	under := c.runs[id]
	c.mu.Unlock()
	if under != nil {
		hold, cancel := context.WithTimeout(ctx, longPoll)
		defer cancel()
		select {
		case <-under.done:
		case <-hold.Done():
			return Results{Results: []campaign.Result{}}, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kept {
		if k.Run == id {
			return Results{Results: []campaign.Result{k}}, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no run %.40q", id)
}

// poll holds an attacker's call until there is something to do.
func (c *consoleRole) poll(ctx context.Context, in PhoneCall) (any, error) {
	queue := c.queues[in.Name]
	if queue == nil {
		return nil, problem.New(problem.OutOfRange, "the campaign has no attacker %.40q that is a pod",
			in.Name).In("name")
	}
	c.here(in.Name)
	defer c.here(in.Name)
	// An attacker that calls again without having reported never got its order:
	// a switch of the stage cuts the calls that are held here.
	c.mu.Lock()
	lost := c.handed[in.Name]
	again := lost != nil && c.runs[lost.id] == lost
	c.mu.Unlock()
	if again {
		return Order{Run: lost.id, Attack: lost.attack.ID}, nil
	}
	hold, cancel := context.WithTimeout(ctx, longPoll)
	defer cancel()
	for {
		select {
		case <-hold.Done():
			return Order{}, nil
		case r := <-queue:
			c.mu.Lock()
			_, wanted := c.runs[r.id]
			if wanted {
				c.handed[in.Name] = r
			}
			c.mu.Unlock()
			if !wanted { // given up in the meantime
				continue
			}
			close(r.taken)
			return Order{Run: r.id, Attack: r.attack.ID}, nil
		}
	}
}

func (c *consoleRole) here(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[name] = c.Clock.Now()
}

func (c *consoleRole) report(_ context.Context, in Report) (any, error) {
	if in.Evidence == nil {
		return nil, endpoint.Required("evidence", false)
	}
	if !c.finish(in.Run, in.Name, in.Evidence) {
		return nil, problem.New(problem.NotFound, "nobody waits for that report")
	}
	return Heard{Status: "heard"}, nil
}

// loot is what egress means: it only counts the bytes.
func (c *consoleRole) loot(ctx context.Context, in LootDelivery) (any, error) {
	c.Log.InfoContext(ctx, "loot arrived", "from", in.Name, "bytes", len(in.Loot))
	return Heard{Status: "heard"}, nil
}
