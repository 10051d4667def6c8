package manifest

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Silence is an object's own word that a check of lint is not to report it.
type Silence struct {
	Check  string
	Reason string // empty where none is given
	Origin
}

// SilenceAnnotation has a check and a reason, or several with a semicolon
// between.
const SilenceAnnotation = "artemis.example/lint-ignore"

// A comment anywhere in the object does the same.
var silenceComment = regexp.MustCompile(`(?m)#+\s*artemis-lint:\s*ignore\s+(\S+)[ \t]*(.*)$`)

// silences collects what an object silences.
func (o *object) silences() {
	var found []Silence
	add := func(line int, check, reason string) {
		if check != "" {
			found = append(found, Silence{check, strings.TrimSpace(reason), Origin{o.origin.File, line}})
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
	if len(found) > 0 {
		o.input.Silences[o.key] = append(o.input.Silences[o.key], found...)
	}
}
