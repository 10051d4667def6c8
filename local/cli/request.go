package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// newRequestCommand makes one HTTP request: the call that `artemis wiretap`
// listens to, on a machine that may have no curl.
func newRequestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "request METHOD URL", Hidden: true, Args: exactArgs(2, "which request? METHOD URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := http.NewRequestWithContext(cmd.Context(), args[0], args[1], nil)
			if err != nil {
				return err
			}
			resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			fmt.Fprintln(cmd.OutOrStdout(), resp.Status)
			_, err = io.Copy(cmd.OutOrStdout(), io.LimitReader(resp.Body, 4<<10))
			return err
		},
	}
}
