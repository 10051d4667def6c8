package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/cluster"
	"artemis.example/conformance/render/engine"
	"artemis.example/conformance/render/objects"
)

const root = "../.."

// rig is what the tests of this package share: one control plane with
// openchoreo/ deployed to it.
type rig struct {
	*cluster.Cluster
	shop    *engine.Shop
	sources choreo.Sources
}

var platform rig

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := withPlatform(context.Background(), m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withPlatform(ctx context.Context, run func() int) (int, error) {
	var err error
	if platform.shop, err = engine.NewShop(root, os.Stderr); err != nil {
		return 1, err
	}
	if platform.sources, err = prepare(ctx, platform.shop); err != nil {
		return 1, err
	}
	if err := engine.Isolate(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "artemis-platform-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if platform.Cluster, err = choreo.Boot(ctx, platform.shop, platform.sources, dir); err != nil {
		return 1, err
	}
	defer platform.Stop()
	if err := choreo.Deploy(ctx, platform.Cluster); err != nil {
		return 1, err
	}
	return run(), nil
}

func TestWhatIsCommittedIsWhatOpenChoreoRenders(t *testing.T) {
	files, err := rendered(t.Context(), platform.Cluster, func(what string) { t.Log(what) })
	if err != nil {
		t.Fatal(err)
	}
	stale, err := objects.Stale(root, files)
	if err != nil {
		t.Fatal(err)
	}
	if len(stale) > 0 {
		t.Errorf("stale, run make render: %q", stale)
	}
	cells, components := written(t)
	if want := cells + components + cells + 2*cells; len(files) != want {
		t.Errorf("%d files, want %d: %d Cells, %d components, the Cells' meshes and those of two more stages",
			len(files), want, cells, components)
	}
}

// written counts the Projects and the Components in openchoreo/.
func written(t *testing.T) (cells, components int) {
	t.Helper()
	projects, err := filepath.Glob(filepath.Join(root, "openchoreo", "projects", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range projects {
		own, err := filepath.Glob(filepath.Join(root, "openchoreo", strings.TrimSuffix(filepath.Base(p), ".yaml"),
			"*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		components += len(own)
	}
	if components < 18 {
		t.Fatalf("%d Projects with %d Components in openchoreo/", len(projects), components)
	}
	return len(projects), components
}
