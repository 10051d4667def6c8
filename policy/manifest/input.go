package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source says how ReadInput reads.
type Source struct {
	// Stdin is what the path - means.
	Stdin io.Reader
	// Namespace is given to objects that name none; empty means default.
	Namespace string
}

// Input is anybody's manifests: Set holds what can be understood, Gaps and LeftOut name
// what cannot. Only what an API server would refuse is an error, and is in Problems.
type Input struct {
	*Survey
	// Most and Least hold the most and the least that the manifests can allow,
	// whatever the bounded Gaps hide. They are Set itself where there are none. An
	// answer that both give is certain.
	Most, Least *Set
	Gaps        []Gap
	// LeftOut is what no answer depends on, and what has to be rendered first:
	// each kind or reason once.
	LeftOut []LeftOut
	// Torn are the namespaces of which objects are given twice with different
	// content: the files are not of one cluster, and what is not among them says
	// nothing.
	Torn map[string]bool
	// Silences are the checks of lint that are not to report something.
	Silences []Silence
	// Namespace was given to Assumed objects.
	Namespace string
	Assumed   int
}

// Known returns the Input of manifests that were read strictly: nothing of them was
// left out.
func Known(set *Set) *Input {
	return &Input{Survey: &Survey{Set: set, Lines: map[Key]map[string]int{}}, Most: set, Least: set}
}

// LeftOut is a number of objects or files that were left out for one reason.
type LeftOut struct {
	// What is a kind, or what the files are; Why says why they are left out.
	What string `json:"what"`
	Why  string `json:"why"`
	// Places are all of them, in order.
	Places []Origin `json:"places"`
}

const (
	noObject       = "files without a Kubernetes object"
	nothingToJudge = "there is nothing in them to judge"
)

const renderKustomize = "render them first: kubectl kustomize DIR | artemis lint -"

// Objects returns the number of objects that were understood.
func (in *Input) Objects() int { return len(in.Set.Origins) }

// ReadInput reads files, directories recursively for *.yaml and *.yml, and
// standard input for -, leniently: for answers about manifests, not for running
// them. It fails only where a path cannot be read at all.
func ReadInput(src Source, paths ...string) (*Input, error) {
	in := &Input{Namespace: cmp.Or(src.Namespace, "default"), Torn: map[string]bool{}}
	r := newReader()
	r.input, in.Survey = in, r.survey
	in.Set.Foreign = true
	files := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "-" })
	if len(files) < len(paths) {
		if src.Stdin == nil {
			return nil, errors.New("read -: there is no standard input")
		}
		data, err := io.ReadAll(src.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		in.Files = append(in.Files, "<stdin>")
		r.content("<stdin>", data)
	}
	found, err := find(files)
	if err != nil {
		return nil, err
	}
	plain, rendered := in.sources(found, paths)
	for _, f := range plain {
		data, err := os.ReadFile(f)
		if err != nil {
			in.leaveOut("files", "cannot be read", Origin{f, 1})
			continue
		}
		r.namespace = rendered[filepath.Clean(f)]
		r.content(f, data)
	}
	in.Files = append(in.Files, found...)
	in.finish()
	return in, nil
}

// content reads one file.
func (r *reader) content(name string, data []byte) {
	docs, err := splitDocuments(bytes.NewReader(data))
	if err != nil {
		if several := jsonDocuments(data); several != nil {
			docs, err = several, nil
		}
	}
	if err != nil && (placeholder(string(data)) || blank.Match(data)) {
		r.input.leaveOut("templates", "render them first", Origin{name, yamlErrorLine(err)})
		return
	}
	before := r.input.found()
	r.file(name, docs, err)
	if r.input.found() == before {
		r.input.leaveOut(noObject, nothingToJudge, Origin{name, 1})
	}
}

// found returns how much was found so far, understood or not.
func (in *Input) found() int {
	n := len(in.Set.Origins) + len(in.Other) + len(in.Problems)
	for _, l := range in.LeftOut {
		n += len(l.Places)
	}
	return n
}

func (in *Input) leaveOut(what, why string, at Origin) {
	i := slices.IndexFunc(in.LeftOut, func(l LeftOut) bool { return l.What == what && l.Why == why })
	if i < 0 {
		in.LeftOut = append(in.LeftOut, LeftOut{What: what, Why: why})
		i = len(in.LeftOut) - 1
	}
	in.LeftOut[i].Places = append(in.LeftOut[i].Places, at)
}

// blank is a value that begins with {word}, to be filled in: no YAML.
var blank = regexp.MustCompile(`(?m):[ \t]+\{\w+\}[^\s,}]`)

// placeholder reports whether a text has something in it that a renderer
// replaces: Go templates, shell variables, <words> to fill in.
func placeholder(s string) bool {
	return strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") ||
		slices.ContainsFunc([]string{"{{", "${", "$(", "<%", "/<", "{%"},
			func(mark string) bool { return strings.Contains(s, mark) })
}

// unrendered reports whether an object is still to be rendered: a placeholder in
// its names, or anywhere in what a decision depends on.
func unrendered(n *yaml.Node, kind string) bool {
	seen := map[*yaml.Node]bool{}
	meta := field(n, "metadata")
	for _, key := range []string{"name", "namespace", "labels"} {
		if holdsPlaceholder(field(meta, key), seen) {
			return true
		}
	}
	spec := field(n, "spec")
	switch kind {
	case "AuthorizationPolicy", "PeerAuthentication", "NetworkPolicy", "Service", "ServiceEntry", "Gateway",
		"HTTPRoute", "RequestAuthentication":
		return holdsPlaceholder(spec, seen)
	}
	return holdsPlaceholder(field(spec, "selector"), seen) ||
		holdsPlaceholder(field(field(field(spec, "template"), "metadata"), "labels"), seen)
}

// holdsPlaceholder reports whether there is a placeholder anywhere below a node. seen
// are those that were looked at: aliases may lead to one again and again.
func holdsPlaceholder(n *yaml.Node, seen map[*yaml.Node]bool) bool {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || seen[n] {
		return false
	}
	seen[n] = true
	if n.Kind == yaml.ScalarNode {
		return placeholder(n.Value)
	}
	// A flow mapping as a key is what {{ .Values.x }} without quotes parses as.
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode {
		return true
	}
	return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return holdsPlaceholder(c, seen) })
}

// sources takes out of the files those that a renderer makes something of: charts'
// templates, and what a kustomization changes. Where it only sets a namespace,
// rendered holds that by file.
func (in *Input) sources(files, given []string) (plain []string, rendered map[string]string) {
	named := map[string]bool{} // by the user himself
	for _, p := range given {
		named[filepath.Clean(p)] = true
	}
	charts := map[string]bool{}
	kustomizations := map[string]bool{}
	for _, f := range files {
		switch dir, base := filepath.Split(f); base {
		case "Chart.yaml":
			charts[filepath.Clean(dir)] = true
		case "kustomization.yaml", "kustomization.yml":
			kustomizations[f] = true
		}
	}
	changed, rendered := kustomized(kustomizations)
	changers := map[string]bool{}
	for _, by := range changed {
		changers[by] = true
	}
	for _, f := range files {
		chart := chartOf(f, charts)
		switch {
		case chart != "" && !named[filepath.Clean(f)]:
			in.leaveOut("files of a Helm chart", "render it first: helm template CHART | artemis lint -", Origin{f, 1})
		case kustomizations[f]:
			if changers[filepath.Dir(f)] {
				in.leaveOut("sources of kustomize", renderKustomize, Origin{f, 1})
			} else {
				in.leaveOut("kustomizations", "they change nothing that is judged", Origin{f, 1})
			}
		case changed[filepath.Clean(f)] != "" && !named[filepath.Clean(f)]:
			in.leaveOut("sources of kustomize", renderKustomize, Origin{f, 1})
		default:
			plain = append(plain, f)
		}
	}
	return plain, rendered
}

// chartOf returns the chart that a file is a source of.
func chartOf(file string, charts map[string]bool) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if charts[dir] {
			rel, err := filepath.Rel(dir, file)
			first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
			if err == nil && (first == "templates" || first == "Chart.yaml" || strings.HasPrefix(first, "values")) {
				return dir
			}
		}
		if parent := filepath.Dir(dir); parent == dir {
			return ""
		}
	}
}

// kustomization is what a kustomization.yaml does to what it names.
type kustomization struct {
	resources, patches []string // paths
	namespace          string
	transforms         bool // beyond the namespace
}

// readKustomization reads a file, and reports whether it could.
func readKustomization(file string) (k kustomization, ok bool) {
	var fields map[string]any
	data, err := os.ReadFile(file)
	if err != nil || yaml.Unmarshal(data, &fields) != nil {
		return k, false
	}
	for name, value := range fields {
		switch name {
		case "apiVersion", "kind", "metadata", "images", "replicas", "configMapGenerator", "secretGenerator",
			"generatorOptions", "configurations", "crds", "openapi", "buildMetadata", "sortOptions",
			"commonAnnotations", "validators", "helmCharts", "helmGlobals":
		case "resources", "bases":
			k.resources = append(k.resources, pathsIn(value, filepath.Dir(file))...)
		case "namespace":
			k.namespace, _ = value.(string)
		case "namePrefix", "nameSuffix":
			k.transforms = k.transforms || value != ""
		default: // patches, labels, components, replacements, transformers, ...
			k.transforms = true
			k.patches = append(k.patches, pathsIn(value, filepath.Dir(file))...)
		}
	}
	return k, true
}

// pathsIn returns the paths that a list of a kustomization's has, or that its entries
// name.
func pathsIn(value any, dir string) []string {
	var out []string
	list, _ := value.([]any)
	for _, entry := range list {
		if named, ok := entry.(map[string]any); ok {
			entry = named["path"]
		}
		if path, ok := entry.(string); ok {
			out = append(out, filepath.Join(dir, path))
		}
	}
	return out
}

// kustomized returns the files that some kustomization changes, with the
// kustomization's directory, and the namespaces of files that one merely moves.
func kustomized(files map[string]bool) (changed, namespaces map[string]string) {
	changed, namespaces = map[string]string{}, map[string]string{}
	all := map[string]kustomization{} // by directory
	for f := range files {
		if k, ok := readKustomization(f); ok {
			all[filepath.Dir(f)] = k
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		k := all[dir]
		for _, p := range k.patches {
			changed[p] = dir
		}
		var mark func(path, namespace string, depth int)
		mark = func(path, namespace string, depth int) {
			if depth > 20 {
				return
			}
			if inner, ok := all[path]; ok {
				for _, r := range inner.resources {
					mark(r, cmp.Or(namespace, inner.namespace), depth+1)
				}
				return
			}
			other, moved := namespaces[path]
			switch {
			case k.transforms, moved && namespace != "" && other != namespace: // or one source of several
				changed[path] = dir
			case namespace != "":
				namespaces[path] = namespace
			}
		}
		for _, r := range k.resources {
			mark(r, k.namespace, 0)
		}
	}
	return changed, namespaces
}

// readable reports whether a directory's entry is a file of manifests.
func readable(d fs.DirEntry) bool {
	return !d.IsDir() && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(d.Name()))
}
