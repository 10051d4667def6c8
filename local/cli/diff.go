package cli

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"artemis.example/policy/analysis"
	"artemis.example/policy/manifest"
	"github.com/spf13/cobra"
)

// newDiffCommand makes `artemis diff`. Its exit code is 0 when the change opens and
// closes nothing, 1 when it does or something cannot be judged, 2 when nothing was
// judged. With --no-new-access what it closes is no reason for 1.
func newDiffCommand(at *place) *cobra.Command {
	var src source
	var out format
	var noNewAccess bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "The calls that a change of the manifests opens and closes, with a request of each",
		Long: "diff compares two states of manifests for every request and by every way. OLD and NEW are files, " +
			"directories, or git revisions: REV:PATH, or REV alone for the paths given by -f, else for this " +
			"project's. A policy that is reformatted, reordered, renamed, split or merged is no difference.\n\n" +
			"Exit code: 0 no difference, 1 calls are opened or closed or something cannot be judged, 2 nothing " +
			"was judged. With --no-new-access: 0 nothing is opened.",
		Example: "  artemis diff deploy-old/ deploy/\n  artemis diff origin/main HEAD -f deploy --no-new-access -o " +
			"markdown",
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: out.judges(func(cmd *cobra.Command, args []string) (*answer, error) {
			var states [2]analysis.Input
			for i, arg := range args {
				dirs, clean, err := src.state(cmd, at, arg)
				if err != nil {
					return nil, err
				}
				read, err := manifest.ReadInput(manifest.Source{Stdin: cmd.InOrStdin(), Namespace: src.namespace},
					dirs...)
				clean() // before what takes long, and may be interrupted
				if err != nil {
					return nil, err
				}
				if read.Objects() == 0 {
					return nil, fmt.Errorf("%s: %w", arg, nothingJudged(read))
				}
				if states[i], err = analysis.Of(read); err != nil {
					return nil, fmt.Errorf("%s: %w", arg, err)
				}
			}
			c := analysis.Diff(states[0], states[1], analysis.Options{})
			said := &answer{kind: "Diff", value: c, text: func(w *bufio.Writer) { writeComparison(w, c) }}
			said.others = map[string]func(io.Writer) error{"markdown": func(w io.Writer) error {
				writeComparisonMarkdown(w, c)
				return nil
			}}
			if c.Opens > 0 || c.Closes > 0 && !noNewAccess || len(c.NotJudged) > 0 {
				said.code = 1
			}
			return said, nil
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&noNewAccess, "no-new-access", false, "fail only where something is opened, or cannot be judged")
	f.StringArrayVarP(&src.files, "filename", "f", nil,
		"a file or directory within git revisions; may be given again (default: this project's)")
	f.StringVarP(&src.namespace, "namespace", "n", "default", "the namespace of objects that name none")
	out.addFlags(cmd, "markdown")
	return cmd
}

// state returns the files of one side: what is there by that name, or what a git
// revision has.
func (s *source) state(cmd *cobra.Command, at *place, name string) (paths []string, clean func(), err error) {
	clean = func() {}
	if name == "-" {
		return []string{"-"}, clean, nil
	}
	if _, err := os.Stat(name); err == nil {
		return []string{name}, clean, nil
	}
	revision, path, given := strings.Cut(name, ":")
	within := s.files
	if given {
		within = []string{path}
	}
	dir := "."
	if len(within) == 0 {
		if err := at.resolve(); err != nil {
			return nil, clean, fmt.Errorf(
				"%s: no file or directory; of a git revision say which files: -f PATH or %s:PATH", name, revision)
		}
		dir, within = at.root, manifest.ZeroTrustFolders()
	}
	tmp, err := os.MkdirTemp("", "artemis-diff-")
	if err != nil {
		return nil, clean, err
	}
	clean = func() { _ = os.RemoveAll(tmp) }
	if err := checkout(cmd, dir, revision, within, tmp); err != nil {
		clean()
		return nil, func() {}, fmt.Errorf("%s: no file or directory, and no git revision with %s: %w", name,
			strings.Join(within, ", "), err)
	}
	for _, w := range within {
		paths = append(paths, filepath.Join(tmp, filepath.FromSlash(w)))
	}
	return paths, clean, nil
}

// maxArchive bounds what is taken out of a git revision.
const maxArchive = 256 << 20

// checkout writes files of a git revision below a directory.
func checkout(cmd *cobra.Command, dir, revision string, within []string, to string) error {
	if strings.HasPrefix(revision, "-") {
		return errors.New("a revision does not begin with a hyphen")
	}
	git := exec.CommandContext(cmd.Context(), "git", append([]string{"-C", dir, "archive", "--format=tar", revision,
		"--"}, within...)...)
	var archive, complaint bytes.Buffer
	git.Stdout, git.Stderr = &archive, &complaint
	if err := git.Run(); err != nil {
		return fmt.Errorf("git archive: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	if archive.Len() > maxArchive {
		return fmt.Errorf("more than %d MiB", maxArchive>>20)
	}
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		path := filepath.Join(to, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
}

func comparisonSentence(c *analysis.Comparison) string {
	about := fmt.Sprintf("%s compared, for every request and by every way", count(c.Workloads, "workload", "workloads"))
	switch {
	case c.Opens+c.Closes > 0:
		return fmt.Sprintf("opens %d, closes %d (%s)", c.Opens, c.Closes, about)
	case len(c.NotJudged) > 0:
		return fmt.Sprintf("no difference in what can be judged (%s)", about)
	}
	return fmt.Sprintf("no difference: every call is decided as before (%s)", about)
}

func writeComparison(w *bufio.Writer, c *analysis.Comparison) {
	fmt.Fprintln(w, comparisonSentence(c))
	for i := range c.Changes {
		x := &c.Changes[i]
		sign := "+"
		if !x.Opens {
			sign = "-"
		}
		fmt.Fprintf(w, "\n%s %s  %s\n", sign, x.To, brief(x.Requests.Words))
		fmt.Fprintf(w, "    for   %s\n    by    %s\n", together(x.Callers), strings.Join(x.Requests.Ways, ", "))
		if x.Requests.Example.Command != "" {
			fmt.Fprintf(w, "    e.g.  %s\n", x.Requests.Example.Command)
		}
	}
	for i, n := range c.NotJudged {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "not judged: %s\n", n)
	}
}

// writeComparisonMarkdown writes the comment of a pull request.
func writeComparisonMarkdown(w io.Writer, c *analysis.Comparison) {
	fmt.Fprintf(w, "### Who can call whom: %s\n", comparisonSentence(c))
	if len(c.Changes) > 0 {
		fmt.Fprint(w, "\n| | workload | requests | for | by | a request |\n|---|---|---|---|---|---|\n")
	}
	for i := range c.Changes {
		x := &c.Changes[i]
		word := "**opens**"
		if !x.Opens {
			word = "closes"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | `%s` |\n", word, cell(x.To), cell(brief(x.Requests.Words)),
			cell(together(x.Callers)), cell(strings.Join(x.Requests.Ways, ", ")),
			strings.ReplaceAll(x.Requests.Example.Command, "|", "\\|"))
	}
	for i, n := range c.NotJudged {
		if i == 0 {
			fmt.Fprint(w, "\nNot judged:\n\n")
		}
		fmt.Fprintf(w, "- %s\n", cell(n))
	}
}

// cell writes a text into a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "*", "\\*", "_", "\\_", "\n", " ").Replace(s)
}
