package lint_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"artemis.example/policy/lint"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write docs/lint.md")

var (
	identityOf = regexp.MustCompile(`(?m)^kind: (\S+)\nmetadata: \{name: ([^,}]+)(?:, namespace: ([^,}]+))?`)
	withoutOf  = regexp.MustCompile(`(?m)^# without (.+)$`)
)

// inCell returns the Cell of the tests with an example's objects in it: in place of
// those of the same kind and name, and without those that it says are not there.
func inCell(t *testing.T, example string) string {
	t.Helper()
	gone := map[string]bool{}
	for _, m := range identityOf.FindAllStringSubmatch(example, -1) {
		gone[m[1]+" "+m[3]+"/"+m[2]] = true
	}
	for _, m := range withoutOf.FindAllStringSubmatch(example, -1) {
		gone[m[1]] = true
	}
	var docs []string
	for _, doc := range strings.Split(cell(t), "---\n") {
		m := identityOf.FindStringSubmatch(doc)
		if m == nil {
			t.Fatalf("an object of the Cell without a name:\n%s", doc)
		}
		if !gone[m[1]+" "+m[3]+"/"+m[2]] {
			docs = append(docs, doc)
		}
	}
	return strings.Join(append(docs, example), "---\n")
}

// TestEveryCheckHasABadAndAGoodExample holds each check to its examples: the bad one
// has the finding, with the severity that the table says, the good one has not.
func TestEveryCheckHasABadAndAGoodExample(t *testing.T) {
	for _, c := range lint.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			file := filepath.Join("testdata", "checks", c.Name+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) != 2 || archive.Files[0].Name != "bad.yaml" || archive.Files[1].Name != "good.yaml" {
				t.Fatalf("%s holds not bad.yaml and good.yaml", file)
			}
			find := func(i int) []lint.Finding {
				r := report(t, inCell(t, string(archive.Files[i].Data)))
				return slices.DeleteFunc(slices.Clone(r.Findings),
					func(f lint.Finding) bool { return f.Check != c.Name })
			}
			if got := find(0); len(got) == 0 || got[0].Severity != c.Severity {
				t.Errorf("the bad example: %+v, want a finding of severity %s", got, c.Severity)
			}
			if got := find(1); len(got) > 0 {
				t.Errorf("the good example: %+v, want none", got)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "checks", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(lint.Checks()) {
		t.Errorf("%d examples for %d checks", len(files), len(lint.Checks()))
	}
}

// TestThePageListsEveryCheck keeps the list in docs/lint.md as the code has it; with
// -update it writes it.
func TestThePageListsEveryCheck(t *testing.T) {
	const page, begin = "../../docs/lint.md", "<!-- The checks, written by go test ./policy/lint -update -->\n"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(data), begin)
	if !ok {
		t.Fatalf("%s has no line %q", page, begin)
	}
	var b strings.Builder
	b.WriteString(head + begin)
	for _, c := range lint.Checks() {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "checks", c.Name+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s: %s. %s", c.Name, c.Severity, c.Summary, c.Why)
		if len(c.Threads) > 0 {
			links := make([]string, len(c.Threads))
			for i, thread := range c.Threads {
				repository, number, _ := strings.Cut(thread, "#")
				links[i] = fmt.Sprintf("[%s](https://github.com/%s/issues/%s)", thread, repository, number)
			}
			fmt.Fprintf(&b, " Who fell into it: %s.", strings.Join(links, ", "))
		}
		for i, title := range []string{"Has it", "Has not"} {
			fmt.Fprintf(&b, "\n\n%s:\n\n```yaml\n%s```", title, archive.Files[i].Data)
		}
		b.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String(), string(data)); diff != "" {
		t.Errorf("%s is not what the code has; go test ./policy/lint -update writes it (-want +got):\n%s", page, diff)
	}
}
