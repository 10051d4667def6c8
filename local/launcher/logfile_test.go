package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALogIsEmptiedAndGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "houston_capcom.log")
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	holds := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, step := range []struct{ line, now, old string }{
		{"one\n", "one\n", ""},
		{"and two\n", "", "one\nand two\n"},
		{"three\n", "three\n", "one\nand two\n"},
		{strings.Repeat("x", 20), "", "three\n" + strings.Repeat("x", 20)},
	} {
		if _, err := log.WriteString(step.line); err != nil {
			t.Fatal(err)
		}
		if err := rotate(log, 10); err != nil {
			t.Fatal(err)
		}
		if got := holds(path); got != step.now {
			t.Errorf("after %q the log is %q, want %q", step.line, got, step.now)
		}
		if step.old != "" && holds(path+oldLog) != step.old {
			t.Errorf("after %q the old log is %q, want %q", step.line, holds(path+oldLog), step.old)
		}
	}
}
