package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the files have to be left alone before they are read: an
// editor writes in several steps.
const settle = 80 * time.Millisecond

// watched are the directories whose manifests run.
func (l *launcher) watched() []string {
	dirs := []string{filepath.Join("openchoreo", "rendered"), filepath.Join("istio", "cells"), filepath.Join("istio", "stages")}
	if l.options.Adversary {
		dirs = append(dirs, filepath.Join("adversary", "manifests"))
	}
	return dirs
}

// watch puts edited manifests in force until ctx ends. A bad edit is reported
// and changes nothing.
func (l *launcher) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	for _, dir := range l.watched() {
		if err := addTree(w, filepath.Join(l.handed.Root, dir)); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
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
			return err
		case <-timer.C:
			if err := l.apply(ctx, ""); err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "artemis: the manifests on disk are not in force, the last good ones are:\n%v\n", err)
				l.setProblem(err.Error())
			} else if err == nil {
				fmt.Fprintln(os.Stderr, "artemis: the edited manifests are in force")
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
