package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"artemis.example/catalog"
	"artemis.example/policy/analysis"
	"github.com/spf13/cobra"
)

// newProveCommand makes `artemis prove`. Its exit code is 0 when every claim is
// proven, 1 when one is broken or cannot be judged, 2 when nothing was judged.
func newProveCommand(at *place) *cobra.Command {
	var src source
	var out format
	var present bool
	cmd := &cobra.Command{
		Use:   "prove [CLAIMS.yaml]",
		Short: "Whether claims hold for every request, or a request that breaks them",
		Long: "prove judges claims of the forms only, never and always, in the words of allowFrom, for every " +
			"request and by every way; docs/prove.md has the form. What breaks a claim comes with a line that " +
			"sends such a request. Without an argument it judges the mission's own table of who may call whom: " +
			"these callers, these methods and paths, and nobody else.\n\n" +
			"Exit code: 0 all proven, 1 a claim is broken or something on the way cannot be judged, 2 nothing was " +
			"judged.",
		Example: "  artemis prove\n  artemis prove --stage open\n  artemis prove claims.yaml -f deploy/",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: out.judges(func(cmd *cobra.Command, args []string) (*answer, error) {
			claims, title := analysis.Mission(), "the mission's table of who may call whom"
			if len(args) == 1 {
				data, err := os.ReadFile(args[0])
				if err != nil {
					return nil, err
				}
				if claims, err = analysis.ReadClaims(args[0], data); err != nil {
					return nil, err
				}
				title = args[0]
			} else if len(src.files) > 0 {
				return nil, errors.New("somebody else's manifests need claims of their own: artemis prove " +
					"CLAIMS.yaml -f DIR")
			}
			if present {
				if err := src.present(cmd, at); err != nil {
					return nil, err
				}
			}
			in, options, err := src.judged(cmd, at, false)
			if err != nil {
				return nil, err
			}
			p, err := analysis.Prove(in, claims, options)
			if err != nil {
				return nil, err
			}
			said := &answer{kind: "Proof", value: p, text: func(w *bufio.Writer) { writeProof(w, title, p) }}
			if p.Verdict != analysis.Proven {
				said.code = 1
			}
			return said, nil
		}),
	}
	cmd.Flags().BoolVar(&present, "present", false, "at the stage that the running suite is at")
	src.addFlags(cmd)
	out.addFlags(cmd)
	return cmd
}

// present takes the stage from the suite that runs here.
func (s *source) present(cmd *cobra.Command, at *place) error {
	c, err := connect(at)
	if err != nil {
		return err
	}
	state, err := c.state(cmd.Context())
	if err != nil {
		return err
	}
	s.stage = state.Stage
	return nil
}

// proveBeside says beside the campaign's count what is proven: attacks show what was
// tried, this is about all that was not.
func proveBeside(cmd *cobra.Command, at *place) error {
	src := source{stage: catalog.ZeroTrust}
	in, options, err := src.judged(cmd, at, false)
	if err != nil {
		return err
	}
	p, err := analysis.Prove(in, analysis.Mission(), options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "and of all that was not tried: %s\n",
		proofSentence("the mission's table of who may call whom", p))
	return err
}

// shownBreaks bounds what is shown of one claim, and of all.
const shownBreaks, shownClaims = 2, 6

func writeProof(w *bufio.Writer, title string, p *analysis.Proof) {
	fmt.Fprintln(w, proofSentence(title, p))
	broken, left := 0, 0
	for i := range p.Claims {
		c := &p.Claims[i]
		switch c.Verdict {
		case analysis.Proven:
			continue
		case analysis.NotJudged:
			fmt.Fprintf(w, "\n%s: %s: not proven\n", c.To, c.Claim)
			for _, n := range c.NotJudged {
				fmt.Fprintf(w, "  not judged: %s\n", n)
			}
			continue
		}
		if broken++; broken > shownClaims {
			left += len(c.Breaks)
			continue
		}
		fmt.Fprintf(w, "\n%s: %s: broken\n", c.To, c.Claim)
		for j := range c.Breaks {
			if j >= shownBreaks {
				fmt.Fprintf(w, "  and %d more\n", len(c.Breaks)-j)
				break
			}
			b := &c.Breaks[j]
			can := "can ask for"
			if c.Claim == "always" {
				can = "cannot ask for"
			}
			fmt.Fprintf(w, "  %s %s %s, by %s\n", b.Caller, can, brief(b.Requests.Words), b.Way)
			if b.Requests.Example.Command != "" {
				fmt.Fprintf(w, "    %s\n", b.Requests.Example.Command)
			}
		}
	}
	if left > 0 {
		fmt.Fprintf(w, "\n%d more claims are broken, by %d more classes of callers; -o json has all\n",
			broken-shownClaims, left)
	}
	fmt.Fprintf(w, "\nnot covered: %s\n", strings.Join(p.Not, "; "))
}

// proofSentence says in a line what became of all claims.
func proofSentence(title string, p *analysis.Proof) string {
	at := ""
	if p.Stage != "" {
		at = " at stage " + p.Stage
	}
	switch p.Verdict {
	case analysis.Proven:
		if slices.ContainsFunc(p.Claims, func(c analysis.Judged) bool { return c.Claim == "only" }) {
			title += ", and nobody else"
		}
		return fmt.Sprintf("proven%s, for every request and by every way: %s (%s, %s, %d ways)", at, title,
			count(p.Workloads, "workload", "workloads"), count(len(p.Claims), "claim", "claims"), p.Extent.Destinations)
	case analysis.Broken:
		n, verb := p.Count(analysis.Broken), "do"
		if n == 1 {
			verb = "does"
		}
		of := count(len(p.Claims), "claim", "claims")
		return fmt.Sprintf("broken%s: %d of %s %s not hold (%s)", at, n, of, verb, title)
	}
	return fmt.Sprintf("not proven%s: %d of %s cannot be judged (%s)", at, p.Count(analysis.NotJudged),
		count(len(p.Claims), "claim", "claims"), title)
}
