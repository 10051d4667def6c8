package cli

import (
	"slices"
	"strings"

	"artemis.example/local/control"
	"github.com/spf13/pflag"
)

// pflagFlag is a flag of a command.
type pflagFlag = pflag.Flag

// shownWaiting is how many pods a line of progress names.
const shownWaiting = 3

// waitingFor names the pods that are not ready, those in trouble first.
func waitingFor(s control.State) string {
	var trouble, names []string
	for _, p := range s.Pods {
		switch {
		case p.Ready:
		case p.State == "back-off":
			trouble = append(trouble, p.Name()+" (back-off: "+p.Reason+")")
		default:
			names = append(names, p.Name())
		}
	}
	names = slices.Concat(trouble, names)
	if len(names) > shownWaiting {
		names = append(names[:shownWaiting], "...")
	}
	return strings.Join(names, ", ")
}
