//go:build linux

package netns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/netns"
	"github.com/google/go-cmp/cmp"
)

// The node can be made once in a process: what it mounts stays.
var theNode = sync.OnceValues(func() (capture.Node, error) {
	dir, err := os.MkdirTemp("", "artemis-shared-")
	if err != nil {
		return nil, err
	}
	sharedDir = dir
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "tool"), []byte("a tool"),
		0o644)); err != nil {
		return nil, err
	}
	return netns.NewNode(netns.Config{Hide: []string{hiddenDir}, Share: []string{dir}})
})

// sharedDir is one below a directory that pods do not see, with a tool in it.
var sharedDir string

// hiddenDir is one that every machine has, with something in it, and that is not
// hidden for another reason.
const hiddenDir = "/usr/share"

func newNode(t *testing.T) capture.Node {
	t.Helper()
	n, err := theNode()
	if errors.Is(err, netns.ErrUnavailable) && os.Getenv("CI") == "" {
		t.Skipf("needs user namespaces and nftables: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var (
	commsIP    = netip.MustParseAddr("10.244.0.7")
	guidanceIP = netip.MustParseAddr("10.244.0.8")
	serviceIP  = netip.MustParseAddr("10.96.0.8")
)

func addPod(t *testing.T, n capture.Node, name string, ip netip.Addr) capture.Pod {
	t.Helper()
	p, err := n.AddPod(capture.PodSpec{
		Namespace: "orion", Name: name, IP: ip, Ports: []uint16{8080, 9090},
		Resolve: func(name string) ([]netip.Addr, bool) {
			switch name {
			case "guidance-nav.orion.svc.cluster.local":
				return []netip.Addr{serviceIP}, true
			case "headless.orion.svc.cluster.local":
				return []netip.Addr{guidanceIP, commsIP}, true
			}
			return nil, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// forward is a node proxy that admits calls to the Service and nothing else.
func forward(t *testing.T, from capture.Pod, src netip.Addr, to capture.Pod) (seen func() []netip.AddrPort) {
	var mu sync.Mutex
	var dsts []netip.AddrPort
	go func() {
		for {
			c, err := from.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			dsts = append(dsts, c.Dst)
			mu.Unlock()
			go func() {
				defer c.Close()
				if c.Dst != netip.AddrPortFrom(serviceIP, 8080) {
					_ = c.Conn.(*net.TCPConn).SetLinger(0)
					return
				}
				up, err := to.DialApp(context.Background(), src, 8080)
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c.Conn) }()
				_, _ = io.Copy(c.Conn, up)
			}()
		}
	}()
	return func() []netip.AddrPort { mu.Lock(); defer mu.Unlock(); return dsts }
}

// inPod runs the test binary as a program in the pod and gives what it says.
func inPod(t *testing.T, p capture.Pod, args ...string) (said string, code int) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", append([]string{cheatCommand}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "GOCOVERDIR=/dev/shm") // the pod's, if this was built to measure coverage
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), cmd.ProcessState.ExitCode()
}

// serve runs a server in the pod until the test ends.
func serve(t *testing.T, p capture.Pod, name, addr string, port uint16) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", cheatCommand, "serve", addr, name)
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for limit := time.Now().Add(5 * time.Second); ; {
		c, err := p.DialApp(t.Context(), netns.NodeIP, port)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s does not serve: %v", name, err)
		}
	}
}

func TestAPodReachesOthersThroughItsNodeProxyOnly(t *testing.T) {
	n := newNode(t)
	comms, guidance := addPod(t, n, "comms-system", commsIP), addPod(t, n, "guidance-nav", guidanceIP)
	serve(t, guidance, "guidance-nav", ":8080", 8080)
	seen := forward(t, comms, commsIP, guidance)

	said, code := inPod(t, comms, "tcp", "guidance-nav.orion.svc.cluster.local:8080")
	if code != 0 || !strings.Contains(said, "guidance-nav to 10.244.0.7:") {
		t.Errorf("the call through the proxy gave %q, code %d: the server has to see the caller's pod IP", said, code)
	}
	if diff := cmp.Diff([]netip.AddrPort{netip.AddrPortFrom(serviceIP, 8080)}, seen(),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("what the proxy saw (-want +got):\n%s", diff)
	}
}

func TestWhatAPodTriesPastItsNodeProxyIsRefused(t *testing.T) {
	n := newNode(t)
	comms, guidance := addPod(t, n, "comms-system", commsIP), addPod(t, n, "guidance-nav", guidanceIP)
	serve(t, guidance, "guidance-nav", ":8080", 8080)
	serve(t, guidance, "guidance-nav", "127.0.0.1:9999", 8080)
	forward(t, comms, commsIP, guidance)
	socket := filepath.Join(t.TempDir(), "host.sock") // in /tmp, like a container engine's in /run
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	onNode, err := n.Listen(netip.AddrPortFrom(netns.NodeIP, 15008))
	if err != nil {
		t.Fatal(err)
	}
	defer onNode.Close()

	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"a neighbour's pod IP", "reset", []string{"tcp", "10.244.0.8:8080"}},
		{"HBONE on a neighbour's pod IP", "reset", []string{"tcp", "10.244.0.8:15008"}},
		{"the node", "reset", []string{"tcp", "10.244.0.1:15008"}},
		{"the host's loopback", "refused", []string{"tcp", "127.0.0.1:19080"}},
		{"a neighbour's loopback", "refused", []string{"tcp", "127.0.0.1:9999"}},
		{"the proxy's own listener", "reset", []string{"tcp", "127.0.0.1:15001"}},
		{"an address in the world", "reset", []string{"tcp", "192.0.2.1:443"}},
		{"UDP", "not permitted", []string{"udp", "10.244.0.8:9999"}},
		{"UDP to the world", "not permitted", []string{"udp", "192.0.2.1:443"}},
		{"IPv6", "", []string{"tcp", "[2001:db8::1]:443"}},
		{"a raw socket", "not permitted", []string{"raw"}},
		{"a packet socket", "not supported", []string{"packet"}},
		{"the proxy's mark", "not permitted", []string{"mark"}},
		{"a neighbour's source address", "reset", []string{"source", "10.244.0.9", "10.244.0.8:8080"}},
		{"the proxy's port", "in use", []string{"listen", "127.0.0.1:15001"}},
		{"a socket in /tmp", "no such file", []string{"unix", socket}},
		{"a file in /var/tmp", "no such file", []string{"write", "/var/tmp/artemis-pod"}},
		{"a file in /usr", "read-only", []string{"write", "/usr/artemis-pod"}},
		{"a remount of the root", "", []string{"mount"}},
		{"flushing the rules", "", []string{"nft"}},
		{"deleting the routes", "", []string{"netlink"}},
		{"entering another namespace", "", []string{"setns"}},
		{"a name outside the cluster", "", []string{"resolve", "example.org"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, code := inPod(t, comms, c.args...)
			if code != 3 || !strings.Contains(strings.ToLower(said), c.want) {
				t.Errorf("got %q, code %d; want a refusal with %q", said, code, c.want)
			}
		})
	}
	t.Run("and afterwards the way through the proxy is as before", func(t *testing.T) {
		if said, code := inPod(t, comms, "tcp", "10.96.0.8:8080"); code != 0 {
			t.Errorf("got %q, code %d", said, code)
		}
		if said, code := inPod(t, comms, "tcp", "10.244.0.8:8080"); code != 3 {
			t.Errorf("got %q, code %d", said, code)
		}
	})
}

func TestAPodSeesOnlyItsOwn(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"one interface", []string{"look"}, "done: 1"},
		{"its name server", []string{"read", "/etc/resolv.conf"}, "done: nameserver 10.96.0.10\nsearch " +
			"orion.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5"},
		{"Services by short name", []string{"resolve", "guidance-nav"}, "done: [10.96.0.8]"},
		{"pods behind a headless Service", []string{"resolve", "headless"}, "done: [10.244.0.8 10.244.0.7]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said, _ := inPod(t, comms, c.args...)
			if diff := cmp.Diff(c.want, said); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodSeesTheSystemsDirectoriesOnly(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	if said, _ := inPod(t, comms, "list", "/home", "/root", "/var", "/mnt", "/srv", "/boot",
		hiddenDir); said != "done: nothing" {
		t.Errorf("in a pod there is %q", said)
	}
	if said, _ := inPod(t, comms, "list", "/tmp"); said != "done: "+sharedDir {
		t.Errorf("in a pod's /tmp there is %q", said)
	}
	if said, _ := inPod(t, comms, "list", "/etc"); said == "done: nothing" {
		t.Error("/etc is empty: the test before proves nothing")
	}
}

func TestASharedDirectoryIsSeenAndNotWritten(t *testing.T) {
	comms := addPod(t, newNode(t), "comms-system", commsIP)
	tool := filepath.Join(sharedDir, "tool")
	if said, _ := inPod(t, comms, "read", tool); said != "done: a tool" {
		t.Errorf("reading %s: %q", tool, said)
	}
	for _, cheat := range []string{"write", "chmod"} {
		if said, code := inPod(t, comms, cheat, tool); code != 3 || !strings.Contains(said, "read-only") {
			t.Errorf("%s of %s: %q", cheat, tool, said)
		}
	}
}

func TestTheNodeCarriesBetweenPodAddressesAndCanBeTapped(t *testing.T) {
	n := newNode(t)
	ln, err := n.Listen(netip.AddrPortFrom(guidanceIP, 15008))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Split(r.RemoteAddr, ":")[0])
	})}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()

	ctx, stop := context.WithCancel(t.Context())
	heard := make(chan capture.Segment, 100)
	wait, err := n.Tap(ctx, func(s capture.Segment) { heard <- s })
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- wait() }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		return n.Dial(ctx, commsIP, netip.AddrPortFrom(guidanceIP, 15008))
	}}}
	resp, err := client.Get("http://x/secret-path")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != commsIP.String() {
		t.Errorf("the peer that the server saw: %q, %v; want %v", body, err, commsIP)
	}
	select {
	case s := <-heard:
		if s.Src.Addr() != commsIP || s.Dst != netip.AddrPortFrom(guidanceIP, 15008) || !bytes.HasPrefix(s.Data,
			[]byte("GET /secret-path")) {
			t.Errorf("heard %v -> %v %q", s.Src, s.Dst, s.Data)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing was heard")
	}
	stop()
	if err := <-over; err != nil {
		t.Errorf("end of listening: %v", err)
	}
}

func TestAcceptEndsWithThePod(t *testing.T) {
	p := addPod(t, newNode(t), "comms-system", commsIP)
	ended := make(chan error, 1)
	go func() { _, err := p.Accept(); ended <- err }()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

func TestChildrenOfAPodsProgramEndWithIt(t *testing.T) {
	p := addPod(t, newNode(t), "comms-system", commsIP)
	cmd := exec.Command("/bin/sh", "-c", "sleep 300 & echo started; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The child holds the pipe: its end is the child's end.
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}
