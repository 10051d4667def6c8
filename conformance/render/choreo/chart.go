package choreo

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"artemis.example/conformance/render/cluster"
)

// chart renders one of OpenChoreo's charts as `helm template` does, with the
// values files and settings of an installation, and returns the objects of the
// kinds asked for.
func chart(dir, namespace string, valuesFile string, settings map[string]any,
	kinds ...string) ([]*unstructured.Unstructured, error) {
	c, err := loader.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", dir, err)
	}
	values, err := chartutil.ReadValuesFile(valuesFile)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", dir, err)
	}
	all, err := chartutil.ToRenderValues(c, chartutil.CoalesceTables(settings, values),
		chartutil.ReleaseOptions{Name: filepath.Base(dir), Namespace: namespace, IsInstall: true, Revision: 1}, nil)
	if err != nil {
		return nil, fmt.Errorf("render chart %s: %w", dir, err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("render chart %s: %w", dir, err)
	}
	var objects []*unstructured.Unstructured
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		parsed, err := cluster.Parse([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("render chart %s: %s: %w", dir, name, err)
		}
		for _, o := range parsed {
			if slices.Contains(kinds, o.GetKind()) {
				objects = append(objects, o)
			}
		}
	}
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int {
		return strings.Compare(cluster.Name(a), cluster.Name(b))
	})
	return objects, nil
}
