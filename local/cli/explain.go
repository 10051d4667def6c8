package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/spf13/cobra"
)

// newExplainCommand makes `artemis explain`. Its exit code is 0 when the call
// would be allowed, 1 when it would not.
func newExplainCommand(at *place) *cobra.Command {
	var q explain.Question
	var stage string
	var headers []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --from CALLER --to SERVICE [METHOD] PATH",
		Short: "What would be decided about a call, by which hop, policy and rule, and what comes closest",
		Long: "explain asks the manifests, not a running suite. CALLER is CELL/COMPONENT, NAMESPACE/DEPLOYMENT, ingress or a SPIFFE ID;\n" +
			"SERVICE is CELL/COMPONENT or NAMESPACE/SERVICE, and pod:CELL/COMPONENT for a pod's own address.\n\n" +
			"Exit code: 0 the call would be allowed, 1 it would not, 2 the question makes no sense.",
		Example: "  artemis explain --from orion/comms-system --to orion/guidance-nav GET /position\n" +
			"  artemis explain --from houston/capcom --to pod:orion/guidance-nav POST /maneuver --stage mtls --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.RangeArgs(1, 2)(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := at.resolve(); err != nil {
				return err
			}
			q.Method, q.Path = http.MethodGet, args[len(args)-1]
			if len(args) == 2 {
				q.Method = args[0]
			}
			if q.From == "" || q.To == "" {
				return usageError{errors.New("explain needs --from and --to")}
			}
			q.Header = http.Header{}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return usageError{fmt.Errorf("--header %q: write NAME: VALUE", h)}
				}
				q.Header.Add(name, strings.TrimSpace(value))
			}
			answer, err := ask(at.root, stage, q)
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				err = out.Encode(answer)
			} else {
				err = writeAnswer(cmd.OutOrStdout(), answer)
			}
			if err != nil {
				return err
			}
			if answer.Verdict != decision.Allowed {
				return exitError(1)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.From, "from", "", "who calls")
	flags.StringVar(&q.To, "to", "", "what is called")
	flags.Uint16Var(&q.Port, "port", 0, "the port that is called (default: the Service's first)")
	flags.StringArrayVar(&headers, "header", nil, "a header of the request, NAME: VALUE")
	flags.StringVar(&stage, "stage", catalog.ZeroTrust, "one of "+strings.Join(catalog.Stages(), ", "))
	flags.BoolVar(&asJSON, "json", false, "the answer as JSON")
	return cmd
}

func ask(root, stage string, q explain.Question) (*explain.Answer, error) {
	set, err := manifest.LoadStage(root, stage, true)
	if err != nil {
		return nil, err
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		return nil, err
	}
	answer, err := explain.New(stage, w).Ask(q)
	if err != nil {
		return nil, usageError{err}
	}
	return answer, nil
}

func writeAnswer(w io.Writer, a *explain.Answer) error {
	fmt.Fprintf(w, "%s: %s -> %s %s %s, stage %s\n", a.Verdict, peerWords(a.From), peerWords(a.To), a.Method, a.Path, a.Stage)
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
	return nil
}
