// Command service is every service of the mission: SERVICE_ROLE says which.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"artemis.example/service/process"
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("artemis service", version)
		return
	}
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "service: takes no arguments but --version; everything else is environment")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := process.Run(ctx, process.Options{Environ: os.Environ(), Log: os.Stderr, Version: version}); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}
