package explain_test

import (
	"net/http"
	"strings"
	"testing"

	"artemis.example/catalog"
	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// TestTheSuiteDecidesAsTheTable asks for every endpoint of the table, with every
// method, by every service, by the operator and by somebody whom the table does
// not know, and compares with the table: nothing more and nothing less.
func TestTheSuiteDecidesAsTheTable(t *testing.T) {
	set, err := manifest.LoadStage("../..", "zero-trust", false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	x := explain.New("zero-trust", w)
	type caller struct {
		name string
		is   catalog.Caller
	}
	callers := []caller{{"ingress", catalog.Ingress}}
	for _, s := range catalog.Services() {
		callers = append(callers, caller{s.Cell + "/" + s.Name, s.Caller()})
	}
	for _, cell := range catalog.Cells() {
		namespace := ""
		for _, n := range set.Namespaces {
			if n.Labels["openchoreo.dev/project"] == cell {
				namespace = n.Name
			}
		}
		callers = append(callers, caller{"spiffe://cluster.local/ns/" + namespace + "/sa/adversary",
			catalog.Caller{Cell: cell, Component: "adversary"}})
	}
	asked := 0
	for _, s := range catalog.Services() {
		paths := map[string]bool{"/": true, "/nothing": true}
		for _, r := range s.Rules {
			for _, p := range r.Paths {
				exact := strings.TrimSuffix(p, "*")
				for _, variant := range []string{exact, exact + "x", exact + "/x", "/" + exact,
					strings.ToUpper(exact)} {
					paths[variant] = true
				}
			}
		}
		for _, c := range callers {
			for path := range paths {
				for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
					a, err := x.Ask(explain.Question{From: c.name, To: s.Cell + "/" + s.Name, Method: method,
						Path: path})
					if err != nil {
						t.Fatal(err)
					}
					asked++
					if want := s.Allows(c.is, method, path); want != (a.Verdict == decision.Allowed) {
						t.Errorf("%s to %s: %s %s: %s at %s by %s%s, the table says allowed %t", c.name, s.Name, method,
							path, a.Verdict, a.Hop, a.Policy, a.Rule, want)
					}
				}
			}
		}
	}
	if asked < 10_000 {
		t.Errorf("only %d questions asked", asked)
	}
}
