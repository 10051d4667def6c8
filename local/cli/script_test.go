package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"artemis.example/local/cli"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
)

// patience is how long a condition may take to come true.
const patience = 20 * time.Second

// TestMain has more scenes run beside each other than there are processors: each waits
// for programs that start and end.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestScripts runs the real programs on the real manifests, once with each
// capture: testdata/script has the scenes.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, pkg := range map[string]string{"artemis": "artemis.example/local", "service": "artemis.example/service"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, capture := range []string{"netns", "proxy"} {
		t.Run(capture, func(t *testing.T) {
			t.Parallel()
			if capture == "netns" {
				needNetns(t, bin, root)
			}
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", "script"),
				Setup: func(e *testscript.Env) error {
					for name, value := range map[string]string{
						"PATH": bin + string(os.PathListSeparator) + os.Getenv("PATH"), "BIN": bin,
						"PROJECT": root, "CAPTURE": capture,
						"GOCOVERDIR": os.Getenv("ARTEMIS_COVERDIR"), // scripts/cover.sh
					} {
						e.Setenv(name, value)
					}
					e.Defer(func() { // whatever the scene left running
						down := exec.Command(filepath.Join(bin, "artemis"), "down", "--root", root, "--state-dir",
							filepath.Join(e.WorkDir, "state"))
						_ = down.Run()
					})
					return os.Chmod(e.WorkDir, 0o755)
				},
				Condition: func(c string) (bool, error) {
					switch c {
					case "netns", "proxy":
						return c == capture, nil
					case "root":
						return os.Geteuid() == 0, nil
					}
					return false, fmt.Errorf("unknown condition %q", c)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"eventually": eventually, "kill9": kill9, "gone": gone, "pids": pids, "host": hostState,
					"occupy":    occupy,
					"interrupt": interrupt, "anything": anything, "limited": limited, "unheard": unheard,
				},
			})
		})
	}
}

// needNetns skips where this machine lets nobody make a node, but never in CI.
func needNetns(t *testing.T, bin, root string) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(filepath.Join(bin, "artemis"), "up", "--detach", "--capture", "netns", "--gateway",
		"127.0.0.1:0", "--root", root, "--state-dir", state, "--without-adversary")
	out, err := cmd.CombinedOutput()
	if err == nil {
		if out, err := exec.Command(filepath.Join(bin, "artemis"), "down", "--root", root, "--state-dir",
			state).CombinedOutput(); err != nil {
			t.Fatalf("down: %v\n%s", err, out)
		}
		return
	}
	if strings.Contains(string(out), "cannot be used here") && os.Getenv("CI") == "" {
		t.Skipf("needs network namespaces: %s", out)
	}
	t.Fatalf("up: %v\n%s", err, out)
}

// eventually REGEXP COMMAND... runs a command until its output matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND...")
	}
	want := regexp.MustCompile("(?s)" + args[0])
	var out []byte
	await(ts, func() (bool, string) {
		cmd := exec.Command(filepath.Join(ts.Getenv("BIN"), args[1]), args[2:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH")}
		out, _ = cmd.CombinedOutput()
		return want.Match(out), string(out)
	})
}

// await waits until a condition holds.
func await(ts *testscript.TestScript, holds func() (bool, string)) {
	tick := time.NewTicker(50 * time.Millisecond) // most of what is asked is a program that starts
	defer tick.Stop()
	limit := time.Now().Add(patience)
	for {
		ok, what := holds()
		if ok {
			return
		}
		if time.Now().After(limit) {
			ts.Fatalf("not within %v; at last: %s", patience, what)
		}
		<-tick.C
	}
}

// interrupt MOMENT ARG... starts artemis in the foreground and presses Ctrl-C at a
// moment: when it has a child (node), when it listens (socket) or when all is
// ready. It has to say so and to end.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(ts.Getenv("BIN"), "artemis"), args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH")}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	await(ts, func() (bool, string) {
		switch args[0] {
		case "node":
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
			return len(bytes.TrimSpace(children)) > 0, "it has no child"
		case "socket":
			_, err := os.Stat(ts.MkAbs("state/control.sock"))
			return err == nil, "it has no socket"
		}
		status := exec.Command(filepath.Join(ts.Getenv("BIN"), "artemis"), "status", "--root", ts.Getenv("PROJECT"),
			"--state-dir", ts.MkAbs("state"))
		text, _ := status.Output()
		return bytes.Contains(text, []byte("18 of 18 ready")), string(text)
	})
	ts.Check(cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-ended:
		ts.Check(err)
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		ts.Fatalf("it does not end after Ctrl-C at %s", args[0])
	}
	if !strings.Contains(said.String(), "artemis: stopping everything") {
		ts.Fatalf("it did not say what it does: %s", said.Bytes())
	}
}

// unheard ARG... presses Ctrl-C while artemis reads a standard input that does not end.
func unheard(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(ts.Getenv("BIN"), "artemis"), args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH")}
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	// More than a pipe holds: it has read some of it when this returns.
	_, err = in.Write(bytes.Repeat([]byte("# a comment\n"), 1<<17))
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !late.Stop() {
		ts.Fatalf("it does not end after Ctrl-C: %v", args)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 || said.String() != "artemis: interrupted\n" {
		ts.Fatalf("Ctrl-C at %v: %v: %s", args, err, said.Bytes())
	}
}

// anything runs every command with every flag and argument that makes no sense.
// None may panic, and each ends with a code that says so.
func anything(ts *testscript.TestScript, _ bool, args []string) {
	runs := args[0] == "up"
	odd := []string{"", "-5", "99999999999999999999", "\xff\x01", "../a/b=[d"}
	var lines [][]string
	try := func(args ...string) { lines = append(lines, args) }
	place := []string{"--root", ts.MkAbs("nothing"), "--state-dir", ts.MkAbs("state")}
	for _, c := range cli.NewRootCommand("test").Commands() {
		name := c.Name()
		ends := name == "up" || name == "down"
		if runs && ends {
			continue
		}
		first := []string{name}
		if name == "attack" { // without a name it plays them all
			first = append(first, "nosuch")
		}
		for _, v := range odd {
			try(append(append(slices.Clone(first), place...), v)...)
			if runs {
				try(append(append(slices.Clone(first), place...), v, v)...)
				try(append(append(slices.Clone(first), place...), "--", v)...)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(f.Usage, "`") {
				ts.Fatalf("artemis %s --%s: pflag takes what is in backquotes for the value's name", name, f.Name)
			}
			// Values are read the same with a suite and without.
			if f.Name == "follow" || f.Name == "detach" || f.Name == "help" || runs == ends {
				return
			}
			for _, v := range odd {
				try(append(append(slices.Clone(first), place...), "--"+f.Name+"="+v)...)
			}
		})
	}
	for _, v := range odd {
		try(v)
		try("--root", v, "status", "--state-dir", v)
		try("--"+v, v)
	}
	if len(lines) < 100 {
		ts.Fatalf("only %d command lines to try", len(lines))
	}
	next := make(chan []string)
	complaints := make(chan string, len(lines))
	var trying sync.WaitGroup
	for range 4 {
		trying.Go(func() {
			for args := range next {
				if wrong := tryLine(ts, args); wrong != "" {
					complaints <- wrong
				}
			}
		})
	}
	for _, args := range lines {
		next <- args
	}
	close(next)
	trying.Wait()
	if len(complaints) > 0 {
		ts.Fatalf("%s", <-complaints)
	}
}

// tryLine returns what is wrong with how a command line that makes no sense ends,
// empty when nothing is.
func tryLine(ts *testscript.TestScript, args []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(ts.Getenv("BIN"), "artemis"), args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH")}
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		return fmt.Sprintf("artemis %q: %v: %s", args, err, text)
	}
	if code := cmd.ProcessState.ExitCode(); bytes.Contains(text, []byte("goroutine ")) || code > 2 && code != 126 &&
		code != 127 {
		return fmt.Sprintf("artemis %q ends with %d: %s", args, code, text)
	}
	return ""
}

// limited FLAG VALUE ARG... runs artemis under a limit of prlimit(1) and expects
// it to refuse.
func limited(ts *testscript.TestScript, _ bool, args []string) {
	line := append([]string{args[0] + "=" + args[1] + ":" + args[1], filepath.Join(ts.Getenv("BIN"), "artemis")},
		args[2:]...)
	out, err := exec.Command("prlimit", line...).CombinedOutput()
	if err == nil {
		ts.Fatalf("%q starts: %s", line, out)
	}
	ts.Check(os.WriteFile(ts.MkAbs("said"), out, 0o644))
}

type upFile struct {
	PID int `json:"pid"`
}

func readUp(ts *testscript.TestScript) upFile {
	var up upFile
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("state/up.json")), &up))
	return up
}

// pids FILE writes the process numbers of the launcher and of all pods.
func pids(ts *testscript.TestScript, _ bool, args []string) {
	out, err := exec.Command(filepath.Join(ts.Getenv("BIN"), "artemis"), "status", "--json", "--root",
		ts.Getenv("PROJECT"), "--state-dir", ts.MkAbs("state")).Output()
	ts.Check(err)
	var s struct{ Pods []upFile }
	ts.Check(json.Unmarshal(out, &s))
	var b bytes.Buffer
	fmt.Fprintln(&b, readUp(ts).PID)
	for _, p := range s.Pods {
		fmt.Fprintln(&b, p.PID)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

// kill9 up|pod kills the launcher, or the first pod's process.
func kill9(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Fields(ts.ReadFile(args[0]))
	index, err := strconv.Atoi(args[1])
	ts.Check(err)
	pid, err := strconv.Atoi(lines[index])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
}

// gone FILE waits until none of the processes is left.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	for _, line := range strings.Fields(ts.ReadFile(args[0])) {
		pid, err := strconv.Atoi(line)
		ts.Check(err)
		await(ts, func() (bool, string) {
			if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
				return true, ""
			}
			// One that ended with all of its threads and that nobody has collected
			// is gone too.
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			return bytes.Contains(stat, []byte(") Z ")) && len(threads) <= 1,
				fmt.Sprintf("process %d is there with %d threads: %s", pid, len(threads), stat)
		})
	}
}

// host FILE writes what a suite could leave on the host: interfaces, routes, mounts and
// rules with an address or a name of its own. What others do meanwhile is theirs.
func hostState(ts *testscript.TestScript, _ bool, args []string) {
	var found []string
	own := func(where, text string) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, ts.MkAbs("state")) || ofASuite.MatchString(line) {
				found = append(found, where+": "+strings.TrimSpace(line))
			}
		}
	}
	interfaces, err := net.Interfaces()
	ts.Check(err)
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		ts.Check(err)
		own("interface", fmt.Sprintln(i.Name, i.Flags, addrs))
	}
	for _, f := range []string{"/proc/net/route", "/proc/self/mountinfo"} {
		data, _ := os.ReadFile(f) // not everywhere
		own(f, string(data))
	}
	rules, _ := exec.Command("nft", "list", "ruleset").Output() // nor is nft
	own("rules", string(rules))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(found, "\n")), 0o644))
}

// ofASuite finds the pod network, in /proc/net/route's form too, its Services, the
// programs of pods, and the table of a pod's rules.
var ofASuite = regexp.MustCompile(`10\.244\.|0000F40A|10\.96\.|/run/artemis|table \w+ artemis`)

// occupy VARIABLE listens on a port until the scene ends.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}
