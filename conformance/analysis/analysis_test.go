package analysis

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	istiolog "istio.io/istio/pkg/log"

	"artemis.example/conformance/figures"
	"artemis.example/conformance/versions"
	"artemis.example/policy/manifest"
)

const root = "../.."

func TestMain(m *testing.M) {
	for _, s := range istiolog.Scopes() {
		s.SetOutputLevel(istiolog.NoneLevel)
	}
	os.Exit(m.Run())
}

var ours = []string{filepath.Join(root, "openchoreo", "rendered"), filepath.Join(root, "istio", "cells")}

// TestManifests has Istio judge the suite's manifests, alone and with the
// adversary's. The only messages are false ones: an analyzer looks for pods,
// whose annotation istio-cni writes at run time, and knows nothing of
// targetRefs, so it says of every AuthorizationPolicy that nothing matches.
func TestManifests(t *testing.T) {
	total := 0
	adversary := filepath.Join(root, "adversary", "manifests")
	for _, c := range []struct {
		name  string
		paths []string
		also  []string
	}{
		{"the suite", ours, nil},
		// dark-side is outside of the mesh on purpose.
		{"the suite and the adversary", append(slices.Clone(ours), adversary), []string{
			"Info [IST0102] dark-side: The namespace is not enabled for Istio injection. Run 'kubectl label " +
				"namespace dark-side istio-injection=enabled' to enable it, " +
				"or 'kubectl label namespace dark-side istio-injection=disabled' to explicitly mark it as not " +
				"needing injection.",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			paths := c.paths
			text, err := Files(paths...)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Analyze(text)
			if err != nil {
				t.Fatal(err)
			}
			set, err := manifest.Read(paths...)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.also)
			for _, p := range set.Set.AuthorizationPolicies {
				want = append(want, fmt.Sprintf("Warning [IST0127] %s/%s: No matching workloads for this resource "+
					"with the following labels: ", p.Namespace, p.Name))
			}
			slices.Sort(want)
			if len(want) < 28 {
				t.Errorf("only %d AuthorizationPolicies: the manifests are not all there", len(want))
			}
			if diff := cmp.Diff(slices.Compact(want), r.Messages); diff != "" {
				t.Errorf("Istio's messages (-expected +got):\n%s", diff)
			}
			if len(r.Skipped) > 0 || r.Analyzers < 53 {
				t.Errorf("%d analyzers ran, these did not: %v; want all of at least 53", r.Analyzers, r.Skipped)
			}
			total += r.Validated + r.Analyzers
		})
	}
	if err := figures.Keep(figures.Figure{Order: 1, What: "manifests: admission, all analyzers",
		Engine:      versions.Istio(),
		Comparisons: total, Notes: "objects validated + analyzers run, with and without the adversary"}); err != nil {
		t.Error(err)
	}
}

// TestAnalyzersSeeFaults makes sure that silence means something.
func TestAnalyzersSeeFaults(t *testing.T) {
	r, err := Analyze(`
apiVersion: v1
kind: Namespace
metadata: {name: cell}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, namespace: cell}
spec:
  parentRefs: [{name: nowhere}]
  rules: [{backendRefs: [{name: nobody, port: 8080}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: route, namespace: cell}
spec:
  hosts: [nobody.cell.svc.cluster.local]
  http: [{route: [{destination: {host: nobody.cell.svc.cluster.local}}]}]
`)
	if err != nil {
		t.Fatal(err)
	}
	want := `Error [IST0101] cell/route: Referenced host not found: "nobody.cell.svc.cluster.local"`
	if !slices.Contains(r.Messages, want) {
		t.Errorf("messages %q; want among them %q", r.Messages, want)
	}
	if _, err := Analyze(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: both, namespace: cell}
spec:
  selector: {matchLabels: {app: a}}
  targetRefs: [{kind: Service, group: "", name: a}]
`); err == nil {
		t.Error("a policy with a selector and targetRefs was admitted")
	}
}
