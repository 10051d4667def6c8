package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/cluster"
	"artemis.example/conformance/render/objects"
)

// block returns the YAML block of a text that follows a line.
func block(t *testing.T, text, line string) string {
	t.Helper()
	_, after, ok := strings.Cut(text, line+"\n\n")
	before, after, found := strings.Cut(after, "```yaml\n")
	if !ok || !found || strings.Count(before, "\n") > 1 { // one line, which says what CI does with the block
		t.Fatalf("no YAML after %q", line)
	}
	yaml, _, _ := strings.Cut(after, "```\n")
	return yaml
}

func TestTheDocsShowWhatTheirExampleReallyBecomes(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "adding-a-service.md"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := cluster.Parse([]byte(block(t, string(raw), "`openchoreo/orion/docking-radar.yaml`, all of it:")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, example) })
	for _, o := range example {
		if err := platform.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var set objects.Set
	owner := objects.Owner{Cell: "orion", Component: "docking-radar"}
	if err := platform.Until(t.Context(), 30*time.Second, "the example is on the cluster",
		func(ctx context.Context) error {
			if err := synced(ctx, example[2].GetName()); err != nil {
				return err
			}
			if set, err = objects.Collect(ctx, platform.Client, choreo.Namespace); err != nil {
				return err
			}
			return objects.Set{owner: set[owner]}.Applied(ctx, platform.Client)
		}); err != nil {
		t.Fatal(err)
	}
	got, err := objects.Encode(set.Normalise()[owner])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(block(t, string(raw), "`make render` gave, for the manifest above:"), string(got)); diff != "" {
		t.Errorf("the docs (-) and what is rendered (+):\n%s", diff)
	}
}

// synced returns an error unless the ReleaseBinding's release is rendered.
func synced(ctx context.Context, name string) error {
	b, err := platform.Get(ctx, objects.Kind("ReleaseBinding"), choreo.Namespace, name)
	if err != nil {
		return err
	}
	if status, why := choreo.Condition(b, "ReleaseSynced"); status != "True" {
		return errors.New("its release is not rendered: " + why)
	}
	return nil
}
