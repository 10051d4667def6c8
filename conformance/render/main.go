// Command render boots the real control plane, deploys openchoreo/ to it as the
// deploy script does, and writes what it rendered to openchoreo/rendered,
// istio/cells and istio/stages.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/cluster"
	"artemis.example/conformance/render/engine"
	"artemis.example/conformance/render/objects"
)

func main() {
	root := flag.String("root", "../..", "the repository")
	check := flag.Bool("check", false, "write nothing; fail when a file is not as it is rendered")
	command := flag.String("exec", "", "render nothing: run this command against the platform, with KUBECONFIG set "+
		"and kubectl in PATH")
	keep := flag.Bool("keep", false, "keep the state and the logs of the engines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, *command, *check, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, command string, check, keep bool) error {
	begin := time.Now()
	say := func(what string) { fmt.Printf("[%5.1fs] %s\n", time.Since(begin).Seconds(), what) }
	shop, err := engine.NewShop(root, os.Stdout)
	if err != nil {
		return err
	}
	sources, err := prepare(ctx, shop)
	if err != nil {
		return err
	}
	if !engine.Isolated() {
		say("engines built; the time of the control plane starts now")
	}
	if err := engine.Isolate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "artemis-render-")
	if err != nil {
		return fmt.Errorf("make room for the engines' state: %w", err)
	}
	if keep {
		fmt.Println("state and logs:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	c, err := choreo.Boot(ctx, shop, sources, dir)
	if err != nil {
		return err
	}
	defer c.Stop()
	say("control plane up")
	if command != "" {
		return choreo.Against(ctx, c, command)
	}
	if err := choreo.Deploy(ctx, c); err != nil {
		return err
	}
	say("openchoreo/ deployed")
	files, err := rendered(ctx, c, say)
	if err != nil {
		return err
	}
	if check {
		stale, err := objects.Stale(root, files)
		if err == nil && len(stale) > 0 {
			err = fmt.Errorf("not as OpenChoreo renders them, run make render: %s", strings.Join(stale, ", "))
		}
		return err
	}
	written, err := objects.Write(root, files)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("%d files rendered, %d of them changed", len(files), len(written)))
	return nil
}

// rendered takes what is deployed through all stages and returns the files for
// it, with the contents that they should have.
func rendered(ctx context.Context, c *cluster.Cluster, say func(string)) (map[string][]byte, error) {
	sets := map[string]objects.Set{}
	var err error
	for _, stage := range []string{"open", "mtls", "zero-trust"} {
		if sets[stage], err = choreo.AtStage(ctx, c, stage); err != nil {
			return nil, err
		}
		say("rendered and applied at " + stage)
	}
	differing := map[string]objects.Set{}
	for _, stage := range []string{"open", "mtls"} {
		if differing[stage], err = sets[stage].Differing(sets["zero-trust"]); err != nil {
			return nil, fmt.Errorf("compare %s with zero-trust: %w", stage, err)
		}
	}
	return objects.Files(sets["zero-trust"], differing)
}

// prepare builds the engines and finds their files; in the isolated child both
// are there already.
func prepare(ctx context.Context, shop *engine.Shop) (choreo.Sources, error) {
	if !engine.Isolated() {
		if err := shop.Build(ctx, choreo.Programs()...); err != nil {
			return choreo.Sources{}, err
		}
	}
	return choreo.FindSources(ctx, shop)
}
