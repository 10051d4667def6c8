// Command summary prints what the comparisons of a run counted, an engine a
// line. It fails when a comparison is missing or anything disagreed.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"artemis.example/conformance/figures"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: summary DIRECTORY COMPARISONS")
	}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.json"))
	if err != nil {
		return err
	}
	var all []figures.Figure
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var x figures.Figure
		if err := json.Unmarshal(b, &x); err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b figures.Figure) int { return cmp.Compare(a.Order, b.Order) })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMPARISON\tENGINE\tCOMPARED\tDISAGREE\t")
	wrong := 0
	for _, x := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", x.What, x.Engine, x.Comparisons, x.Disagreements, x.Notes)
		wrong += x.Disagreements
		if x.Comparisons == 0 {
			wrong++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if want := os.Args[2]; fmt.Sprint(len(all)) != want {
		return fmt.Errorf("%d comparisons ran, not %s", len(all), want)
	}
	if wrong > 0 {
		return fmt.Errorf("%d disagreements", wrong)
	}
	return nil
}
