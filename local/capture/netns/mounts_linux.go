package netns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"artemis.example/local/capture/netns/inside"
	"golang.org/x/sys/unix"
)

// The programs that run in pods are copies in a file system of the node's own,
// which is read-only as a whole: no way leads from a pod to a file of the host that
// is executed there, nor from one pod to another's program (CVE-2019-5736).
const (
	emptyDir   = inside.ProgramsDir + "/empty"
	insideProg = inside.ProgramsDir + "/artemis"
)

// system are the directories of the root that a pod sees: the system's, and those
// that it gets of its own. All others, homes first of all, are empty in there.
var system = []string{
	"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix", "gnu",
	"proc", "sys", "dev", "run", "tmp",
}

// view is what all pods of a node see of the files.
type view struct {
	resolvConf string   // the file that /etc/resolv.conf is
	empty      []string // directories with nothing in them
	shared     []string // directories that are seen although the one above is not
}

// newView covers the node's own /run with the programs, this one and those of the
// Config, and says what its pods are to see.
func newView(cfg Config) (*view, error) {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf") // it may be a link into /run
	if err != nil {
		return nil, Unavailable(err)
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, err
	}
	v := &view{resolvConf: target, empty: slices.Clone(cfg.Hide)}
	for _, dir := range cfg.Share {
		if err := unix.Access(dir, unix.R_OK|unix.X_OK); err != nil {
			return nil, fmt.Errorf("share %s with the pods: their user may not read it, or not come there: %w "+
				"(allow it: chmod o+rx, o+x for the directories above it)", dir, err)
		}
		v.shared = append(v.shared, dir)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(system, e.Name()) {
			v.empty = append(v.empty, "/"+e.Name())
		}
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return nil, Unavailable(fmt.Errorf("mount on /run: %w", err))
	}
	if err := os.MkdirAll(emptyDir, 0o755); err != nil {
		return nil, err
	}
	for path, from := range named(cfg.Programs, self) {
		if err := copyProgram(path, from); err != nil {
			return nil, fmt.Errorf("copy a program to %s: %w", path, err)
		}
	}
	return v, unix.Mount("", "/run", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

func named(programs map[string]*os.File, self *os.File) map[string]*os.File {
	all := map[string]*os.File{insideProg: self}
	for name, f := range programs {
		all[ProgramPath(name)] = f
	}
	return all
}

func copyProgram(path string, from *os.File) error {
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o555)
	if err != nil {
		return err
	}
	info, err := from.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, 0, info.Size()))
	return errors.Join(err, to.Close())
}

// mount makes the mount namespace of the calling thread its pod's view of the
// files: everything read-only, a /run, a /tmp and a /dev of its own, its own
// resolv.conf, and nothing in the directories that are no system's. Unix sockets
// with a path work across network namespaces: D-Bus, systemd-resolved, a container
// engine, another pod's socket in a directory that both can write would all be
// ways out.
func (v *view) mount(resolvConf string, user int) error {
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	writable := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("read-only root: %w", err)
	}
	// Not /proc: the uid_map of a pod's processes is written there. They get one
	// of their own before they become the pod's program.
	if err := unix.MountSetattr(unix.AT_FDCWD, "/proc", 0, &writable); err != nil {
		return fmt.Errorf("writable /proc: %w", err)
	}
	kept := map[string]int{}
	for _, dir := range append([]string{inside.ProgramsDir}, v.shared...) {
		fd, err := detach(dir)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		kept[dir] = fd
	}
	for _, dir := range v.empty {
		err := unix.Mount(emptyDir, dir, "", unix.MS_BIND, "")
		// Who cannot come to the directory has nothing to be kept from.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	if err := mountDev(user); err != nil {
		return err
	}
	own := []string{"/run", "/tmp"}
	for _, path := range append(v.shared, v.resolvConf) { // WSL has its resolv.conf in /mnt
		if top := "/" + strings.Split(path, "/")[1]; slices.Contains(v.empty, top) && !slices.Contains(own, top) {
			own = append(own, top)
		}
	}
	for _, dir := range own {
		if err := mountOwn(dir, "size=16m,nr_inodes=4096,mode=1777"); err != nil {
			return err
		}
	}
	for dir, fd := range kept {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := attach(fd, dir); err != nil {
			return err
		}
	}
	return v.writeResolvConf(resolvConf, own)
}

func mountOwn(dir, options string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	return nil
}

func (v *view) writeResolvConf(text string, own []string) error {
	for _, dir := range own {
		if strings.HasPrefix(v.resolvConf, dir+"/") { // systemd-resolved: /etc/resolv.conf links there
			if err := os.MkdirAll(filepath.Dir(v.resolvConf), 0o755); err != nil {
				return err
			}
			return os.WriteFile(v.resolvConf, []byte(text), 0o444)
		}
	}
	if err := os.WriteFile("/run/resolv.conf", []byte(text), 0o444); err != nil {
		return err
	}
	if err := unix.Mount("/run/resolv.conf", v.resolvConf, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", v.resolvConf, err)
	}
	return nil
}

// mountDev covers /dev with what a container has: no disk, no /dev/kvm, /dev/fuse
// or /dev/net/tun, and terminals of its own instead of the host's.
func mountDev(user int) error {
	devices := map[string]int{"null": -1, "zero": -1, "full": -1, "random": -1, "urandom": -1, "tty": -1}
	for name := range devices {
		fd, err := detach("/dev/" + name)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		devices[name] = fd
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC,
		"size=64k,nr_inodes=64,mode=0755"); err != nil {
		return fmt.Errorf("mount on /dev: %w", err)
	}
	for name, fd := range devices {
		// Never opened: a descriptor may be copied by a process that is just being
		// started elsewhere, and then this could not be made read-only.
		if err := unix.Mknod("/dev/"+name, unix.S_IFREG|0o444, 0); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
		if err := attach(fd, "/dev/"+name); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, "/dev/"+link); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Mkdir("/dev/pts", 0o755), os.Mkdir("/dev/shm", 0o755)); err != nil {
		return err
	}
	terminals := "newinstance,ptmxmode=0666,mode=0620,max=64,uid=" + strconv.Itoa(user)
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, terminals); err != nil {
		return fmt.Errorf("mount on /dev/pts: %w", err)
	}
	if err := mountOwn("/dev/shm", "size=16m,nr_inodes=1024,mode=1777"); err != nil {
		return err
	}
	if err := unix.Mount("", "/dev", "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("make /dev read-only: %w", err)
	}
	return nil
}

// detach returns a copy of a mount that is nowhere yet, and attach puts it
// somewhere: so that it outlives being covered.
func detach(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("take %s along: %w", path, err)
	}
	return fd, nil
}

func attach(fd int, path string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}
