// Package versions says which engines the comparisons run against.
package versions

import (
	"bufio"
	"os"
	"strings"
)

// Istio is the version of the Istio packages that are linked in.
func Istio() string {
	v := module("istio.io/istio")
	return "Istio 1.31 (" + v[strings.LastIndexByte(v, '-')+1:] + ")"
}

// Cyclonus is the version of the NetworkPolicy matcher that is linked in.
func Cyclonus() string { return "cyclonus " + module("github.com/mattfenwick/cyclonus") }

// module reads a version from go.mod, as seen from a package's tests: their
// binaries do not hold it.
func module(path string) string {
	f, err := os.Open("../go.mod")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(strings.TrimSpace(s.Text()), path+" "); ok {
			return strings.TrimSuffix(v, " // indirect")
		}
	}
	return "unknown"
}
