package cli

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	cmd := &cobra.Command{
		Use:   "decisions",
		Short: "Who called whom and what was decided, by which hop, policy and rule",
		Args:  noArgs,
		RunE: withSuite(at, func(cmd *cobra.Command, _ []string, c *client) error {
			if last < 0 {
				return usageError{fmt.Errorf("--last %d: it takes 0 or more", last)}
			}
			show := func(r decision.Record) error { return writeDecision(cmd.OutOrStdout(), r) }
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				show = func(r decision.Record) error { return out.Encode(r) }
			}
			records, since, err := latest(cmd, c, last)
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
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with those to come")
	cmd.Flags().IntVar(&last, "last", 50, "how many of the past")
	return cmd
}

func latest(cmd *cobra.Command, c *client, n int) ([]decision.Record, uint64, error) {
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
		records = append(records, page.Decisions...)
		records = records[max(0, len(records)-n):]
		if len(page.Decisions) < 1000 {
			return records, since, nil
		}
	}
}

// eachDecision reads an event stream and gives the decisions in it.
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
