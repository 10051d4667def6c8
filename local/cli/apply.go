package cli

import (
	"fmt"
	"net/http"
	"strings"

	"artemis.example/local/control"
	"github.com/spf13/cobra"
)

func newApplyCommand(at *place) *cobra.Command {
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Put the manifests on disk in force now, also when they protect less",
		Long: "The suite puts edited manifests in force by itself. Those that protect less than before (a policy, a " +
			"waypoint or a NetworkPolicy that is gone, a file that ends early), or less than a Cell needs, it " +
			"reports and leaves out: apply --accept-loss says that this is meant. `artemis status` shows what is " +
			"given up for as long as it is.",
		Args: noArgs,
		RunE: withSuite(at, func(cmd *cobra.Command, _ []string, c *client) error {
			var s control.State
			if err := c.decode(cmd.Context(), http.MethodPost, "apply", map[string]bool{"acceptLoss": acceptLoss},
				&s); err != nil {
				return fmt.Errorf("the manifests on disk are not in force, the last good ones are:\n%w", err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, "the manifests on disk are in force")
			if len(s.Unprotected) > 0 {
				fmt.Fprintf(out, "protection was given up on purpose:\n%s\n", strings.Join(s.Unprotected, "\n"))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false, "in force even if that gives up protection")
	return cmd
}
