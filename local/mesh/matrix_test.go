package mesh

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// TestTheTableOfWhoMayCallWhom asks every endpoint, and near misses of it, as
// every service, as the gateway and as every adversary, and compares with the
// table: nothing more and nothing less.
func TestTheTableOfWhoMayCallWhom(t *testing.T) {
	t.Parallel()
	set, err := manifest.LoadStage(filepath.Join("..", ".."), "zero-trust", true)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{Log: NewDecisionLog(64)}, set)
	_, w := r.mesh.World()
	find := func(s catalog.Service) *topology.Pod {
		for _, p := range w.Pods {
			if p.Kind == topology.App && p.Cell == s.Cell && p.ServiceAccount == s.Name {
				return p
			}
		}
		t.Fatalf("no pod of %s", s.Name)
		return nil
	}
	type caller struct {
		name   string
		ref    topology.Ref
		client *http.Client
		is     catalog.Caller
		reset  bool // it may be refused before any waypoint
	}
	var callers []caller
	for _, s := range catalog.Services() {
		ref := find(s).Ref
		callers = append(callers, caller{s.Caller().String(), ref, r.client(ref), s.Caller(), false})
	}
	for _, p := range w.Pods {
		if strings.HasPrefix(p.Component, "adversary") {
			callers = append(callers, caller{p.Ref.String(), p.Ref, r.client(p.Ref), catalog.Caller{Cell: "nowhere",
				Component: "adversary"}, !p.Meshed || p.Cell == ""})
		}
	}
	calls := 0
	for _, s := range catalog.Services() {
		ns := find(s).Namespace
		for _, rule := range s.Rules {
			for _, pattern := range rule.Paths {
				path := strings.ReplaceAll(pattern, "*", "x")
				for _, probe := range []struct{ method, path string }{{rule.Method, path}, {"PUT", path},
					{rule.Method, path + "/near-miss"}} {
					for _, c := range callers {
						want := "403"
						if s.Allows(c.is, probe.method, probe.path) {
							want = "200"
						}
						req, err := http.NewRequest(probe.method, endpoint(ns, s.Name, probe.path), nil)
						if err != nil {
							t.Fatal(err)
						}
						got := outcomeOf(c.client.Do(req))
						calls++
						if c.reset && got == "reset" {
							got = "403"
						}
						if got != want {
							t.Errorf("%s: %s %s%s: %s, want %s", c.name, probe.method, s.Name, probe.path, got, want)
						}
					}
					want := "403"
					if !s.External {
						want = "404"
					} else if s.Allows(catalog.Ingress, probe.method, probe.path) {
						want = "200"
					}
					if got := outcomeOf(r.ingress(probe.method, "/"+s.Name+"-http"+probe.path, nil)); got != want {
						t.Errorf("ingress: %s %s%s: %s, want %s", probe.method, s.Name, probe.path, got, want)
					}
					calls++
				}
			}
		}
	}
	t.Logf("%d calls", calls)
}
