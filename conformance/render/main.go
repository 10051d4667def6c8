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
	"syscall"
	"time"

	"artemis.example/conformance/render/choreo"
	"artemis.example/conformance/render/engine"
	"artemis.example/conformance/render/objects"
)

func main() {
	root := flag.String("root", "../..", "the repository")
	keep := flag.Bool("keep", false, "keep the state and the logs of the engines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, keep bool) error {
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
	say("engines built")
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
	steps, err := choreo.Order(root)
	if err != nil {
		return err
	}
	if err := choreo.Deploy(ctx, c, root, steps); err != nil {
		return err
	}
	say("openchoreo/ deployed")
	sets := map[string]objects.Set{}
	for _, stage := range []string{"zero-trust", "mtls", "open"} {
		if sets[stage], err = choreo.AtStage(ctx, c, stage); err != nil {
			return err
		}
		say("rendered and applied at " + stage)
	}
	differing := map[string]objects.Set{}
	for _, stage := range []string{"mtls", "open"} {
		if differing[stage], err = sets[stage].Differing(sets["zero-trust"]); err != nil {
			return fmt.Errorf("compare %s with zero-trust: %w", stage, err)
		}
	}
	if err := objects.Write(root, sets["zero-trust"], differing); err != nil {
		return err
	}
	say("written")
	return nil
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
