package cli

import (
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
		RunE: func(cmd *cobra.Command, args []string) error {
			if checks {
				return writeChecks(cmd.OutOrStdout(), &out)
			}
			args = append(args, files...)
			if len(args) == 0 {
				if err := at.resolve(); err != nil {
					return usageError{fmt.Errorf("%w; or say what to read: artemis lint DIR, FILE or -", err)}
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
				return usageError{err}
			}
			for _, file := range silences {
				more, err := manifest.ReadSilences(file)
				if err != nil {
					return usageError{err}
				}
				in.Silences = append(in.Silences, more...)
			}
			report, err := lint.Check(in)
			if err != nil {
				return usageError{err}
			}
			if err := writeLint(cmd.OutOrStdout(), cmd.Root().Version, &out, report, strict); err != nil {
				return err
			}
			switch {
			case report.Count(lint.Error) > 0, strict && report.Count(lint.Warning) > 0:
				return exitError(1)
			case in.Objects() == 0:
				return usageError{nothingJudged(in)}
			}
			return nil
		},
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

// lintReport is the JSON form of a report.
type lintReport struct {
	document
	*lint.Report
}

func writeLint(w io.Writer, version string, out *format, r *lint.Report, strict bool) error {
	switch out.name {
	case "text":
		return writeReport(w, r)
	case "sarif":
		return writeSARIF(w, version, r)
	case "junit":
		return writeJUnit(w, r, strict)
	}
	return out.write(w, lintReport{document{apiVersion, "LintReport"}, r})
}

// maxNotJudged bounds the lines about what was not judged; the JSON has all.
const maxNotJudged = 20

func writeReport(w io.Writer, r *lint.Report) error {
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
		fmt.Fprintf(w, "%s no namespace: judged as of namespace %s (--namespace)\n", count(r.Assumed, "object names",
			"objects name"), r.Namespace)
	}
	silenced := ""
	if n := len(r.Silenced); n > 0 {
		silenced = fmt.Sprintf(", %d silenced", n)
	}
	_, err := fmt.Fprintf(w, "%s, %s: %d errors, %d warnings, %d notes%s, %d not judged\n", count(r.Files, "file",
		"files"), count(r.Objects, "object", "objects"),
		r.Count(lint.Error), r.Count(lint.Warning), r.Count(lint.Note), silenced, len(r.NotJudged))
	return err
}

// writeChecks lists the checks.
func writeChecks(w io.Writer, out *format) error {
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
	if out.name != "text" {
		return out.write(w, struct {
			document
			Checks []row `json:"checks"`
		}{document{apiVersion, "LintChecks"}, rows})
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%-29s %-8s %s\n", r.Name, r.Severity, r.Summary)
	}
	return nil
}

// The parts of SARIF 2.1.0 that viewers need
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver struct {
				Name    string      `json:"name"`
				Version string      `json:"version"`
				Rules   []sarifRule `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		FullDescription  sarifText `json:"fullDescription"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation struct {
			ArtifactLocation struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

func writeSARIF(w io.Writer, version string, r *lint.Report) error {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver.Name, run.Tool.Driver.Version = "artemis lint", version
	for _, c := range lint.Checks() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{c.Name, sarifText{c.Summary}, sarifText{c.Why}})
	}
	for _, f := range slices.Concat(r.Findings, r.Silenced) {
		text := f.Object + ": " + f.Message
		if f.Fix != "" {
			text += ". Fix: " + f.Fix
		}
		res := sarifResult{RuleID: f.Check, Level: string(f.Severity), Message: sarifText{strings.TrimPrefix(text,
			": ")}, Locations: make([]sarifLocation, 1)}
		res.Locations[0].PhysicalLocation.ArtifactLocation.URI = filepath.ToSlash(f.File)
		res.Locations[0].PhysicalLocation.Region.StartLine = max(f.Line, 1)
		if f.Reason != "" {
			kind := "external"
			if strings.HasPrefix(f.SilencedAt, f.File+":") {
				kind = "inSource"
			}
			res.Suppressions = []sarifSuppression{{kind, f.Reason}}
		}
		run.Results = append(run.Results, res)
	}
	return writeJSON(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
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
