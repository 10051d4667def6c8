package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what one document may expand to through aliases.
const maxNodes = 200_000

// maxDepth bounds how deeply a document may nest.
const maxDepth = 100

// splitDocuments parses a file. A file that is no YAML gives the documents in
// front of the fault, and the error.
func splitDocuments(r io.Reader) ([]*yaml.Node, error) {
	var docs []*yaml.Node
	dec := yaml.NewDecoder(r)
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, err
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || isNull(n.Content[0]) {
			continue
		}
		if c := n.Content[0]; n.HeadComment != "" {
			c.HeadComment = n.HeadComment + "\n" + c.HeadComment
		}
		docs = append(docs, n.Content[0])
	}
}

// jsonDocuments parses JSON documents one behind the other, as several kubectl commands
// write them, each in its lines; nil where it is anything else.
func jsonDocuments(data []byte) []*yaml.Node {
	var docs []*yaml.Node
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			return nil
		}
		some, err := splitDocuments(bytes.NewReader(raw))
		if err != nil {
			return nil
		}
		before := bytes.Count(data[:int(dec.InputOffset())-len(raw)], []byte("\n"))
		for _, n := range some {
			moveDown(n, before)
		}
		docs = append(docs, some...)
	}
}

func moveDown(n *yaml.Node, lines int) {
	n.Line += lines
	for _, c := range n.Content {
		moveDown(c, lines)
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// booleanWord reports whether a plain scalar is a boolean for the YAML 1.1 that
// Kubernetes reads, though it does not look like one.
func booleanWord(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|
		yaml.FoldedStyle|yaml.TaggedStyle) != 0 {
		return false, false
	}
	switch n.Value {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// writer turns nodes into JSON with the line breaks of the YAML.
type writer struct {
	out   strings.Builder
	line  int
	nodes int
	lines map[string]int
	// fault takes what the tree itself shows to be wrong.
	fault func(line int, code Code, format string, args ...any)
}

func (w *writer) at(line int) {
	for w.line < line {
		w.out.WriteByte('\n')
		w.line++
	}
}

func (w *writer) node(n *yaml.Node, path string, depth int) error {
	if w.nodes++; w.nodes > maxNodes || depth > maxDepth {
		return fmt.Errorf("%s: the document is too large or too deeply nested", path)
	}
	if n.Kind == yaml.AliasNode {
		return w.node(n.Alias, path, depth+1)
	}
	w.at(n.Line)
	if w.lines != nil {
		w.lines[path] = max(n.Line, 1)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return w.mapping(n, path, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.node(c, path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return w.scalar(n, path)
	}
	return fmt.Errorf("%s: unexpected YAML node", path)
}

func (w *writer) mapping(n *yaml.Node, path string, depth int) error {
	w.out.WriteByte('{')
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			w.fault(k.Line, CodeSyntax, "%s: a key must be a plain word", path)
			continue
		}
		if k.ShortTag() == "!!merge" {
			w.fault(k.Line, CodeNotImplemented, "%s: the merge key << is not supported; write the fields out", path)
			continue
		}
		child := k.Value
		if path != "" {
			child = path + "." + k.Value
		}
		if b, ok := booleanWord(k); ok {
			w.fault(k.Line, CodeYAMLBoolean, "key %s without quotes is the boolean %t in YAML; write %q", child, b,
				k.Value)
		}
		if first, dup := seen[k.Value]; dup {
			w.fault(k.Line, CodeDuplicateKey, "%s is given twice, first in line %d", child, first)
			continue
		}
		if len(seen) > 0 {
			w.out.WriteByte(',')
		}
		seen[k.Value] = k.Line
		w.at(k.Line)
		w.out.WriteString(quote(k.Value))
		w.out.WriteByte(':')
		if err := w.node(v, child, depth+1); err != nil {
			return err
		}
		if w.lines != nil {
			w.lines[child] = max(k.Line, 1)
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *writer) scalar(n *yaml.Node, path string) error {
	if b, ok := booleanWord(n); ok {
		w.fault(n.Line, CodeYAMLBoolean, "%s: %s without quotes is the boolean %t in YAML; write %q if the word is "+
			"meant, or %t", path, n.Value, b, n.Value, b)
		w.out.WriteString(quote(n.Value)) // go on as the author most likely meant it
		return nil
	}
	switch n.ShortTag() {
	case "!!null":
		w.out.WriteString("null")
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		w.out.WriteString(strconv.FormatBool(b))
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			return fmt.Errorf("%s: %q is not an integer that fits: %w", path, n.Value, err)
		}
		w.out.WriteString(strconv.FormatInt(i, 10))
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if f != f || f > 1e300 || f < -1e300 {
			return fmt.Errorf("%s: %s is no number that JSON can hold", path, n.Value)
		}
		w.out.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
	case "!!str", "!!timestamp":
		w.out.WriteString(quote(n.Value))
	default:
		return fmt.Errorf("%s: the YAML tag %s is not supported", path, n.Tag)
	}
	return nil
}

// jsonOf writes a node as JSON, each token in its YAML line, counted from the
// node's own.
func jsonOf(n *yaml.Node, path string, lines map[string]int, fault func(int, Code, string, ...any)) (string, error) {
	w := &writer{line: n.Line, lines: lines, fault: fault}
	if err := w.node(n, path, 0); err != nil {
		return "", err
	}
	return w.out.String(), nil
}

// field returns the value of a key of a mapping, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || isNull(n) {
		return ""
	}
	return n.Value
}
