package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/cluster"
)

// good is a component that nothing is wrong with; the cases spoil it.
const good = `
apiVersion: openchoreo.dev/v1alpha1
kind: Component
metadata: {name: docking-radar, namespace: default}
spec:
  owner: {projectName: orion}
  autoDeploy: true
  componentType: {kind: ClusterComponentType, name: deployment/zero-trust-service}
  parameters:
    allowFrom:
      - {project: orion, component: guidance-nav, methods: [GET], paths: [/range]}
---
apiVersion: openchoreo.dev/v1alpha1
kind: Workload
metadata: {name: docking-radar, namespace: default}
spec:
  owner: {projectName: orion, componentName: docking-radar}
  endpoints:
    http: {type: HTTP, port: 8080, visibility: [project]}
  dependencies:
    endpoints:
      - {project: orion, component: guidance-nav, name: http, visibility: project, envBindings: {address: GUIDANCE_NAV_URL}}
  container:
    image: artemis.local/service:dev
---
apiVersion: openchoreo.dev/v1alpha1
kind: ReleaseBinding
metadata: {name: docking-radar-development, namespace: default}
spec:
  owner: {projectName: orion, componentName: docking-radar}
  environment: development
  componentTypeEnvironmentConfigs:
    resources: {limits: {memory: 64Mi}}
`

// Where a mistake comes to light: at once, when it is applied, or in the
// conditions of the object that the developer looks at next.
const (
	admission      = "admission"
	component      = "Component"
	releaseBinding = "ReleaseBinding"
)

func TestMistakesAreRefusedInWordsThatADeveloperUnderstands(t *testing.T) {
	for _, c := range []struct {
		mistake, old, new string
		at                string
		message           string
	}{
		{"a typo in a field of the Component", "autoDeploy:", "autoDeplyo:", admission,
			".spec.autoDeplyo: field not declared in schema"},
		{"a typo in a field of the Workload", "visibility: [project]", "visiblity: [project]", admission,
			".spec.endpoints.http.visiblity: field not declared in schema"},
		{"an unknown visibility", "visibility: [project]", "visibility: [cell]", admission,
			`supported values: "project", "namespace", "internal", "external"`},
		{"a bare component type", "deployment/zero-trust-service", "zero-trust-service", admission, "should match"},
		{"a typo in a caller", "methods: [GET]", "metods: [GET]", component, "metods"},
		{"a caller without methods", "methods: [GET], ", "", component, "methods is required"},
		{"a caller without paths", ", paths: [/range]", "", component, "paths is required"},
		{"an unknown method", "methods: [GET]", "methods: [get]", component, "should be one of [GET HEAD"},
		{"a path that does not start at the root", "[/range]", "[range]", component, "should match"},
		{"a star in the middle of a path", "[/range]", `["/range/*/x"]`, component, "should match"},
		{"a typo in a parameter", "allowFrom:", "allowform:", component, "allowform"},
		{"a component type that does not exist", "zero-trust-service}", "zero-trust}", component, "zero-trust"},
		{"a Cell that does not exist", "projectName: orion", "projectName: oriom", component, "oriom"},
		{"a whole Cell as caller, not asked for", "component: guidance-nav, methods", "methods", releaseBinding,
			"names no component: that would admit every workload of the Cell"},
		{"a component and its whole Cell", "methods: [GET]", "wholeCell: true, methods: [GET]", releaseBinding,
			"both component and wholeCell"},
		{"a trait beside the built-in one", "  parameters:", "  traits: [{kind: ClusterTrait, name: istio-authz, " +
			"instanceName: mine}]\n  parameters:", component, "no traits are allowed"},
		{"no endpoint", "endpoints:\n    http: {type: HTTP, port: 8080, visibility: [project]}", "endpoints: {}",
			releaseBinding, "declares no endpoint"},
		{"targetPort unlike port", "port: 8080,", "port: 8080, targetPort: 8081,", releaseBinding,
			"targetPort differs from its port"},
		{"the admin port as an endpoint", "port: 8080,", "port: 9090,", releaseBinding,
			"an endpoint uses the admin port"},
		{"a TCP endpoint", "type: HTTP", "type: TCP", releaseBinding, "must have type HTTP"},
		{"a caller of another Cell that the NetworkPolicy keeps out",
			"{project: orion, component: guidance-nav, methods", "{project: houston, component: capcom, methods",
			releaseBinding, "add namespace to the endpoint's visibility"},
		{"an external endpoint that nobody may use", "visibility: [project]", "visibility: [external]", releaseBinding,
			"allowIngress and the visibility external go together"},
		{"a dependency on a component that does not exist", "component: guidance-nav, name",
			"component: guidance-naf, name", releaseBinding, "guidance-naf"},
		{"a dependency on a Cell that does not exist", "{project: orion, component: guidance-nav, name",
			"{project: oriom, component: guidance-nav, name", releaseBinding, "oriom"},
		{"a typo in the environment's settings", "resources: {limits", "resources: {limit", releaseBinding, "limit"},
		{"a memory limit in another unit", "memory: 64Mi", "memory: 64M", releaseBinding, "should match"},
	} {
		t.Run(c.mistake, func(t *testing.T) {
			spoilt := strings.ReplaceAll(good, c.old, c.new)
			if spoilt == good {
				t.Fatalf("the case spoils nothing: %q is not there", c.old)
			}
			at, message := refusal(t, spoilt, c.message)
			if at != c.at {
				t.Errorf("refused at %q, want %q", at, c.at)
			}
			if !strings.Contains(message, c.message) {
				t.Errorf("the refusal does not say %q:\n%s", c.message, message)
			}
			t.Logf("%s: %s", at, message)
		})
	}
	t.Run("a stage that does not exist", func(t *testing.T) {
		const name, want = "esa-ops-development", "unknown stage: it is open, mtls or zero-trust"
		binding := schema.GroupVersionKind{Group: "openchoreo.dev", Version: "v1alpha1", Kind: "ProjectReleaseBinding"}
		stage := func(s string) {
			if err := platform.MergePatch(t.Context(), binding, choreo.Namespace, name,
				fmt.Sprintf(`{"spec":{"environmentConfigs":{"stage":%q}}}`, s)); err != nil {
				t.Fatal(err)
			}
		}
		stage("closed")
		defer stage("zero-trust")
		if err := platform.Until(t.Context(), 8*time.Second, "the Cell's binding refuses the stage",
			func(ctx context.Context) error {
				b, err := platform.Get(ctx, binding, choreo.Namespace, name)
				if err != nil {
					return err
				}
				if _, why := choreo.Condition(b, ""); !strings.Contains(why, want) {
					return fmt.Errorf("its conditions do not say %q: %s", want, why)
				}
				return nil
			}); err != nil {
			t.Error(err)
		}
	})
	t.Run("and nothing is wrong with the component that the cases spoil", func(t *testing.T) {
		at, message := refusal(t, good, "")
		if at != "" {
			t.Errorf("refused at %s: %s", at, message)
		}
	})
}

// refusal applies the objects, waits until they are deployed or a condition of
// one of them has the message, and removes them again. It gives where they were
// refused and everything said there; "" when they were not.
func refusal(t *testing.T, text, message string) (at, said string) {
	t.Helper()
	all, err := cluster.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, all) })
	for _, o := range all {
		if err := platform.Apply(t.Context(), o); err != nil {
			return admission, err.Error()
		}
	}
	err = platform.Until(t.Context(), 8*time.Second, "it is refused or deployed", func(ctx context.Context) error {
		var complaints []string
		for _, o := range all {
			live, err := platform.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
			if err != nil {
				return err
			}
			_, why := choreo.Condition(live, "")
			if why != "" {
				complaints = append(complaints, o.GetKind()+": "+why)
			}
			if message != "" && strings.Contains(why, message) {
				at, said = o.GetKind(), why
				return nil
			}
			if synced, _ := choreo.Condition(live, "ReleaseSynced"); message == "" && synced == "True" {
				return nil
			}
		}
		return errors.New(strings.Join(complaints, "\n"))
	})
	if err != nil {
		return "nowhere", err.Error()
	}
	return at, said
}

// remove deletes the objects and waits until they are gone.
func remove(t *testing.T, all []*unstructured.Unstructured) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, o := range all {
		if err := platform.Delete(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName()); err != nil {
			t.Fatal(err)
		}
	}
	if err := platform.Until(ctx, time.Minute, "the spoilt component is gone", func(ctx context.Context) error {
		for _, o := range all {
			if _, err := platform.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName()); err == nil {
				return fmt.Errorf("%s is still there", cluster.Name(o))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
