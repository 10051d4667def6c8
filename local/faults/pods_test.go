//go:build faults

package faults

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOnePodCostsOnlyItself has a pod use up whatever it can get. Meanwhile
// operators get their answers, `artemis` answers, and the attacks of other pods are
// refused; and afterwards all is as before.
func TestOnePodCostsOnlyItself(t *testing.T) {
	s, hostile := withHostile(t, options{share: visible(t)})
	costsOnlyItself(t, s, hostile, "")
}

// TestOnePodOfAnOrdinaryUserCostsOnlyItself is the same where all pods are one user.
// What the kernel counts by user is shared then: epoll's watches are left out.
func TestOnePodOfAnOrdinaryUserCostsOnlyItself(t *testing.T) {
	o, _ := ordinary(t)
	s, hostile := withHostile(t, o)
	costsOnlyItself(t, s, hostile, "epoll")
}

func costsOnlyItself(t *testing.T, s *suite, hostile, but string) {
	s.launch()
	s.until("frames come down", 40*time.Second, s.live)
	guidance, ok := s.pod("orion/guidance-nav")
	if !ok {
		t.Fatal("there is no guidance-nav")
	}
	for _, c := range []struct {
		deed string
		args []string
	}{
		{"name server", nil},
		{"questions", nil},
		{"handshakes", []string{guidance.Address + ":15008"}},
		{"half calls", []string{"guidance-nav:8080"}},
		{"new calls", []string{"guidance-nav:8080"}},
		{"processes", nil},
		{"threads", nil},
		{"memory", nil},
		{"files", nil},
		{"descriptors", nil},
		{"epoll", nil},
		{"other's proc", nil},
	} {
		if c.deed == but {
			continue
		}
		t.Run(c.deed, func(t *testing.T) {
			stop := s.inBackground(append([]string{"orion/adversary", "--", hostile, c.deed}, c.args...)...)
			w := s.watch()
			for range 8 {
				began := time.Now()
				if now, err := s.status(); err != nil || len(now.Pods) < 18 {
					t.Errorf("status: %v, %d pods", err, len(now.Pods))
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("status took %v", took)
				}
				<-time.After(500 * time.Millisecond)
			}
			w.halt(t)
			if answered, calls := w.answered.Load(), w.calls.Load(); answered*10 < calls*9 {
				t.Errorf("of %d calls %d were answered with 200", calls, answered)
			}
			stop()
			s.until("all are ready", 10*time.Second, s.allReady)
			s.until("calls work", 10*time.Second, s.works)
		})
	}
}

// TestTheSuiteEndsWhileAPodMisbehaves goes down under a fork bomb.
func TestTheSuiteEndsWhileAPodMisbehaves(t *testing.T) {
	s, hostile := withHostile(t, options{share: visible(t)})
	for _, deed := range []string{"processes", "name server", "memory"} {
		s.inBackground("orion/adversary", "--", hostile, deed)
	}
	s.until("a command in another pod runs beside them", 20*time.Second, func() bool {
		return strings.HasSuffix(s.curl("orion/comms-system", "http://guidance-nav:8080/position"), "\n200")
	})
	began := time.Now()
	if out, err := s.ask("down"); err != nil || !strings.Contains(string(out), "stopped") {
		t.Fatalf("down: %v: %s", err, out)
	}
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("down took %v", took)
	}
	if left := descendantsOf(t, s.state); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// TestExecObeysSIGTERM ends commands that do not want to.
func TestExecObeysSIGTERM(t *testing.T) {
	s := start(t, options{})
	mark := rand.Text() // in the command lines of this run's processes, and nobody else's
	for name, command := range map[string]string{
		"an idle one":                          "sleep 300",
		"one that ignores signals":             `trap "" TERM HUP INT; while :; do sleep 1; done`,
		"one whose child ignores them":         `(trap "" TERM; sleep 300) & wait`,
		"one that writes without end":          "yes",
		"one that stopped itself":              "kill -STOP $$",
		"one that left something with its out": "sleep 300 & exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(s.options.artemis, "--root", s.root, "--state-dir", s.state, "exec", "orion/adversary",
				"--", "sh", "-c", "echo runs; "+command+" # "+mark)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
				t.Fatalf("it did not start: %v", err)
			}
			ended := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, out); _ = cmd.Wait(); close(ended) }()
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				_ = cmd.Process.Kill()
				t.Error("it did not end")
			}
		})
	}
	s.until("nothing of them is left", 10*time.Second, func() bool {
		out, err := exec.Command("pgrep", "-f", "artemis-inside supervise .*"+mark).Output()
		s.last = string(out)
		return err != nil
	})
}

// TestNothingOfTheOperatorsComesIntoAPod starts the suite from a shell with open
// files, as CVE-2024-21626 wants it, and runs commands with streams that are files.
func TestNothingOfTheOperatorsComesIntoAPod(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	put(t, secret, "the operator's secret\n")
	s := start(t, options{prefix: []string{"bash", "-c",
		fmt.Sprintf(`exec 9<%q 11</ 12>>%q; export OPERATORS=secret; exec "$0" "$@"`, secret, secret)}})
	inPod := func(script string, stdin, stdout *os.File) string {
		t.Helper()
		var out strings.Builder
		cmd := exec.Command(s.options.artemis, "--root", s.root, "--state-dir", s.state, "exec", "orion/adversary",
			"--", "sh", "-c", script)
		cmd.Env = append(os.Environ(), "OPERATORS=secret")
		cmd.Stdin, cmd.Stderr = stdin, &out
		cmd.Stdout = &out
		if stdout != nil {
			cmd.Stdout = stdout
		}
		_ = cmd.Run() // what is refused is an error too
		return out.String()
	}
	open := "for f in /proc/[0-9]*/fd/*; do readlink $f; done | grep -v -e ^pipe: -e ^/proc/ -e ^/dev/null -e " +
		"anon_inode"
	if got := inPod(open, nil, nil); got != "" {
		t.Errorf("open in the pod: %s", got)
	}
	for _, fd := range []int{3, 4, 5, 6, 7, 8, 9} {
		if got := inPod(fmt.Sprintf("cat <&%d 2>&1", fd), nil, nil); !strings.Contains(strings.ToLower(got), "bad f") {
			t.Errorf("descriptor %d says %q", fd, got)
		}
	}
	if got := inPod("env; tr '\\0' '\\n' < /proc/1/environ", nil, nil); strings.Contains(got, "OPERATORS") ||
		strings.Contains(got, os.Getenv("HOME")+"\n") {
		t.Errorf("the operator's environment: %s", got)
	}
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if got := inPod("ls /proc/self/fd/0/ 2>&1", root, nil); !strings.Contains(got, "Not a directory") {
		t.Errorf("a directory as standard input: %s", got)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.WriteString("what the operator wrote before\n"); err != nil {
		t.Fatal(err)
	}
	inPod(": > /proc/self/fd/1; chmod 777 /proc/self/fd/1; truncate -s 0 /dev/stdout; echo from the pod", nil, log)
	text, err := os.ReadFile(log.Name())
	if err != nil || !strings.HasPrefix(string(text), "what the operator wrote before\n") ||
		!strings.Contains(string(text), "from the pod") {
		t.Errorf("the operator's log is now %q, %v", text, err)
	}
	// And the pods' own programs: what the launcher wrote to their logs is a pipe's.
	pod, _ := s.pod("orion/adversary")
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pod.PID))
	if err != nil || len(fds) == 0 {
		t.Fatalf("the descriptors of the pod's program: %v, %v", fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		switch {
		case err != nil, strings.HasPrefix(to, "pipe:"), strings.HasPrefix(to, "socket:"), strings.HasPrefix(to,
			"anon_inode:"), to == "/dev/null":
		case strings.HasPrefix(to, "/sys/fs/cgroup"), strings.HasPrefix(to, "/proc/"): // opened by itself
		default:
			t.Errorf("the pod's program holds %s", to)
		}
	}
}

// TestAnOrdinaryUsersProgramsStayAsTheyAre is CVE-2019-5736: the suite of a user who
// owns its programs.
func TestAnOrdinaryUsersProgramsStayAsTheyAre(t *testing.T) {
	o, dir := ordinary(t)
	s := start(t, o)
	out, _ := s.ask("exec", "intruder/adversary", "--", "sh", "-c", fmt.Sprintf(
		`for p in /proc/1/exe /proc/self/exe /run/artemis/* %[1]s/artemis %[1]s/service; do chmod 4755 $p; chmod 0 $p; true > $p; mv $p $p.gone; done 2>/dev/null; ls -l /run/artemis %[1]s; cat /proc/1/environ`, dir))
	if !strings.Contains(string(out), "artemis") || strings.Contains(string(out), "gone") {
		t.Errorf("what the pod sees of the programs: %s", out)
	}
	for _, name := range []string{"artemis", "service"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("%s is now %v, %v", name, info.Mode(), err)
		}
	}
	s.kill("intruder/adversary") // and a pod starts again
	if out, err := s.ask("down"); err != nil {
		t.Errorf("down: %v: %s", err, out)
	}
}

// TestEvidenceOutlivesNoise has one pod fill the decision log while another's attack
// is in it.
func TestEvidenceOutlivesNoise(t *testing.T) {
	s := start(t, options{})
	if got := s.curl("intruder/adversary", "http://guidance-nav.orion:8080/evidence"); strings.HasSuffix(got, "\n200") {
		t.Fatalf("let in: %s", got)
	}
	const noise = 30_000 // the log keeps 20,000
	script := fmt.Sprintf(
		`i=0; while [ $i -lt %d ]; do echo 'url = "http://guidance-nav:8080/noise"'; i=$((i+1)); done | curl -s -o /dev/null -Z --parallel-max 50 -K -`, noise)
	for _, pod := range []string{"orion/adversary", "orion/life-support"} {
		if out, err := exec.Command(s.options.artemis, "--root", s.root, "--state-dir", s.state, "exec", pod, "--",
			"sh", "-c", script).CombinedOutput(); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	out, err := s.ask("decisions", "--json", "--last", "100000")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var r struct {
			Seq     uint64
			Verdict string
			From    struct{ Namespace string }
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		count[r.From.Namespace]++
		count["last"] = max(count["last"], int(r.Seq))
	}
	t.Logf("kept, by caller's namespace: %v", count)
	if count["last"] < 20_000 {
		t.Errorf("only %d decisions: the log was not filled", count["last"])
	}
	if count["intruder"] == 0 {
		t.Error("nothing of the intruder's attack is left")
	}
}

// ordinary returns the options of a suite that belongs to an ordinary user, and the
// directory with its programs, which are the user's own. As root that is one who has
// no subordinate users, so that all of its pods are one user.
func ordinary(t *testing.T) (o options, dir string) {
	t.Helper()
	dir = visible(t)
	// The state is elsewhere: pods are to see dir.
	o = options{state: visible(t), artemis: filepath.Join(dir, "artemis"), service: filepath.Join(dir, "service")}
	for _, name := range []string{"artemis", "service"} {
		if out, err := exec.Command("cp", absolute(t, "bin/"+name), filepath.Join(dir,
			name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "project"), os.DirFS(copyOf(t))); err != nil {
		t.Fatal(err)
	}
	o.root = filepath.Join(dir, "project")
	if os.Geteuid() == 0 {
		const user = "12345" // who has no entry anywhere
		if out, err := exec.Command("chown", "-R", user+":"+user, dir, o.state).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		o.prefix = []string{"setpriv", "--reuid", user, "--regid", user, "--clear-groups"}
	}
	o.share = dir
	return o, dir
}

// withHostile starts a suite whose pods see the hostile program.
func withHostile(t *testing.T, o options) (s *suite, hostile string) {
	t.Helper()
	hostile = program(t, o.share, "hostile", "./local/faults/hostile")
	return start(t, o), hostile
}

// inBackground runs a command in a pod until stop.
func (s *suite) inBackground(args ...string) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, s.options.artemis, append([]string{"--root", s.root, "--state-dir", s.state,
		"exec"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stop = func() { cancel(); _ = cmd.Wait() }
	s.t.Cleanup(stop)
	return stop
}
