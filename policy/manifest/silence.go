package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Silence is somebody's word that a check of lint is not to report something: an
// object's own, or that of a file of silences.
type Silence struct {
	Check  string
	Reason string // empty where none is given
	// Object is "Kind namespace/name", and On a file as it is named in findings, each
	// with * for whatever there may be; empty is no limit.
	Object, On string
	// Origin is where the silence stands.
	Origin
}

// Covers reports whether a silence is about a finding of a check, in a file and of an
// object.
func (s *Silence) Covers(check, file, object string) bool {
	return s.Check == check && (s.Object == "" || fits(s.Object, object)) && (s.On == "" || fits(s.On, file))
}

// fits reports whether a text is a pattern's, in which * is whatever there may be.
func fits(pattern, text string) bool {
	pattern = strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
	return regexp.MustCompile("(?s)^" + pattern + "$").MatchString(text)
}

// ReadSilences reads a file of silences: a list under silences of check, reason, and
// object or file.
func ReadSilences(file string) ([]Silence, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read silences: %w", err)
	}
	var top struct {
		Silences []yaml.Node `yaml:"silences"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&top); err != nil {
		return nil, fmt.Errorf("read silences: %s: %w; write silences: [{check: ..., object: ..., reason: ...}]", file,
			err)
	}
	var out []Silence
	for i := range top.Silences {
		n := &top.Silences[i]
		s := Silence{Origin: Origin{file, n.Line}}
		into := map[string]*string{"check": &s.Check, "reason": &s.Reason, "object": &s.Object, "file": &s.On}
		if err := fill(n, into); err != nil {
			return nil, fmt.Errorf("read silences: %s:%d: %w", file, n.Line, err)
		}
		s.Reason = strings.TrimSpace(s.Reason)
		if cmp.Or(s.Object, s.On) == "" {
			return nil, fmt.Errorf("read silences: %s:%d: say what it is about: object: Kind NAMESPACE/NAME, or "+
				"file: FILE, with * for any", file, n.Line)
		}
		out = append(out, s)
	}
	return out, nil
}

// fill puts the values of a mapping where its keys say.
func fill(n *yaml.Node, into map[string]*string) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("a silence has check, reason, and object or file")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		to, known := into[key.Value]
		if !known || value.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s: a silence has check, reason, and object or file, each a text", key.Value)
		}
		*to = value.Value
	}
	return nil
}

// SilenceAnnotation has a check and a reason, or several with a semicolon
// between.
const SilenceAnnotation = "artemis.example/lint-ignore"

// A comment anywhere in the object does the same.
var silenceComment = regexp.MustCompile(`(?m)#+\s*artemis-lint:\s*ignore\s+(\S+)[ \t]*(.*)$`)

// silences collects what an object silences.
func (o *object) silences() {
	add := func(line int, check, reason string) {
		if check != "" {
			o.input.Silences = append(o.input.Silences, Silence{Check: check, Reason: strings.TrimSpace(reason),
				Object: o.key.WithKind(), On: o.origin.File, Origin: Origin{o.origin.File, line}})
		}
	}
	var walk func(n *yaml.Node, depth int)
	walk = func(n *yaml.Node, depth int) {
		if n == nil || depth > maxDepth {
			return
		}
		for _, comment := range []string{n.HeadComment, n.LineComment, n.FootComment} {
			for _, m := range silenceComment.FindAllStringSubmatch(comment, -1) {
				add(max(n.Line, 1), m[1], m[2])
			}
		}
		for _, c := range n.Content {
			walk(c, depth+1)
		}
	}
	walk(o.node, 0)
	annotation := field(field(field(o.node, "metadata"), "annotations"), SilenceAnnotation)
	for part := range strings.SplitSeq(text(annotation), ";") {
		check, reason, _ := strings.Cut(strings.TrimSpace(part), " ")
		if annotation != nil {
			add(annotation.Line, check, reason)
		}
	}
}
