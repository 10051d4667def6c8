package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestALogIsEmptiedAndGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "houston_capcom.log")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := &podLog{file: file, limit: 12}
	type both struct{ now, old string }
	for _, step := range []struct {
		line string
		want both
	}{
		{"one\n", both{"one\n", ""}},
		{"and two\n", both{"one\nand two\n", ""}},
		{"three\n", both{"three\n", "one\nand two\n"}},
		{strings.Repeat("x", 8), both{strings.Repeat("x", 8), "three\n"}},
	} {
		if n, err := log.Write([]byte(step.line)); n != len(step.line) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		now, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		old, _ := os.ReadFile(path + oldLog)
		if diff := cmp.Diff(step.want, both{string(now), string(old)}, cmp.AllowUnexported(both{})); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", step.line, diff)
		}
	}
}

func TestALogNeverTakesMoreThanTwoLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flood.log")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const limit = 1 << 20
	log := &podLog{file: file, limit: limit}
	for range 400 {
		if _, err := log.Write(make([]byte, 32<<10)); err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, name := range []string{path, path + oldLog} {
			if info, err := os.Stat(name); err == nil {
				sum += info.Size()
			}
		}
		if sum > 2*limit {
			t.Fatalf("%d bytes on the disk", sum)
		}
	}
}
