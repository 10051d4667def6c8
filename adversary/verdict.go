package adversary

import (
	"strings"
	"time"
)

// Verdict is what came of an attack, from a closed set. "Not 2xx" is never
// "blocked".
type Verdict string

// The verdicts.
const (
	Allowed       Verdict = "allowed"        // the program was reached and answered
	DeniedL7      Verdict = "denied-l7"      // a waypoint answered 403
	DeniedL4      Verdict = "denied-l4"      // the connection was refused for its identity
	DeniedNetwork Verdict = "denied-network" // a NetworkPolicy, or the pod's own capture, refused the connection
	TargetDown    Verdict = "target-down"    // legitimate calls do not reach the target either
	AttackerDown  Verdict = "attacker-down"  // the attacker's pod or its console does not answer
	Unknown       Verdict = "unknown"        // there is not enough evidence for any of these
)

// How a connection failed, from a closed set.
const (
	FailedRefused = "refused" // connection refused, or not permitted by the kernel
	FailedReset   = "reset"   // reset or closed without an answer
	FailedTimeout = "timeout"
	FailedName    = "name"  // the name does not resolve
	FailedTLS     = "tls"   // the handshake was refused
	FailedOther   = "other" // anything else
)

// Evidence is what the attacker saw on the wire.
type Evidence struct {
	Status     int               `json:"status,omitempty"` // 0 when there was no answer
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"` // the first KiB
	Failure    string            `json:"failure,omitempty"`
	Error      string            `json:"error,omitempty"`
	DurationMs float64           `json:"durationMs"`
	// Sent and Answered count the requests of a flood or a replay.
	Sent     int `json:"sent,omitempty"`
	Answered int `json:"answered,omitempty"`
}

// Report is one run of an attack, as the attacker's pod tells it.
type Report struct {
	Run      string    `json:"run"`
	ID       string    `json:"id"`
	Attacker string    `json:"attacker"`
	At       time.Time `json:"at"`
	Evidence Evidence  `json:"evidence"`
	// Verdict is what the wire alone proves: allowed, denied-l7 or unknown.
	Verdict Verdict `json:"verdict"`
	Layer   int     `json:"layer,omitempty"`
}

// Denial is what the mesh's own log says about the call, where it can be read.
type Denial struct {
	Verdict Verdict `json:"verdict"`
	Layer   int     `json:"layer"`
	Hop     string  `json:"hop"`
	Policy  string  `json:"policy,omitempty"`
	Rule    string  `json:"rule,omitempty"`
	Reason  string  `json:"reason,omitempty"`
}

// Control is a legitimate call to the same target, just before or just after.
type Control struct {
	Call   string `json:"call"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// OnTheWire judges what the wire alone proves. An answer of one of the
// mission's programs, whatever its status, means that the request arrived: the
// programs mark theirs with a trace or as a problem of theirs.
func OnTheWire(a Attack, e Evidence) (Verdict, int) {
	switch {
	case e.Status == 403 && strings.Contains(e.Body, "RBAC: access denied"):
		return DeniedL7, 3
	case e.Status >= 200 && e.Status < 300, e.Status != 0 && fromTheProgram(e):
		if a.Success != "" && !strings.Contains(e.Body, a.Success) {
			return Unknown, 0
		}
		return Allowed, 0
	}
	return Unknown, 0
}

func fromTheProgram(e Evidence) bool {
	return strings.Contains(e.Body, `"urn:artemis:problem:`) && strings.HasPrefix(e.Headers["content-type"], "application/problem+json")
}

// Judge gives the verdict from everything there is to know: the wire, the
// controls around it, and the mesh's log; logged tells whether that log could be
// read at all.
func Judge(a Attack, e Evidence, before, after Control, denial *Denial, logged bool) (Verdict, int) {
	if v, layer := OnTheWire(a, e); v != Unknown {
		return v, layer
	}
	if e.Failure == FailedName || e.Failure == FailedOther {
		return Unknown, 0
	}
	// No answer, or one that only a proxy in front of the target gives: that
	// looks the same when the target is down.
	if e.Failure == "" && e.Status != 503 {
		return Unknown, 0
	}
	if !before.OK || !after.OK {
		return TargetDown, 0
	}
	if denial != nil {
		return denial.Verdict, denial.Layer
	}
	// The pod's own rules refuse a datagram before any proxy sees it.
	if a.Request.Kind == KindUDP && e.Failure == FailedRefused {
		return DeniedNetwork, 1
	}
	if logged {
		return Unknown, 0 // somebody refused it, and the log does not know
	}
	switch e.Failure {
	case FailedRefused, FailedTimeout:
		return DeniedNetwork, 1
	}
	return DeniedL4, 2
}
