package adversary

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Verdict is what came of an attack, from a closed set.
type Verdict string

// The verdicts. Allowed says that the request came to the target's program:
// no layer stood in the way, whatever the program then made of it.
const (
	Allowed       Verdict = "allowed"
	DeniedL7      Verdict = "denied-l7"
	DeniedL4      Verdict = "denied-l4"
	DeniedNetwork Verdict = "denied-network"
	TargetDown    Verdict = "target-down"
	AttackerDown  Verdict = "attacker-down"
	Unknown       Verdict = "unknown"
)

// Verdicts returns the closed set.
func Verdicts() []Verdict {
	return []Verdict{Allowed, DeniedL7, DeniedL4, DeniedNetwork, TargetDown, AttackerDown, Unknown}
}

// Denied reports whether a layer stood in the way.
func (v Verdict) Denied() bool { return v == DeniedL7 || v == DeniedL4 || v == DeniedNetwork }

// Layer returns the layer that a denial belongs to, 0 for what is none.
func (v Verdict) Layer() int {
	switch v {
	case DeniedNetwork:
		return 1
	case DeniedL4:
		return 2
	case DeniedL7:
		return 3
	}
	return 0
}

// Fault is the kind of error that the attacker's socket gave.
type Fault string

// The faults.
const (
	NoFault      Fault = ""
	Refused      Fault = "refused"   // connection refused
	Reset        Fault = "reset"     // cut with a reset
	Closed       Fault = "closed"    // closed without an answer
	TimedOut     Fault = "timed-out" // no answer within the attacker's patience
	NoSuchName   Fault = "no-such-name"
	NotPermitted Fault = "not-permitted" // the kernel of the pod said no
	TLSAlert     Fault = "tls-alert"     // the peer refused the certificate
	Unreachable  Fault = "unreachable"
	Garbled      Fault = "garbled" // bytes that are no HTTP
)

// cut reports whether the fault is that of a connection which was not let through.
func (f Fault) cut() bool { return f == Refused || f == Reset || f == Closed || f == TimedOut }

// MaxBody bounds the excerpt of an answer's body in the evidence, in bytes.
const MaxBody = 1 << 10

// Evidence is what the attacker saw on the wire.
type Evidence struct {
	// Sent is the request as it was written, without its body.
	Sent   string `json:"sent,omitempty"`
	Remote string `json:"remote,omitempty"` // where the connection went
	Status int    `json:"status,omitempty"` // 0 without an answer
	// Headers are those of the answer, Body its first MaxBody bytes.
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Service is the program that answered, by the trace in its answer; Claimed
	// the caller's identity as it saw it.
	Service string `json:"service,omitempty"`
	Claimed string `json:"claimed,omitempty"`
	Fault   Fault  `json:"fault,omitempty"`
	Error   string `json:"error,omitempty"`
	// Answered of Attempts requests were answered by the target's program with
	// 2xx, where more than one was sent.
	Attempts   int     `json:"attempts,omitempty"`
	Answered   int     `json:"answered,omitempty"`
	DurationMs float64 `json:"durationMs"`
	// Effect reports whether the attack got what it wanted.
	Effect bool `json:"effect"`
	// Note says in a sentence what the means found, where that is no answer.
	Note string `json:"note,omitempty"`
	// Concluded is the verdict that a means reaches by itself, such as by what
	// it reads on a wire.
	Concluded Verdict `json:"concluded,omitempty"`
}

// Read takes out of an answer's body who answered and whom it took us for.
func (e *Evidence) Read(body []byte) {
	var got answer
	if json.Unmarshal(body, &got) == nil {
		e.Service, e.Claimed = got.Trace.Service, got.Trace.Caller.Identity
	}
	e.Body = strings.ToValidUTF8(string(body[:min(len(body), MaxBody)]), "\uFFFD")
}

// Matches reports whether an effect shows in an answer with that body.
func (e Effect) Matches(status int, body []byte) bool {
	if e.AlreadyInEffect != "" && strings.Contains(string(body), e.AlreadyInEffect) {
		return true
	}
	if e.Status != 0 && status != e.Status {
		return false
	}
	if e.Status == 0 && (status < 200 || status > 299) {
		return false
	}
	return strings.Contains(string(body), e.Contains)
}

// Probe is one live control: a legitimate call to the target.
type Probe struct {
	OK   bool   `json:"ok"`
	Call string `json:"call"`
	// Target reports that the failure is the target's own: its caller could not
	// reach it, or it failed.
	Target bool   `json:"target,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Decision is what the log says about the attack: a part of the mesh's record.
type Decision struct {
	Hop     string  `json:"hop"`
	Layer   int     `json:"layer"`
	Verdict Verdict `json:"verdict"`
	Policy  string  `json:"policy,omitempty"`
	Rule    string  `json:"rule,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	// Stage is the one that was in force when the decision fell.
	Stage string `json:"stage,omitempty"`
}

// Case is everything that is known when an attack is judged.
type Case struct {
	Attack   Attack
	Attacker Attacker
	Stage    string // in force when the attack was sent, empty where that is not known
	// Evidence is nil when the attacker did not report.
	Evidence      *Evidence
	Before, After *Probe // nil where no control was made
	// LogRead reports whether there is a decision log that names every denial; Log
	// is what it, or a cluster's proxies, have about the attack, oldest first.
	LogRead bool
	Log     []Decision
}

// Judgement is the verdict with its reasons.
type Judgement struct {
	Verdict Verdict `json:"verdict"`
	Layer   int     `json:"layer,omitempty"`
	Policy  string  `json:"policy,omitempty"`
	Reason  string  `json:"reason"`
	// Inferred reports that no log named the deciding layer: only that the
	// connection was denied is certain.
	Inferred bool      `json:"inferred,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
}

// RBACBody is what a waypoint answers to what no policy allows, with 403
// (Envoy's RBAC filter).
const RBACBody = "RBAC: access denied"

// Judge makes a verdict. A denial is only what was proven to be one: the
// target answered a legitimate call before and after, and, where there is a log,
// the log names the decision. Everything else that is no success is unknown or
// somebody's absence.
func Judge(c Case) Judgement {
	e := c.Evidence
	switch {
	case e == nil:
		return Judgement{Verdict: AttackerDown, Reason: "the attacker did not report what it saw"}
	case e.Concluded == Allowed:
		return Judgement{Verdict: Allowed, Reason: e.Note}
	case e.Concluded != "":
		return verdictFromMeans(c)
	case e.Effect, e.Service != "" && e.Service == c.Attack.Target:
		return Judgement{Verdict: Allowed, Reason: reached(e)}
	}
	suspect, reason := verdictFromWire(c)
	if !suspect.Denied() {
		return Judgement{Verdict: suspect, Reason: reason}
	}
	if c.Before == nil && c.After == nil && suspect == DeniedL7 {
		// Nobody made a control: a waypoint's own words stand for themselves,
		// silence does not.
		return Judgement{Verdict: suspect, Layer: suspect.Layer(), Reason: reason + "; no live control was made"}
	}
	if down := controls(c); down != nil {
		return *down
	}
	switch {
	case e.Status == http.StatusNotFound: // no route: no layer decided, so none has logged
		return Judgement{Verdict: suspect, Layer: suspect.Layer(), Reason: reason}
	case !c.LogRead && !slices.ContainsFunc(c.Log, func(d Decision) bool { return d.Verdict.Denied() }):
		return Judgement{Verdict: suspect, Layer: suspect.Layer(), Reason: reason, Inferred: suspect != DeniedL7}
	}
	return verdictFromLog(c, reason)
}

func reached(e *Evidence) string {
	if e.Effect {
		return fmt.Sprintf("the program answered %d: the attacker has what it wanted", e.Status)
	}
	return fmt.Sprintf("the request came to the program, which answered %d; no layer stood in its way", e.Status)
}

// verdictFromMeans is a denial that the means itself saw.
func verdictFromMeans(c Case) Judgement {
	v := c.Evidence.Concluded
	if v.Denied() {
		if down := controls(c); down != nil {
			return *down
		}
	}
	return Judgement{Verdict: v, Layer: v.Layer(), Reason: c.Evidence.Note}
}

// verdictFromWire is what the wire alone says.
func verdictFromWire(c Case) (Verdict, string) {
	e := c.Evidence
	switch {
	case e.Status == http.StatusForbidden && strings.TrimSpace(e.Body) == RBACBody:
		return DeniedL7, "403 " + RBACBody
	case e.Status == http.StatusNotFound && c.Attacker.Pod == "" && e.Service == "":
		return DeniedNetwork, "the gateway has no route for it"
	case e.Status != 0 && e.Service != "":
		return Unknown, fmt.Sprintf("%s answered %d, not %s", e.Service, e.Status, c.Attack.Target)
	case e.Status == http.StatusServiceUnavailable, e.Status == http.StatusBadGateway,
		e.Status == http.StatusGatewayTimeout:
		// A proxy could not reach what is behind it: only the log knows why.
		return DeniedL4, fmt.Sprintf("a proxy on the way answered %d", e.Status)
	case e.Status != 0:
		return Unknown, fmt.Sprintf("somebody on the way answered %d", e.Status)
	case e.Fault == TLSAlert:
		return DeniedL4, "the certificate was refused: " + e.Error
	case c.Stage == "open" && e.Fault.cut():
		// No identity is asked for at this stage: only a NetworkPolicy refuses.
		return DeniedNetwork, "the connection was " + string(e.Fault)
	case e.Fault == Refused && c.Attacker.Unmeshed, e.Fault == TimedOut && c.Attacker.Unmeshed:
		return DeniedNetwork, "the connection was " + string(e.Fault)
	case e.Fault.cut():
		return DeniedL4, "the connection was " + string(e.Fault)
	}
	return Unknown, fmt.Sprintf("%s: %s", e.Fault, e.Error)
}

// controls returns the verdict if a control has failed, nil when both are good.
func controls(c Case) *Judgement {
	for _, probe := range []struct {
		when string
		*Probe
	}{{"before", c.Before}, {"after", c.After}} {
		switch {
		case probe.Probe == nil:
			return &Judgement{Verdict: Unknown, Reason: "no live control was made " + probe.when}
		case !probe.OK && probe.Target:
			return &Judgement{Verdict: TargetDown, Reason: fmt.Sprintf("%s did not answer the live control %s: %s",
				c.Attack.Target, probe.when, probe.Detail)}
		case !probe.OK:
			return &Judgement{Verdict: Unknown, Reason: fmt.Sprintf("the live control %s failed: %s", probe.when,
				probe.Detail)}
		}
	}
	return nil
}

// verdictFromLog asks the log which layer decided.
func verdictFromLog(c Case, reason string) Judgement {
	i := len(c.Log) - 1
	for ; i >= 0 && !c.Log[i].Verdict.Denied(); i-- {
	}
	if i < 0 {
		return Judgement{Verdict: Unknown, Reason: reason + ", but the decision log names no denial"}
	}
	d := c.Log[i]
	if d.Reason != "" {
		reason += "; " + d.Reason
	}
	layer := d.Layer
	if layer == 0 {
		layer = d.Verdict.Layer()
	}
	return Judgement{Verdict: d.Verdict, Layer: layer, Policy: d.Policy, Reason: reason, Decision: &d}
}

// Result is one attack, played and judged.
type Result struct {
	Run      string    `json:"run"`
	ID       string    `json:"id"`
	Stage    string    `json:"stage,omitempty"`
	Capture  string    `json:"capture,omitempty"`
	At       time.Time `json:"at"`
	Attacker string    `json:"attacker"`
	Judgement
	Evidence *Evidence `json:"evidence,omitempty"`
	Control  Controls  `json:"control"`
	// Expected and Differs are set by who knows the stage.
	Expected *Expectation `json:"expected,omitempty"`
	Differs  string       `json:"differs,omitempty"`
}

// DecidedAt returns the result under the stage at which it was decided, now
// being the stage in force when all was over. What was sent at one stage and
// judged at another proves something only where a decision names its own.
func (r Result) DecidedAt(now string) Result {
	switch {
	case r.Decision != nil && r.Decision.Stage != "":
		r.Stage = r.Decision.Stage
	case r.Stage != now:
		r.Judgement = Judgement{Verdict: Unknown, Reason: fmt.Sprintf("the stage was switched from %s to %s while "+
			"the attack was under way: %s", r.Stage, now, r.Reason)}
		r.Stage = ""
	}
	return r
}

// Controls are the live controls around an attack.
type Controls struct {
	Before *Probe `json:"before,omitempty"`
	After  *Probe `json:"after,omitempty"`
}

// Differs says in a sentence how a judgement differs from what was expected,
// empty when it does not. Where the layer was only inferred, any denial of a
// connection is as good as another.
func (e Expectation) Differs(j Judgement, evidence *Evidence) string {
	if e.AlsoAcceptable != "" && j.Verdict == e.AlsoAcceptable {
		return ""
	}
	if j.Verdict != e.Verdict && !(j.Inferred && e.Verdict.Denied() && j.Verdict.Denied()) {
		return fmt.Sprintf("expected %s, was %s: %s", e.Verdict, j.Verdict, j.Reason)
	}
	if want := max(e.Layer, 0); want != 0 && want != j.Layer && !j.Inferred {
		return fmt.Sprintf("expected layer %d to answer, layer %d did", want, j.Layer)
	}
	if e.Effect != nil && (evidence != nil && evidence.Effect) != *e.Effect {
		if *e.Effect {
			return "expected the attack to get what it wanted: " + j.Reason
		}
		return "the attack got what it wanted, which was not expected: " + j.Reason
	}
	return ""
}
