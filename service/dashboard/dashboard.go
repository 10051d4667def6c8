// Package dashboard holds the mission's page as embedded files. flight-director
// serves them to everybody, the launcher of the local suite to its operator.
package dashboard

import (
	"cmp"
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
	extension := path.Ext(name)
	if kind := cmp.Or(types[extension], mime.TypeByExtension(extension)); kind != "" {
		header.Set("Content-Type", kind)
	}
	return body, header, true
}

// types are the files' by extension: not every system's table has them.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	".js": "text/javascript; charset=utf-8",
}
