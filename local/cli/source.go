package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/manifest"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// source is where a command that asks manifests has them from: anybody's files, or
// what this project runs at a stage.
type source struct {
	files     []string
	namespace string
	stage     string
}

func (s *source) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&s.files, "filename", "f", nil,
		"a file or directory of manifests, - for standard input; may be given again (default: this project's)")
	f.StringVarP(&s.namespace, "namespace", "n", "default", "the namespace of objects that name none")
	f.StringVar(&s.stage, "stage", catalog.ZeroTrust, "of this project: open, mtls or zero-trust")
}

// read returns the manifests, and the stage where they are this project's. It
// fails where there is nothing to judge.
func (s *source) read(cmd *cobra.Command, at *place) (in *manifest.Input, stage string, err error) {
	if len(s.files) == 0 {
		if err := s.locate(at); err != nil {
			return nil, "", err
		}
		set, err := manifest.LoadStage(at.root, s.stage, true)
		if err != nil {
			return nil, "", err
		}
		return manifest.Known(set), s.stage, nil
	}
	in, err = manifest.ReadInput(manifest.Source{Stdin: cmd.InOrStdin(), Namespace: s.namespace}, s.files...)
	if err != nil {
		return nil, "", err
	}
	if in.Objects() == 0 {
		return nil, "", nothingJudged(in)
	}
	if in.Assumed > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), assumed(in.Assumed, in.Namespace))
	}
	return in, "", nil
}

// locate finds this project, where no other manifests are given.
func (s *source) locate(at *place) error {
	if err := at.resolve(); err != nil {
		return fmt.Errorf("%w; or say which manifests: -f FILE, -f DIR or -f -", err)
	}
	return nil
}

// assumed says of how many objects the namespace is not their own word.
func assumed(objects int, namespace string) string {
	return fmt.Sprintf("%s no namespace: judged as of namespace %s (--namespace)",
		count(objects, "object names", "objects name"), namespace)
}

// nothingJudged says why there is no object to judge.
func nothingJudged(in *manifest.Input) error {
	if len(in.LeftOut) == 0 {
		return fmt.Errorf("nothing was judged: no object in %s", count(len(in.Files), "file", "files"))
	}
	var why []string
	for _, l := range in.LeftOut {
		why = append(why, fmt.Sprintf("%d %s (%s)", len(l.Places), l.What, l.Why))
	}
	slices.Sort(why)
	if len(why) > 5 {
		why = append(why[:5], fmt.Sprintf("%d more", len(why)-5))
	}
	return fmt.Errorf("nothing was judged: there are only %s", strings.Join(why, ", "))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// format is how a command answers.
type format struct{ name string }

// addFlags adds -o with these formats, and --json for -o json.
func (f *format) addFlags(cmd *cobra.Command, formats ...string) {
	f.name = "text"
	cmd.Flags().VarP(&formatValue{f, append([]string{"text", "json", "yaml"}, formats...)}, "output", "o", "text, "+
		strings.Join(append([]string{"json", "yaml"}, formats...), ", "))
	cmd.Flags().BoolFunc("json", "short for -o json", func(string) error { f.name = "json"; return nil })
}

type formatValue struct {
	*format
	known []string
}

func (v *formatValue) String() string {
	if v.format == nil {
		return ""
	}
	return v.name
}
func (v *formatValue) Type() string { return "FORMAT" }
func (v *formatValue) Set(s string) error {
	if !slices.Contains(v.known, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(v.known, ", "))
	}
	v.name = s
	return nil
}

// answer is what a command says that judges manifests.
type answer struct {
	code    int
	nothing error // why nothing was judged, where it says something all the same
	text    func(w *bufio.Writer)
	kind    string                             // of the document that -o json and yaml write
	value   any                                // what else is in it
	others  map[string]func(w io.Writer) error // the formats that are the command's own
}

// apiVersion changes when a field changes its meaning or goes; new fields may
// come at any time.
const apiVersion = "artemis.example/v1"

// document returns what every JSON answer is: the version of its form, which docs
// describe, what it is, and the value's fields.
func (a *answer) document() (json.RawMessage, error) {
	fields, err := json.Marshal(a.value)
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,`, apiVersion, a.kind)
	return append([]byte(head), bytes.TrimPrefix(fields, []byte("{"))...), err
}

// judges returns what such a command does: it answers in the format that was asked for
// and ends with the answer's code, with 2 and the reason where nothing was judged, or
// at once when it is interrupted.
func (f *format) judges(ask func(cmd *cobra.Command, args []string) (*answer, error)) func(*cobra.Command,
	[]string) error {
	return func(cmd *cobra.Command, args []string) error {
		var a *answer
		var err error
		answered := make(chan struct{})
		go func() { // neither a read of standard input nor a long proof ends by the context
			defer close(answered)
			a, err = ask(cmd, args)
		}()
		select {
		case <-answered:
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
		if err != nil {
			return usageError{err}
		}
		w := bufio.NewWriter(cmd.OutOrStdout())
		switch other := a.others[f.name]; {
		case other != nil:
			err = other(w)
		case f.name == "text":
			a.text(w)
		default:
			err = f.write(w, a)
		}
		if err := errors.Join(err, w.Flush()); err != nil {
			return err
		}
		switch {
		case a.nothing != nil:
			return usageError{a.nothing}
		case a.code != 0:
			return exitError(a.code)
		}
		return nil
	}
}

// write writes an answer as JSON or YAML.
func (f *format) write(w io.Writer, a *answer) error {
	document, err := a.document()
	if err != nil || f.name != "yaml" {
		return errors.Join(err, writeJSON(w, document))
	}
	data, err := yaml.Marshal(document)
	_, writeErr := w.Write(data)
	return errors.Join(err, writeErr)
}

// writeJSON writes a value as JSON for people.
func writeJSON(w io.Writer, value any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(value)
}
