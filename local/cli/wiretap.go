package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"artemis.example/catalog"
	"artemis.example/local/capture"
	"artemis.example/local/control"
	"github.com/spf13/cobra"
)

// tapQuiet is how long nothing of the call has to be heard before it is over.
const tapQuiet = 150 * time.Millisecond

func newWiretapCommand(at *place) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "wiretap [METHOD PATH]",
		Short: "What a listener on the node's network sees of one call",
		Long: "wiretap listens on the node's network between the hops, makes one call, and shows every piece that " +
			"went by: the plaintext at stage open, TLS records from mtls on. Other calls of the two pods may show " +
			"in between.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return usageError{fmt.Errorf("both METHOD and PATH, or none")}
			}
			return nil
		},
		RunE: withSuite(at, func(cmd *cobra.Command, args []string, c *client) error {
			asked := usualCall(to)
			asked.from = cmp.Or(from, asked.from)
			if len(args) == 2 {
				asked.method, asked.path = args[0], args[1]
			}
			return wiretap(cmd.Context(), cmd.OutOrStdout(), c, asked)
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "who calls (default: somebody who may)")
	cmd.Flags().StringVar(&to, "to", "orion/guidance-nav", "who is called")
	return cmd
}

// tappedCall is the call that is listened to.
type tappedCall struct{ from, to, method, path string }

// usualCall returns a call that a service of the mission has, from somebody who may
// make it. One that only reads is preferred; where there is none, the path is read
// all the same, which the service refuses without doing anything.
func usualCall(to string) tappedCall {
	_, name, _ := strings.Cut(to, "/")
	service, _ := catalog.Lookup(name)
	usual := tappedCall{"orion/comms-system", to, http.MethodGet, "/"}
	for i, rule := range service.Rules {
		reads := rule.Method == http.MethodGet
		if i > 0 && !reads {
			continue
		}
		for _, caller := range rule.Callers {
			if caller.Cell != "" {
				usual.from, usual.path = caller.String(), strings.TrimSuffix(rule.Paths[0], "*")
				if reads {
					return usual
				}
				break
			}
		}
	}
	return usual
}

func wiretap(ctx context.Context, out io.Writer, c *client, asked tappedCall) error {
	state, caller, err := c.pod(ctx, asked.from)
	if err != nil {
		return err
	}
	_, callee, err := c.pod(ctx, asked.to)
	if err != nil {
		return err
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	resp, err := c.call(listening, http.MethodGet, "wiretap", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintf(out, "stage %s, capture %s, listening at: %s\n", state.Stage, captureWords(state.Capture),
		resp.Header.Get("Artemis-Tap"))
	tap := &tapView{out: out, ends: []string{caller.Address, callee.Address}, names: podNames(state),
		heard: make(chan struct{}, 1), flows: capture.TLSFlows{}}
	go tap.read(resp.Body)

	url := fmt.Sprintf("http://%s.%s.svc.cluster.local:8080%s", callee.Component, callee.Namespace, asked.path)
	fmt.Fprintf(out, "%s calls %s %s\n\n", asked.from, asked.method, url)
	answer, code, err := requestInPod(c.at, state, caller, asked.method, url)
	if err != nil {
		return err
	}
	quiet := time.NewTimer(tapQuiet)
	limit := time.NewTimer(2 * time.Second)
	for waiting := true; waiting; {
		select {
		case <-tap.heard:
			quiet.Reset(tapQuiet)
		case <-quiet.C:
			waiting = false
		case <-limit.C:
			waiting = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop()
	tap.mu.Lock()
	defer tap.mu.Unlock()
	fmt.Fprintf(out, "\nwhat the caller got: %s", strings.TrimSpace(answer))
	if code != 0 {
		fmt.Fprintf(out, " (exit code %d)", code)
	}
	fmt.Fprintf(out, "\n%d pieces seen: %d in plaintext, %d TLS\n", tap.pieces, tap.plain, tap.tls)
	return nil
}

func podNames(s control.State) map[string]string {
	names := map[string]string{}
	for _, p := range s.Pods {
		names[p.Address] = p.Name()
	}
	return names
}

// requestInPod makes the call from inside the pod and returns what it printed.
func requestInPod(at place, s control.State, pod control.Pod, method, url string) (string, int, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer read.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", 0, err
	}
	defer null.Close()
	text := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(read)
		text <- string(data)
	}()
	exe := "/proc/self/exe" // in a pod: this program, wherever it lies
	if s.Capture != "netns" {
		if exe, err = os.Executable(); err != nil {
			return "", 0, err
		}
	}
	code, err := execInPod(at, s, pod, []string{exe, "request", method, url}, [3]*os.File{null, write, write})
	write.Close()
	return <-text, code, err
}

// tapView shows the segments of a call.
type tapView struct {
	out   io.Writer
	ends  []string
	names map[string]string
	heard chan struct{}

	mu                 sync.Mutex
	flows              capture.TLSFlows
	pieces, plain, tls int
}

func (v *tapView) read(r io.Reader) {
	for d := json.NewDecoder(r); ; {
		var s struct {
			capture.Segment
			Error string `json:"error"`
		}
		if d.Decode(&s) != nil {
			return
		}
		if s.Error != "" {
			fmt.Fprintln(v.out, s.Error)
			return
		}
		if !slices.Contains(v.ends, s.Src.Addr().String()) && !slices.Contains(v.ends, s.Dst.Addr().String()) {
			continue
		}
		v.show(s.Segment)
		select {
		case v.heard <- struct{}{}:
		default:
		}
	}
}

func (v *tapView) show(s capture.Segment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintf(v.out, "%s %s -> %s, %d bytes: ", s.At.Format("15:04:05.000000"), v.name(s.Src), v.name(s.Dst),
		len(s.Data))
	kind := v.flows.Kind(s)
	v.pieces++
	if kind != capture.Plaintext {
		if strings.HasPrefix(kind, "TLS ") {
			v.tls++
		}
		fmt.Fprintf(v.out, "%s  % x...\n", kind, s.Data[:min(24, len(s.Data))])
		return
	}
	v.plain++
	fmt.Fprintln(v.out, kind)
	for line := range strings.SplitSeq(strings.TrimRight(string(s.Data), "\r\n"), "\n") {
		fmt.Fprintf(v.out, "    | %s\n", printable(strings.TrimRight(line, "\r")))
	}
}

func (v *tapView) name(end netip.AddrPort) string {
	// What has an address and runs no Deployment is a waypoint or the gateway.
	return end.String() + " (" + cmp.Or(v.names[end.Addr().String()], "waypoint") + ")"
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s[:min(len(s), 300)])
}
