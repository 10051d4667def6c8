package cli

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"artemis.example/local/junit"
	"artemis.example/policy/lint"
	"artemis.example/policy/manifest"
	"github.com/spf13/cobra"
)

// clusterExample returns lines that ask artemis about a cluster's objects: of the
// kinds that decide a call, in kubectl's words.
func clusterExample(command string) string {
	return "  kinds=ns,deploy,sts,ds,po,svc,sa,netpol,gateways,httproutes\n" +
		"  kinds=$kinds,authorizationpolicies,peerauthentications,serviceentries\n" +
		"  kubectl get $kinds -A -o yaml | artemis " + command
}

// newLintCommand makes `artemis lint`. Its exit code is 0 without findings of
// severity error, 1 with some, and 2 where nothing was judged; with --strict a
// warning counts as an error.
func newLintCommand(at *place) *cobra.Command {
	var strict, checks bool
	var out format
	var files, silences []string
	var namespace string
	cmd := &cobra.Command{
		Use:   "lint [DIR|FILE|-...]",
		Short: "What the mesh policies in a directory of manifests do not do, and what closes it",
		Long: "lint reads anybody's Kubernetes manifests, not only this project's, and says which mesh policies " +
			"attach to nothing, which their proxy cannot enforce, and how protected pods can be reached past " +
			"them. It needs no cluster and writes to none. Kinds and fields that it does not know are named and " +
			"left out. Without an argument it reads what this project runs at stage zero-trust.\n\n" +
			"A comment in an object, # artemis-lint: ignore CHECK REASON, or its annotation " +
			"artemis.example/lint-ignore: CHECK REASON, silences a check there; a file of silences (--silence) " +
			"does it for many.\n\n" +
			"Exit code: 0 nothing of severity error, 1 at least one, 2 nothing was judged.",
		Example: "  artemis lint\n  artemis lint deploy/ policies/ -o sarif\n" +
			"  helm template shop | artemis lint - --namespace shop\n" + clusterExample("lint -"),
		RunE: out.judges(func(cmd *cobra.Command, args []string) (*answer, error) {
			if checks {
				return listChecks(), nil
			}
			args = append(args, files...)
			if len(args) == 0 {
				if err := at.resolve(); err != nil {
					return nil, fmt.Errorf("%w; or say what to read: artemis lint DIR, FILE or -", err)
				}
				root := at.root
				if dir, err := os.Getwd(); err == nil {
					if rel, err := filepath.Rel(dir, root); err == nil {
						root = rel // shorter to read
					}
				}
				for _, folder := range manifest.ZeroTrustFolders() {
					args = append(args, filepath.Join(root, folder))
				}
			}
			in, err := manifest.ReadInput(manifest.Source{Stdin: cmd.InOrStdin(), Namespace: namespace}, args...)
			if err != nil {
				return nil, err
			}
			for _, file := range silences {
				more, err := manifest.ReadSilences(file)
				if err != nil {
					return nil, err
				}
				in.Silences = append(in.Silences, more...)
			}
			report, err := lint.Check(in)
			if err != nil {
				return nil, err
			}
			said := &answer{kind: "LintReport", value: report, text: func(w *bufio.Writer) { writeReport(w, report) }}
			said.others = map[string]func(io.Writer) error{
				"sarif": func(w io.Writer) error { return writeSARIF(w, cmd.Root().Version, report) },
				"junit": func(w io.Writer) error { return writeJUnit(w, report, strict) },
			}
			switch {
			case report.Count(lint.Error) > 0, strict && report.Count(lint.Warning) > 0:
				said.code = 1
			case in.Objects() == 0:
				said.nothing = nothingJudged(in)
			}
			return said, nil
		}),
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings, too")
	cmd.Flags().BoolVar(&checks, "checks", false, "list the checks, and what each means")
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil,
		"a file or directory, - for standard input; may be given again")
	cmd.Flags().StringArrayVar(&silences, "silence", nil,
		"a file of silences: what a check is not to report, and why; may be given again")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "the namespace of objects that name none")
	out.addFlags(cmd, "sarif", "junit")
	return cmd
}

// maxNotJudged bounds the lines about what was not judged; the JSON has all.
const maxNotJudged = 20

func writeReport(w *bufio.Writer, r *lint.Report) {
	for _, f := range r.Findings {
		subject := ""
		if f.Object != "" {
			subject = " " + f.Object + ":"
		}
		fmt.Fprintf(w, "%s:%d: %s [%s]%s %s\n", f.File, f.Line, f.Severity, f.Check, subject, f.Message)
		if f.Fix != "" {
			fmt.Fprintf(w, "    fix: %s\n", f.Fix)
		}
	}
	if len(r.NotJudged) > 0 {
		fmt.Fprintln(w, "\nnot judged:")
	}
	for i, n := range r.NotJudged {
		if i == maxNotJudged {
			fmt.Fprintf(w, "and %d more (-o json has all)\n", len(r.NotJudged)-i)
			break
		}
		fmt.Fprintf(w, "%s:%d: %s: %s\n", n.File, n.Line, n.Object, n.Why)
	}
	if len(r.LeftOut) > 0 {
		fmt.Fprintln(w, "\nleft out:")
	}
	for _, l := range r.LeftOut {
		first := l.Places[0]
		fmt.Fprintf(w, "%d %s, first in %s:%d: %s\n", len(l.Places), l.What, first.File, first.Line, l.Why)
	}
	if r.Assumed > 0 {
		fmt.Fprintln(w, assumed(r.Assumed, r.Namespace))
	}
	silenced := ""
	if n := len(r.Silenced); n > 0 {
		silenced = fmt.Sprintf(", %d silenced", n)
	}
	fmt.Fprintf(w, "%s, %s: %d errors, %d warnings, %d notes%s, %d not judged\n", count(r.Files, "file",
		"files"), count(r.Objects, "object", "objects"),
		r.Count(lint.Error), r.Count(lint.Warning), r.Count(lint.Note), silenced, len(r.NotJudged))
}

// listChecks answers with the checks.
func listChecks() *answer {
	type row struct {
		Name     string   `json:"name"`
		Severity string   `json:"severity"`
		Summary  string   `json:"summary"`
		Why      string   `json:"why"`
		Threads  []string `json:"threads,omitempty"`
	}
	var rows []row
	for _, c := range lint.Checks() {
		rows = append(rows, row{c.Name, string(c.Severity), c.Summary, c.Why, c.Threads})
	}
	return &answer{kind: "LintChecks", value: map[string]any{"checks": rows}, text: func(w *bufio.Writer) {
		for _, r := range rows {
			fmt.Fprintf(w, "%-29s %-8s %s\n", r.Name, r.Severity, r.Summary)
		}
	}}
}

type object = map[string]any

// writeSARIF writes the parts of SARIF 2.1.0 that viewers need
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
func writeSARIF(w io.Writer, version string, r *lint.Report) error {
	rules, results := []object{}, []object{}
	for _, c := range lint.Checks() {
		rules = append(rules, object{"id": c.Name, "shortDescription": object{"text": c.Summary},
			"fullDescription": object{"text": c.Why}})
	}
	for _, f := range slices.Concat(r.Findings, r.Silenced) {
		text := f.Object + ": " + f.Message
		if f.Fix != "" {
			text += ". Fix: " + f.Fix
		}
		result := object{
			"ruleId": f.Check, "level": f.Severity, "message": object{"text": strings.TrimPrefix(text, ": ")},
			"locations": []object{{"physicalLocation": object{
				"artifactLocation": object{"uri": filepath.ToSlash(f.File)},
				"region":           object{"startLine": max(f.Line, 1)},
			}}},
		}
		if f.Reason != "" {
			kind := "external"
			if strings.HasPrefix(f.SilencedAt, f.File+":") {
				kind = "inSource"
			}
			result["suppressions"] = []object{{"kind": kind, "justification": f.Reason}}
		}
		results = append(results, result)
	}
	return writeJSON(w, object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": []object{{
			"tool":    object{"driver": object{"name": "artemis lint", "version": version, "rules": rules}},
			"results": results,
		}},
	})
}

// writeJUnit writes a case for every check that found nothing, and one for every
// finding; one that is silenced is skipped.
func writeJUnit(w io.Writer, r *lint.Report, strict bool) error {
	suite := junit.Suite{Name: "artemis lint"}
	quiet := map[string]bool{}
	for _, c := range lint.Checks() {
		quiet[c.Name] = true
	}
	for _, f := range r.Silenced {
		quiet[f.Check] = false
		suite.Cases = append(suite.Cases, junit.Case{Class: f.Check, Name: cmp.Or(f.Object, f.File), File: f.File,
			Line: f.Line, Skipped: &junit.Skipped{Message: f.Reason}})
	}
	for _, f := range r.Findings {
		quiet[f.Check] = false
		c := junit.Case{Class: f.Check, Name: cmp.Or(f.Object, f.File), File: f.File, Line: f.Line}
		text := fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
		if f.Fix != "" {
			text += "\nfix: " + f.Fix
		}
		if f.Severity == lint.Error || strict && f.Severity == lint.Warning {
			c.Failure = &junit.Failure{Type: string(f.Severity), Message: f.Message, Text: text}
		} else {
			c.Output = string(f.Severity) + ": " + text
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, c := range lint.Checks() {
		if quiet[c.Name] {
			suite.Cases = append(suite.Cases, junit.Case{Class: c.Name, Name: c.Summary})
		}
	}
	return suite.Write(w)
}
