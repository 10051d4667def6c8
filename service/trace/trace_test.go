package trace_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/service/trace"
)

func TestAppendWritesWhatJSONWrites(t *testing.T) {
	t.Parallel()
	mission := 1234.5
	for _, want := range []trace.Trace{
		{Service: "capcom", Cell: "houston", At: time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC),
			TraceID: "0af7651916cd43dd8448eb211c80319c",
			Caller:  trace.Caller{Claimed: true, Proof: trace.ProofNone, Nonce: "12ab"}, Hops: []trace.Hop{}},
		{Service: "capcom", Cell: "houston", At: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC), MissionTime: &mission,
			Operation: "POST /uplink/*",
			Caller:    trace.Caller{Identity: "spiffe://cluster.local/ns/\"x\\\x01<é/sa/y", Proof: trace.ProofWaypoint},
			Hops: []trace.Hop{{From: "capcom", To: "comms-system", Method: "POST", Path: "/uplink", Status: 200,
				DurationMs: 1.5,
				Hops: []trace.Hop{{From: "comms-system", To: "guidance-nav", Method: "POST", Path: "/maneuver",
					Error: "upstream-denied", Status: 403}}}}},
	} {
		b, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got trace.Trace
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestARecorderIsBounded(t *testing.T) {
	t.Parallel()
	deep := trace.Hop{To: "x"}
	for range 20 {
		deep = trace.Hop{To: "x", Hops: []trace.Hop{deep}}
	}
	var r trace.Recorder
	for range 200 {
		r.Add(deep)
	}
	if n := len(r.Hops()); n != trace.MaxHops {
		t.Errorf("%d hops", n)
	}
	depth := 0
	for hops := r.Hops(); len(hops) > 0; hops = hops[0].Hops {
		depth++
	}
	if depth != trace.MaxDepth+1 {
		t.Errorf("%d deep", depth)
	}
}
