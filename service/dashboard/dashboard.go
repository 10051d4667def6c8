// Package dashboard holds the mission's page as embedded files. flight-director
// serves them to everybody, the launcher of the local suite to its operator.
package dashboard

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed assets index.html
var files embed.FS

// contentSecurityPolicy lets the page load what its own origin serves, and
// nothing else from anywhere.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Secure sets the headers that keep the page to itself: what it may load, who
// may frame it, and that nobody learns its address from it.
func Secure(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
}

// File returns one file of the page and the headers that go with it: the page
// itself at /, the rest below /assets/. The path is the raw, escaped one: no
// name of a file needs an escape.
func File(escapedPath string) (body []byte, header http.Header, ok bool) {
	name := strings.TrimPrefix(escapedPath, "/")
	if name == "" {
		name = "index.html"
	} else if !strings.HasPrefix(name, "assets/") {
		return nil, nil, false
	}
	body, err := fs.ReadFile(files, name) // refuses a path that is not valid
	if err != nil {
		return nil, nil, false
	}
	header = http.Header{}
	Secure(header)
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // not every system's table has them
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".js", ".mjs":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case ".woff2":
		kind = "font/woff2"
	}
	if kind != "" {
		header.Set("Content-Type", kind)
	}
	return body, header, true
}
