package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHintsCanBePasted(t *testing.T) {
	dir := t.TempDir() + "/it's a $place"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	at := place{root: dir, state: dir + "/state"}
	if err := at.resolve(); err != nil {
		t.Fatal(err)
	}
	line := at.command("stage open")
	// What a shell makes of the line, a word a line.
	out, err := exec.Command("sh", "-c", `printf '%s\n' `+line).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{os.Args[0], "stage", "open", "--root", dir, "--state-dir", dir + "/state"}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(out)), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", line, diff)
	}
}
