package xds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"artemis.example/local/identity"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"

	"artemis.example/policy/decision"
)

var one = Config{
	Listeners: []json.RawMessage{json.RawMessage(`{"@type":"` + ListenerType + `","name":"l"}`)},
	Clusters:  []json.RawMessage{json.RawMessage(`{"@type":"` + ClusterType + `","name":"c"}`)},
}

func newServer(t *testing.T, pem func() (identity.PEM, error)) (*Server, func(kind, version string,
	names ...string) (int, discoveryResponse)) {
	t.Helper()
	s := NewServer(pem)
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, func(kind, version string, names ...string) (int, discoveryResponse) {
		t.Helper()
		body, err := json.Marshal(discoveryRequest{VersionInfo: version, ResourceNames: names})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, web.URL+"/v3/discovery:"+kind,
			bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatalf("ask for %s: %v", kind, err)
		}
		defer resp.Body.Close()
		var out discoveryResponse
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, out
	}
}

// TestClustersComeFirst asks for listeners before Envoy has the clusters that
// they need: they arrive when it has said so.
func TestClustersComeFirst(t *testing.T) {
	s, ask := newServer(t, nil)
	s.Set(one)
	type answer struct {
		code int
		r    discoveryResponse
	}
	early := make(chan answer, 1)
	go func() {
		code, r := ask("listeners", "")
		early <- answer{code, r}
	}()
	_, got := ask("clusters", "")
	if diff := cmp.Diff(discoveryResponse{"1", ClusterType, one.Clusters}, got); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
	select {
	case a := <-early:
		t.Fatalf("the listeners came first: %v", a)
	default:
	}
	tell := func(kind string) { // that Envoy has it
		if o, err := s.next(kind, discoveryRequest{VersionInfo: "1"}); err != nil || o.response != nil {
			t.Errorf("%s again: %v, %v", kind, o.response, err)
		}
	}
	tell(clusters)
	a := <-early
	if diff := cmp.Diff(discoveryResponse{"1", ListenerType, one.Listeners}, a.r); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	tell(listeners)
	if err := s.Taken(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestARefusalIsNoticed asks again and again for what was given already, as an
// Envoy does that does not take it.
func TestARefusalIsNoticed(t *testing.T) {
	s, ask := newServer(t, nil)
	s.Set(one)
	for range offers {
		if code, _ := ask("clusters", ""); code != http.StatusOK {
			t.Fatalf("got %d", code)
		}
	}
	done := make(chan int, 1)
	go func() { code, _ := ask("clusters", ""); done <- code }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Taken(ctx); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want %v", err, ErrRefused)
	}
	select {
	case code := <-done:
		t.Errorf("it was offered once more: %d", code)
	default:
	}
	s.Set(one) // a better one is offered at once
	if code := <-done; code != http.StatusOK {
		t.Errorf("got %d", code)
	}
}

// TestSecrets returns the identity inline, the same one only once, and none that
// nobody has.
func TestSecrets(t *testing.T) {
	pem := identity.PEM{Certificate: []byte("certificate"), Key: []byte("key"), Roots: []byte("roots")}
	s, ask := newServer(t, func() (identity.PEM, error) { return pem, nil })
	code, got := ask("secrets", "", SecretRoots)
	want := `{"@type":"` + secretType +
		`","name":"ROOTCA","validationContext":{"trustedCa":{"inlineBytes":"cm9vdHM="}}}`
	if code != http.StatusOK || len(got.Resources) != 1 || string(got.Resources[0]) != want {
		t.Errorf("got %d, %s, want %s", code, got.Resources, want)
	}
	if o, err := s.next(secrets, discoveryRequest{VersionInfo: got.VersionInfo,
		ResourceNames: []string{SecretRoots}}); err != nil || o.response != nil {
		t.Errorf("the same again: %v, %v", o.response, err)
	}
	pem.Certificate = []byte("renewed")
	if o, err := s.next(secrets, discoveryRequest{VersionInfo: got.VersionInfo,
		ResourceNames: []string{SecretIdentity}}); err != nil || o.response == nil {
		t.Errorf("the renewed one: %v, %v", o.response, err)
	}
	if code, _ := ask("secrets", "", "another"); code != http.StatusInternalServerError {
		t.Errorf("a secret that nobody has: %d", code)
	}
	if code, _ := ask("endpoints", ""); code != http.StatusNotFound {
		t.Errorf("a kind that nobody has: %d", code)
	}
}

func TestParseAccess(t *testing.T) {
	at := time.UnixMicro(1763902527830846)
	for _, c := range []struct {
		name, line string
		want       decision.Access
		ok         bool
	}{
		{"denied",
			`{"artemis":"access","at":"1763902527.830846","xfcc":"By=spiffe://cluster.local/ns/a/sa/waypoint;URI=spiffe://cluster.local/ns/b/sa/c","caller":"10.244.0.20:50328","to":"10.96.0.110:8080","method":"GET","path":"/x?y=1","traceparent":null,"status":403,"details":"rbac_access_denied_matched_policy[none]","termination":null,"flags":"-","ms":2}`,
			decision.Access{At: at, Caller: "spiffe://cluster.local/ns/b/sa/c",
				Remote: netip.MustParseAddrPort("10.244.0.20:50328"), To: netip.MustParseAddrPort("10.96.0.110:8080"),
				Method: "GET", Path: "/x", Status: 403, Denied: true,
				Details: "rbac_access_denied_matched_policy[none]", Duration: 2 * time.Millisecond}, true},
		{"bytes",
			`{"artemis":"access","at":"1763902527.830846","xfcc":null,"caller":"10.244.0.20:50328","to":"10.96.0.110:8080","method":null,"path":null,"status":0,"details":null,"termination":"rbac_access_denied_matched_policy[none]","flags":"-","ms":0}`,
			decision.Access{At: at, Remote: netip.MustParseAddrPort("10.244.0.20:50328"), To: netip.MustParseAddrPort(
				"10.96.0.110:8080"), Denied: true, Details: "rbac_access_denied_matched_policy[none]"}, true},
		{"a forged caller before the real one",
			`{"artemis":"access","at":"1763902527.830846","xfcc":"URI=spiffe://forged,By=w;URI=spiffe://real","method":"GET","path":"/","status":200,"details":"via_upstream"}`,
			decision.Access{At: at, Caller: "spiffe://real", Method: "GET", Path: "/", Status: 200,
				Details: "via_upstream"},
			true},
		{"no access log", `[2026-11-23 12:35:56.137][1][warning] something`, decision.Access{}, false},
		{"other JSON", `{"a":1}`, decision.Access{}, false},
		{"nothing", ``, decision.Access{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok, err := ParseAccess([]byte(c.line))
			if err != nil || ok != c.ok {
				t.Fatalf("ok %v, %v", ok, err)
			}
			if diff := cmp.Diff(c.want, got,
				cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, ok, err := ParseAccess([]byte(`{"artemis":"access","at":"yesterday"}`)); !ok || err == nil {
		t.Errorf("a time that is none: %v, %v", ok, err)
	}
}

func TestBootstrapNamesTheWaypoint(t *testing.T) {
	b, err := Bootstrap(topology.Ref{Namespace: "n", Name: "waypoint"}, netip.MustParseAddr("10.244.0.9"),
		netip.MustParseAddrPort("10.96.0.12:15010"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Node struct{ Cluster string }
	}
	if err := json.Unmarshal([]byte(b), &got); err != nil || got.Node.Cluster != "waypoint.n" {
		t.Errorf("%q, %v", got.Node.Cluster, err)
	}
}
