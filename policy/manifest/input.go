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
	for _, p := range paths {
		if p != "-" {
			continue
		}
		if src.Stdin == nil {
			return nil, errors.New("read -: there is no standard input")
		}
		data, err := io.ReadAll(src.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		r.content("<stdin>", data)
	}
	found, err := find(slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "-" }))
	if err != nil {
		return nil, err
	}
	files, rendered := in.sources(found, paths)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			in.leaveOut("files", "cannot be read", Origin{f, 1})
			continue
		}
		r.namespace = rendered[filepath.Clean(f)]
		r.content(f, data)
	}
	r.survey.Files = append(r.survey.Files, found...)
	in.finish()
	return in, nil
}

// content reads one file.
func (r *reader) content(name string, data []byte) {
	if name == "<stdin>" {
		r.survey.Files = append(r.survey.Files, name)
	}
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
	switch kind {
	case "AuthorizationPolicy", "PeerAuthentication", "NetworkPolicy", "Service", "ServiceEntry", "Gateway",
		"HTTPRoute", "RequestAuthentication":
		return holdsPlaceholder(field(n, "spec"), seen)
	}
	spec := field(n, "spec")
	return holdsPlaceholder(field(spec, "selector"), seen) || holdsPlaceholder(field(field(field(spec, "template"),
		"metadata"), "labels"), seen)
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

// kustomized returns the files that some kustomization changes, with the
// kustomization's directory, and the namespaces of files that one merely moves.
func kustomized(files map[string]bool) (changed, namespaces map[string]string) {
	changed, namespaces = map[string]string{}, map[string]string{}
	type kustomization struct {
		resources []string
		patches   []string
		namespace string
		transform bool
	}
	all := map[string]*kustomization{} // by directory
	for f := range files {
		data, err := os.ReadFile(f)
		var fields map[string]any
		if err != nil || yaml.Unmarshal(data, &fields) != nil {
			continue
		}
		dir := filepath.Dir(f)
		k := &kustomization{}
		for name, value := range fields {
			switch name {
			case "apiVersion", "kind", "metadata", "images", "replicas", "configMapGenerator", "secretGenerator",
				"generatorOptions",
				"configurations", "crds", "openapi", "buildMetadata", "sortOptions", "commonAnnotations", "validators",
				"helmCharts", "helmGlobals":
			case "resources", "bases":
				for _, r := range texts(value) {
					k.resources = append(k.resources, filepath.Join(dir, r))
				}
			case "namespace":
				k.namespace, _ = value.(string)
			case "namePrefix", "nameSuffix":
				k.transform = k.transform || value != ""
			default: // patches, labels, components, replacements, transformers, ...
				k.transform = true
				for _, p := range patchFiles(value) {
					k.patches = append(k.patches, filepath.Join(dir, p))
				}
			}
		}
		all[dir] = k
	}
	var mark func(path, by, namespace string, transform bool, depth int)
	mark = func(path, by, namespace string, transform bool, depth int) {
		if depth > 20 {
			return
		}
		if k := all[path]; k != nil {
			for _, r := range k.resources {
				mark(r, by, cmp.Or(namespace, k.namespace), transform, depth+1)
			}
			return
		}
		if transform {
			changed[path] = by
		} else if namespace != "" {
			if other, ok := namespaces[path]; ok && other != namespace {
				changed[path] = by // one source of several
				return
			}
			namespaces[path] = namespace
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(all)) {
		k := all[dir]
		for _, p := range k.patches {
			changed[p] = dir
		}
		for _, r := range k.resources {
			mark(r, dir, k.namespace, k.transform, 0)
		}
	}
	return changed, namespaces
}

func texts(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// patchFiles returns the files that a field of a kustomization names.
func patchFiles(v any) []string {
	out := texts(v)
	list, _ := v.([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		if s, ok := m["path"].(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// readable reports whether a directory's entry is a file of manifests.
func readable(d fs.DirEntry) bool {
	return !d.IsDir() && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(d.Name()))
}
