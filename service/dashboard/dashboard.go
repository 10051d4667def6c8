// Package dashboard holds the mission's page as embedded files; flight-director
// serves them.
package dashboard

import (
	"embed"
	"io/fs"
)

//go:embed assets index.html
var files embed.FS

// Index returns the page itself.
func Index() ([]byte, error) { return files.ReadFile("index.html") }

// Assets returns the files under /assets/.
func Assets() (fs.FS, error) { return fs.Sub(files, "assets") }
