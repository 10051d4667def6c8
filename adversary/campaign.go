// Package adversary is the attack campaign: what each attack sends, what must
// come of it, and how what was seen becomes a verdict. It sends nothing itself:
// the role adversary of the service does, the package runner asks for it.
package adversary

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed campaign.yaml
var embedded []byte

// Stages are those of the demo, in order.
var stages = []string{"open", "mtls", "zero-trust"}

// Stages gives the three stages, in order.
func Stages() []string { return slices.Clone(stages) }

// Outside is the attacker that comes through the gateway, from no pod.
const Outside = "outside"

// The kinds of request.
const (
	KindHTTP      = "http"       // one HTTP/1.1 request, its bytes as written in the campaign
	KindPodIP     = "pod-ip"     // the same to the first address that the target's name resolves to
	KindReplay    = "replay"     // the same bytes twice
	KindFlood     = "flood"      // the same request FloodCount times
	KindForeignCA = "foreign-ca" // TLS to port 15008 of the pod, with a certificate of a CA of the attacker's own
	KindUDP       = "udp"        // one datagram
)

// FloodCount is how many requests a flood sends.
const FloodCount = 200

// Campaign is the case file.
type Campaign struct {
	// Targets are the only addresses that anything is sent to, by name.
	Targets map[string]string `json:"targets"`
	// Services names the mission's service behind a target of another name.
	Services map[string]string `json:"services"`
	Attacks  []Attack          `json:"attacks"`
}

// Attack is one case.
type Attack struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Category string `json:"category"`
	Story    string `json:"story"`
	// Attacker is the pod that makes it, as CELL-OR-NAMESPACE/DEPLOYMENT, or Outside.
	Attacker string  `json:"attacker"`
	Request  Request `json:"request"`
	// Expect is what must come of it, by stage. A stage that is not there has
	// nothing to attack, and Control says why.
	Expect map[string]Expectation `json:"expect"`
	// Control says why a denial proves something where no stage shows the
	// attack succeed.
	Control string `json:"control,omitempty"`
	// Success is text that the answer must hold for the attack to count as
	// successful, beyond having arrived.
	Success string `json:"success,omitempty"`
	// Limits says what the layers do not stop here, and what would.
	Limits string `json:"limits,omitempty"`
	// Needs is what the capture must give: "names" is the pod's own name
	// resolution and sockets, which a cooperative capture does not confine.
	Needs string `json:"needs,omitempty"`
}

// Request is what is sent.
type Request struct {
	Kind    string            `json:"kind,omitempty"`
	Target  string            `json:"target"`
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path,omitempty"` // as sent, with the query
	Headers map[string]string `json:"headers,omitempty"`
	JSON    string            `json:"json,omitempty"`
}

// Expectation is a verdict and the layer that gives it; 0 where nobody denies.
type Expectation struct {
	Verdict Verdict `json:"verdict"`
	Layer   int     `json:"layer,omitempty"`
}

// Load gives the campaign that is built in.
func Load() (*Campaign, error) { return Parse(embedded) }

// Parse reads a case file strictly. Its error lists everything that is wrong.
func Parse(file []byte) (*Campaign, error) {
	var c Campaign
	if err := yaml.UnmarshalStrict(file, &c); err != nil {
		return nil, fmt.Errorf("campaign: %w", err)
	}
	var problems []error
	bad := func(id, format string, args ...any) {
		problems = append(problems, fmt.Errorf("campaign: attack %q: %s", id, fmt.Sprintf(format, args...)))
	}
	seen := map[string]bool{}
	for i := range c.Attacks {
		a := &c.Attacks[i]
		if a.Request.Kind == "" {
			a.Request.Kind = KindHTTP
		}
		if a.ID == "" || strings.Trim(a.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			bad(a.ID, "an id has small letters, digits and dashes")
		}
		if seen[a.ID] {
			bad(a.ID, "is there twice")
		}
		seen[a.ID] = true
		if a.Title == "" || a.Story == "" || a.Attacker == "" || a.Category == "" {
			bad(a.ID, "title, story, category and attacker are required")
		}
		if !slices.Contains([]string{KindHTTP, KindPodIP, KindReplay, KindFlood, KindForeignCA, KindUDP}, a.Request.Kind) {
			bad(a.ID, "kind %q is not known", a.Request.Kind)
		}
		if _, ok := c.Targets[a.Request.Target]; !ok && a.Attacker != Outside {
			bad(a.ID, "target %q is not in the list of targets", a.Request.Target)
		}
		if a.Request.Kind != KindForeignCA && a.Request.Kind != KindUDP {
			if a.Request.Method == "" || !strings.HasPrefix(a.Request.Path, "/") || strings.ContainsAny(a.Request.Method+a.Request.Path, " \r\n") {
				bad(a.ID, "method and path are required, without spaces")
			}
		}
		for name, value := range a.Request.Headers {
			if strings.ContainsAny(name+value, "\r\n") {
				bad(a.ID, "header %q has a line break", name)
			}
		}
		succeeds := false
		for stage, e := range a.Expect {
			if !slices.Contains(stages, stage) {
				bad(a.ID, "stage %q is not known", stage)
			}
			switch e.Verdict {
			case Allowed:
				succeeds = true
				if e.Layer != 0 {
					bad(a.ID, "%s: nobody denies, so there is no layer", stage)
				}
			case DeniedL7, DeniedL4, DeniedNetwork:
				if e.Layer < 1 || e.Layer > 3 {
					bad(a.ID, "%s: a denial names its layer, 1 to 3", stage)
				}
			default:
				bad(a.ID, "%s: %q is no verdict to expect", stage, e.Verdict)
			}
		}
		if len(a.Expect) == 0 {
			bad(a.ID, "expects nothing")
		}
		// A denial proves something only beside a success, or with a reason.
		if (!succeeds || len(a.Expect) < len(stages)) && a.Control == "" {
			bad(a.ID, "never succeeds or misses a stage, and control does not say why")
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &c, nil
}

// Attack gives an attack by its id, and whether there is one.
func (c *Campaign) Attack(id string) (Attack, bool) {
	i := slices.IndexFunc(c.Attacks, func(a Attack) bool { return a.ID == id })
	if i < 0 {
		return Attack{}, false
	}
	return c.Attacks[i], true
}

// Service gives the mission's service that an attack is aimed at; empty for one
// outside of the mission.
func (c *Campaign) Service(a Attack) string {
	if s, ok := c.Services[a.Request.Target]; ok {
		return s
	}
	switch a.Request.Target {
	case "gateway":
		name, _, _ := strings.Cut(strings.TrimPrefix(a.Request.Path, "/"), "-http")
		return name
	case "adversary-console":
		return ""
	}
	return a.Request.Target
}

// Attackers gives every pod that some attack is made from, sorted.
func (c *Campaign) Attackers() []string {
	var all []string
	for _, a := range c.Attacks {
		if a.Attacker != Outside && !slices.Contains(all, a.Attacker) {
			all = append(all, a.Attacker)
		}
	}
	slices.Sort(all)
	return all
}
