package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newStatusCommand(at *place) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What runs where, by which protocol it is reached, and with which identity",
		Long: "status shows every pod: whether it is reached by HBONE, which is mTLS, or in plaintext (TCP), the " +
			"identity that it proves where it is in the mesh, its address, process, readiness and restarts. Then " +
			"the stage, what is wrong with the manifests on disk if anything is, and the address of mission " +
			"control.",
		Args: noArgs,
		RunE: withSuite(at, func(cmd *cobra.Command, _ []string, c *client) error {
			s, err := c.state(cmd.Context())
			if err != nil {
				return err
			}
			if !asJSON {
				page, err := c.operator(cmd.Context())
				if err != nil {
					return err
				}
				if err := writeTable(cmd.OutOrStdout(), s); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "mission control %s\n", page)
				return err
			}
			return writeJSON(cmd.OutOrStdout(), s)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, and got %q", cmd.CommandPath(), args)}
	}
	return nil
}
