package cli

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"artemis.example/policy/analysis"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/spf13/cobra"
)

// newWhoCanCommand makes `artemis who-can`. Its exit code is 0 when the answer is
// certain, 1 when something cannot be judged, 2 when there is nobody to ask about.
func newWhoCanCommand(at *place) *cobra.Command {
	var from string
	var src source
	var out format
	cmd := &cobra.Command{
		Use:   "who-can [TO]",
		Short: "Who can call a workload, with what, by which way: the whole answer, for every request",
		Long: "who-can looks at every request there can be: it cuts methods, paths, hosts, headers, identities and " +
			"addresses into the classes that no rule on the way tells apart, and has one of each decided. Every " +
			"way to the pods counts: each Service over them, their own address, each route of the gateway, a " +
			"Service that nobody wrote. TO is a name as in explain; without it, all workloads are told of.\n\n" +
			"Exit code: 0 the answer is certain, 1 something on the way cannot be judged, 2 nothing was judged.",
		Example: "  artemis who-can orion/guidance-nav\n  artemis who-can orion/guidance-nav --from " +
			"orion/life-support --stage mtls\n  artemis who-can shop/cart -f deploy/ -o json",
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: out.judges(func(cmd *cobra.Command, args []string) (*answer, error) {
			in, options, err := src.judged(cmd, at, true)
			if err != nil {
				return nil, err
			}
			if len(args) == 0 {
				args = analysis.Workloads(in)
			}
			questions := analysis.Ask(in, options)
			var answers []*analysis.Answer
			said := &answer{kind: "WhoCan"}
			for _, to := range args {
				a, err := questions.WhoCan(to, from)
				if err != nil {
					return nil, err
				}
				if a.Verdict != "proven" {
					said.code = 1
				}
				answers = append(answers, a)
			}
			said.text = func(w *bufio.Writer) { writeWhoCan(w, answers) }
			said.value = map[string]any{"answers": answers}
			return said, nil
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "tell of this caller only")
	src.addFlags(cmd)
	out.addFlags(cmd)
	return cmd
}

func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// judged reads the manifests as analysis takes them. Of this project's, withAdversary
// takes the attacker's pods into account; in any case they are there to send the
// examples.
func (s *source) judged(cmd *cobra.Command, at *place, withAdversary bool) (analysis.Input, analysis.Options, error) {
	if len(s.files) > 0 {
		read, stage, err := s.read(cmd, at)
		if err != nil {
			return analysis.Input{}, analysis.Options{}, err
		}
		in, err := analysis.Of(read)
		return in, analysis.Options{Stage: stage}, err
	}
	if err := s.locate(at); err != nil {
		return analysis.Input{}, analysis.Options{}, err
	}
	alloc := topology.NewAllocator() // one, so that addresses are those of the running suite
	build := func(adversary bool) (*topology.World, error) {
		set, err := manifest.LoadStage(at.root, s.stage, adversary)
		if err != nil {
			return nil, err
		}
		return topology.Build(set, alloc)
	}
	_, err := os.Stat(at.root + "/adversary/manifests")
	there := err == nil
	all, err := build(there)
	if err != nil {
		return analysis.Input{}, analysis.Options{}, err
	}
	o := analysis.Options{
		Stage: s.stage, Running: map[string]bool{}, Exec: at.command("exec"), GatewayPort: at.gatewayPort(cmd),
		StandIns: slices.Collect(all.Apps()),
	}
	for _, p := range o.StandIns {
		o.Running[analysis.Name(p)] = true
	}
	asked := all
	if there && !withAdversary {
		if asked, err = build(false); err != nil {
			return analysis.Input{}, analysis.Options{}, err
		}
	}
	return analysis.Exactly(asked), o, nil
}

// gatewayPort returns where the gateway of the suite listens that runs here, empty where
// none does.
func (p *place) gatewayPort(cmd *cobra.Command) string {
	if runs, err := p.isRunning(); err != nil || !runs {
		return ""
	}
	state, err := newClient(*p).state(cmd.Context())
	if err != nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(state.Gateway)
	return port
}

func writeWhoCan(w *bufio.Writer, answers []*analysis.Answer) {
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		at := ""
		if a.Stage != "" {
			at = ", stage " + a.Stage
		}
		fmt.Fprintf(w, "%s%s: %s\n", a.To, at, a.Sentence)
		writeCallers(w, alike(a.Callers))
		for _, n := range a.NotJudged {
			fmt.Fprintf(w, "not judged: %s\n", n)
		}
		fmt.Fprintf(w, "for every request, by %d ways; not covered: %s\n", len(a.Extent.Ways),
			strings.Join(a.Extent.Not, "; "))
	}
}

// maxName bounds what stands in the column of names; more gets lines of its own.
const maxName = 44

func writeCallers(w *bufio.Writer, groups []likeCallers) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range groups {
		name, long := "  "+g.names, len(g.names) > maxName
		if long {
			_ = t.Flush() // whoever flushes w hears of an error
			for _, line := range wrapped(g.names, 110) {
				fmt.Fprintf(w, "  %s\n", line)
			}
		}
		for _, r := range g.requests {
			mark := ""
			if r.Uncertain {
				mark = "  (not judged)"
			}
			if !long {
				fmt.Fprintf(t, "%s\t", name)
				name = ""
			} else {
				fmt.Fprint(t, "    ")
			}
			fmt.Fprintf(t, "%s\tby %s%s\n", brief(r.Words), strings.Join(r.Ways, ", "), mark)
		}
		if long {
			_ = t.Flush()
		}
	}
	_ = t.Flush()
}

// wrapped breaks a text at spaces.
func wrapped(s string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}

// maxWords bounds what is told of requests for people; -o json has the rest.
const maxWords = 300

// brief cuts off a list that nobody would read.
func brief(words string) string {
	if len(words) <= maxWords {
		return words
	}
	cut := words[:maxWords]
	at, separator := max(0, strings.LastIndex(cut, ", ")), ", "
	if i := strings.LastIndex(cut, " or "); i > at {
		at, separator = i, " or "
	}
	if at == 0 {
		return cut + "... (-o json has the rest)"
	}
	return fmt.Sprintf("%s%s%d more (-o json has them)", words[:at], separator, strings.Count(words[at:], separator))
}

// likeCallers are callers who may ask for the same.
type likeCallers struct {
	names    string
	requests []analysis.Requests
}

// alike puts callers together who may ask for the same by the same ways, in order.
func alike(callers []analysis.Admitted) []likeCallers {
	var out []likeCallers
	at := map[string]int{}
	names := map[int][]string{}
	for _, c := range callers {
		var b strings.Builder
		for _, r := range c.Requests {
			fmt.Fprintf(&b, "%s|%s|%t\n", r.Words, r.Ways, r.Uncertain)
		}
		i, ok := at[b.String()]
		if !ok {
			i = len(out)
			at[b.String()] = i
			out = append(out, likeCallers{requests: c.Requests})
		}
		names[i] = append(names[i], c.Caller)
	}
	for i := range out {
		out[i].names = together(names[i])
	}
	return out
}

// together writes many names in one line: those of one Cell with its name once.
func together(names []string) string {
	var out []string
	cells := map[string][]string{}
	var order []string
	for _, n := range names {
		cell, what, ok := strings.Cut(n, "/")
		if !ok || strings.Contains(n, " ") {
			out = append(out, n)
			continue
		}
		if cells[cell] == nil {
			order = append(order, cell)
		}
		cells[cell] = append(cells[cell], what)
	}
	var front []string
	for _, cell := range order {
		if list := cells[cell]; len(list) == 1 {
			front = append(front, cell+"/"+list[0])
		} else {
			front = append(front, cell+"/{"+strings.Join(list, ", ")+"}")
		}
	}
	return strings.Join(slices.Concat(front, shorter(out)), "; ")
}

// shorter writes names that begin alike once.
func shorter(names []string) []string {
	const other = "any other account of "
	var places, rest []string
	for _, n := range names {
		if place, ok := strings.CutPrefix(n, other); ok && !strings.Contains(place, " ") {
			places = append(places, place)
		} else {
			rest = append(rest, n)
		}
	}
	if len(places) > 0 {
		rest = append([]string{other + strings.Join(places, ", ")}, rest...)
	}
	return rest
}
