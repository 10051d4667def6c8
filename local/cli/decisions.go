package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"artemis.example/policy/decision"
	"github.com/spf13/cobra"
)

// endLimit is how long a suite that hung up may take to be gone.
const endLimit = 5 * time.Second

func newDecisionsCommand(at *place) *cobra.Command {
	var asJSON, follow bool
	var last int
	var only decisionFilter
	cmd := &cobra.Command{
		Use:   "decisions",
		Short: "Who called whom and what was decided, by which hop, policy and rule",
		Long: "decisions shows what was decided about every call, the latest last, one line a decision. --from, " +
			"--to and --verdict leave only some of them; a name is any that `artemis exec` takes, or ingress for " +
			"the gateway.",
		Example: "  artemis decisions -f --verdict denied\n" +
			"  artemis decisions --from orion/adversary --to orion/guidance-nav --last 5",
		Args: noArgs,
		RunE: withSuite(at, func(cmd *cobra.Command, _ []string, c *client) error {
			if last < 0 {
				return usageError{fmt.Errorf("--last %d: it takes 0 or more", last)}
			}
			keep, err := only.compile(cmd.Context(), c)
			if err != nil {
				return err
			}
			write := func(r decision.Record) error { return writeDecision(cmd.OutOrStdout(), r) }
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				write = func(r decision.Record) error { return out.Encode(r) }
			}
			show := func(r decision.Record) error {
				if !keep(r) {
					return nil
				}
				return write(r)
			}
			records, since, err := latest(cmd, c, last, keep)
			if err != nil {
				return err
			}
			for _, r := range records {
				if err := show(r); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			resp, err := c.call(cmd.Context(), http.MethodGet, "events?since="+strconv.FormatUint(since, 10), nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			err = eachDecision(resp.Body, show)
			if cmd.Context().Err() != nil {
				return nil // interrupted: that is how following ends
			}
			if at.awaitEnd(cmd.Context(), endLimit) == nil { // it hangs up before it has drained
				fmt.Fprintln(cmd.ErrOrStderr(), "the suite ended")
				return nil
			}
			return fmt.Errorf("the suite no longer tells its decisions: %w", cmp.Or(err, io.ErrUnexpectedEOF))
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, a record a line")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with those to come")
	cmd.Flags().IntVar(&last, "last", 50, "how many of the past")
	cmd.Flags().StringVar(&only.from, "from", "", "of this caller only")
	cmd.Flags().StringVar(&only.to, "to", "", "of calls to this one only")
	cmd.Flags().StringVar(&only.verdict, "verdict", "", "with this outcome only: "+strings.Join(verdictWords(), ", "))
	return cmd
}

// denied stands for every verdict that refuses.
const denied = "denied"

func verdictWords() []string {
	return []string{string(decision.Allowed), denied, string(decision.DeniedL7), string(decision.DeniedL4),
		string(decision.DeniedNetwork), string(decision.Failed)}
}

// decisionFilter is which decisions are asked for; empty fields take all.
type decisionFilter struct{ from, to, verdict string }

// compile finds whom the names mean and returns what reports whether a decision is
// one of those asked for.
func (f decisionFilter) compile(ctx context.Context, c *client) (func(decision.Record) bool, error) {
	if f.verdict != "" && !slices.Contains(verdictWords(), f.verdict) {
		return nil, usageError{fmt.Errorf("--verdict %s: it takes %s", f.verdict, strings.Join(verdictWords(), ", "))}
	}
	from, err := isPeer(ctx, c, f.from)
	if err != nil {
		return nil, err
	}
	to, err := isPeer(ctx, c, f.to)
	if err != nil {
		return nil, err
	}
	return func(r decision.Record) bool {
		verdict := f.verdict == "" || f.verdict == string(r.Verdict) ||
			f.verdict == denied && strings.HasPrefix(string(r.Verdict), denied+"-")
		return verdict && from(r.From) && to(r.To)
	}, nil
}

// isPeer returns what reports whether a peer is the one of that name: a pod, or the
// gateway.
func isPeer(ctx context.Context, c *client, name string) (func(decision.Peer) bool, error) {
	switch name {
	case "":
		return func(decision.Peer) bool { return true }, nil
	case "ingress":
		return func(p decision.Peer) bool { return p.Component == name }, nil
	}
	_, pod, err := c.pod(ctx, name)
	return func(p decision.Peer) bool { return p.Namespace == pod.Namespace && p.Component == pod.Component }, err
}

// latest returns the last n decisions of those to keep, and where the log goes on.
func latest(cmd *cobra.Command, c *client, n int, keep func(decision.Record) bool) ([]decision.Record, uint64, error) {
	var records []decision.Record
	var since uint64
	for {
		var page struct {
			Decisions []decision.Record `json:"decisions"`
			Next      uint64            `json:"next"`
		}
		if err := c.get(cmd.Context(), "decisions?limit=1000&since="+strconv.FormatUint(since, 10), &page); err != nil {
			return nil, 0, err
		}
		since = page.Next
		for _, r := range page.Decisions {
			if keep(r) {
				records = append(records, r)
			}
		}
		records = records[max(0, len(records)-n):]
		if len(page.Decisions) < 1000 {
			return records, since, nil
		}
	}
}

// eachDecision reads an event stream and shows the decisions in it.
func eachDecision(r io.Reader, show func(decision.Record) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	event := ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			event = value
		case "data":
			if event != "decision" {
				continue
			}
			var rec decision.Record
			if err := json.Unmarshal([]byte(value), &rec); err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			if err := show(rec); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// writeDecision writes a record as one line for people.
func writeDecision(w io.Writer, r decision.Record) error {
	line := fmt.Sprintf("%s %-10s %-14s %s -> %s", r.At.Local().Format("15:04:05.000"), r.Stage, r.Verdict,
		peerWords(r.From), peerWords(r.To))
	if r.Method != "" {
		line += fmt.Sprintf(" %s %s", r.Method, r.Path)
	}
	if r.Status != 0 {
		line += fmt.Sprintf(" %d", r.Status)
	}
	line += " at " + string(r.Hop)
	if by := cmp.Or(r.Rule, r.Policy); by != "" {
		line += " by " + by
	}
	if r.Reason != "" {
		line += ": " + r.Reason
	}
	if r.Capture == "proxy" {
		line += " (cooperative capture)"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func peerWords(p decision.Peer) string {
	name := cmp.Or(p.Component, p.Service)
	if where := cmp.Or(p.Cell, p.Namespace); name != "" && where != "" {
		name = where + "/" + name
	}
	return cmp.Or(name, p.Identity, p.Address, "unknown")
}
