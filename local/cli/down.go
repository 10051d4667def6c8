package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"artemis.example/local/capture"
	"github.com/spf13/cobra"
)

// downLimit is how long the suite may drain before it is killed.
const downLimit = 45 * time.Second

// askAgain is how often a suite is asked whether it has come so far.
const askAgain = 20 * time.Millisecond

func newDownCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the running suite; it drains first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := at.resolve(); err != nil {
				return err
			}
			runs, err := at.isRunning()
			if err != nil {
				return err
			}
			if !runs {
				at.clear() // what a killed launcher left
				fmt.Fprintln(cmd.OutOrStdout(), "nothing is running here")
				return nil
			}
			r, err := at.running()
			if err != nil {
				return fmt.Errorf("a suite is running, but who runs it cannot be read: %w", err)
			}
			if err := syscall.Kill(r.PID, syscall.SIGTERM); err != nil {
				return fmt.Errorf("stop the launcher, process %d: %w", r.PID, err)
			}
			if err := at.awaitEnd(cmd.Context(), downLimit); err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
				if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
					return fmt.Errorf("kill the launcher, process %d: %w", r.PID, err)
				}
				if err := at.awaitEnd(cmd.Context(), 5*time.Second); err != nil {
					return fmt.Errorf("the launcher, process %d, does not end: %w", r.PID, err)
				}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "stopped")
			return nil
		},
	}
}

// awaitEnd waits until nobody holds the lock.
func (p place) awaitEnd(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return capture.Until(ctx, askAgain, func() (bool, error) {
		runs, err := p.isRunning()
		return !runs, err
	})
}
