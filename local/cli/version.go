package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "The version of artemis",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine(version))
			return err
		},
	}
}

func versionLine(version string) string {
	return fmt.Sprintf("artemis %s %s %s/%s\n", buildVersion(version), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
