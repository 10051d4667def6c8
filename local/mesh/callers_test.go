package mesh

import (
	"fmt"
	"net/netip"
	"testing"

	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// extraServices are other ways to guidance-nav's pods, and a Service that nobody
// wrote a policy for.
const extraServices = `
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: dp-default-orion-development-1bced798}
spec:
  clusterIP: None
  selector: {openchoreo.dev/component: guidance-nav}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: shadow, namespace: dp-default-orion-development-1bced798, labels: {istio.io/use-waypoint: none}}
spec:
  selector: {openchoreo.dev/component: guidance-nav}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {openchoreo.dev/component: guidance-nav}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: second-tcp, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {openchoreo.dev/component: guidance-nav}
  ports: [{name: tcp, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: second-unnamed, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {openchoreo.dev/component: guidance-nav}
  ports: [{port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: forgotten, namespace: dp-default-orion-development-1bced798}
spec:
  selector: {app: impostor}
  ports: [{name: http, port: 8080}]`

// TestWhatEachCallerSaw is the table of a live mesh with L7 policies only, with
// via-waypoint-only, and with default-deny on top.
func TestWhatEachCallerSaw(t *testing.T) {
	columns := []struct {
		name string
		o    options
	}{
		{"L7 only", options{noL4: true, noDefaultDeny: true, noNetwork: true, extra: extraServices}},
		{"via-waypoint-only", options{noDefaultDeny: true, noNetwork: true, extra: extraServices}},
		{"default-deny", options{noNetwork: true, extra: extraServices}},
	}
	comms, meshed := app("orion", "comms-system"), rogue("intruder")
	service := endpoint(orion, "guidance-nav", "/position")
	named := func(name string) string { return endpoint(orion, name, "/position") }
	const podIP = "pod IP"
	rows := []struct {
		name   string
		from   topology.Ref
		method string
		to     string
		want   [3]string
	}{
		{"allowed caller, method, path", comms, "GET", service, [3]string{"200", "200", "200"}},
		{"same caller, other method", comms, "DELETE", service, [3]string{"403", "403", "403"}},
		{"same caller, other path", comms, "GET", endpoint(orion, "guidance-nav", "/else"), [3]string{"403", "403",
			"403"}},
		{"other identity of the Cell", rogue(orion), "GET", service, [3]string{"403", "403", "403"}},
		{"other identity of another Cell", rogue(houston), "GET", service, [3]string{"403", "403", "403"}},
		{"unrelated meshed namespace", meshed, "GET", service, [3]string{"403", "403", "403"}},
		{"meshed pod to the pod IP", meshed, "GET", podIP, [3]string{"200", "reset", "reset"}},
		{"own Cell's pod to the pod IP", rogue(orion), "GET", podIP, [3]string{"200", "reset", "reset"}},
		{"headless Service", meshed, "GET", named("headless"), [3]string{"200", "reset", "reset"}},
		{"shadow Service", meshed, "GET", named("shadow"), [3]string{"200", "reset", "reset"}},
		{"unmeshed pod by Service", rogue("dark-side"), "GET", service, [3]string{"200", "reset", "reset"}},
		{"unmeshed pod by pod IP", rogue("dark-side"), "GET", podIP, [3]string{"200", "reset", "reset"}},
		{"second Service without a policy", meshed, "GET", named("second"), [3]string{"200", "200", "403"}},
		{"second Service with a TCP port", meshed, "GET", named("second-tcp"), [3]string{"200", "200", "reset"}},
		{"second Service with an unnamed port", meshed, "GET", named("second-unnamed"), [3]string{"200", "200", "403"}},
		{"Service that nobody wrote a policy for", meshed, "GET", named("forgotten"), [3]string{"200", "200", "403"}},
		{"pod of the Cell that runs as the waypoint's account", topology.Ref{Namespace: orion, Name: "impostor"}, "GET",
			podIP, [3]string{"200", "200", "200"}},
		{"pod of another namespace whose account is called waypoint", topology.Ref{Namespace: "intruder",
			Name: "waypoint"}, "GET", podIP, [3]string{"200", "reset", "reset"}},
	}
	for i, column := range columns {
		t.Run(column.name, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, column.o))
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					to := row.to
					if to == podIP {
						to = "http://" + r.world.Pod(app("orion", "guidance-nav")).IP.String() + ":8080/position"
					}
					if got := r.call(row.from, row.method, to); got != row.want[i] {
						t.Errorf("%s %s from %s: %s, want %s", row.method, row.to, row.from, got, row.want[i])
					}
				})
			}
		})
	}
}

func TestTheGatewayUsesTheWaypointOnlyWithTheLabel(t *testing.T) {
	for _, c := range []struct {
		name string
		o    options
		path string
		want string
	}{
		{"with the label, allowed path", options{noNetwork: true}, "/flight-director-http/mission/status", "200"},
		{"with the label, a path that is not for ingress", options{noNetwork: true}, "/flight-director-http/handoff",
			"403"},
		{"without the label, L7 only", options{noNetwork: true, noIngress: true, noL4: true, noDefaultDeny: true},
			"/flight-director-http/handoff", "200"},
		{"without the label, via-waypoint-only", options{noNetwork: true, noIngress: true, noDefaultDeny: true},
			"/flight-director-http/mission/status", "503"},
		{"without the label, default-deny", options{noNetwork: true, noIngress: true},
			"/flight-director-http/mission/status", "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, c.o))
			if got := outcomeOf(r.ingress("GET", c.path, nil)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestNetworkPoliciesTogetherWithTheMesh is the table of OpenChoreo's
// NetworkPolicies at the three stages. What a live pod saw as a refusal is a
// reset here: the connection to the node proxy was open by then.
func TestNetworkPoliciesTogetherWithTheMesh(t *testing.T) {
	nav := endpoint(orion, "guidance-nav", "/position")
	rows := []struct {
		name   string
		from   topology.Ref
		method string
		url    string
		want   [3]string
	}{
		{"allowed caller in the Cell", app("orion", "comms-system"), "GET", nav, [3]string{"200", "200", "200"}},
		{"adversary in another Cell, to a service that only its own Cell may reach", rogue(houston), "GET", nav,
			[3]string{"refused", "200", "403"}},
		{"adversary in another Cell, to a service that is open to Cells", rogue(houston), "POST",
			endpoint(orion, "comms-system", "/uplink"), [3]string{"200", "200", "403"}},
		{"adversary in the Cell", rogue(orion), "GET", nav, [3]string{"200", "200", "403"}},
		{"adversary in the Cell, pod IP", rogue(orion), "GET", "pod IP", [3]string{"200", "200", "reset"}},
		{"adversary in the Cell, headless", rogue(orion), "GET", endpoint(orion, "headless", "/position"),
			[3]string{"200", "200", "reset"}},
		{"adversary in the Cell, shadow", rogue(orion), "GET", endpoint(orion, "shadow", "/position"),
			[3]string{"200", "200", "reset"}},
		{"adversary in the Cell, second Service", rogue(orion), "GET", endpoint(orion, "second", "/position"),
			[3]string{"200", "200", "403"}},
		{"adversary in the Cell, second Service with a TCP port", rogue(orion), "GET", endpoint(orion, "second-tcp",
			"/position"), [3]string{"200", "200", "reset"}},
		{"unrelated meshed namespace", rogue("intruder"), "GET", nav, [3]string{"refused", "refused", "refused"}},
		{"unmeshed pod", rogue("dark-side"), "GET", nav, [3]string{"refused", "refused", "refused"}},
		{"cross-Cell call that the table allows", app("houston", "capcom"), "POST", endpoint(orion, "comms-system",
			"/uplink"), [3]string{"200", "200", "200"}},
		{"the same with another method", app("houston", "capcom"), "GET", endpoint(orion, "comms-system", "/uplink"),
			[3]string{"200", "200", "403"}},
		{"cross-Cell call, app port not open to that Cell", app("houston", "capcom"), "GET", nav, [3]string{"refused",
			"200", "403"}},
		{"gateway, allowed path", topology.Ref{}, "GET", "/flight-director-http/mission/status", [3]string{"200", "200",
			"200"}},
		{"gateway, endpoint that is not for ingress", topology.Ref{}, "POST", "/flight-director-http/handoff",
			[3]string{"200", "200", "403"}},
	}
	for i, stage := range []string{"open", "mtls", "zero-trust"} {
		t.Run(stage, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: stage, extra: extraServices}))
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					r.records()
					var got string
					switch {
					case row.from == topology.Ref{}:
						got = outcomeOf(r.ingress(row.method, row.url, nil))
					case row.url == "pod IP":
						got = r.call(row.from, row.method, "http://"+
							r.world.Pod(app("orion", "guidance-nav")).IP.String()+":8080/position")
					default:
						got = r.call(row.from, row.method, row.url)
					}
					want := row.want[i]
					if want == "refused" {
						want = "reset"
						rec := r.awaitRecord("the refusal",
							func(rec decision.Record) bool { return rec.Verdict == decision.DeniedNetwork })
						if rec.Hop != decision.HopNetworkPolicy || rec.Layer != 1 || rec.Policy == "" {
							t.Errorf("the record names no NetworkPolicy: %+v", rec)
						}
					}
					if got != want {
						t.Errorf("%s %s from %s: %s, want %s", row.method, row.url, row.from, got, want)
					}
				})
			}
		})
	}
}

// TestIdentityHeader is what becomes of x-forwarded-client-cert.
func TestIdentityHeader(t *testing.T) {
	const forged = "By=spiffe://forged;URI=spiffe://cluster.local/ns/x/sa/flight-director"
	comms := app("orion", "comms-system")
	request := "GET /position HTTP/1.1\r\nHost: guidance-nav\r\nX-Forwarded-Client-Cert: " + forged +
		"\r\nx-forwarded-client-cert: again\r\nConnection: close\r\n\r\n"
	for _, c := range []struct {
		stage string
		want  []string
	}{
		{"open", []string{forged, "again"}},
		{"mtls", []string{forged, "again"}},
		{"zero-trust", []string{
			fmt.Sprintf("By=spiffe://cluster.local/ns/%s/sa/waypoint;URI=spiffe://cluster.local/ns/%s/sa/comms-system",
				orion, orion)}},
	} {
		t.Run(c.stage, func(t *testing.T) {
			r := newRig(t, Config{}, suite(t, options{stage: c.stage}))
			status, seen := r.raw(comms, "guidance-nav."+orion+":8080", request)
			if diff := cmp.Diff(c.want, seen.Header.Values("X-Forwarded-Client-Cert")); status != "200" || diff != "" {
				t.Errorf("status %s, x-forwarded-client-cert (-want +got):\n%s", status, diff)
			}
			res, err := r.ingress("GET", "/flight-director-http/mission/status",
				map[string][]string{"X-Forwarded-Client-Cert": {forged}})
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var through []string
			if c.stage == "zero-trust" {
				through = []string{fmt.Sprintf("By=spiffe://cluster.local/ns/%s/sa/waypoint;URI=spiffe://%s", houston,
					gatewayAgent)}
			}
			if diff := cmp.Diff(through, decodeEcho(t, res).Header.Values("X-Forwarded-Client-Cert")); diff != "" {
				t.Errorf("through the gateway (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRequestsAtTheWaypoint is what a waypoint makes of a request whose policy
// allows GET on exactly /position.
func TestRequestsAtTheWaypoint(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	open := newRig(t, Config{}, suite(t, options{stage: "mtls"}))
	comms := app("orion", "comms-system")
	for _, c := range []struct {
		name, line, header string
		status, forwarded  string
	}{
		{"query", "GET /position?x=1", "", "200", "/position?x=1"},
		{"escaped letter", "GET /%70osition", "", "200", "/position"},
		{"dot segment", "GET /./position", "", "200", "/position"},
		{"dot dot segment", "GET /x/../position", "", "200", "/position"},
		{"escaped dot dot", "GET /%2e%2e/position", "", "200", "/position"},
		{"escaped dot dot after a forbidden path", "GET /maneuver/%2e%2e/position", "", "200", "/position"},
		{"backslashes", `GET /x\..\position`, "", "200", "/position"},
		{"absolute form", "GET http://elsewhere.example/position", "", "200", "/position"},
		{"method override header", "GET /position", "X-HTTP-Method-Override: POST\r\n", "200", "/position"},
		{"double slash", "GET //position", "", "403", ""},
		{"slash at the end", "GET /position/", "", "403", ""},
		{"upper case", "GET /POSITION", "", "403", ""},
		{"path parameter", "GET /position;a=b", "", "403", ""},
		{"escaped slash at the end", "GET /position%2f", "", "403", ""},
		{"escaped slash after dots", "GET /..%2fposition", "", "403", ""},
		{"HEAD", "HEAD /position", "", "403", ""},
		{"no leading slash", `GET \position`, "", "400", ""},
		{"escaped NUL", "GET /position%00", "", "400", ""},
		{"lower-case method", "get /position", "", "400", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := c.line + " HTTP/1.1\r\nHost: somebody.else.example\r\n" + c.header + "Connection: close\r\n\r\n"
			status, seen := r.raw(comms, "guidance-nav."+orion+":8080", request)
			if status != c.status || seen.Target != c.forwarded {
				t.Errorf("%s: %s, forwarded as %q; want %s, %q", c.line, status, seen.Target, c.status, c.forwarded)
			}
			if c.header != "" && seen.Header.Get("X-HTTP-Method-Override") != "POST" {
				t.Error("the header was not passed on")
			}
		})
	}
	t.Run("without a waypoint the program gets it raw", func(t *testing.T) {
		status, seen := open.raw(comms, "guidance-nav."+orion+":8080",
			"GET /maneuver/%2e%2e/position HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if status != "200" || seen.Target != "/maneuver/%2e%2e/position" {
			t.Errorf("%s, target %q", status, seen.Target)
		}
	})
}

// TestAWaypointThatIsNotThere is fail-open before a waypoint was ever ready, and
// fail-closed when it went away.
func TestAWaypointThatIsNotThere(t *testing.T) {
	nav := endpoint(orion, "guidance-nav", "/position")
	t.Run("no Gateway yet, L7 only: open", func(t *testing.T) {
		r := newRig(t, Config{}, suite(t, options{noGateway: true, noL4: true, noDefaultDeny: true, noNetwork: true}))
		if got := r.call(rogue(orion), "GET", nav); got != "200" {
			t.Errorf("got %s, want 200", got)
		}
	})
	t.Run("no Gateway yet, via-waypoint-only: reset", func(t *testing.T) {
		r := newRig(t, Config{}, suite(t, options{noGateway: true, noDefaultDeny: true, noNetwork: true}))
		if got := r.call(rogue(orion), "GET", nav); got != "reset" {
			t.Errorf("got %s, want reset", got)
		}
	})
	t.Run("Gateway that never became ready: open", func(t *testing.T) {
		r := newRig(t, Config{ExternalWaypoints: true}, suite(t, options{noL4: true, noNetwork: true}))
		if got := r.call(rogue(orion), "GET", nav); got != "200" {
			t.Errorf("got %s, want 200", got)
		}
		r.mesh.SetWaypointReady(topology.Ref{Namespace: orion, Name: "waypoint"})
		if got := r.call(rogue(orion), "GET", nav); got != "reset" {
			t.Errorf("once it was ready and is not there: got %s, want reset", got)
		}
	})
	t.Run("scaled to zero: closed for everyone, and back", func(t *testing.T) {
		r := newRig(t, Config{}, suite(t, options{}))
		comms, ref := app("orion", "comms-system"), topology.Ref{Namespace: orion, Name: "waypoint"}
		if got := r.call(comms, "GET", nav); got != "200" {
			t.Fatalf("before: %s", got)
		}
		waypoint := r.mesh.waypoints[ref]
		waypoint.stop()
		for _, from := range []topology.Ref{comms, rogue(orion)} {
			if got := r.call(from, "GET", nav); got != "reset" {
				t.Errorf("%s while it is away: %s, want reset", from, got)
			}
		}
		if err := waypoint.start(r.world.Pod(ref)); err != nil {
			t.Fatal(err)
		}
		if got := r.call(comms, "GET", nav); got != "200" {
			t.Errorf("after: %s, want 200", got)
		}
	})
}

func TestUnknownDestinationsAreRefused(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	for _, to := range []string{"10.244.99.99:8080", "192.0.2.1:80", "127.0.0.1:22", "169.254.169.254:80"} {
		if got := r.call(rogue(orion), "GET", "http://"+to+"/"); got != "reset" {
			t.Errorf("%s: %s, want reset", to, got)
		}
	}
	vip := r.world.Service(topology.Ref{Namespace: orion, Name: "guidance-nav"}).VIP
	if got := r.call(rogue(orion), "GET", "http://"+netip.AddrPortFrom(vip, 9090).String()+"/metrics"); got != "reset" {
		t.Errorf("a port that the Service has not: %s, want reset", got)
	}
}
