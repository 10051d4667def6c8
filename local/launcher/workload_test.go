package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

const oneDeployment = `apiVersion: v1
kind: Namespace
metadata: {name: dp-orion, labels: {openchoreo.dev/project: orion}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: env, namespace: dp-orion}
data: {SERVICE_ROLE: comms-system, LOG_LEVEL: info}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rogue, namespace: dp-orion}
spec:
  selector: {matchLabels: {app: rogue}}
  template:
    metadata: {labels: {app: rogue}}
    spec:
      serviceAccountName: rogue
      terminationGracePeriodSeconds: 5
      containers:
        - name: main
          image: artemis.local/service:dev
          ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9191}]
          envFrom: [{configMapRef: {name: env}}]
          env: [{name: LOG_LEVEL, value: debug}, {name: GOMEMLIMIT, value: 57MiB}]
          readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: 2, failureThreshold: 2}
`

func load(t *testing.T, text string) (*manifest.Set, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "one.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return manifest.Load(file)
}

func workloadsOf(set *manifest.Set) ([]workload, error) {
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		return nil, err
	}
	return workloads(w)
}

func TestADeploymentBecomesAProcess(t *testing.T) {
	set, err := load(t, oneDeployment)
	if err != nil {
		t.Fatal(err)
	}
	got, err := workloadsOf(set)
	if err != nil {
		t.Fatal(err)
	}
	want := []workload{{
		Namespace: "dp-orion", Deployment: "rogue", Cell: "orion", Component: "rogue", Role: "comms-system",
		ServiceAccount: "rogue",
		Env:            []string{"LOG_LEVEL=debug", "SERVICE_ROLE=comms-system", "GOMEMLIMIT=57MiB"},
		Ports:          []uint16{8080, 9191},
		Readiness:      probe{Path: "/readyz", Port: 9191, Period: 2 * time.Second, Timeout: time.Second, Failures: 2},
		Grace:          5 * time.Second,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !got[0].same(want[0]) {
		t.Error("a workload is not the same as its equal")
	}
}

func TestADeploymentThatCannotBecomeAProcessIsNamed(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"a missing ConfigMap", "configMapRef: {name: env}", "configMapRef: {name: nowhere}",
			"Deployment dp-orion/rogue: envFrom: there is no ConfigMap dp-orion/nowhere"},
		{"a probe's unknown port", "port: admin", "port: administration",
			`Deployment dp-orion/rogue: a probe names the port "administration", which the container does not have`},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := load(t, strings.Replace(oneDeployment, c.old, c.new, 1))
			if err == nil {
				_, err = workloadsOf(set)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
