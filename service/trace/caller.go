package trace

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// IdentityHeader is where a waypoint writes whom it admitted
// (ambient.istio.io/xfcc-include-client-identity).
const IdentityHeader = "X-Forwarded-Client-Cert"

// noncePrefix starts the value that our own clients send in IdentityHeader. No
// waypoint writes it, so whoever receives it knows that none was in the path.
const noncePrefix = "Nonce="

// Proof says what a caller's identity is worth.
type Proof string

const (
	// ProofNone: anybody could have written it.
	ProofNone Proof = "none"
	// ProofWaypoint: a waypoint is known to be in the path, and it wrote it.
	ProofWaypoint Proof = "waypoint"
)

// Caller is who called, as far as the callee can tell. No code decides by it.
type Caller struct {
	Identity string `json:"identity"` // SPIFFE ID; empty when nobody said
	Claimed  bool   `json:"claimed"`  // true unless proven
	Proof    Proof  `json:"proof"`
	// Nonce is the random value of our client, if it arrived as sent.
	Nonce string `json:"nonce,omitempty"`
}

func (c Caller) append(b []byte) ([]byte, error) {
	b = append(b, `{"identity":`...)
	if strings.ContainsFunc(c.Identity, func(r rune) bool {
		return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r)
	}) {
		quoted, err := json.Marshal(c.Identity)
		if err != nil {
			return nil, err
		}
		b = append(b, quoted...)
	} else {
		b = append(append(append(b, '"'), c.Identity...), '"')
	}
	b = append(b, `,"claimed":`...)
	b = strconv.AppendBool(b, c.Claimed)
	b = append(append(append(b, `,"proof":"`...), c.Proof...), '"')
	if c.Nonce != "" {
		b = append(append(append(b, `,"nonce":"`...), c.Nonce...), '"')
	}
	return append(b, '}'), nil
}

// NewNonce makes the random value that a client sends in IdentityHeader.
func NewNonce() string {
	var raw [8]byte
	binary.LittleEndian.PutUint64(raw[:], rand.Uint64())
	return noncePrefix + hex.EncodeToString(raw[:])
}

// Evidence is what a service has seen of waypoints in its path, without any setting. A
// waypoint replaces the header of every request. So while the values of our own clients
// arrive as they were sent, or nothing arrives, there is none, whatever another request
// claims; and who forges a header cannot keep those values from arriving.
type Evidence struct {
	now    func() time.Time
	window time.Duration
	// inCell reports that this service calls others of its Cell, and so can
	// check by its own calls.
	inCell bool
	raw    atomic.Int64 // when a value last arrived as sent, Unix ns
	// echo is when a service of our Cell last told us that our own value had
	// been replaced; negative, that it had arrived as sent.
	echo atomic.Int64
}

// NewEvidence begins with none: for the length of window everything is claimed.
func NewEvidence(now func() time.Time, window time.Duration, inCell bool) *Evidence {
	e := &Evidence{now: now, window: window, inCell: inCell}
	e.raw.Store(now().UnixNano())
	return e
}

// Judge reads the IdentityHeader lines of a request.
func (e *Evidence) Judge(lines []string) Caller {
	if len(lines) != 1 || lines[0] == "" {
		e.raw.Store(e.now().UnixNano())
		if len(lines) < 2 {
			return Caller{Claimed: true, Proof: ProofNone}
		}
	}
	if nonce, ok := strings.CutPrefix(lines[0], noncePrefix); ok {
		e.raw.Store(e.now().UnixNano())
		if len(nonce) > 32 || strings.Trim(nonce, "0123456789abcdef") != "" {
			nonce = ""
		}
		return Caller{Claimed: true, Proof: ProofNone, Nonce: nonce}
	}
	caller := Caller{Identity: identity(lines[0]), Claimed: true, Proof: ProofNone}
	if caller.Identity != "" && len(lines) == 1 && e.waypoint() {
		caller.Claimed, caller.Proof = false, ProofWaypoint
	}
	return caller
}

func (e *Evidence) waypoint() bool {
	now := e.now().UnixNano()
	if now-e.raw.Load() < int64(e.window) {
		return false
	}
	return !e.inCell || (e.echo.Load() > 0 && now-e.echo.Load() < 4*int64(e.window))
}

// Echo is what the client of this service learns when an answer comes back: the
// caller as the callee saw it, when the client had sent nonce. It returns what
// that proves.
func (e *Evidence) Echo(nonce string, seen Caller, sameCell bool) Proof {
	proof := ProofNone
	if seen.Identity != "" && noncePrefix+seen.Nonce != nonce {
		proof = ProofWaypoint
	}
	if sameCell {
		at := e.now().UnixNano()
		if proof != ProofWaypoint {
			at = -at
		}
		e.echo.Store(at)
	}
	return proof
}

// identity takes the URI out of an element of the header, in Envoy's form
// "By=...;URI=...": keys parted by semicolons, values perhaps quoted.
func identity(value string) string {
	const longest = 512
	if len(value) > 4*longest || strings.Contains(value, ",") {
		return ""
	}
	for pair := range strings.SplitSeq(value, ";") {
		if key, v, ok := strings.Cut(pair, "="); ok && strings.EqualFold(key, "URI") {
			if v = strings.Trim(v, `"`); len(v) <= longest {
				return v
			}
		}
	}
	return ""
}
