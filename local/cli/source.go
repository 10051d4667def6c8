package cli

import (
	"encoding/json"
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
// fails where there is nothing to judge, which is exit code 2.
func (s *source) read(cmd *cobra.Command, at *place) (in *manifest.Input, stage string, err error) {
	if len(s.files) == 0 {
		if err := at.resolve(); err != nil {
			return nil, "", usageError{fmt.Errorf("%w; or say which manifests: -f FILE, -f DIR or -f -", err)}
		}
		set, err := manifest.LoadStage(at.root, s.stage, true)
		if err != nil {
			return nil, "", usageError{err}
		}
		return manifest.Known(set), s.stage, nil
	}
	in, err = manifest.ReadInput(manifest.Source{Stdin: cmd.InOrStdin(), Namespace: s.namespace}, s.files...)
	if err != nil {
		return nil, "", usageError{err}
	}
	if in.Objects() == 0 {
		return nil, "", usageError{nothingJudged(in)}
	}
	if in.Assumed > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s no namespace: judged as of namespace %s (--namespace)\n",
			count(in.Assumed, "object names", "objects name"), in.Namespace)
	}
	return in, "", nil
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
	cmd.Flags().Var(&jsonValue{f}, "json", "short for -o json")
	cmd.Flags().Lookup("json").NoOptDefVal = "true"
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

type jsonValue struct{ *format }

func (v *jsonValue) String() string   { return "false" }
func (v *jsonValue) Type() string     { return "bool" }
func (v *jsonValue) IsBoolFlag() bool { return true }
func (v *jsonValue) Set(string) error { v.name = "json"; return nil }

// write writes a value as JSON or YAML.
func (f *format) write(w io.Writer, value any) error {
	if f.name != "yaml" {
		return writeJSON(w, value)
	}
	data, err := yaml.Marshal(value)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// writeJSON writes a value as JSON for people.
func writeJSON(w io.Writer, value any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(value)
}

// document is what every JSON answer begins with: the version of its form, which
// docs describe, and what it is.
type document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// apiVersion changes when a field changes its meaning or goes; new fields may
// come at any time.
const apiVersion = "artemis.example/v1"
