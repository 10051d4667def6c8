package manifest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Object is one object of a kind that Set does not hold.
type Object struct {
	Key
	Origin
	APIVersion string

	content content
}

// Survey is everything that files say, good or bad: what Load would refuse is
// listed, and what can be understood in spite of it is in Set.
type Survey struct {
	Set      *Set
	Other    []Object
	Problems Problems
	Files    []string
	// Lines returns the line of every field of an object in Set by its path, such
	// as spec.rules[0].
	Lines map[Key]map[string]int
}

// Load reads files, and directories recursively for *.yaml and *.yml, strictly:
// an unknown kind, an unknown or unimplemented field, an unsupported value, a
// duplicate object or key, or a word that YAML takes for a boolean is an error
// that names it with file and line. The error of a bad manifest is Problems.
func Load(paths ...string) (*Set, error) {
	s, err := Read(paths...)
	if err != nil {
		return nil, err
	}
	if err := s.refused(); err != nil {
		return nil, fmt.Errorf("load manifests: %w", err)
	}
	return s.Set, nil
}

// refused returns everything that keeps local mode from running the files.
func (s *Survey) refused() error {
	if problems := append(s.Problems, s.Set.ignored()...).sorted(); len(problems) > 0 {
		return problems
	}
	return nil
}

// Read reads like Load and goes on where Load would stop. It fails only when
// files cannot be read at all.
func Read(paths ...string) (*Survey, error) {
	files, err := find(paths)
	if err != nil {
		return nil, err
	}
	r := newReader()
	for _, f := range files {
		in, err := os.Open(f)
		if err != nil {
			return nil, fmt.Errorf("load manifests: %w", err)
		}
		docs, err := splitDocuments(in)
		in.Close()
		r.file(f, docs, err)
	}
	r.survey.Files = files
	r.survey.Problems = r.survey.Problems.sorted()
	return r.survey, nil
}

// Parse reads one file's content like Load. The name is for messages.
func Parse(name, content string) (*Set, error) {
	r := newReader()
	docs, err := splitDocuments(strings.NewReader(content))
	r.file(name, docs, err)
	if err := r.survey.refused(); err != nil {
		return nil, fmt.Errorf("parse manifests: %w", err)
	}
	return r.survey.Set, nil
}

func find(paths []string) ([]string, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("load manifests: %w", err)
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(p))
			continue
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && path != p && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			if readable(d) {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("load manifests: %w", err)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// reader collects the objects and the problems of files.
type reader struct {
	survey *Survey
	// input is set where anybody's manifests are read, leniently.
	input     *Input
	namespace string         // that a kustomization gives to the file
	contents  map[Key]string // of objects, to tell a repetition from a contradiction
}

func newReader() *reader {
	return &reader{contents: map[Key]string{}, survey: &Survey{Set: &Set{Origins: map[Key]Origin{}},
		Lines: map[Key]map[string]int{}}}
}

func (r *reader) file(name string, docs []*yaml.Node, err error) {
	for _, doc := range docs {
		r.object(name, doc)
	}
	if err != nil {
		r.problem(Problem{Origin: Origin{name, yamlErrorLine(err)}, Code: CodeSyntax,
			Message: strings.TrimPrefix(err.Error(), "yaml: ")})
	}
}

func (r *reader) problem(p Problem) { r.survey.Problems = append(r.survey.Problems, p) }

func yamlErrorLine(err error) int {
	var line int
	if i := strings.Index(err.Error(), "line "); i >= 0 {
		if _, scanErr := fmt.Sscanf(err.Error()[i:], "line %d", &line); scanErr == nil {
			return line
		}
	}
	return 1
}

// object reads one object, or the items of a List.
func (r *reader) object(file string, n *yaml.Node) {
	apiVersion, key := text(field(n, "apiVersion")), written(n)
	o := &object{reader: r, node: n, key: key, origin: Origin{file, n.Line}}
	switch {
	case n.Kind != yaml.MappingNode || key.Kind == "" || apiVersion == "":
		if r.input != nil {
			r.input.leaveOut(noObject, nothingToJudge, o.origin)
			return
		}
		o.fault(n.Line, CodeNoObject, "no Kubernetes object: apiVersion and kind are needed")
		return
	case key.Kind == "List" && apiVersion == "v1":
		if items := field(n, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				r.object(file, item)
			}
		}
		return
	case r.input != nil:
		o.lenient(apiVersion)
		return
	}
	impl, ok := implementation(apiVersion, key.Kind)
	if !ok || impl.asked {
		o.fault(n.Line, CodeUnknownKind, "local mode does not implement %s of %s", key.Kind, apiVersion)
		return
	}
	if key.Name == "" {
		o.fault(n.Line, CodeInvalid, "metadata.name is missing")
		return
	}
	if impl.clusterScoped {
		o.key.Namespace = ""
	} else if key.Namespace == "" {
		o.fault(n.Line, CodeNoNamespace, "metadata.namespace is missing; without it the object lands wherever "+
			"kubectl points")
		o.key.Namespace = "default"
	}
	o.read(impl)
}

// object is one object while it is read.
type object struct {
	*reader
	node   *yaml.Node
	key    Key
	origin Origin
	lines  map[string]int
	// unknown are the fields that the kind does not have.
	unknown map[string]bool
}

// written returns the key of an object as it is written.
func written(n *yaml.Node) Key {
	meta := field(n, "metadata")
	return Key{text(field(n, "kind")), text(field(meta, "namespace")), text(field(meta, "name"))}
}

func (o *object) fault(line int, code Code, format string, args ...any) {
	if o.input != nil && !o.concerns(code) {
		return
	}
	o.problem(Problem{Origin: Origin{o.origin.File, line}, Code: code, Object: o.key, Message: fmt.Sprintf(format,
		args...)})
}

// lineOf returns the line of a field, or of its nearest parent.
func (o *object) lineOf(path string) int { return lineOf(path, o.lines, o.origin.Line) }

// lineOf returns the line of a field, or of its nearest parent that has one, or else
// that of the object.
func lineOf(path string, lines map[string]int, object int) int {
	for path != "" {
		if line, ok := lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return object
}

func (o *object) read(impl kindOf) {
	o.lines, o.unknown = map[string]int{}, map[string]bool{}
	data, err := jsonOf(o.node, "", o.lines, o.fault)
	if err != nil {
		o.fault(o.node.Line, CodeSyntax, "%v", err)
		return
	}
	if o.repeated(data) {
		return
	}
	value, err := impl.decode(o, data)
	if err != nil {
		o.report(err)
		return
	}
	if !impl.asked {
		acceptedTrees()[o.key.Kind].refuse(o.node, "", func(line int, path string) {
			if !o.unknown[path] {
				o.fault(line, CodeNotImplemented, "local mode does not implement the field %s", path)
			}
		})
	}
	o.survey.Set.Origins[o.key] = o.origin
	o.survey.Lines[o.key] = o.lines
	o.place(value)
	impl.add(o, value)
}
