package mesh

import (
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"artemis.example/local/mesh/rawhttp"
	"github.com/google/go-cmp/cmp"
)

// TestRawRequestsAreAnsweredAsByEnvoy puts the requests of rawhttp to the waypoint and
// the gateway: they answer what Envoys did that istiod configured, but for what is
// listed as different on purpose.
func TestRawRequestsAreAnsweredAsByEnvoy(t *testing.T) {
	recorded, err := rawhttp.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{}, suite(t, options{}))
	for _, pod := range []string{"orion/guidance-nav", "houston/flight-director"} {
		cell, component, _ := strings.Cut(pod, "/")
		r.serve(r.pods[app(cell, component)], 8080, http.HandlerFunc(rawhttp.Program))
	}
	ways := r.httpWays()
	dial := func(way int) func() (net.Conn, error) { return ways[way].dial }
	for _, way := range rawhttp.Ways(dial(0), dial(1)) {
		t.Run(way.Name, func(t *testing.T) {
			got := way.AskAll()
			if len(got) != len(recorded[way.Name]) || len(got) < 200 {
				t.Errorf("%d cases, %d recorded answers: run conformance/waypoint's TestRawRequests with -record",
					len(got), len(recorded[way.Name]))
			}
			for _, name := range slices.Sorted(maps.Keys(got)) {
				want := recorded[way.Name][name]
				if d, ok := rawhttp.Different(way.Name, name); ok {
					if diff := cmp.Diff(want, d.Ours); diff == "" {
						t.Errorf("%s is listed as different and is not", name)
					}
					want = d.Ours
				}
				if diff := cmp.Diff(want, got[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, why := range rawhttp.Differences() {
		if !strings.Contains(string(page), name) || !strings.Contains(string(page), why) {
			t.Errorf("docs/conformance.md does not say of %q that %s", name, why)
		}
	}
}
