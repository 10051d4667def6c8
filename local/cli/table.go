package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"text/tabwriter"

	"artemis.example/local/control"
)

// writeTable shows what runs where.
func writeTable(w io.Writer, s control.State) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CELL\tCOMPONENT\tPROTOCOL\tIDENTITY\tPOD IP\tPID\tREADY\tRESTARTS\tSTATE")
	byName := func(a, b control.Pod) int { return strings.Compare(a.Name(), b.Name()) }
	for _, p := range slices.SortedFunc(slices.Values(s.Pods), byName) {
		ready := "no"
		if p.Ready {
			ready = "yes"
		}
		pid := "-"
		if p.PID != 0 {
			pid = fmt.Sprint(p.PID)
		}
		state := p.State
		if p.Reason != "" {
			state += " (" + p.Reason + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", p.Cell, p.Component, p.Protocol, cmp.Or(p.Identity, "-"),
			p.Address, pid, ready, p.Restarts, state)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d of %d ready, stage %s, capture %s, waypoint %s\n", s.Ready(), len(s.Pods), s.Stage,
		captureWords(s.Capture), s.Waypoint)
	if s.CaptureNote != "" {
		fmt.Fprintf(w, "capture: %s\n", s.CaptureNote)
	}
	if len(s.Unprotected) > 0 {
		fmt.Fprintf(w, "protection was given up on purpose:\n%s\n", strings.Join(s.Unprotected, "\n"))
	}
	if s.Problem != "" {
		fmt.Fprintf(w, "the manifests on disk are not in force, the last good ones are:\n%s\n", s.Problem)
	}
	return nil
}

func captureWords(capture string) string {
	if capture == "proxy" {
		return "proxy (cooperative capture)"
	}
	return capture
}

// writeURLs shows where to go from here.
func writeURLs(ctx context.Context, w io.Writer, c *client, gateway string) error {
	_, port, err := net.SplitHostPort(gateway)
	if err != nil {
		return err
	}
	page, err := c.operator(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `
mission control   %[2]s
mission status    curl %[1]s/flight-director-http/mission/status
launch            curl -X POST %[1]s/launch-control-http/countdown/start
who may do what   %[3]s orion/comms-system -- curl -s http://guidance-nav:8080/position
`, "http://"+net.JoinHostPort(control.GatewayHost, port), page, c.at.command("exec"))
	return err
}
