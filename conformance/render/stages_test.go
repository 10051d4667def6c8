package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/cluster"
)

// meshLabels returns the mesh's labels on every Cell's namespace, as they are on
// the cluster.
func meshLabels(ctx context.Context, c *cluster.Client) (map[string]string, error) {
	namespaces, err := c.List(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "")
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, ns := range namespaces {
		if cell := ns.GetLabels()["openchoreo.dev/project"]; cell != "" {
			got[cell] = ns.GetLabels()["istio.io/dataplane-mode"] + "," + ns.GetLabels()["istio.io/use-waypoint"]
		}
	}
	return got, nil
}

func TestSwitchingTheStageTakesLabelsOffAgainAndTouchesNoPod(t *testing.T) {
	_, components := written(t)
	generations := func() map[string]int64 {
		deployments, err := platform.List(t.Context(), schema.GroupVersionKind{Group: "apps", Version: "v1",
			Kind: "Deployment"}, "")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, d := range deployments {
			got[d.GetName()] = d.GetGeneration()
		}
		if len(got) != components {
			t.Fatalf("%d Deployments, want %d", len(got), components)
		}
		return got
	}
	before := generations()
	for _, s := range []struct{ stage, labels string }{
		{"zero-trust", "ambient,waypoint"}, {"mtls", "ambient,"}, {"open", ","}, {"mtls", "ambient,"},
		{"zero-trust", "ambient,waypoint"},
	} {
		begin := time.Now()
		if _, err := choreo.AtStage(t.Context(), platform.Cluster, s.stage); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, cell := range []string{"houston", "kennedy", "orion", "deep-space-network", "esa-ops"} {
			want[cell] = s.labels
		}
		if err := platform.Until(t.Context(), time.Minute, "the namespaces bear the labels of "+s.stage,
			func(ctx context.Context) error {
				got, err := meshLabels(ctx, platform.Client)
				if err == nil && !maps.Equal(want, got) {
					err = errors.New(cmp.Diff(want, got))
				}
				return err
			}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s after %s", s.stage, time.Since(begin).Round(time.Millisecond))
	}
	if diff := cmp.Diff(before, generations()); diff != "" {
		t.Errorf("the switches changed Deployments (-before +after):\n%s", diff)
	}
}

func TestAComponentThatNamesNoCallersAdmitsNobody(t *testing.T) {
	silent, err := cluster.Parse([]byte(strings.ReplaceAll(good, "docking-radar", "docking-camera")))
	if err != nil {
		t.Fatal(err)
	}
	unstructured.RemoveNestedField(silent[0].Object, "spec", "parameters")
	t.Cleanup(func() { remove(t, silent) })
	for _, o := range silent {
		if err := platform.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	policy := schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"}
	if err := platform.Until(t.Context(), 30*time.Second, "its policy is there", func(ctx context.Context) error {
		p, err := platform.Get(ctx, policy, "dp-default-orion-development-1bced798", "docking-camera-authz")
		if err != nil {
			return err
		}
		rules, _, err := unstructured.NestedSlice(p.Object, "spec", "rules")
		if err == nil && len(rules) > 0 {
			t.Errorf("it admits %v", rules)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// The rendered set stands on its own: any cluster with the Gateway API and Istio
// takes it, every field of it.
func TestTheRenderedSetAppliesWithoutOpenChoreo(t *testing.T) {
	bare, err := cluster.Boot(t.Context(), platform.shop, filepath.Join(t.TempDir(), "bare"))
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Stop()
	if err := platform.sources.MeshCRDs(t.Context(), bare.Client); err != nil {
		t.Fatal(err)
	}
	cells, err := filepath.Glob(filepath.Join(root, "openchoreo", "rendered", "*", "cell.yaml"))
	if err != nil || len(cells) != 5 {
		t.Fatalf("%d Cells rendered, want 5: %v", len(cells), err)
	}
	system, err := cluster.Parse([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Apply(t.Context(), system[0]); err != nil {
		t.Fatal(err)
	}
	// The server takes its time to serve a kind after its definition; this one is the last.
	if err := bare.Until(t.Context(), time.Minute, "the kinds of the mesh are served", func(ctx context.Context) error {
		return bare.ApplyPath(ctx, filepath.Join(root, "istio", "telemetry.yaml"))
	}); err != nil {
		t.Fatal(err)
	}
	paths := append(cells, filepath.Join(root, "openchoreo", "rendered"), filepath.Join(root, "istio", "cells"),
		filepath.Join(root, "istio", "stages", "open"), filepath.Join(root, "istio", "stages", "mtls"))
	for _, p := range paths {
		if err := bare.ApplyPath(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	got := map[string]int{}
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Version: "v1", Kind: "ServiceAccount"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
		{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"},
		{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"},
		{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"},
		{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"},
	} {
		all, err := bare.List(t.Context(), gvk, "")
		if err != nil {
			t.Fatal(err)
		}
		got[gvk.Kind] = len(all)
	}
	want := map[string]int{
		"Deployment": 18, "ServiceAccount": 18, "NetworkPolicy": 18 + 5, "Gateway": 5, "HTTPRoute": 2,
		"AuthorizationPolicy": 18 + 5 + 5, "PeerAuthentication": 5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("on the bare cluster (-want +got):\n%s", diff)
	}
	wrong, err := cluster.Parse([]byte(fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: proof, namespace: %s}
automountServiceAccountTokens: false
`, "dp-default-orion-development-1bced798")))
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Apply(t.Context(), wrong[0]); err == nil {
		t.Error("the server does not validate strictly: it took a field that does not exist")
	}
}
