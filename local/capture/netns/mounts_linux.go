package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountFiles returns the mount namespace of the calling thread its pod's view of
// the files: everything read-only, its own /run and /tmp, its own resolv.conf,
// and nothing in the hidden directories. Unix sockets with a path work across
// network namespaces: D-Bus, systemd-resolved, a container engine, another
// pod's socket in a directory that both can write would all be ways out.
func mountFiles(resolvConf string, hide []string) error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf") // before /run is covered
	if err != nil {
		return err
	}
	readOnly, writable := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("read-only root: %w", err)
	}
	// Not /proc: the uid_map of a pod's processes is written there.
	if err := unix.MountSetattr(unix.AT_FDCWD, "/proc", 0, &writable); err != nil {
		return fmt.Errorf("writable /proc: %w", err)
	}
	for _, dir := range hide {
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=4k,mode=0555")
		// Who cannot come to the directory has nothing to be kept from.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/run", "/tmp"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=16m,mode=1777"); err != nil {
			return fmt.Errorf("mount on %s: %w", dir, err)
		}
	}
	if strings.HasPrefix(target, "/run/") { // systemd-resolved: /etc/resolv.conf links there
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, []byte(resolvConf), 0o444)
	}
	if err := os.WriteFile("/run/resolv.conf", []byte(resolvConf), 0o444); err != nil {
		return err
	}
	if err := unix.Mount("/run/resolv.conf", target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", target, err)
	}
	return nil
}
