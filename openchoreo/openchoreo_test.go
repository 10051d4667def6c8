// Package openchoreo_test checks that what developers wrote (the components),
// what OpenChoreo rendered from it (openchoreo/rendered, istio/cells,
// istio/stages) and the table in catalog say the same. It needs no
// cluster; the control plane itself is asked in conformance/render.
package openchoreo_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/util/yaml"
	strictyaml "sigs.k8s.io/yaml"

	"artemis.example/catalog"
)

// component is what a developer writes, as far as these tests judge it. An
// unknown field is an error: the tests judge everything that is there.
type component struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct{ Name, Namespace string }
	Spec       struct {
		Owner struct {
			ProjectName   string `json:"projectName"`
			ComponentName string `json:"componentName"`
		}
		AutoDeploy    bool                                      `json:"autoDeploy"`
		ComponentType struct{ Kind, Name string }               `json:"componentType"`
		Parameters    struct{ AllowFrom, AllowIngress []entry } `json:"parameters"`

		Endpoints    map[string]endpoint
		Dependencies struct{ Endpoints []dependency }
		Container    struct {
			Image string
			Env   []struct{ Key, Value string }
		}

		Environment string
		Configs     map[string]any `json:"componentTypeEnvironmentConfigs"`
	}
}

type entry struct {
	Project, Component string
	Methods, Paths     []string
}

type endpoint struct {
	Type       string
	Port       int
	Visibility []string
}

type dependency struct {
	Project, Component, Name, Visibility string
	EnvBindings                          struct{ Address string } `json:"envBindings"`
}

// service is one component's file.
type service struct{ component, workload, binding component }

// written reads every component that the folders of the Cells hold, by name.
func written(t *testing.T) map[string]service {
	t.Helper()
	all := map[string]service{}
	for _, cell := range catalog.Cells() {
		files, err := filepath.Glob(filepath.Join(cell, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no component in the folder of %s: %v", cell, err)
		}
		for _, file := range files {
			objects := readAll(t, file)
			var kinds []string
			for _, o := range objects {
				kinds = append(kinds, o.Kind)
			}
			if diff := cmp.Diff([]string{"Component", "Workload", "ReleaseBinding"}, kinds); diff != "" {
				t.Fatalf("%s: one file, one component (-want +got):\n%s", file, diff)
			}
			s := service{objects[0], objects[1], objects[2]}
			name := s.component.Metadata.Name
			if want := filepath.Join(cell, name+".yaml"); file != want {
				t.Errorf("%s holds the component %s: it belongs into %s", file, name, want)
			}
			for _, o := range objects {
				if o.Spec.Owner.ProjectName != cell {
					t.Errorf("%s: %s is owned by project %q, its folder says %q", file, o.Kind,
						o.Spec.Owner.ProjectName, cell)
				}
				if o.Kind != "Component" && o.Spec.Owner.ComponentName != name {
					t.Errorf("%s: %s is owned by component %q, not by %q", file, o.Kind, o.Spec.Owner.ComponentName,
						name)
				}
			}
			all[name] = s
		}
	}
	return all
}

func readAll(t *testing.T, file string) []component {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	var objects []component
	for {
		doc, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var o component
		if err := strictyaml.UnmarshalStrict(doc, &o); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, o)
	}
}

// call is one line of who may do what: the smallest thing that the table and
// the manifests can disagree about.
type call struct{ From, To, Method, Path string }

func less(a, b call) bool {
	return strings.Join([]string{a.To, a.Method, a.Path, a.From}, " ") < strings.Join([]string{b.To, b.Method, b.Path,
		b.From}, " ")
}

// table returns every call that the catalog admits.
func table() []call {
	var calls []call
	for _, s := range catalog.Services() {
		for _, r := range s.Rules {
			for _, path := range r.Paths {
				for _, c := range r.Callers {
					calls = append(calls, call{c.String(), s.Caller().String(), r.Method, path})
				}
			}
		}
	}
	return calls
}

func TestEveryServiceOfTheTableHasItsComponentAndViceVersa(t *testing.T) {
	var want, got []string
	for _, s := range catalog.Services() {
		want = append(want, s.Caller().String())
	}
	for name, s := range written(t) {
		got = append(got, s.component.Spec.Owner.ProjectName+"/"+name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table (-) and the manifests (+) name different services:\n%s", diff)
	}
}

func TestAllowFromAndAllowIngressSayWhatTheTableSays(t *testing.T) {
	var got []call
	for name, s := range written(t) {
		to := s.component.Spec.Owner.ProjectName + "/" + name
		add := func(from string, e entry) {
			for _, m := range e.Methods {
				for _, p := range e.Paths {
					got = append(got, call{from, to, m, p})
				}
			}
		}
		for _, e := range s.component.Spec.Parameters.AllowFrom {
			add(e.Project+"/"+e.Component, e)
		}
		for _, e := range s.component.Spec.Parameters.AllowIngress {
			add(catalog.Ingress.String(), e)
		}
	}
	if diff := cmp.Diff(table(), got, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("the table (-) and what the components allow (+) disagree:\n%s", diff)
	}
}

func TestDependenciesAreTheCallsThatTheTableAdmits(t *testing.T) {
	for name, s := range written(t) {
		var want []dependency
		for _, d := range catalog.Dependencies(name) {
			dep := dependency{Project: d.Cell, Component: d.Name, Name: "http", Visibility: "project"}
			if d.Cell != s.component.Spec.Owner.ProjectName {
				dep.Visibility = "namespace"
			}
			dep.EnvBindings.Address = catalog.URLVariable(d.Name)
			want = append(want, dep)
		}
		if diff := cmp.Diff(want, s.workload.Spec.Dependencies.Endpoints); diff != "" {
			t.Errorf("%s: the table (-) and its Workload's dependencies (+) disagree:\n%s", name, diff)
		}
	}
}

func TestEndpointsAreVisibleToWhomTheTableNames(t *testing.T) {
	for name, s := range written(t) {
		row, _ := catalog.Lookup(name)
		var visibility []string
		if row.Namespaced {
			visibility = append(visibility, "namespace")
		}
		if row.External {
			visibility = append(visibility, "external")
		}
		if visibility == nil {
			visibility = []string{"project"}
		}
		want := map[string]endpoint{"http": {Type: "HTTP", Port: 8080, Visibility: visibility}}
		if diff := cmp.Diff(want, s.workload.Spec.Endpoints); diff != "" {
			t.Errorf("%s: the table (-) and its endpoints (+) disagree:\n%s", name, diff)
		}
	}
}

func TestEveryComponentIsAZeroTrustServiceOfTheOneImage(t *testing.T) {
	for name, s := range written(t) {
		if got, want := s.component.Spec.ComponentType, (struct{ Kind, Name string }{"ClusterComponentType",
			"deployment/zero-trust-service"}); got != want {
			t.Errorf("%s: component type %v, want %v", name, got, want)
		}
		if got, want := s.workload.Spec.Container.Image, "artemis.local/service:dev"; got != want {
			t.Errorf("%s: image %q, want %q", name, got, want)
		}
		if env := s.workload.Spec.Container.Env; len(env) == 0 || env[0].Key != "SERVICE_ROLE" || env[0].Value != name {
			t.Errorf("%s: its first variable must be SERVICE_ROLE=%s, got %v", name, name, env)
		}
		if _, ok := s.binding.Spec.Configs["resources"]; !ok || s.binding.Spec.Environment != "development" {
			t.Errorf("%s: its ReleaseBinding must set resources for development", name)
		}
	}
}
