package topology_test

import (
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

const named = `
apiVersion: v1
kind: Namespace
metadata: {name: orion-ns, labels: {openchoreo.dev/project: orion, istio.io/use-waypoint: waypoint}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: guidance-nav-1a2b, namespace: orion-ns}
spec: {selector: {matchLabels: {app: nav}}, template: {metadata: {labels: {app: nav, openchoreo.dev/component: guidance-nav}}, spec: {serviceAccountName: guidance-nav, containers: [{name: c, image: x, ports: [{containerPort: 8080}]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl, namespace: default}
spec: {selector: {matchLabels: {app: curl}}, template: {metadata: {labels: {app: curl}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl, namespace: other}
spec: {selector: {matchLabels: {app: curl}}, template: {metadata: {labels: {app: curl}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: guidance-nav, namespace: orion-ns}
spec: {selector: {app: nav}, ports: [{name: http, port: 8080}, {name: http-b, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: orion-ns}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`

func TestNamesInEveryForm(t *testing.T) {
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(named)}, "-")
	if err != nil {
		t.Fatal(err)
	}
	w, err := topology.Build(in.Set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	nav := w.Pod(topology.Ref{Namespace: "orion-ns", Name: "guidance-nav-1a2b"})
	for _, text := range []string{
		"orion/guidance-nav", "orion-ns/guidance-nav", "orion-ns/guidance-nav-1a2b", "guidance-nav",
		"guidance-nav.orion-ns",
		"guidance-nav.orion-ns.svc.cluster.local", "http://guidance-nav.orion-ns:8080/x",
		"spiffe://cluster.local/ns/orion-ns/sa/guidance-nav",
		"cluster.local/ns/orion-ns/sa/guidance-nav", "system:serviceaccount:orion-ns:guidance-nav",
		"pod:orion/guidance-nav", nav.IP.String(),
	} {
		if c, err := w.FindCaller(text); err != nil || c.Pod != nav {
			t.Errorf("caller %s: %v, %v", text, c.Pod, err)
		}
	}
	service := w.Service(topology.Ref{Namespace: "orion-ns", Name: "guidance-nav"})
	type found struct {
		Service, Pod bool
		Port         uint16
		Path         string
	}
	for text, want := range map[string]found{
		"orion/guidance-nav":                                   {true, false, 8080, ""},
		"orion-ns/guidance-nav":                                {true, false, 8080, ""},
		"orion-ns/guidance-nav:80":                             {true, false, 80, ""},
		"guidance-nav":                                         {true, false, 8080, ""},
		"guidance-nav.orion-ns.svc":                            {true, false, 8080, ""},
		"http://guidance-nav.orion-ns/a?b=c":                   {true, false, 80, "/a?b=c"},
		"http://guidance-nav.orion-ns.svc.cluster.local:8080/": {true, false, 8080, "/"},
		"cluster.local/ns/orion-ns/sa/guidance-nav":            {true, false, 8080, ""},
		service.VIP.String():                                   {true, false, 8080, ""},
		"pod:orion/guidance-nav":                               {false, true, 8080, ""},
		"pod:guidance-nav.orion-ns:9090":                       {false, true, 9090, ""},
		"http://" + nav.IP.String() + ":8080/x":                {false, true, 8080, "/x"},
	} {
		to, path, err := w.FindDestination(text, 0)
		if err != nil {
			t.Errorf("destination %s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, found{to.Service == service, to.Pod == nav, to.Port, path}); diff != "" {
			t.Errorf("destination %s (-want +got):\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"orion/guidence-nav":   "nobody is called orion/guidence-nav; did you mean orion/guidance-nav?",
		"guidance-nv":          "nobody is called guidance-nv; did you mean orion/guidance-nav?",
		"curl":                 "curl can mean default/curl or other/curl: say which",
		"houston/guidance-nav": "nobody is called houston/guidance-nav; did you mean orion/guidance-nav?",
		"ftp://guidance-nav/":  "ftp://guidance-nav/: a URL begins with http:// or https://",
		"a/b/c":                "a/b/c: write CELL/COMPONENT or NAMESPACE/NAME",
		"nobody/at-all-like-it": "nobody is called nobody/at-all-like-it; there are default/curl, " +
			"orion/guidance-nav, other/curl",
		"ingress": "ingress: no Gateway of class istio is among the files",
	} {
		_, err := w.FindCaller(text)
		if err == nil || err.Error() != want {
			t.Errorf("caller %s: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"orion/waypoint": "orion/waypoint is a waypoint, which nobody calls by that name: calls come " +
			"through it to the Services that it serves",
		"orion/guidance-nav:99":    "orion/guidance-nav:99 has no port 99; it has 8080, 80",
		"orion/guidance-nav:x":     "orion/guidance-nav:x: \"x\" is no port",
		"http://nowhere.orion-ns/": "nobody is called http://nowhere.orion-ns/; there are orion/guidance-nav",
	} {
		if _, _, err := w.FindDestination(text, 0); err == nil || err.Error() != want {
			t.Errorf("destination %s: %v, want %s", text, err, want)
		}
	}
}
