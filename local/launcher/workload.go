// Package launcher runs the suite: a process per Deployment in its pod's
// network, probed and restarted as a kubelet would, with the mesh between them.
// It decides what runs and when; how a pod is connected is the capture's part,
// what it may do the mesh's.
package launcher

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"artemis.example/policy/topology"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	missionPort  = 8080 // where a Deployment names no port
	adminPort    = 9090
	defaultGrace = 30 * time.Second // Kubernetes' terminationGracePeriodSeconds
)

// workload is what a Deployment says about the one process that it stands for.
type workload struct {
	Namespace, Deployment string
	Cell, Component, Role string
	ServiceAccount        string
	Env                   []string // "NAME=value", in the order of the manifest
	Ports                 []uint16 // the mission's first, the admin port second
	Startup               probe
	Readiness, Liveness   probe
	Grace                 time.Duration
}

// probe is an httpGet probe. A zero Period means that there is none.
type probe struct {
	Path     string
	Port     uint16
	Period   time.Duration
	Timeout  time.Duration
	Failures int
}

func (w workload) key() string { return w.Namespace + "/" + w.Deployment }

func (w workload) ref() topology.Ref { return topology.Ref{Namespace: w.Namespace, Name: w.Deployment} }

func (w workload) same(other workload) bool { return reflect.DeepEqual(w, other) }

// workloads returns what the Deployments of a world ask for, in the order of its pods.
func workloads(w *topology.World) ([]workload, error) {
	configs := map[string]*corev1.ConfigMap{}
	for _, c := range w.Set.ConfigMaps {
		configs[c.Namespace+"/"+c.Name] = c
	}
	var out []workload
	for p := range w.Apps() {
		if p.Deployment == nil || p.Deployment.Spec.Replicas != nil && *p.Deployment.Spec.Replicas == 0 {
			continue
		}
		load, err := newWorkload(p, configs)
		if err != nil {
			origin := w.Set.Origins[p.Workload]
			return nil, fmt.Errorf("%s:%d: Deployment %s: %w", origin.File, origin.Line, p.Workload, err)
		}
		out = append(out, load)
	}
	return out, nil
}

func newWorkload(p *topology.Pod, configs map[string]*corev1.ConfigMap) (workload, error) {
	pod := p.Deployment.Spec.Template.Spec
	c := pod.Containers[0]
	w := workload{
		Namespace: p.Namespace, Deployment: p.Deployment.Name, Cell: cmp.Or(p.Cell, p.Namespace),
		Component: p.Component, ServiceAccount: p.ServiceAccount, Grace: defaultGrace,
	}
	if s := pod.TerminationGracePeriodSeconds; s != nil {
		w.Grace = time.Duration(*s) * time.Second
	}
	values, err := environment(c, p.Namespace, configs)
	if err != nil {
		return w, err
	}
	for _, v := range values {
		w.Env = append(w.Env, v.name+"="+v.value)
		if v.name == "SERVICE_ROLE" {
			w.Role = v.value
		}
	}
	w.Ports = ports(c)
	for _, asked := range []struct {
		from *corev1.Probe
		to   *probe
	}{{c.StartupProbe, &w.Startup}, {c.ReadinessProbe, &w.Readiness}, {c.LivenessProbe, &w.Liveness}} {
		if *asked.to, err = newProbe(asked.from, p.Endpoint.Ports); err != nil {
			return w, err
		}
	}
	return w, nil
}

type variable struct{ name, value string }

// environment puts together what Kubernetes would: envFrom first, env over it.
func environment(c corev1.Container, namespace string, configs map[string]*corev1.ConfigMap) ([]variable, error) {
	var vars []variable
	set := func(name, value string) {
		if i := slices.IndexFunc(vars, func(v variable) bool { return v.name == name }); i >= 0 {
			vars[i].value = value
			return
		}
		vars = append(vars, variable{name, value})
	}
	for _, from := range c.EnvFrom {
		ref := from.ConfigMapRef
		if ref == nil {
			return nil, fmt.Errorf("envFrom: only a configMapRef is implemented")
		}
		config := configs[namespace+"/"+ref.Name]
		if config == nil {
			return nil, fmt.Errorf("envFrom: there is no ConfigMap %s/%s", namespace, ref.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(config.Data)) {
			set(from.Prefix+name, config.Data[name])
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			return nil, fmt.Errorf("env %s: valueFrom is not implemented", e.Name)
		}
		set(e.Name, e.Value)
	}
	return vars, nil
}

// ports returns the mission's port before the admin port.
func ports(c corev1.Container) []uint16 {
	mission, admin := uint16(missionPort), uint16(adminPort)
	var others []uint16
	named := false
	for _, p := range c.Ports {
		switch {
		case p.Name == "admin":
			admin = uint16(p.ContainerPort)
		case !named:
			mission, named = uint16(p.ContainerPort), true
		default:
			others = append(others, uint16(p.ContainerPort))
		}
	}
	return append([]uint16{mission, admin}, others...)
}

func newProbe(p *corev1.Probe, named map[string]uint16) (probe, error) {
	if p == nil || p.HTTPGet == nil {
		return probe{}, nil
	}
	out := probe{
		Path:     cmp.Or(p.HTTPGet.Path, "/"),
		Period:   time.Duration(cmp.Or(p.PeriodSeconds, 10)) * time.Second,
		Timeout:  time.Duration(cmp.Or(p.TimeoutSeconds, 1)) * time.Second,
		Failures: int(cmp.Or(p.FailureThreshold, 3)),
		Port:     uint16(p.HTTPGet.Port.IntVal),
	}
	if p.HTTPGet.Port.Type == intstr.String {
		var ok bool
		if out.Port, ok = named[p.HTTPGet.Port.StrVal]; !ok {
			return probe{}, fmt.Errorf("a probe names the port %q, which the container does not have",
				p.HTTPGet.Port.StrVal)
		}
	}
	return out, nil
}
