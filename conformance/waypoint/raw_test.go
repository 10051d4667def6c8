package waypoint

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/local/mesh"
	"artemis.example/local/mesh/rawhttp"
	"artemis.example/policy/topology"
)

var record = flag.Bool("record", false, "write what Envoy answers to local/mesh/rawhttp/recorded.json")

// ways are those by which the requests go: to guidance-nav through its waypoint, and
// to flight-director through the gateway and its waypoint.
func (s *suite) ways(t *testing.T, gateway netip.AddrPort) []rawhttp.Way {
	t.Helper()
	refs := map[string]topology.Ref{}
	for _, p := range s.world.Pods {
		refs[p.Component] = p.Ref
	}
	nav := s.world.Service(topology.Ref{Namespace: refs["guidance-nav"].Namespace, Name: "guidance-nav"})
	if nav == nil {
		t.Fatal("guidance-nav has no Service")
	}
	return rawhttp.Ways(
		func() (net.Conn, error) { return s.pods[refs["comms-system"]].open(netip.AddrPortFrom(nav.VIP, 8080)) },
		func() (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(context.Background(), "tcp4", gateway.String())
		})
}

// ask puts every case to every way.
func ask(ways []rawhttp.Way) map[string]map[string]rawhttp.Answer {
	out := map[string]map[string]rawhttp.Answer{}
	for _, w := range ways {
		out[w.Name] = w.AskAll()
	}
	return out
}

// gatewayEnvoy runs an Envoy as istiod configures the gateway.
func (s *suite) gatewayEnvoy(t *testing.T, bin string) netip.AddrPort {
	t.Helper()
	c, err := GenerateGateway(s.world)
	if err != nil {
		t.Fatal(err)
	}
	s.envoy(t, bin, c)
	return netip.AddrPortFrom(s.world.Gateway.IP, GatewayPort)
}

// ourGateway serves the built-in one.
func (s *suite) ourGateway(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { _ = s.mesh.ServeGateway(ln, mesh.Edge{}) }()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestRawRequests puts requests, byte by byte, to Envoys as istiod configures them,
// waypoint and gateway, and to our own: each is answered alike, the connection ends
// alike and the program sees the same, but for what rawhttp.Different lists.
func TestRawRequests(t *testing.T) {
	bin, err := envoy.Path(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	program = rawhttp.Program
	t.Cleanup(func() { program = nil })
	var theirs, ours map[string]map[string]rawhttp.Answer
	t.Run("Envoy", func(t *testing.T) {
		s := start(t, bin)
		theirs = ask(s.ways(t, s.gatewayEnvoy(t, bin)))
	})
	t.Run("built in", func(t *testing.T) {
		s := start(t, "")
		ours = ask(s.ways(t, s.ourGateway(t)))
	})
	if *record {
		b, err := json.MarshalIndent(theirs, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/local/mesh/rawhttp/recorded.json", append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	recorded, err := rawhttp.Recorded()
	if err != nil {
		t.Fatal(err)
	}
	asked, wrong, onPurpose := 0, 0, 0
	for _, way := range slices.Sorted(maps.Keys(theirs)) {
		for _, name := range slices.Sorted(maps.Keys(theirs[way])) {
			asked++
			want, got := theirs[way][name], ours[way][name]
			if diff := cmp.Diff(recorded[way][name], want); diff != "" && !*record {
				t.Errorf("%s, %s: Envoy answers otherwise than recorded (-recorded +Envoy; record anew with "+
					"-record):\n%s", way, name, diff)
			}
			different, listed := rawhttp.Different(way, name)
			diff := cmp.Diff(want, got)
			switch {
			case listed && diff == "":
				t.Errorf("%s, %s: answered alike, but listed as different: %s", way, name, different.Why)
			case listed:
				onPurpose++
			case diff != "":
				wrong++
				t.Errorf("%s, %s (-Envoy +ours):\n%s", way, name, diff)
			}
		}
	}
	t.Logf("%d raw requests, %d answered differently on purpose, %d otherwise", asked, onPurpose, wrong)
	if asked < 400 {
		t.Errorf("%d requests: too little was tried", asked)
	}
	v, err := envoy.Version(t.Context(), bin)
	if err != nil {
		t.Error(err)
	}
	if err := figures.Keep(figures.Figure{Order: 21, What: "raw requests to a waypoint and to the gateway",
		Engine:      "Envoy " + v + ", configured by istiod's code",
		Comparisons: asked, Disagreements: wrong, Notes: fmt.Sprintf(
			"%d differ on purpose, listed in docs/conformance.md", onPurpose)}); err != nil {
		t.Error(err)
	}
}
