package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how wide a line of help is at most.
const helpWidth = 100

// setHelp has the command and all below it show help that fits helpWidth. What a
// command says at length is written in paragraphs, which are folded here.
func setHelp(root *cobra.Command) {
	wrapped := fmt.Sprintf("FlagUsagesWrapped %d", helpWidth)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages", wrapped))
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		cmd.InitDefaultHelpFlag()
		fold(cmd.OutOrStdout(), cmp.Or(cmd.Long, cmd.Short))
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s", cmd.UsageString())
	})
}

// fold writes paragraphs with lines of at most helpWidth.
func fold(w io.Writer, text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if strings.HasPrefix(paragraph, "\t") || strings.HasPrefix(paragraph, " ") { // to be pasted
			fmt.Fprintln(w, strings.TrimRight(paragraph, "\n"))
			continue
		}
		fmt.Fprintln(w, strings.Join(wrapped(paragraph, helpWidth), "\n"))
	}
}
