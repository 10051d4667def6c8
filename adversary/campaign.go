// Package adversary is the attack campaign: what the attacker tries, what the
// layers are expected to make of it at each stage, and how evidence becomes a
// verdict. What belongs here is data and judgement; who sends an attack is in
// wire, who plays the campaign against a running
// suite is in local/campaign.
package adversary

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"artemis.example/catalog"
	"go.yaml.in/yaml/v3"
)

//go:embed campaign.yaml
var campaignFile []byte

// Campaign is the whole case file.
type Campaign struct {
	Attackers []Attacker `yaml:"attackers"`
	Attacks   []Attack   `yaml:"attacks"`
}

// Attacker is a pod that takes attacks by name from the console, or, with Pod
// empty, somebody outside of the cluster or on the wire.
type Attacker struct {
	Name      string `yaml:"name" json:"name"`
	About     string `yaml:"about" json:"about"`
	Namespace string `yaml:"namespace" json:"namespace,omitempty"`
	// Pod is the name of its Deployment.
	Pod string `yaml:"pod" json:"pod,omitempty"`
	// Account is the service account that it runs under.
	Account string `yaml:"account" json:"account,omitempty"`
	// Unmeshed pods have no node proxy, so that their network errors mean what
	// they say: the others see a reset for every refusal behind their proxy.
	Unmeshed bool `yaml:"unmeshed" json:"unmeshed,omitempty"`
}

// Identity is its SPIFFE ID, empty for one that is no pod.
func (a Attacker) Identity() string {
	if a.Pod == "" {
		return ""
	}
	return "spiffe://cluster.local/ns/" + a.Namespace + "/sa/" + a.Account
}

// Means is how an attack is sent.
type Means string

// The means.
const (
	HTTP      Means = "http"       // requests as written, over a connection of their own each
	ForeignCA Means = "foreign-ca" // TLS to an HBONE port with a certificate that another CA signed
	Datagram  Means = "datagram"   // UDP
	RawSocket Means = "raw-socket" // TCP segments written by hand, beneath the kernel's TCP
	Wiretap   Means = "wiretap"    // listening on the wire while an operator's call passes
)

// Request is what is written to a connection.
type Request struct {
	// To is HOST:PORT, or for attackers outside empty: the gateway.
	To string `yaml:"to"`
	// PodIP resolves To and dials the address of the first pod.
	PodIP bool `yaml:"podIP"`
	// Line is METHOD and target, as sent: nothing in between changes it.
	Line string `yaml:"line"`
	// Host replaces the Host header that follows from To.
	Host    string   `yaml:"host"`
	Headers []string `yaml:"headers"`
	Body    string   `yaml:"body"`
	// Times sends it more than once.
	Times int `yaml:"times"`
	// Loot sends what came back to the attacker's console.
	Loot bool `yaml:"loot"`
}

// Effect is what has to come back for the attack to have got what it wanted.
// Its zero value asks for a status of 2xx only.
type Effect struct {
	Status   int    `yaml:"status"`
	Contains string `yaml:"contains"`
	// AlreadyInEffect is in an answer, of whatever status, that says that what
	// was wanted is the case already.
	AlreadyInEffect string `yaml:"alreadyInEffect"`
}

// Expectation is what one stage is expected to make of an attack.
type Expectation struct {
	Verdict Verdict `yaml:"verdict" json:"verdict"`
	// AlsoAcceptable is as good, where it depends on the machine which of the two
	// it is.
	AlsoAcceptable Verdict `yaml:"alsoAcceptable" json:"alsoAcceptable,omitempty"`
	// Layer is 1 to 3 for a denial, 0 otherwise. It follows from the verdict
	// unless given.
	Layer int `yaml:"layer" json:"layer,omitempty"`
	// Effect, where given, reports whether the attack gets what it wanted: a
	// request may be let through and be refused by the program, or come to
	// nothing.
	Effect *bool `yaml:"effect" json:"effect,omitempty"`
}

// Control is why a denial proves something: the stage in which the attack
// gets through, or the reason why it never does.
type Control struct {
	Stage string `yaml:"stage"`
	Never string `yaml:"never"`
}

// String returns it as a sentence.
func (c Control) String() string {
	if c.Stage != "" {
		return "it gets through at stage " + c.Stage
	}
	return c.Never
}

// Attack is one case; as JSON, what people are shown of it.
type Attack struct {
	ID       string `yaml:"id" json:"id"`
	Title    string `yaml:"title" json:"title"`
	Story    string `yaml:"story" json:"story"`
	Category string `yaml:"category" json:"category"`
	Attacker string `yaml:"attacker" json:"attacker"`
	// Target is the service at stake, which the live control has to reach.
	Target string    `yaml:"target" json:"target"`
	Means  Means     `yaml:"means" json:"-"`
	Send   []Request `yaml:"send" json:"-"`
	Effect Effect    `yaml:"effect" json:"-"`
	// Spoils reports that the mission is not the same after it succeeded.
	Spoils string `yaml:"spoils" json:"spoils,omitempty"`
	// Last attacks end the flight: they are played after the others of a stage.
	Last   bool   `yaml:"last" json:"last,omitempty"`
	Expect Expect `yaml:"expect" json:"expect"`
	// Cooperative replaces every expectation where pods are not confined
	// (capture "proxy").
	Cooperative *Expectation `yaml:"cooperative" json:"-"`
	// Local attacks need the launcher: on a cluster there is nothing to send
	// them to, or nobody to ask what came of them.
	Local   string  `yaml:"local" json:"local,omitempty"`
	Control Control `yaml:"control" json:"-"`
	// Why says what happens at each stage, and Limits what these layers do not
	// stop here and what would.
	Why    string `yaml:"why" json:"why"`
	Limits string `yaml:"limits" json:"limits"`
}

// Expect holds an expectation for each stage.
type Expect struct {
	Open      Expectation `yaml:"open" json:"open"`
	MTLS      Expectation `yaml:"mtls" json:"mtls"`
	ZeroTrust Expectation `yaml:"zero-trust" json:"zero-trust"`
}

// At returns the expectation of a stage.
func (e Expect) At(stage string) (Expectation, bool) {
	switch stage {
	case "open":
		return e.Open, true
	case "mtls":
		return e.MTLS, true
	case "zero-trust":
		return e.ZeroTrust, true
	}
	return Expectation{}, false
}

// Expected returns what is expected of the attack at a stage under a capture.
func (a Attack) Expected(stage, capture string) (Expectation, bool) {
	if capture == "proxy" && a.Cooperative != nil {
		return *a.Cooperative, true
	}
	return a.Expect.At(stage)
}

// Lines returns the request lines, for people.
func (a Attack) Lines() string {
	var lines []string
	for _, r := range a.Send {
		line := r.Line
		if line == "" {
			line = string(a.Means)
		}
		if r.To != "" {
			line += " to " + r.To
		}
		if r.Times > 1 {
			line += fmt.Sprintf(", %d times", r.Times)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// Load returns the project's campaign.
func Load() (*Campaign, error) {
	c, err := Parse(bytes.NewReader(campaignFile))
	if err != nil {
		return nil, fmt.Errorf("load adversary/campaign.yaml: %w", err)
	}
	return c, nil
}

// Parse reads a case file strictly: an unknown field, a case without an
// expectation for a stage, or a target that nobody can control is an error.
func Parse(r io.Reader) (*Campaign, error) {
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	var c Campaign
	if err := d.Decode(&c); err != nil {
		return nil, err
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one YAML document: a campaign is one")
	}
	names := map[string]bool{}
	for i, a := range c.Attackers {
		if a.Name == "" || a.About == "" || names[a.Name] {
			return nil, fmt.Errorf("attacker %d %q: needs a name of its own and about", i, a.Name)
		}
		if pod := a.Pod != ""; pod != (a.Namespace != "") || pod != (a.Account != "") {
			return nil, fmt.Errorf("attacker %s: pod, namespace and account go together", a.Name)
		}
		names[a.Name] = true
	}
	ids := map[string]bool{}
	for i := range c.Attacks {
		a := &c.Attacks[i]
		if a.Means == "" {
			a.Means = HTTP
		}
		if ids[a.ID] {
			return nil, fmt.Errorf("attack %q: given twice", a.ID)
		}
		ids[a.ID] = true
		if err := c.check(a); err != nil {
			return nil, fmt.Errorf("attack %d %q: %w", i, a.ID, err)
		}
	}
	return &c, nil
}

// Attack returns the attack of that name.
func (c *Campaign) Attack(id string) (Attack, bool) {
	return first(c.Attacks, func(a Attack) bool { return a.ID == id })
}

// Attacker returns the attacker of that name.
func (c *Campaign) Attacker(name string) (Attacker, bool) {
	return first(c.Attackers, func(a Attacker) bool { return a.Name == name })
}

func first[T any](of []T, is func(T) bool) (one T, ok bool) {
	if i := slices.IndexFunc(of, is); i >= 0 {
		return of[i], true
	}
	return one, false
}

// Console is the name of the attacker's own service, the only target that is
// none of the mission's.
const Console = "adversary-console"

func (c *Campaign) check(a *Attack) error {
	for field, value := range map[string]string{
		"id": a.ID, "title": a.Title, "story": a.Story, "category": a.Category, "attacker": a.Attacker,
		"target": a.Target, "why": a.Why, "limits": a.Limits,
	} {
		if strings.TrimSpace(value) == "" {
			return fmt.Errorf("%s is missing", field)
		}
	}
	attacker, ok := c.Attacker(a.Attacker)
	if !ok {
		return fmt.Errorf("there is no attacker %q", a.Attacker)
	}
	if _, ok := catalog.Lookup(a.Target); !ok && a.Target != Console {
		return fmt.Errorf("target %q is no service", a.Target)
	}
	if !slices.Contains([]Means{HTTP, ForeignCA, Datagram, RawSocket, Wiretap}, a.Means) {
		return fmt.Errorf("there is no means %q", a.Means)
	}
	if len(a.Send) == 0 && a.Means != Wiretap {
		return errors.New("send is missing")
	}
	for _, r := range a.Send {
		if err := r.check(a.Means, attacker); err != nil {
			return err
		}
	}
	for _, stage := range catalog.Stages() {
		e, _ := a.Expect.At(stage)
		if err := e.check(); err != nil {
			return fmt.Errorf("expect %s: %w", stage, err)
		}
	}
	if a.Cooperative != nil {
		if err := a.Cooperative.check(); err != nil {
			return fmt.Errorf("cooperative: %w", err)
		}
	}
	return a.checkControl()
}

func (a *Attack) checkControl() error {
	denied := false
	for _, stage := range catalog.Stages() {
		e, _ := a.Expect.At(stage)
		denied = denied || e.Verdict != Allowed
	}
	switch e, ok := a.Expect.At(a.Control.Stage); {
	case (a.Control.Stage == "") == (a.Control.Never == ""):
		return errors.New("control: give the stage in which it gets through, or the reason why it never does")
	case a.Control.Stage != "" && (!ok || e.Verdict != Allowed):
		return fmt.Errorf("control: it is not expected to get through at stage %q", a.Control.Stage)
	case !denied && a.Control.Stage == "":
		return errors.New("control: it always gets through, name a stage")
	}
	return nil
}

func (r Request) check(means Means, from Attacker) error {
	if r.To == "" {
		if from.Pod != "" {
			return errors.New("send: to is missing")
		}
	} else if _, port, err := net.SplitHostPort(r.To); err != nil || port == "" {
		return fmt.Errorf("send: to %q is not HOST:PORT", r.To)
	}
	if means == HTTP {
		if method, target, ok := strings.Cut(r.Line, " "); !ok || method == "" || target == "" {
			return fmt.Errorf("send: line %q is not METHOD TARGET", r.Line)
		}
	}
	for _, text := range append([]string{r.Line, r.Host}, r.Headers...) {
		if strings.ContainsAny(text, "\r\n") {
			return fmt.Errorf("send: %q has a line break", text)
		}
	}
	if r.Times < 0 || r.Times > 1000 {
		return fmt.Errorf("send: %d times", r.Times)
	}
	return nil
}

func (e Expectation) check() error {
	if !slices.Contains(Verdicts(), e.Verdict) {
		return fmt.Errorf("verdict %q is none of %v", e.Verdict, Verdicts())
	}
	if e.AlsoAcceptable != "" && !slices.Contains(Verdicts(), e.AlsoAcceptable) {
		return fmt.Errorf("verdict %q is none of %v", e.AlsoAcceptable, Verdicts())
	}
	if e.Layer < 0 || e.Layer > 3 {
		return fmt.Errorf("there is no layer %d", e.Layer)
	}
	return nil
}
