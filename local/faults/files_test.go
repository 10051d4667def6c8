//go:build faults

package faults

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cutting breaks files of a running suite in every way in which files break.
// Nothing opens, and each file is named.
func cutting(t *testing.T, o options) {
	project := copyOf(t)
	o.root = project
	s := start(t, o)
	w := s.watch()
	reported := func(what, file string) {
		t.Helper()
		s.until(what+" is reported", 20*time.Second, func() bool {
			now, err := s.status()
			return err == nil && strings.Contains(now.Problem, file)
		})
		for _, to := range []string{"guidance-nav", "guidance-nav-headless", "guidance-nav-second"} {
			if got := s.curl("orion/adversary", "http://"+to+":8080/position"); strings.HasSuffix(got, "\n200") {
				t.Errorf("%s: %s let the rogue in: %s", what, to, got)
			}
		}
	}
	restored := func(path, good string) {
		t.Helper()
		put(t, path, good)
		s.until("the good file is in force again", 20*time.Second, func() bool {
			now, err := s.status()
			return err == nil && now.Problem == ""
		})
	}
	for _, file := range []string{"istio/cells/orion.yaml", "openchoreo/rendered/orion/cell.yaml",
		"openchoreo/rendered/orion/guidance-nav.yaml"} {
		path := filepath.Join(project, file)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		good := string(content)
		bad := map[string]string{"empty": "", "a header": good[:strings.Index(good, "\n")+1]}
		for at := 0; ; {
			next := strings.Index(good[at:], "\n---\n")
			if next < 0 {
				break
			}
			at += next + 1
			bad["whole objects, "+good[max(0, at-40):at]] = good[:at]
			at += 4
		}
		lines := strings.SplitAfter(good, "\n")
		for _, n := range []int{20, 33, 48, 65} {
			bad["some lines of it"] = strings.Join(lines[:min(n, len(lines)-3)], "")
		}
		for what, text := range bad {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			reported(file+" with "+what, file)
		}
		restored(path, good)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "guidance-nav.yaml") { // with it goes all that it protected
			reported(file+" deleted", file)
		}
		restored(path, good)

		slow, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		reported(file+", created to be written", file)
		for i, line := range lines {
			if _, err := slow.WriteString(line); err != nil {
				t.Fatal(err)
			}
			if i%len(lines)/4 == 0 {
				reported(file+", half written", file)
			}
		}
		if err := slow.Close(); err != nil {
			t.Fatal(err)
		}
		restored(path, good)
	}
	w.end(t)
	s.until("calls work", 20*time.Second, s.works)
}

func TestBrokenPolicyFilesOpenNothing(t *testing.T) { cutting(t, options{}) }

func TestBrokenPolicyFilesOpenNothingWithEnvoys(t *testing.T) { cutting(t, withEnvoys(t, options{})) }

func TestBrokenPolicyFilesOpenNothingUnderACooperativeCapture(t *testing.T) {
	cutting(t, options{flags: []string{"--capture", "proxy"}})
}

// A rewrite on a full disk leaves as much of a file as there was room for.
func TestAPolicyFileOnAFullDiskOpensNothing(t *testing.T) {
	project := copyOf(t)
	cells := filepath.Join(project, "istio/cells")
	good, err := os.ReadFile(filepath.Join(cells, "orion.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	saved := t.TempDir()
	if err := os.CopyFS(saved, os.DirFS(cells)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", cells, "tmpfs", 0, "size=64k,mode=0777"); err != nil {
		if os.Getenv("CI") != "" || os.Geteuid() == 0 {
			t.Fatalf("a small disk cannot be mounted: %v", err)
		}
		t.Skip("a small disk takes root to mount")
	}
	t.Cleanup(func() { syscall.Unmount(cells, syscall.MNT_DETACH) })
	if err := os.CopyFS(cells, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	s := start(t, options{root: project})
	w := s.watch()
	filler, err := os.Create(filepath.Join(cells, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(filler, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	// One page fewer than it had.
	file := filepath.Join(cells, "orion.yaml")
	edited := strings.Replace(string(good), "Generated", "Generated", 1) + strings.Repeat("# more\n", 1<<10)
	if err := os.WriteFile(file, []byte(edited), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file was written whole: %v", err)
	}
	s.until("the cut file is reported", 20*time.Second, func() bool {
		now, err := s.status()
		return err == nil && strings.Contains(now.Problem, "istio/cells/orion.yaml")
	})
	if err := errors.Join(filler.Close(), os.Remove(filler.Name()), os.WriteFile(file, good, 0o644)); err != nil {
		t.Fatal(err)
	}
	s.until("the good file is in force again", 20*time.Second, func() bool {
		now, err := s.status()
		return err == nil && now.Problem == ""
	})
	w.end(t)
}
