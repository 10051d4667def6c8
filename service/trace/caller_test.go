package trace_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/service/trace"
)

const (
	waypointWrote = "By=spiffe://cluster.local/ns/orion/sa/waypoint;URI=spiffe://cluster.local/ns/houston/sa/capcom"
	capcom        = "spiffe://cluster.local/ns/houston/sa/capcom"
)

var (
	claimed = trace.Caller{Identity: capcom, Claimed: true, Proof: trace.ProofNone}
	proven  = trace.Caller{Identity: capcom, Proof: trace.ProofWaypoint}
	unknown = trace.Caller{Claimed: true, Proof: trace.ProofNone}
)

// watch is evidence with a clock to turn.
type watch struct {
	*trace.Evidence
	at time.Time
}

func newWatch(inCell bool) *watch {
	w := &watch{at: time.Unix(1e9, 0)}
	w.Evidence = trace.NewEvidence(func() time.Time { return w.at }, 3*time.Second, inCell)
	return w
}

func (w *watch) after(d time.Duration) *watch { w.at = w.at.Add(d); return w }

func TestWhoCalledIsClaimedUntilAWaypointIsKnown(t *testing.T) {
	t.Parallel()
	w := newWatch(false)
	judge := func(what string, want trace.Caller, lines ...string) {
		t.Helper()
		if diff := cmp.Diff(want, w.Judge(lines)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	judge("at the start anybody could have written it", claimed, waypointWrote)
	w.after(4 * time.Second)
	judge("while nothing arrives as sent, a waypoint writes it", proven, waypointWrote)
	nonce := trace.NewNonce()
	judge("our own value arrives as sent", trace.Caller{Claimed: true, Proof: trace.ProofNone,
		Nonce: nonce[len("Nonce="):]}, nonce)
	w.after(2 * time.Second)
	judge("so the header next to it proves nothing", claimed, waypointWrote)
	w.after(4 * time.Second)
	judge("two headers: whose is which?", claimed, waypointWrote, waypointWrote)
	judge("nothing at all", unknown)
	judge("nothing arrived, so nobody rewrites", claimed, waypointWrote)
	w.after(4 * time.Second)
	judge("a list is not what the waypoint writes", unknown, waypointWrote+","+waypointWrote)
	judge("an empty value is nothing", unknown, "")
	judge("garbage", trace.Caller{Claimed: true, Proof: trace.ProofNone}, "Nonce=<script>")
}

func TestAServiceThatCallsItsCellChecksByItsOwnCalls(t *testing.T) {
	t.Parallel()
	w := newWatch(true)
	w.after(4 * time.Second)
	if got := w.Judge([]string{waypointWrote}); !got.Claimed {
		t.Errorf("no call of its own yet: %+v", got)
	}
	nonce := trace.NewNonce()
	if p := w.Echo(nonce, trace.Caller{Nonce: nonce[len("Nonce="):]}, true); p != trace.ProofNone {
		t.Errorf("our value arrived as sent: %s", p)
	}
	if got := w.Judge([]string{waypointWrote}); !got.Claimed {
		t.Errorf("its own value arrived as sent in its Cell: %+v", got)
	}
	if p := w.Echo(nonce, trace.Caller{Identity: capcom}, true); p != trace.ProofWaypoint {
		t.Errorf("our value was replaced: %s", p)
	}
	if diff := cmp.Diff(proven, w.Judge([]string{waypointWrote})); diff != "" {
		t.Errorf("its own value is replaced in its Cell (-want +got):\n%s", diff)
	}
}

func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		seen[trace.NewNonce()] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different of 1000", len(seen))
	}
}
