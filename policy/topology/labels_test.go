package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// Labels are read as istio-cni and istiod read them: a pod's own mode counts only where
// it is ambient or none, and ingress-use-waypoint is whatever Go takes for true, the
// Service's own word before its namespace's.
func TestLabelsAreReadAsIstioReadsThem(t *testing.T) {
	manifests := `
{apiVersion: v1, kind: Namespace, metadata: {name: in, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: w, istio.io/ingress-use-waypoint: "true"}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: out}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: w, namespace: in}, spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}}
`
	pods := []string{"in plain", "in none", "in ambient", "in other", "out plain", "out ambient", "out other"}
	for _, p := range pods {
		namespace, mode, _ := strings.Cut(p, " ")
		label := ", labels: {istio.io/dataplane-mode: " + mode + "}"
		if mode == "plain" {
			label = ""
		}
		manifests += fmt.Sprintf("---\n{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s%s}, "+
			"spec: {containers: [{name: c, image: x}]}}\n", mode, namespace, label)
	}
	services := map[string]string{"plain": "", "one": `"1"`, "capital": `"TRUE"`, "never": `"false"`, "odd": "sure"}
	for name, value := range services {
		label := ""
		if value != "" {
			label = ", labels: {istio.io/ingress-use-waypoint: " + value + "}"
		}
		manifests += fmt.Sprintf("---\n{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: in%s}, "+
			"spec: {ports: [{port: 80}]}}\n", name, label)
	}
	w := foreignWorld(t, manifests)
	meshed, through := map[string]bool{}, map[string]bool{}
	for _, p := range w.Pods {
		if p.Kind == topology.App {
			meshed[p.Namespace+" "+p.Name] = p.Meshed
		}
	}
	for _, s := range w.Services {
		through[s.Name] = s.IngressWaypoint != nil
	}
	if diff := cmp.Diff(map[string]bool{"in plain": true, "in none": false, "in ambient": true, "in other": true,
		"out plain": false, "out ambient": true, "out other": false}, meshed); diff != "" {
		t.Errorf("in the mesh (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"plain": true, "one": true, "capital": true, "never": false, "odd": false},
		through); diff != "" {
		t.Errorf("the gateway goes through the waypoint (-want +got)\n%s", diff)
	}
}
