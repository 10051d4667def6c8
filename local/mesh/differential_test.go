package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/policy/authz"
	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/lint"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// otherServices are ways to the pods of Orion beside those of the suite.
const otherServices = extraServices + `
---
apiVersion: v1
kind: Service
metadata: {name: moved-port, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {openchoreo.dev/component: life-support}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {app: nobody}
  ports: [{name: http, port: 8080}]`

// asked is one request of the comparison.
type asked struct {
	method, path string
	header       http.Header
}

// requests are those to ask a component: what its table allows, and what it does
// not.
func requests(component string) []asked {
	get, post := "/", "/"
	if s, ok := catalog.Lookup(component); ok {
		for _, r := range s.Rules {
			path := strings.TrimSuffix(r.Paths[0], "*")
			if r.Method == http.MethodGet {
				get = path
			} else {
				post = path
			}
		}
	}
	forged := "By=x;URI=spiffe://cluster.local/ns/" + orion + "/sa/comms-system"
	return []asked{
		{method: "GET", path: get},
		{method: "POST", path: post},
		{method: "DELETE", path: get},
		{method: "GET", path: "/x/.." + get + "?q=1", header: http.Header{"X-Forwarded-Client-Cert": {forged}}},
		{method: "POST", path: "/" + post, header: http.Header{"X-Forwarded-For": {"10.0.0.1"}, "Te": {"trailers"}}},
		{method: "GET", path: strings.ToUpper(get) + "%2f", header: http.Header{"Connection": {"x-role"},
			"X-Role": {"admin"}}},
	}
}

// target is a destination, in the words of explain and as an address.
type target struct {
	name      string
	port      uint16
	at        netip.AddrPort // of the gateway where prefix is set
	prefix    string
	component string
}

// targets are every port of every Service and of every pod of the world.
func targets(w *topology.World) []target {
	var out []target
	for _, s := range w.Services {
		for _, p := range s.Ports {
			b := s.Backends(p.Number)
			if len(b) > 0 && b[0].Pod.Kind != topology.App {
				continue // nobody calls a waypoint, and explain says so
			}
			t := target{name: s.Ref.String(), port: p.Number, at: netip.AddrPortFrom(s.VIP, p.Number)}
			if len(b) > 0 {
				t.component = b[0].Pod.Component
			}
			if !s.VIP.IsValid() {
				t.at = netip.AddrPortFrom(b[0].Pod.IP, p.Number)
			}
			out = append(out, t)
		}
	}
	for _, pod := range w.Pods {
		if pod.Kind != topology.App {
			continue
		}
		for _, port := range pod.Ports {
			out = append(out, target{name: "pod:" + pod.Ref.String(), port: port, at: netip.AddrPortFrom(pod.IP, port),
				component: pod.Component})
		}
	}
	return out
}

// TestExplainAndLintAgreeWithTheLiveMesh asks explain, and the mesh that runs the
// same manifests, about every call of every pod and of the gateway to every Service
// and pod at every stage; and lint, which policies do nothing. make faults asks all
// the questions, make test one of everyNth.
func TestExplainAndLintAgreeWithTheLiveMesh(t *testing.T) {
	t.Parallel()
	extra := parse(t, otherServices)
	var questions, traced, differences atomic.Int64
	for _, stage := range catalog.Stages() {
		set, err := manifest.LoadStage("../..", stage, true)
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, Config{Log: NewDecisionLog(1 << 14)}, set.Overlay(extra))
		d := &differential{
			rig: r, stage: stage, explain: explain.New(stage, r.world), records: map[string]decision.Record{},
			differ: func(format string, args ...any) {
				if differences.Add(1) <= 20 {
					t.Errorf(format, args...)
				}
			},
		}
		stop := d.collect()
		callers := make(chan *topology.Pod)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for p := range callers {
					d.calls(p)
				}
			})
		}
		for _, p := range r.world.Pods {
			if p.Kind != topology.Waypoint {
				callers <- p
			}
		}
		close(callers)
		wg.Wait()
		stop()
		d.compareRecords()
		questions.Add(d.questions.Load())
		traced.Add(int64(len(d.expected)))
		d.lint(t)
	}
	t.Logf("%d questions at %d stages, %d differences; of %d the waypoint's record names policy and rule",
		questions.Load(), len(catalog.Stages()), differences.Load(), traced.Load())
}

// differential compares explain with a rig at one stage.
type differential struct {
	*rig
	stage     string
	explain   *explain.Explainer
	differ    func(format string, args ...any)
	questions atomic.Int64

	mu       sync.Mutex
	records  map[string]decision.Record // the waypoints', by trace
	expected []expectation
}

// expectation is what explain says of a waypoint's decision.
type expectation struct {
	trace, question string
	step            explain.Step
}

// collect keeps the waypoints' records until stop is called.
func (d *differential) collect() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var seq uint64
		for last := false; ; {
			records, next := d.mesh.Decisions().Since(seq, 0)
			seq = next
			d.mu.Lock()
			for _, rec := range records {
				if rec.Hop == decision.HopWaypoint && rec.TraceID != "" {
					d.records[rec.TraceID] = rec
				}
			}
			d.mu.Unlock()
			if last {
				return
			}
			last = d.mesh.Decisions().Wait(ctx, seq) != nil
		}
	}()
	return func() { cancel(); <-done }
}

// calls asks everything that a pod could, or an operator through the gateway.
func (d *differential) calls(from *topology.Pod) {
	all := targets(d.world)
	if from.Kind == topology.Ingress {
		all = nil
		for _, route := range d.world.Routes {
			s := route.Service
			all = append(all, target{
				name: s.Ref.String(), port: route.Port, at: netip.MustParseAddrPort(d.gate), prefix: route.Path,
				component: s.Backends(route.Port)[0].Pod.Component,
			})
		}
	}
	first := slices.Index(d.world.Pods, from)
	for i, to := range all {
		if (first+i)%everyNth > 0 && to.prefix == "" {
			continue
		}
		c := &rawClient{dial: func() (net.Conn, error) {
			if to.prefix != "" {
				return net.Dial("tcp4", to.at.String())
			}
			return d.dial(from.Ref, to.at)
		}}
		for _, q := range requests(to.component) {
			d.compare(c, from, to, q)
		}
		c.close()
	}
}

func (d *differential) compare(c *rawClient, from *topology.Pod, to target, q asked) {
	trace := fmt.Sprintf("%032x", d.questions.Add(1))
	name, host := from.Ref.String(), to.at.String()
	header := maps.Clone(q.header)
	if header == nil {
		header = http.Header{}
	}
	if to.prefix != "" {
		name, host = "ingress", gatewayHost
	}
	header.Set("Host", host)
	question := fmt.Sprintf("%s: %s to %s:%d, %s %s %v", d.stage, name, to.name, to.port, q.method, q.path, q.header)
	a, err := d.explain.Ask(explain.Question{From: name, To: to.name, Port: to.port, Method: q.method, Path: q.path,
		Header: header})
	if err != nil {
		d.differ("%s: explain: %v", question, err)
		return
	}
	want := a.Looks
	switch {
	case a.Verdict == decision.Allowed:
		want = "200 from " + a.To.Component
	case strings.HasPrefix(want, "connection") || want == "the connection is closed":
		want = "an end without an answer"
	}
	got := c.ask(q, to.prefix, host, trace)
	if pod := d.podNamed(strings.TrimPrefix(got, "200 from ")); pod != nil {
		got = "200 from " + pod.Component
	}
	if got != want {
		d.differ("%s:\nexplain: %s (%s %s: %s)\nlive:    %s", question, want, a.Verdict, a.Policy, a.Reason, got)
	}
	for _, s := range a.Steps {
		if s.Hop == decision.HopWaypoint && got != "an end without an answer" {
			d.mu.Lock()
			d.expected = append(d.expected, expectation{trace, question, s})
			d.mu.Unlock()
		}
	}
}

func (d *differential) podNamed(name string) *topology.Pod {
	i := slices.IndexFunc(d.world.Pods, func(p *topology.Pod) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return d.world.Pods[i]
}

// compareRecords holds what the waypoints recorded against what explain says that
// they decide, and by which policy and rule.
func (d *differential) compareRecords() {
	for _, e := range d.expected {
		rec, ok := d.records[e.trace]
		if !ok {
			d.differ("%s: the waypoint has kept no record", e.question)
			continue
		}
		type ruling struct {
			Refused      bool
			Policy, Rule string
		}
		want := ruling{!e.step.Allowed, e.step.Policy, e.step.Rule}
		if all, ok := strings.CutPrefix(e.step.Reason, string(authz.ReasonUnmatched)+": "); ok {
			want.Policy = all
		}
		if diff := cmp.Diff(want, ruling{rec.Verdict == decision.DeniedL7, rec.Policy, rec.Rule}); diff != "" {
			d.differ("%s: the waypoint's decision (-explain +live):\n%s", e.question, diff)
		}
	}
}

// lint compares the policies that lint says do nothing with those that no proxy of
// the mesh decides by.
func (d *differential) lint(t *testing.T) {
	t.Helper()
	set := d.world.Set
	report, err := lint.Check(manifest.Known(set))
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]bool{}, map[string]bool{}
	for _, f := range report.Findings {
		name, ok := strings.CutPrefix(f.Object, "AuthorizationPolicy ")
		if ok && slices.Contains([]string{"attached-to-nothing", "service-without-waypoint", "not-in-the-mesh"},
			f.Check) {
			got[name] = true
		}
	}
	policies := d.mesh.state.Load().policies
	for _, p := range set.AuthorizationPolicies {
		want[p.Namespace+"/"+p.Name] = true
	}
	decides := func(e *authz.Engine) {
		for _, name := range e.Policies() {
			delete(want, name)
		}
	}
	for _, p := range d.world.Pods {
		if p.Meshed {
			decides(policies.PodEngine(p))
		}
	}
	for _, g := range d.world.Waypoints {
		decides(policies.WaypointEngine(g, nil))
	}
	for _, s := range d.world.Services {
		if s.Waypoint != nil {
			decides(policies.WaypointEngine(s.Waypoint, s))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.differ("%s: policies that do nothing (-the mesh +lint):\n%s", d.stage, diff)
	}
	t.Logf("%s: lint and the mesh agree about %d policies, %d of which do nothing", d.stage,
		len(set.AuthorizationPolicies), len(want))
}

// rawClient sends requests as they are over one connection, and a new one when
// that has ended.
type rawClient struct {
	dial func() (net.Conn, error)
	conn net.Conn
	in   *bufio.Reader
}

func (c *rawClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// ask returns the status of an answer, with the pod where one has answered.
func (c *rawClient) ask(q asked, prefix, host, trace string) string {
	if c.conn == nil {
		conn, err := c.dial()
		if err != nil {
			return err.Error()
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s%s HTTP/1.1\r\nHost: %s\r\nTraceparent: 00-%s-00000000000000aa-01\r\n", q.method, prefix,
		q.path, host, trace)
	if q.method == http.MethodPost {
		b.WriteString("Content-Length: 0\r\n")
	}
	for name, values := range q.header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, values[0])
	}
	_, _ = io.WriteString(c.conn, b.String()+"\r\n")
	res, err := http.ReadResponse(c.in, &http.Request{Method: q.method})
	if err != nil {
		c.close()
		return "an end without an answer"
	}
	body, err := io.ReadAll(res.Body)
	if res.Close || err != nil {
		c.close()
	}
	switch res.StatusCode {
	case http.StatusOK:
		var e echo
		_ = json.Unmarshal(body, &e)
		return "200 from " + e.Pod
	case http.StatusForbidden:
		return "403 " + string(body)
	}
	return fmt.Sprint(res.StatusCode)
}
