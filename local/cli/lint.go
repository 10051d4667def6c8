package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"artemis.example/policy/lint"
	"github.com/spf13/cobra"
)

// newLintCommand makes `artemis lint`. Its exit code is 0 without findings of
// severity error, 1 with some, and 2 where the files could not be read; with
// --strict a warning counts as an error.
func newLintCommand(at *place) *cobra.Command {
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "lint [DIR|FILE...]",
		Short: "What the mesh policies in a directory of manifests do not do, and what closes it",
		Long: "lint reads any directory of Kubernetes manifests, not only this project's, and says which mesh policies attach\n" +
			"to nothing, which their proxy cannot enforce, and how protected pods can be reached past them. It needs no cluster.\n" +
			"Without an argument it reads what this project runs at stage zero-trust.\n\n" +
			"Exit code: 0 nothing of severity error, 1 at least one, 2 the files cannot be read.",
		Example: "  artemis lint\n  artemis lint deploy/ policies/ --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if err := at.resolve(); err != nil {
					return err
				}
				root := at.root
				if dir, err := os.Getwd(); err == nil {
					if rel, err := filepath.Rel(dir, root); err == nil {
						root = rel // shorter to read
					}
				}
				args = []string{filepath.Join(root, "openchoreo", "rendered"), filepath.Join(root, "istio", "cells")}
			}
			report, err := lint.Run(args...)
			if err != nil {
				return usageError{err}
			}
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				err = out.Encode(report)
			} else {
				err = writeReport(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			if report.Count(lint.Error) > 0 || (strict && report.Count(lint.Warning) > 0) {
				return exitError(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the report as JSON")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings, too")
	return cmd
}

func writeReport(w io.Writer, r *lint.Report) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s:%d: %s [%s] %s: %s\n", f.File, f.Line, f.Severity, f.Check, f.Object, f.Message); err != nil {
			return err
		}
		if f.Fix != "" {
			fmt.Fprintf(w, "    fix: %s\n", f.Fix)
		}
	}
	if len(r.NotJudged) > 0 {
		fmt.Fprintln(w, "\nnot judged:")
	}
	for _, n := range r.NotJudged {
		fmt.Fprintf(w, "%s:%d: %s: %s\n", n.File, n.Line, n.Object, n.Why)
	}
	_, err := fmt.Fprintf(w, "%d files: %d errors, %d warnings, %d notes, %d not judged\n",
		r.Files, r.Count(lint.Error), r.Count(lint.Warning), r.Count(lint.Note), len(r.NotJudged))
	return err
}
