// Program config writes the configuration of the Cells' waypoints, made by
// istiod's own code: the launcher's `--waypoint envoy` starts it at each change.
// It reads an xds.Request from its standard input and the manifests from its
// working directory, and writes a list of xds.Config. With the argument `envoy`
// it prints the path of the pinned Envoy, which it installs when it is missing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"artemis.example/conformance/envoy"
	"artemis.example/conformance/translate"
	"artemis.example/conformance/waypoint"
	"artemis.example/local/xds"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "waypoint-config:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == "envoy" {
		path, err := envoy.Path(ctx, ".")
		if err == nil {
			fmt.Println(path)
		}
		return err
	}
	if len(args) != 0 {
		return errors.New("usage: waypoint-config [envoy]   in the project's root")
	}
	if os.Getenv("PILOT_ENABLE_AMBIENT") != "true" {
		return errors.New("PILOT_ENABLE_AMBIENT=true has to be in the environment, or istiod's code makes no waypoints")
	}
	var req xds.Request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	translate.Quiet()
	set, err := manifest.NewProject(".", req.Files).Stage(req.Stage)
	if err != nil {
		return err
	}
	w, err := topology.Build(set, topology.Restore(req.Addresses))
	if err != nil {
		return err
	}
	configs, err := waypoint.Generate(w)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(configs)
}
