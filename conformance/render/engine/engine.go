// Package engine builds the programs that judge our manifests (etcd,
// kube-apiserver, OpenChoreo's manager, gateway and agent) from their Go
// modules, finds the files that those modules carry (charts, CRDs), and runs
// them as child processes. It knows how a program is made and kept running, not
// what it is for.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is one binary: the nested module under conformance/engines that pins
// its version, and its main package.
type Program struct{ Name, Module, Package string }

// The programs of the control plane.
var (
	Etcd      = Program{"etcd", "etcd", "go.etcd.io/etcd/server/v3"}
	APIServer = Program{"kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"}
	// for who runs scripts against the cluster
	Kubectl        = Program{"kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"}
	Manager        = Program{"openchoreo-manager", "openchoreo", "github.com/openchoreo/openchoreo/cmd"}
	ClusterGateway = Program{"openchoreo-cluster-gateway", "openchoreo",
		"github.com/openchoreo/openchoreo/cmd/cluster-gateway"}
	ClusterAgent = Program{"openchoreo-cluster-agent", "openchoreo",
		"github.com/openchoreo/openchoreo/cmd/cluster-agent"}
)

// Shop builds programs into Dir, from the nested modules of the repository.
type Shop struct {
	Root string    // the repository
	Dir  string    // where binaries are kept
	Log  io.Writer // progress, one line a program
}

// NewShop returns a Shop that keeps its binaries in ARTEMIS_ENGINES, or else in
// the user's cache directory.
func NewShop(root string, log io.Writer) (*Shop, error) {
	dir := os.Getenv("ARTEMIS_ENGINES")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a place for the engines (set ARTEMIS_ENGINES): %w", err)
		}
		dir = filepath.Join(cache, "artemis", "engines")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make room for the engines: %w", err)
	}
	return &Shop{Root: root, Dir: dir, Log: log}, nil
}

// Path is where the binary of a program is once it is built.
func (s *Shop) Path(p Program) string { return filepath.Join(s.Dir, p.Name) }

// Build builds the programs, one after the other. The Go build cache makes it
// quick when nothing has changed.
func (s *Shop) Build(ctx context.Context, programs ...Program) error {
	for _, p := range programs {
		fmt.Fprintf(s.Log, "build %s\n", p.Name)
		// Without cgo and with the module's own defaults: the same binary on every machine.
		c := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-o", s.Path(p), p.Package)
		c.Dir = filepath.Join(s.Root, "conformance", "engines", p.Module)
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s in %s: %w\n%s", p.Name, c.Dir, err, out)
		}
	}
	return nil
}

// Module returns the directory that holds the sources of a module's version.
func (s *Shop) Module(ctx context.Context, path, version string) (string, error) {
	var out, errOut bytes.Buffer
	c := exec.CommandContext(ctx, "go", "mod", "download", "-json", path+"@"+version)
	c.Dir = filepath.Join(s.Root, "conformance", "render")
	c.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var m struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out.Bytes(), &m); err == nil {
		err = jsonErr
	}
	if err != nil {
		return "", fmt.Errorf("fetch module %s@%s: %w %s%s", path, version, err, m.Error, errOut.String())
	}
	return m.Dir, nil
}

// Versions reads the repository's versions.env.
func (s *Shop) Versions() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(s.Root, "versions.env"))
	if err != nil {
		return nil, fmt.Errorf("read the pinned versions: %w", err)
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(k, "#") {
			versions[k] = v
		}
	}
	return versions, nil
}
