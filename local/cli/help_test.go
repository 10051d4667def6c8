package cli_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"artemis.example/local/cli"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestHelpFitsAHundredColumns(t *testing.T) {
	var all func(*cobra.Command) [][]string
	all = func(cmd *cobra.Command) [][]string {
		paths := [][]string{strings.Fields(cmd.CommandPath())[1:]}
		for _, sub := range cmd.Commands() {
			paths = append(paths, all(sub)...)
		}
		return paths
	}
	root := cli.NewRootCommand("test")
	root.InitDefaultCompletionCmd()
	paths := all(root)
	if len(paths) < 20 {
		t.Fatalf("only %d commands", len(paths))
	}
	for _, path := range paths {
		help := printed(t, append(path, "--help")...)
		if !strings.Contains(help, "Usage:\n  artemis") {
			t.Errorf("artemis %s --help has no usage:\n%s", strings.Join(path, " "), help)
		}
		for line := range strings.Lines(help) {
			if len(line) > 101 {
				t.Errorf("artemis %s --help: %d columns: %s", strings.Join(path, " "), len(line)-1, line)
			}
		}
	}
}

func TestAShellCompletesWhatACommandTakes(t *testing.T) {
	nowhere := t.TempDir()
	for _, c := range []struct {
		line string
		want []string // some of what is offered
	}{
		{"exec ", []string{"houston/capcom", "orion/guidance-nav"}},
		{"logs ", []string{"houston/capcom", "orion/guidance-nav"}},
		{"who-can ", []string{"orion/guidance-nav"}},
		{"explain --from ", []string{"orion/guidance-nav"}},
		{"wiretap --to ", []string{"orion/guidance-nav"}},
		{"decisions --from ", []string{"orion/guidance-nav"}},
		{"decisions --verdict ", []string{"allowed", "denied", "denied-network"}},
		{"attack ", []string{"abort\tAbort the mission", "maneuver\tHijack navigation"}},
		{"stage ", []string{"open", "mtls", "zero-trust"}},
		{"up --stage ", []string{"open", "mtls", "zero-trust"}},
		{"up --capture ", []string{"netns", "proxy"}},
		{"prove --stage ", []string{"open", "mtls", "zero-trust"}},
	} {
		args := append([]string{"__complete", "--state-dir", nowhere}, strings.Split(c.line, " ")...)
		offered := strings.Split(printed(t, args...), "\n")
		got := slices.DeleteFunc(slices.Clone(c.want), func(w string) bool { return !slices.Contains(offered, w) })
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("artemis %s: not offered (-):\n%s\noffered: %q", c.line, diff, offered)
		}
	}
	offered := printed(t, "__complete", "--state-dir", nowhere, "attack", "--from", "")
	if strings.Contains(offered, "/") {
		t.Errorf("attack --from takes a file, and was offered %q", offered)
	}
}

// printed returns what a command line writes to standard output.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	root := cli.NewRootCommand("test")
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		t.Fatalf("artemis %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}
