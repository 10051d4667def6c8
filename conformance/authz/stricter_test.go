package authz

import (
	"testing"

	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"github.com/google/go-cmp/cmp"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/figures"
)

// TestWhereWeAreStricter names the requests that Envoy lets policies judge and that the
// built-in waypoint refuses before them, each on purpose. Both sides are asked, so that
// the list stays true.
func TestWhereWeAreStricter(t *testing.T) {
	r := startReferee(t, clients())
	line := func(lines ...string) [][2]string {
		var out [][2]string
		for i := 0; i < len(lines); i += 2 {
			out = append(out, [2]string{lines[i], lines[i+1]})
		}
		return out
	}
	cases := []struct {
		why    string
		method string
		header [][2]string
		envoy  int
		ours   outcome
	}{
		{"what delimits the body is not left to the next reader to guess", "GET", line("Connection", "content-length", "Content-Length", "0"), 200, outcome{Status: 400, Body: "Bad Request"}},
		{"nor by its other name", "POST", line("Connection", "transfer-encoding", "Transfer-Encoding", "chunked"), 200, outcome{Status: 400, Body: "Bad Request"}},
		{"an upgrade has no body: what follows is of the new protocol", "GET", line("Connection", "upgrade", "Upgrade", "websocket", "Transfer-Encoding", "chunked"), 200, outcome{Status: 400, Body: "Bad Request"}},
	}
	var requests []enforcer.Judged
	for _, c := range cases {
		requests = append(requests, enforcer.Judged{Set: "open", Request: enforcer.Request{Method: c.method, Target: "/", Host: "app", Header: c.header}})
	}
	verdicts, err := r.envoy.Decide(t.Context(), map[string][]*rbac.RBAC{"open": nil}, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if verdicts[i].Status != c.envoy {
			t.Errorf("%s: Envoy answers %d, want %d", c.why, verdicts[i].Status, c.envoy)
		}
		if diff := cmp.Diff(c.ours, r.local(localEngine(nil, target), requests[i].Request)); diff != "" {
			t.Errorf("%s: ours (-want +got):\n%s", c.why, diff)
		}
	}
	keep(t, r, figures.Figure{Order: 12, What: "stricter on purpose", Comparisons: len(cases), Notes: "requests that Envoy has judged and we refuse, each asserted at both"})
}
