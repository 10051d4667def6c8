package trace_test

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"artemis.example/service/trace"
)

// FuzzJudge forges identities: without a waypoint in the path none of them is
// proven, and whatever is shown of them is JSON that says the same.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{
		"By=spiffe://cluster.local/ns/orion/sa/waypoint;URI=spiffe://cluster.local/ns/houston/sa/flight-director",
		`By=x;URI="spiffe://a/b;c"`, "Nonce=00ff", "Nonce=<script>", "URI=", ",;,URI=a", "URI=\u2028\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		caller := trace.NewEvidence(time.Now, time.Hour, true).Judge([]string{header})
		if !caller.Claimed || caller.Proof != trace.ProofNone {
			t.Fatalf("%q is proven: %+v", header, caller)
		}
		b, err := (&trace.Trace{Service: "capcom", Caller: caller}).Append(nil)
		var back trace.Trace
		if err != nil || json.Unmarshal(b, &back) != nil {
			t.Fatalf("%q: %v: %s", header, err, b)
		}
		if utf8.ValidString(caller.Identity) && back.Caller != caller {
			t.Fatalf("%+v is shown as %+v", caller, back.Caller)
		}
	})
}
