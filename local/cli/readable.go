package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"artemis.example/local/capture/netns"
	"artemis.example/policy/manifest"
)

// What others need to read a file, to go through a directory, and to list one too.
const (
	readFile   fs.FileMode = 0o004
	passFolder fs.FileMode = 0o001
	readFolder fs.FileMode = 0o005
)

// checkReadable says what the node could not read: where root starts it, it gives
// up root's rights, in the tree of the project too.
func checkReadable(root string, withAdversary bool) error {
	uid, _, err := netns.Owner()
	if err != nil || uid == os.Geteuid() {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	top := filepath.Dir(self)
	if strings.HasPrefix(self, root+string(filepath.Separator)) {
		top = root // one line opens both
	}
	if err := needMode(self, passFolder, top); err != nil {
		return err
	}
	for _, folder := range manifest.Folders(withAdversary) {
		for dir := filepath.Dir(folder); ; dir = filepath.Dir(dir) {
			if err := needMode(filepath.Join(root, dir), passFolder, root); err != nil {
				return err
			}
			if dir == "." {
				break
			}
		}
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // who reads it says so
				return nil
			case err != nil:
				return err
			case d.IsDir():
				return needMode(path, readFolder, root)
			}
			return needMode(path, readFile, root)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// needMode fails where others lack a right to path, and says how to give it to all
// below top.
func needMode(path string, need fs.FileMode, top string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Perm()&need == need:
		return nil
	}
	return fmt.Errorf("the suite that root starts runs as the user nobody, to whom %s is closed (%v): open it with "+
		"`chmod -R go+rX %s`, or start the suite as an ordinary user", path, info.Mode(), quoted(top))
}
