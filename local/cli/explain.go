package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"github.com/spf13/cobra"
)

// newExplainCommand makes `artemis explain`. Its exit code is 0 when the call
// would be allowed, 1 when it would not, 2 when that was not judged.
func newExplainCommand(at *place) *cobra.Command {
	var q explain.Question
	var from source
	var out format
	var headers []string
	cmd := &cobra.Command{
		Use:   "explain --from CALLER --to DESTINATION [METHOD] [PATH]",
		Short: "What would be decided about a call, by which hop and rule, and what comes closest",
		Long: "explain asks manifests, not a running suite or cluster: this project's, or with -f anybody's.\n\n" +
			"CALLER is CELL/COMPONENT, NAMESPACE/WORKLOAD, a principal with or without spiffe:// (somebody need " +
			"not have it), an address, ingress, or outside for one that is no pod. DESTINATION is CELL/COMPONENT, " +
			"NAMESPACE/SERVICE, a host name or URL (http://web.shop:8080/cart), or pod:CELL/COMPONENT for a pod's " +
			"own address.\n\n" +
			"Exit code: 0 the call would be allowed, 1 it would not, 2 it was not judged.",
		Example: "  artemis explain --from orion/comms-system --to orion/guidance-nav GET /position\n" +
			"  artemis explain --from houston/capcom --to pod:orion/guidance-nav POST /maneuver --stage mtls\n" +
			clusterExample("explain -f - --from default/curl --to http://web.shop/cart"),
		Args: usageArgs(cobra.MaximumNArgs(2)),
		RunE: out.judges(func(cmd *cobra.Command, args []string) (*answer, error) {
			if err := readQuestion(&q, args, headers); err != nil {
				return nil, err
			}
			in, stage, err := from.read(cmd, at)
			if err != nil {
				return nil, err
			}
			x, err := explain.Open(stage, in)
			if err != nil {
				return nil, err
			}
			a, err := x.Ask(q)
			if err != nil {
				return nil, err
			}
			said := &answer{kind: "Explanation", value: a, text: func(w *bufio.Writer) { writeAnswer(w, a) }}
			switch a.Verdict {
			case decision.Allowed:
			case explain.NotJudged:
				said.code = 2
			default:
				said.code = 1
			}
			return said, nil
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.From, "from", "", "who calls")
	flags.StringVar(&q.To, "to", "", "what is called")
	flags.Uint16Var(&q.Port, "port", 0,
		"the port that is called (default: the one in the name, or the Service's first)")
	flags.StringArrayVar(&headers, "header", nil, "a header of the request, NAME: VALUE")
	from.addFlags(cmd)
	out.addFlags(cmd)
	return cmd
}

func readQuestion(q *explain.Question, args, headers []string) error {
	if q.From == "" || q.To == "" {
		return errors.New("explain needs --from and --to")
	}
	q.Method = http.MethodGet
	switch {
	case len(args) == 2:
		q.Method, q.Path = args[0], args[1]
	case len(args) == 1 && strings.HasPrefix(args[0], "/"), len(args) == 1 && args[0] == "*":
		q.Path = args[0]
	case len(args) == 1:
		q.Method = args[0]
	}
	q.Header = http.Header{}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header %q: write NAME: VALUE", h)
		}
		q.Header.Add(name, strings.TrimSpace(value))
	}
	return nil
}

func writeAnswer(w *bufio.Writer, a *explain.Answer) {
	stage := ""
	if a.Stage != "" {
		stage = ", stage " + a.Stage
	}
	fmt.Fprintf(w, "%s: %s -> %s %s %s%s\n", a.Verdict, peerWords(a.From), peerWords(a.To), a.Method, a.Path, stage)
	for _, why := range a.NotJudged {
		fmt.Fprintf(w, "not judged: %s\n", why)
	}
	fmt.Fprintf(w, "decided at %s", a.Hop)
	if by := cmp.Or(a.Rule, a.Policy); by != "" {
		fmt.Fprintf(w, " by %s", by)
	}
	fmt.Fprintf(w, ": %s\n", a.Reason)
	if a.Looks != "" {
		fmt.Fprintf(w, "the caller sees: %s\n", a.Looks)
	}
	fmt.Fprintln(w)
	for i, s := range a.Steps {
		word := "passes"
		if !s.Allowed {
			word = "refused"
		}
		layer := "       "
		if s.Layer > 0 {
			layer = fmt.Sprintf("layer %d", s.Layer)
		}
		fmt.Fprintf(w, "%d. %s  %-7s  %s: %s", i+1, layer, word, s.What, s.Reason)
		if by := cmp.Or(s.Rule, s.Policy); by != "" {
			fmt.Fprintf(w, " [%s]", by)
		}
		fmt.Fprintln(w)
	}
	if len(a.NearMisses) > 0 {
		fmt.Fprintln(w, "\nnearest rules:")
	}
	for _, n := range a.NearMisses {
		fmt.Fprintf(w, "  %s: %s\n", n.Rule, n.Message)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}
