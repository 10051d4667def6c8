// Package analysis lets Istio judge manifests before they are applied: istiod's
// admission check of every object, and all of istioctl's analyzers over the
// whole.
package analysis

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/resource"
	"istio.io/istio/pkg/config/schema/collections"
)

// Report is what Istio says.
type Report struct {
	// Validated counts the objects of Istio's and the Gateway API's kinds.
	Validated int
	// Analyzers counts the analyzers that ran; Skipped names those that did not.
	Analyzers int
	Skipped   []string
	// Messages are sorted and without duplicates: refusals and warnings of the
	// admission check first, then what the analyzers say. They hold no path.
	Messages []string
}

// Files reads the .yaml files below paths, joined with document separators.
func Files(paths ...string) (string, error) {
	var all []string
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			b, err := os.ReadFile(path)
			all = append(all, string(b))
			return err
		})
		if err != nil {
			return "", fmt.Errorf("read manifests: %w", err)
		}
	}
	return strings.Join(all, "\n---\n"), nil
}

// Analyze has Istio judge manifests.
func Analyze(manifests string) (Report, error) {
	var r Report
	configs, _, err := crd.ParseInputs(manifests)
	if err != nil {
		return r, fmt.Errorf("validate: %w", err)
	}
	for _, c := range configs {
		schema, ok := collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(c.GroupVersionKind)
		if !ok {
			continue
		}
		r.Validated++
		warning, err := schema.ValidateConfig(c)
		name := fmt.Sprintf("%s %s/%s", c.GroupVersionKind.Kind, c.Namespace, c.Name)
		if err != nil {
			r.Messages = append(r.Messages, "Refused: "+name+": "+err.Error())
		}
		if warning != nil {
			r.Messages = append(r.Messages, "Admitted with a warning: "+name+": "+warning.Error())
		}
	}
	// The empty namespace: any other would filter the messages. The test reader
	// keeps the kinds that a file source leaves out, on which a third of the
	// analyzers depend.
	a := local.NewIstiodAnalyzer(analyzers.AllCombined(), resource.Namespace(""), resource.Namespace("istio-system"),
		nil)
	if err := a.AddTestReaderKubeSource([]local.ReaderSource{{Name: "manifests",
		Reader: strings.NewReader(manifests)}}); err != nil {
		return r, fmt.Errorf("analyze: %w", err)
	}
	stop := make(chan struct{})
	defer close(stop)
	result, err := a.Analyze(stop)
	if err != nil {
		return r, fmt.Errorf("analyze: %w", err)
	}
	r.Analyzers = len(result.ExecutedAnalyzers)
	r.Skipped = result.SkippedAnalyzers
	for _, m := range result.Messages {
		at := ""
		if m.Resource != nil {
			at = m.Resource.Metadata.FullName.String()
		}
		r.Messages = append(r.Messages, fmt.Sprintf("%s [%s] %s: %s", m.Type.Level(), m.Type.Code(), at,
			fmt.Sprintf(m.Type.Template(), m.Parameters...)))
	}
	slices.Sort(r.Messages)
	r.Messages = slices.Compact(r.Messages)
	return r, nil
}
