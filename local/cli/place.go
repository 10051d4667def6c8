package cli

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"artemis.example/local/control"
)

// maxSocketPath is what fits into a sockaddr_un everywhere (104 on macOS, 108 on
// Linux, with the final zero byte).
const maxSocketPath = 100

// place is where the project and the state of its running suite are.
type place struct {
	root, state string
	flags       string // as they were given, for hints
}

// command returns a line that can be pasted: this program as it was called, and
// what it was told about the place.
func (p *place) command(rest string) string {
	self := os.Args[0]
	if !strings.Contains(self, "/") {
		self = "artemis" // found in the PATH
	}
	words := slices.DeleteFunc([]string{quoted(self), rest, p.flags}, func(w string) bool { return w == "" })
	return strings.Join(words, " ")
}

// quoted writes a word for a shell.
func quoted(word string) string {
	safe := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("/._-+:=@%,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// resolve makes both absolute.
func (p *place) resolve() error {
	if p.flags == "" {
		for _, f := range []struct{ name, value string }{{"--root", p.root}, {"--state-dir", p.state}} {
			if f.value != "" {
				p.flags = strings.TrimSpace(p.flags + " " + f.name + " " + quoted(f.value))
			}
		}
	}
	if p.root == "" {
		root, err := findRoot()
		switch {
		case err == nil:
			p.root = root
		case p.state == "":
			return err
		}
	}
	if p.state == "" {
		p.state = filepath.Join(p.root, ".artemis")
	}
	for _, dir := range []*string{&p.root, &p.state} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	return nil
}

func findRoot() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			starts = append(starts, filepath.Dir(real))
		}
	}
	for _, dir := range starts {
		for {
			if info, err := os.Stat(filepath.Join(dir, "openchoreo", "rendered")); err == nil && info.IsDir() {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("no directory with openchoreo/rendered from here upwards: run this in the project's " +
		"directory, or say --root DIR")
}

func (p place) logs() string          { return filepath.Join(p.state, "logs") }
func (p place) launcherLog() string   { return filepath.Join(p.state, "artemis.log") }
func (p place) controlSocket() string { return p.socket("control.sock") }
func (p place) execSocket() string    { return p.socket("exec.sock") }
func (p place) tokenFile() string     { return filepath.Join(p.state, "operator") }

// socket returns the path of a socket in the state directory, or a short one in
// the directory for temporary files where that would be too long.
func (p place) socket(name string) string {
	path := filepath.Join(p.state, name)
	if len(path) <= maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join("/tmp", fmt.Sprintf("artemis-%d-%x-%s", os.Geteuid(), sum[:6], name))
}

// running is what an `artemis up` leaves in the state directory.
type running struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	Gateway   string    `json:"gateway"`
}

func (p place) runningFile() string { return filepath.Join(p.state, "up.json") }

func (p place) running() (running, error) {
	var r running
	data, err := os.ReadFile(p.runningFile())
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	return r, err
}

func (p place) write(r running) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(p.runningFile(), append(data, '\n'), 0o644)
}

// token returns the operator's token, which outlives a suite so that a page that
// is open goes on working with the next one. Removing the file makes a new one.
func (p place) token() (string, error) {
	f, err := os.OpenFile(p.tokenFile(), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err == nil {
		defer f.Close()
		info, err := f.Stat()
		data, readErr := io.ReadAll(io.LimitReader(f, 1<<10))
		if err == nil && readErr == nil && info.Mode() == 0o600 && ownedByUs(info) &&
			len(data) >= len(control.NewToken()) {
			return strings.TrimSpace(string(data)), nil
		}
	}
	// There is none, or one that somebody else may know.
	token := control.NewToken()
	if err := os.Remove(p.tokenFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("replace the operator's token: %w", err)
	}
	if f, err = os.OpenFile(p.tokenFile(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return "", fmt.Errorf("keep the operator's token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("keep the operator's token: %w", err)
	}
	return token, nil
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// makeState makes the state directory.
func (p place) makeState() error {
	err := os.MkdirAll(p.state, 0o755)
	if err == nil {
		return nil
	}
	return fmt.Errorf("make the state directory, for logs and sockets: %w; choose one that can be written with "+
		"--state-dir DIR", err)
}

// errRunning says that somebody else holds the lock.
var errRunning = errors.New("a suite is running already")

// lock makes this process the one that runs a suite with this state directory,
// for as long as it lives: the kernel gives the lock back however it ends, so
// that nothing stale is left.
func (p place) lock() (*os.File, error) {
	if err := p.makeState(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.state, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w; choose a directory of your own with --state-dir DIR", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errRunning
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// isRunning reports whether somebody holds the lock.
func (p place) isRunning() (bool, error) {
	if _, err := os.Stat(filepath.Join(p.state, "lock")); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	f, err := p.lock()
	if errors.Is(err, errRunning) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// clear takes away what a suite that ended left.
func (p place) clear() {
	for _, path := range []string{p.controlSocket(), p.execSocket(), p.runningFile()} {
		_ = os.Remove(path) // it may be gone already
	}
}
