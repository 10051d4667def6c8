package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func newLogsCommand(at *place) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs CELL/COMPONENT",
		Short: "What a pod's program wrote",
		Args:  exactArgs(1, "whose? CELL/COMPONENT, as `artemis status` shows them"),
		RunE: withSuite(at, func(cmd *cobra.Command, args []string, c *client) error {
			_, pod, err := c.pod(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			f, err := os.Open(filepath.Join(at.logs(), pod.Log))
			if err != nil {
				return err
			}
			defer f.Close()
			if !follow {
				_, err := io.Copy(cmd.OutOrStdout(), f)
				return err
			}
			return tail(cmd.Context(), cmd.OutOrStdout(), f, at)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it writes from now on")
	return cmd
}

// tail copies what is there and what is added, until it is interrupted or the
// suite ends.
func tail(ctx context.Context, w io.Writer, f *os.File, at *place) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := f.Stat(); err == nil { // it was emptied: on from its beginning
			if read, err := f.Seek(0, io.SeekCurrent); err == nil && read > info.Size() {
				_, _ = f.Seek(0, io.SeekStart)
			}
		}
		n, err := io.Copy(w, f)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if n > 0 {
				continue
			}
			if runs, err := at.isRunning(); err != nil || !runs {
				return err
			}
		}
	}
}

func exactArgs(n int, ask string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{errors.New(ask)}
		}
		return nil
	}
}
