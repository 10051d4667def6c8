package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/lint"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// projectOf lays the two Cells of policy/explain's tests out as a project.
func projectOf(t *testing.T) *place {
	t.Helper()
	root := t.TempDir()
	for to, from := range map[string]string{
		"openchoreo/rendered/all.yaml":  "zero-trust.yaml",
		"istio/stages/open/all.yaml":    "open.yaml",
		"istio/stages/mtls/all.yaml":    "mtls.yaml",
		"istio/cells/none.yaml":         "",
		"adversary/manifests/none.yaml": "",
	} {
		var data []byte
		if from != "" {
			var err error
			if data, err = os.ReadFile(filepath.Join("..", "..", "policy", "explain", "testdata", from)); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &place{root: root}
}

func runCommand(cmd *cobra.Command, args ...string) (string, error) {
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestExplainAnswersInWordsAndByItsExitCode(t *testing.T) {
	out, err := runCommand(newExplainCommand(projectOf(t)), "--from", "orion/adversary", "--to", "orion/guidance-nav", "GET", "/position")
	if err != exitError(1) {
		t.Errorf("error %v, want exit code 1", err)
	}
	want := `denied-l7: orion/adversary -> orion/guidance-nav GET /position, stage zero-trust
decided at waypoint: ALLOW policies apply, but none of their rules matches: orion-ns/default-deny, orion-ns/guidance-nav-authz
the caller sees: 403 RBAC: access denied

1. layer 1  passes   the caller to orion/waypoint, port 15008: a NetworkPolicy admits it; everything of the mesh arrives on this port [orion-ns/allow-istio-hbone]
2. layer 3  refused  orion/waypoint for Service guidance-nav: ALLOW policies apply, but none of their rules matches: orion-ns/default-deny, orion-ns/guidance-nav-authz

nearest rules:
  ns[orion-ns]-policy[guidance-nav-authz]-rule[0]: allowed for houston/capcom; you are orion/adversary
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestExplainAnswersAsJSON(t *testing.T) {
	out, err := runCommand(newExplainCommand(projectOf(t)), "--from", "orion/adversary", "--to", "orion/guidance-nav", "/position", "--stage", "mtls", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var a explain.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	if a.Verdict != decision.Allowed || a.Stage != "mtls" || a.Method != "GET" {
		t.Errorf("answer %+v, want GET allowed at mtls", a)
	}
}

func TestAWrongQuestionIsWrongUsage(t *testing.T) {
	at := projectOf(t)
	for _, args := range [][]string{
		{"/position"},
		{"--from", "orion/nobody", "--to", "orion/guidance-nav", "/position"},
		{"--from", "orion/adversary", "/position"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "-f", "nowhere"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "--stage", "nowhere"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "/", "--header", "x"},
	} {
		_, err := runCommand(newExplainCommand(at), args...)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("explain %s: error %v, want one about usage", strings.Join(args, " "), err)
		}
	}
}

func TestLintSaysWhatItFindsAndExitsWithIt(t *testing.T) {
	at := projectOf(t)
	out, err := runCommand(newLintCommand(at), filepath.Join(at.root, "openchoreo"), "--json")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var r lint.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Files != 1 || r.Count(lint.Error) != 0 {
		t.Errorf("report %+v, want one file without errors", r)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: lost, namespace: off}\nspec: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = runCommand(newLintCommand(at), bad)
	if err != exitError(1) {
		t.Errorf("error %v, want exit code 1", err)
	}
	if want := bad + ":3: error [yaml-boolean] AuthorizationPolicy off/lost: metadata.namespace: off without quotes is the boolean false in YAML"; !strings.Contains(out, want) {
		t.Errorf("output:\n%s\nwant in it:\n%s", out, want)
	}
	var usage usageError
	if _, err := runCommand(newLintCommand(at), filepath.Join(at.root, "nowhere")); !errors.As(err, &usage) {
		t.Errorf("a directory that is not there: error %v, want one about usage", err)
	}
}
