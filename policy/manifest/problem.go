package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Code is the class of a Problem, from a closed set.
type Code string

// The classes of problems.
const (
	CodeSyntax          Code = "syntax"           // no YAML
	CodeNoObject        Code = "no-object"        // YAML, but no Kubernetes object
	CodeNoNamespace     Code = "no-namespace"     // an object that does not say where it belongs
	CodeYAMLBoolean     Code = "yaml-boolean"     // an unquoted word that YAML reads as a boolean
	CodeDuplicateKey    Code = "duplicate-key"    // a key given twice in one mapping
	CodeDuplicateObject Code = "duplicate-object" // an object given twice
	CodeUnknownKind     Code = "unknown-kind"     // a kind that local mode does not implement
	CodeUnknownField    Code = "unknown-field"    // a field that the kind does not have
	CodeNotImplemented  Code = "not-implemented"  // a field or value that local mode does not implement
	CodeCut             Code = "cut"              // a file that ends before its end, or holds nothing
	CodeInvalid         Code = "invalid"          // a value that the API server or istiod would refuse
)

// Problem is one reason why a file cannot be run as it is.
type Problem struct {
	Origin
	Code    Code
	Object  Key // empty where the file is not even an object
	Message string
}

// Error returns "file:line: Kind namespace/name: what is wrong".
func (p Problem) Error() string {
	if p.Object.Kind == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Object.WithKind(), p.Message)
}

// Problems is the error of Load: everything that is wrong, in the order of the
// files.
type Problems []Problem

// Error returns a line per problem.
func (p Problems) Error() string {
	return lines(p)
}

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int { return a.compare(b.Origin) })
	return p
}

// lines returns a line per error.
func lines[E error](all []E) string {
	var out []string
	for _, err := range all {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}

// WithKind returns "Kind namespace/name", empty for no object.
func (k Key) WithKind() string { return strings.TrimSpace(k.Kind + " " + k.String()) }

// String returns "namespace/name", or "name" for an object without a namespace.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return `""`
	}
	return string(b)
}
