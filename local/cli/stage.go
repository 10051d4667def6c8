package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/local/control"
	"github.com/spf13/cobra"
)

func newStageCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "stage open|mtls|zero-trust",
		Short: "Switch the layers of the running suite; no process restarts",
		Long: "stage switches the layers of the running suite: at open the Cells have their NetworkPolicies only, " +
			"at mtls every call is encrypted and every caller has an identity, at zero-trust the waypoints and " +
			"the node proxies decide by identity, method and path. No process restarts.",
		ValidArgs: catalog.Stages(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(catalog.Stages(), args[0]) {
				return usageError{fmt.Errorf("which stage? one of %s", strings.Join(catalog.Stages(), ", "))}
			}
			return nil
		},
		RunE: withSuite(at, func(cmd *cobra.Command, args []string, c *client) error {
			var s control.State
			if err := c.decode(cmd.Context(), http.MethodPost, "stage", map[string]string{"stage": args[0]},
				&s); err != nil {
				return fmt.Errorf("switch to %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "stage %s\n", s.Stage)
			return nil
		}),
	}
}
