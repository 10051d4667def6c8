package authz

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/config/kube/crd"

	"artemis.example/conformance/figures"
	"artemis.example/conformance/versions"
	"artemis.example/policy/manifest"
)

// TestServiceEntriesAreTakenAsByIstio has Istio's validation and ours look at every
// ServiceEntry of Istio's own tests and samples: what the one refuses, the other does.
func TestServiceEntriesAreTakenAsByIstio(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatalf("find Istio's module: %v", err)
	}
	root := strings.TrimSpace(string(dir))
	compared, refused, wrong := 0, 0, 0
	more := []string{
		"pkg/config/validation/testdata/crds/serviceentry-*.yaml", "tests/integration/*/testdata/*.yaml",
		"pkg/test/datasets/validation/dataset/networking-v1*-ServiceEntry.yaml",
	}
	for _, pattern := range slices.Concat(corpusFiles, more) {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for doc := range strings.SplitSeq(string(b), "\n---") {
				if !strings.Contains(doc, "\nkind: ServiceEntry") || strings.Contains(doc, "{{") {
					continue
				}
				// What the error of the validation is to be stands beside the object there.
				lines := slices.DeleteFunc(strings.Split(doc, "\n"),
					func(l string) bool { return strings.HasPrefix(l, "_err") })
				doc = strings.Join(lines, "\n")
				_, _, theirs := crd.ParseInputs(doc)
				in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(doc)}, "-")
				if err != nil {
					t.Fatal(err)
				}
				compared++
				if theirs != nil {
					refused++
				}
				if (theirs != nil) != (len(in.Problems) > 0) {
					wrong++
					t.Errorf("%s: Istio: %v; ours: %v\n%s", file, theirs, in.Problems, doc)
				}
			}
		}
	}
	if compared < 20 || refused < 8 {
		t.Errorf("%d ServiceEntries, of which Istio refuses %d: too little was tried", compared, refused)
	}
	t.Logf("%d ServiceEntries, %d refused", compared, refused)
	if err := figures.Keep(figures.Figure{Order: 24, What: "ServiceEntries: admission", Engine: versions.Istio(),
		Comparisons: compared, Disagreements: wrong,
		Notes: fmt.Sprintf("of its tests and samples; %d refused", refused)}); err != nil {
		t.Error(err)
	}
}
