// Package figures keeps what the comparisons of one run counted, for the
// summary that cmd/summary prints at its end.
package figures

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Figure is the result of one comparison.
type Figure struct {
	// Order is where it stands in the summary.
	Order int `json:"order"`
	// What was compared with what.
	What string `json:"what"`
	// Engine is the real engine, with its version.
	Engine string `json:"engine"`
	// Comparisons and Disagreements count single decisions.
	Comparisons   int `json:"comparisons"`
	Disagreements int `json:"disagreements"`
	// Notes say what the comparisons were made of.
	Notes string `json:"notes,omitempty"`
}

// Directory names the directory for the figures of a run; without it they are
// not kept.
const Directory = "CONFORMANCE_FIGURES"

// Keep writes a figure for the summary.
func Keep(f Figure) error {
	dir := os.Getenv(Directory)
	if dir == "" {
		return nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("keep the figures of %s: %w", f.What, err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.json", f.Order)), b, 0o644); err != nil {
		return fmt.Errorf("keep the figures of %s: %w", f.What, err)
	}
	return nil
}
