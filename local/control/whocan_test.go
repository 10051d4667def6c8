package control_test

import (
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"artemis.example/local/control"
	"artemis.example/local/mesh"
	"artemis.example/policy/analysis"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// TestWhoCanIsAnsweredForWhatIsInForce asks as the dashboard does.
func TestWhoCanIsAnsweredForWhatIsInForce(t *testing.T) {
	s := newSuite()
	h := control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks())
	get := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/_artemis/who-can"+query, nil))
		return w
	}
	if w := get("?to=orion/guidance-nav"); w.Code != 503 {
		t.Errorf("before anything is in force: %d, want 503", w.Code)
	}
	set, err := manifest.LoadStage(filepath.Join("..", ".."), "zero-trust", true)
	if err != nil {
		t.Fatal(err)
	}
	if s.world, err = topology.Build(set, topology.NewAllocator()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"": 400, "?to=orion/nobody": 404,
		"?to=orion/guidance-nav&from=orion/nobody": 404} {
		if w := get(query); w.Code != want {
			t.Errorf("%q: %d, want %d", query, w.Code, want)
		}
	}
	w := get("?to=orion/guidance-nav&from=orion/crew-interface")
	var got analysis.Answer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	want := []analysis.Admitted{{
		Caller: "orion/crew-interface", Kind: analysis.Workload,
		Identity: "spiffe://cluster.local/ns/dp-default-orion-development-1bced798/sa/crew-interface",
		Requests: []analysis.Requests{{
			Words: "GET /position, /trajectory", Methods: []string{"GET"}, Paths: []string{"/position", "/trajectory"},
			Ways: []string{"Service guidance-nav:8080"},
			Example: analysis.Example{
				Method: "GET", Path: "/position",
				Command: "kubectl exec -n dp-default-orion-development-1bced798 " +
					"deployment/crew-interface-development-513f7f2a -- " +
					"curl http://guidance-nav.dp-default-orion-development-1bced798:8080/position",
			},
		}},
	}}
	if diff := cmp.Diff(want, got.Callers, cmp.AllowUnexported(analysis.Example{})); diff != "" {
		t.Errorf("callers (-want +got):\n%s", diff)
	}
	if got.Verdict != "proven" || !got.NobodyElse || got.Stage != "open" || len(got.Extent.Ways) == 0 {
		t.Errorf("verdict %s, nobody else %t, stage %s, %d ways", got.Verdict, got.NobodyElse, got.Stage,
			len(got.Extent.Ways))
	}
}
