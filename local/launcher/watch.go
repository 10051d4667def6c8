package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"artemis.example/policy/manifest"
	"github.com/fsnotify/fsnotify"
)

// settle is how long the files have to be left alone before they are read: an
// editor writes in several steps.
const settle = 80 * time.Millisecond

// path returns where a file of the project is.
func (l *launcher) path(name string) string {
	return filepath.Join(l.resources.Root, filepath.FromSlash(name))
}

// watch puts edited manifests in force until ctx ends. A bad edit is reported
// and changes nothing.
func (l *launcher) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	for _, folder := range manifest.Folders(l.options.Adversary) {
		if err := addTree(w, l.path(folder)); err != nil {
			return fmt.Errorf("watch %s: %w", folder, err)
		}
		// One that is taken away and put back is seen by what holds it.
		if err := w.Add(filepath.Dir(l.path(folder))); err != nil {
			return fmt.Errorf("watch %s: %w", filepath.Dir(folder), err)
		}
	}
	timer := time.NewTimer(0)
	if !timer.Stop() {
		<-timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if e.Has(fsnotify.Create) { // a new directory, or none: both are fine
				_ = addTree(w, e.Name)
			}
			if !e.Has(fsnotify.Chmod) || e.Op != fsnotify.Chmod {
				timer.Reset(settle)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
			timer.Reset(settle) // some edits were not told: read all
		case <-timer.C:
			if l.edited(ctx) {
				timer.Reset(settle)
			}
		}
	}
}

// addTree watches a directory and those below it.
func addTree(w *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return w.Add(path)
		}
		return nil
	})
}
