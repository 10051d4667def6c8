// Package versions says which engines the comparisons run against.
package versions

import (
	"runtime/debug"
	"strings"
)

// Istio is the version of the Istio packages that are linked in.
func Istio() string { return "Istio 1.31 (" + short(module("istio.io/istio")) + ")" }

// Cyclonus is the version of the NetworkPolicy matcher that is linked in.
func Cyclonus() string { return "cyclonus " + module("github.com/mattfenwick/cyclonus") }

func short(version string) string {
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		return version[i+1:]
	}
	return version
}

func module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return "unknown"
}
