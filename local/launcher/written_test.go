//go:build linux

package launcher

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileThatIsOpenForWritingIsBeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if !beingWritten(path) {
		t.Error("open for writing, and not told")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if beingWritten(path) {
		t.Error("open for reading only, and told to be written")
	}
	if beingWritten(path + ".gone") {
		t.Error("a file that is not there is told to be written")
	}
}
