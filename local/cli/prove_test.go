package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// artemis runs the command and returns what it prints and its exit code.
func artemis(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var printed bytes.Buffer
	root := newRootCommand("test")
	root.SetOut(&printed)
	root.SetErr(&printed)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	var exit exitError
	var usage usageError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		code = int(exit)
	case errors.As(err, &usage):
		printed.WriteString(err.Error())
		code = 2
	default:
		t.Fatalf("artemis %s: %v", strings.Join(args, " "), err)
	}
	return printed.String(), code
}

func rootDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestExitCodesOfWhatIsAboutEveryRequest holds 0, 1 and 2 for each command.
func TestExitCodesOfWhatIsAboutEveryRequest(t *testing.T) {
	t.Parallel()
	root, dir := rootDir(t), t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	holds := write("holds.yaml", "claims:\n- to: orion/guidance-nav\n  never: [{project: houston, wholeCell: true}, "+
		"{ingress: true}]\n")
	broken := write("broken.yaml", "claims:\n- to: orion/guidance-nav\n  only: []\n")
	two := write("two.yaml", "claims:\n- to: orion/guidance-nav\n  only: []\n  always: [{anyone: true}]\n")
	nobody := write("nobody.yaml", "claims:\n- to: orion/nobody\n  only: []\n")
	unknown := write("unknown.yaml", "claims:\n- to: orion/guidance-nav\n  olny: []\n")
	rendered, cells := filepath.Join(root, "openchoreo", "rendered"), filepath.Join(root, "istio", "cells")
	whole := filepath.Join(dir, "whole")
	for name, from := range map[string]string{"rendered": rendered, "cells": cells} {
		if err := os.CopyFS(filepath.Join(whole, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"who-can", "orion/guidance-nav"}, 0, "and nobody else"},
		{[]string{"who-can", "orion/guidance-nav", "--from", "orion/life-support"}, 0,
			"orion/guidance-nav, stage zero-trust: nobody"},
		{[]string{"who-can", "orion/guidance-nave"}, 2, "did you mean"},
		{[]string{"who-can", "guidance-nav", "-f", rendered, "-f", cells}, 0,
			"orion/comms-system, orion/crew-interface, and nobody else"},
		{[]string{"who-can", "-f", filepath.Join(dir, "nowhere")}, 2, "nowhere"},
		{[]string{"prove"}, 0, "proven at stage zero-trust"},
		{[]string{"prove", "--stage", "open"}, 1, "18 of 36 claims do not hold"},
		{[]string{"prove", holds}, 0, "proven"},
		{[]string{"prove", broken}, 1, "orion/comms-system can ask for"},
		{[]string{"prove", two}, 2, "a claim is one of"},
		{[]string{"prove", nobody}, 2, "orion/nobody"},
		{[]string{"prove", unknown}, 2, "olny"},
		{[]string{"prove", "-f", rendered}, 2, "claims of their own"},
		{[]string{"diff", whole, whole}, 0, "no difference: every call is decided as before"},
		{[]string{"diff", rendered, rendered}, 1, "no difference in what can be judged"}, // the waypoints lack
		{[]string{"diff", rendered, filepath.Join(dir, "nowhere")}, 2, "nowhere"},
	} {
		out, code := artemis(t, append(c.args, "--root", root, "--state-dir", dir)...)
		if code != c.want || !strings.Contains(out, c.says) {
			t.Errorf("artemis %s: exit code %d, want %d, and that it says %q:\n%s", strings.Join(c.args, " "), code,
				c.want, c.says, out)
		}
	}
}

// TestDiffReadsGitRevisions compares two commits, and a commit with a directory.
func TestDiffReadsGitRevisions(t *testing.T) {
	root, dir := rootDir(t), t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=nobody", "-c",
			"user.email=nobody@example.invalid"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	policies := filepath.Join(dir, "deploy", "orion-policies.yaml")
	for to, from := range map[string]string{policies: "istio/cells/orion.yaml", filepath.Join(dir, "deploy",
		"cell.yaml"): "openchoreo/rendered/orion/cell.yaml",
		filepath.Join(dir, "deploy", "a.yaml"): "openchoreo/rendered/orion/guidance-nav.yaml", filepath.Join(dir,
			"deploy", "b.yaml"): "openchoreo/rendered/orion/comms-system.yaml"} {
		data, err := os.ReadFile(filepath.Join(root, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("add", ".")
	git("commit", "-q", "-m", "one")
	data, err := os.ReadFile(policies)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policies, []byte(strings.Replace(string(data), "- /maneuver", "- \"*\"", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	git("commit", "-q", "-a", "-m", "two")
	t.Chdir(dir)
	for _, args := range [][]string{{"main~1", "main", "-f", "deploy"}, {"main~1:deploy", "deploy"},
		{"main~1:deploy", "main:deploy", "--no-new-access"}} {
		out, code := artemis(t, append([]string{"diff", "-o", "json"}, args...)...)
		var got struct {
			Verdict       string
			Opens, Closes int
			Changes       []struct {
				To      string
				Callers []string
			}
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 {
			t.Fatalf("diff %v: exit code %d, %v\n%s", args, code, err, out)
		}
		if diff := cmp.Diff([]string{"orion/guidance-nav"}, []string{got.Changes[0].To}); diff != "" ||
			got.Opens != 1 || got.Closes != 0 {
			t.Errorf("diff %v: opens %d, closes %d %s", args, got.Opens, got.Closes, diff)
		}
	}
	if out, code := artemis(t, "diff", "main", "main~1", "-f", "deploy", "--no-new-access", "-o",
		"markdown"); code != 0 || !strings.Contains(out, "closes") {
		t.Errorf("what only closes: exit code %d\n%s", code, out)
	}
	if out, code := artemis(t, "diff", "nosuchrevision", "main", "-f", "deploy"); code != 2 || !strings.Contains(out,
		"nosuchrevision") {
		t.Errorf("a revision that is not there: exit code %d\n%s", code, out)
	}
}

// TestLongListsAreCutForPeople and not within a word.
func TestLongListsAreCutForPeople(t *testing.T) {
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprintf("/path/%03d", i))
	}
	got := brief("GET " + strings.Join(paths, ", "))
	if want := "GET " + strings.Join(paths[:26], ", ") + ", 74 more (-o json has them)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got = brief("every request, client address " + strings.Join(paths, " or "))
	if want := " or 80 more (-o json has them)"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want that it ends with %q", got, want)
	}
	if got := brief("GET /a, /b"); got != "GET /a, /b" {
		t.Errorf("a short list became %q", got)
	}
}
