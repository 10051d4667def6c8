// Command artemis runs the mission on this machine, without a cluster: the
// rendered manifests, a process per Deployment, and the mesh between them.
package main

import (
	"os"

	"artemis.example/local/cli"
)

// version is set when the binary is linked.
var version string

func main() { os.Exit(cli.Main(version, os.Args[1:])) }
