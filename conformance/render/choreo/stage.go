package choreo

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"artemis.example/conformance/render/cluster"
	"artemis.example/conformance/render/objects"
)

// AtStage switches every Cell to a stage, by the one setting of its
// ProjectReleaseBinding, waits until all that was rendered for it is applied,
// and returns it, normalised.
func AtStage(ctx context.Context, c *cluster.Cluster, stage string) (objects.Set, error) {
	kind := objects.Kind("ProjectReleaseBinding")
	bindings, err := c.List(ctx, kind, Namespace)
	if err != nil {
		return nil, fmt.Errorf("switch to %s: %w", stage, err)
	}
	for _, b := range bindings {
		if err := c.MergePatch(ctx, kind, Namespace, b.GetName(),
			fmt.Sprintf(`{"spec":{"environmentConfigs":{"stage":%q}}}`, stage)); err != nil {
			return nil, err
		}
	}
	var set objects.Set
	err = c.Until(ctx, waitLimit, "everything is rendered and applied at "+stage, func(ctx context.Context) error {
		if set, err = objects.Collect(ctx, c.Client, Namespace); err != nil {
			return err
		}
		for owner, rendered := range set {
			if owner.Component != "" {
				continue
			}
			if err := isAt(rendered, stage); err != nil {
				return fmt.Errorf("%s: %w", owner.Cell, err)
			}
		}
		return set.Applied(ctx, c.Client)
	})
	return set.Normalise(), err
}

// isAt reads a Cell's stage by its namespace's labels: what a switch changes
// in every Cell.
func isAt(rendered []*unstructured.Unstructured, stage string) error {
	for _, o := range rendered {
		if o.GetKind() != "Namespace" {
			continue
		}
		at := "open"
		if l := o.GetLabels(); l["istio.io/use-waypoint"] != "" {
			at = "zero-trust"
		} else if l["istio.io/dataplane-mode"] != "" {
			at = "mtls"
		}
		if at != stage {
			return fmt.Errorf("still at %s", at)
		}
		return nil
	}
	return fmt.Errorf("no namespace rendered yet")
}
