// Package artemis has no code: its tests hold the structure that
// docs/architecture.md describes.
package artemis

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/doc"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "artemis.example/"

// A room is a folder at the top, or one below it with rules of its own. It may
// import itself and what it names, and nothing else of this module.
type room struct {
	path   string
	may    []string
	reason string
}

var rooms = []room{
	{"catalog", nil, "the table of who may call whom is data that everybody reads: it knows no HTTP, no mesh and no " +
		"Kubernetes"},
	{"policy", []string{"catalog"}, "what manifests mean is decided without moving a byte, so that a command can ask " +
		"it with no suite running"},
	{"adversary", []string{"catalog"}, "the campaign, its bytes and its judge stand below the services that play it " +
		"and the launcher that asks"},
	{"service/mission", nil, "the mission model is arithmetic: no I/O, no HTTP, no clock of its own"},
	{"service/role", []string{"catalog", "adversary", "service"},
		"a role knows its peers by the variables that OpenChoreo injects, and no mesh"},
	{"service", []string{"catalog", "adversary", "service"},
		"one binary runs here and on a cluster: it knows nothing of the local suite"},
	{"local/hbone", []string{"local/identity"}, "HBONE carries bytes between identities and knows neither manifests " +
		"nor policies"},
	{"local/http1", []string{"policy/message"}, "HTTP/1 is read and passed on alike by the mesh and by the proxy " +
		"capture, whoever the peers are"},
	{"local/capture/proxy", []string{"local/capture", "local/http1", "policy/message"},
		"the proxy capture reads HTTP/1 as the mesh does, by the same reader"},
	{"local/capture", nil, "capture takes what a pod sends, whatever is done with it"},
	{"local/mesh", []string{"catalog", "policy", "local"},
		"the mesh knows manifests and identities, and no role of the mission"},
	{"local", []string{"catalog", "policy", "adversary", "local", "service/dashboard", "service/mission"},
		"the launcher wires everything, but what a service does is the service's"},
	{"openchoreo", []string{"catalog", "policy"}, "the manifests are checked against the table and by the evaluators"},
}

// forbidden are packages of others that a room does without.
var forbidden = []struct{ room, path, reason string }{
	{"catalog", "net/http", "the table knows no HTTP"},
	{"catalog", "k8s.io/", "the table knows no Kubernetes"},
	{"policy", "net/http/httputil", "policy moves no byte"},
	{"service/mission", "net", "the mission model has no I/O"},
	{"service", "istio.io/", "a service knows no mesh: what Istio is belongs to policy and local"},
	{"service", "k8s.io/", "a service knows no Kubernetes: its environment is all that it reads"},
}

type pkg struct {
	ImportPath, Doc  string
	GoFiles, Imports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func within(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

func TestImportsPointInwards(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) == 0 { // tests only
			continue
		}
		i := slices.IndexFunc(rooms, func(r room) bool { return within(name, r.path) })
		if i < 0 {
			t.Errorf("%s is in none of the rooms: say in architecture_test.go what it may import, and why", name)
			continue
		}
		room := rooms[i]
		for _, imported := range p.Imports {
			for _, f := range forbidden {
				if within(name, f.room) && (imported == f.path || strings.HasSuffix(f.path, "/") &&
					strings.HasPrefix(imported, f.path)) {
					t.Errorf("%s imports %s: %s", name, imported, f.reason)
				}
			}
			own, ok := strings.CutPrefix(imported, module)
			if !ok || within(own, room.path) || slices.ContainsFunc(room.may, func(may string) bool {
				return within(own, may)
			}) {
				continue
			}
			t.Errorf("%s imports %s: %s may import %v of this module, because %s", name, own, room.path, room.may,
				room.reason)
		}
	}
}

// Go's own form: "Decide returns", "Meshed reports whether".
var otherVerbs = regexp.MustCompile(`(?m)^\s*// [A-Za-z]\w* (gives|tells) `)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		name := p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:]
		want := "Package " + name + " "
		if p.ImportPath == module+"local" || p.ImportPath == module+"service" || strings.Contains(p.Doc, "Command ") {
			want = ""
		}
		if len(p.GoFiles) == 0 { // tests only
			continue
		}
		if p.Doc == "" || !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its doc begins with %q, want a sentence that begins with %q and says what belongs here",
				p.ImportPath, new(doc.Package).Synopsis(p.Doc), want)
		}
	}
}

func TestDocCommentsUseGosVerbs(t *testing.T) {
	for name, text := range sources(t) {
		for _, found := range otherVerbs.FindAllString(text, -1) {
			t.Errorf("%s: %q: write returns, or reports whether", name, strings.TrimSpace(found))
		}
	}
}

// columns are what a line of Go may be wide, a tab counted as four. What a raw
// string spans is another language's, and may be wider.
const columns = 120

func TestLinesFitBesideEachOther(t *testing.T) {
	for name, text := range sources(t) {
		raw := rawLines(text)
		number := 0
		for line := range strings.SplitSeq(text, "\n") {
			number++
			width := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
			if width > columns && !raw[number] {
				t.Errorf("%s:%d is %d columns wide, want at most %d", name, number, width, columns)
			}
		}
	}
}

// rawLines returns the numbers of the lines on which a raw string stands.
func rawLines(text string) map[int]bool {
	lines := map[int]bool{}
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, []byte(text), nil, 0)
	for {
		pos, kind, literal := s.Scan()
		if kind == token.EOF {
			return lines
		}
		if kind == token.STRING && literal[0] == '`' {
			first := file.Line(pos)
			for i := range strings.Count(literal, "\n") + 1 {
				lines[first+i] = true
			}
		}
	}
}

// sources returns the text of every Go file that git knows, by its name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "*.go").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) { // just deleted
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	if len(all) < 300 {
		t.Fatalf("git knows %d Go files", len(all))
	}
	return all
}
