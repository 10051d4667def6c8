package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/policy/explain"
	"artemis.example/policy/lint"
	"artemis.example/policy/manifest"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzInput reads whatever there may be in a file: it is judged or named, and
// nothing breaks on it.
func FuzzInput(f *testing.F) {
	files, err := filepath.Glob("testdata/checks/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	base, err := os.ReadFile("testdata/cell.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(archive.Files[0].Data))
	}
	for _, seed := range []string{
		"kind: List\napiVersion: v1\nitems: [{kind: List, apiVersion: v1, items: []}]",
		"kind: PodList\napiVersion: v1\nitems: [{metadata: {name: a}}, 7, null]",
		"apiVersion: v1\nkind: Service\nmetadata: &m {name: a}\nspec: {<<: *m, ports: [{port: 99999}], selector: {a: " +
			"b}}",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {jobTemplate: 3}", "{{ .x }}: {a: b}",
		"? {a: b}\n: c",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: orion}\nspec: " +
			"{parentRefs: [{}], rules: [{}, {backendRefs: [{}]}]}",
		"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: r, namespace: orion}\nspec: " +
			"{targetRefs: [{}], jwtRules: [{fromHeaders: 5}]}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(string(base) + "\n---\n" + content)},
			"-")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lint.Check(in); err != nil {
			t.Fatalf("lint: %v", err)
		}
		x, err := explain.Open("", in)
		if err != nil {
			t.Fatalf("explain: %v", err)
		}
		for _, to := range []string{"orion/guidance-nav", "pod:orion/guidance-nav", "orion/second"} {
			// it may not be there
			_, _ = x.Ask(explain.Question{From: "cluster.local/ns/houston/sa/capcom", To: to, Method: "GET",
				Path: "/position"})
		}
	})
}
