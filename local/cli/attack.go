package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"artemis.example/adversary"
	"artemis.example/catalog"
	"artemis.example/local/campaign"
	"artemis.example/local/control"
	"github.com/spf13/cobra"
)

type attackOptions struct {
	stage, url, junit, saved, markdown, kubectl string
	allStages, asJSON, list, noLaunch           bool
}

func newAttackCommand(at *place) *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:   "attack [ID...]",
		Short: "Play the adversary's campaign and compare every verdict with what is expected",
		Long: "attack has the adversary's pods attack the running suite, here or on a cluster, through the gateway. " +
			"Every denial is between two live controls, and here the decision log has to name it. It fails if any " +
			"verdict is not as expected.\n\n" +
			"What succeeds is real: at the stages open and mtls the mission is aborted and the spacecraft turned. " +
			"A mission is launched first if none is in flight; the next launch, after the flight or after " +
			"`artemis down` and `up`, starts afresh.",
		Example: "  artemis attack --all-stages\n  artemis attack maneuver pod-ip --stage open\n  artemis attack " +
			"--url http://127.0.0.1:19080 --stage zero-trust   # a cluster",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := adversary.Load()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case o.list:
				return listAttacks(out, c)
			case o.saved != "":
				return writeDocument(o.saved, o.markdown, c)
			}
			return o.play(cmd, at, c, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.stage, "stage", "",
		"switch to this stage, and back afterwards; on a cluster, the stage that is in force")
	f.BoolVar(&o.allStages, "all-stages", false, "play at every stage: "+strings.Join(catalog.Stages(), ", "))
	f.BoolVar(&o.asJSON, "json", false, "the report as JSON, with all evidence")
	f.StringVar(&o.junit, "junit", "", "also write a JUnit file")
	f.StringVar(&o.url, "url", "", "the gateway (default: the one of the suite that runs here, else "+
		"http://127.0.0.1:19080)")
	f.StringVar(&o.kubectl, "kubectl", "", "on a cluster: the command that reads the proxies' logs, such as "+
		"\"kubectl --context k3d-artemis\"; without it layers are inferred")
	f.BoolVar(&o.list, "list", false, "only name the attacks")
	f.BoolVar(&o.noLaunch, "no-launch", false, "leave the mission as it is, even if it is not in flight")
	f.StringVar(&o.saved, "from", "", "play nothing: take the report of an earlier run with --json, and write "+
		"--markdown from it")
	f.StringVar(&o.markdown, "markdown", "", "write the campaign and what came of it as a document")
	return cmd
}

func (o attackOptions) play(cmd *cobra.Command, at *place, c *adversary.Campaign, ids []string) error {
	options := campaign.Options{IDs: ids, Launch: !o.noLaunch}
	switch {
	case o.allStages && o.stage != "":
		return usageError{errors.New("--stage or --all-stages, not both")}
	case o.allStages:
		options.Stages = catalog.Stages()
	case o.stage != "" && !slices.Contains(catalog.Stages(), o.stage):
		return usageError{fmt.Errorf("--stage: one of %s", strings.Join(catalog.Stages(), ", "))}
	case o.stage != "":
		options.Stages = []string{o.stage}
	}
	for _, id := range ids {
		if _, ok := c.Attack(id); !ok {
			return usageError{fmt.Errorf("the campaign has no attack %q; `%s` names them", id,
				at.command("attack --list"))}
		}
	}
	where, err := o.arena(cmd.Context(), at, c)
	if err != nil {
		return err
	}
	log := cmd.ErrOrStderr()
	options.Note = func(note string) { fmt.Fprintln(log, "note:", note) }
	options.Progress = func(r adversary.Result) {
		fmt.Fprintf(log, "%-10s  %-22s %s: %s\n", r.Stage, r.ID, r.Verdict, r.Reason)
	}
	report, err := campaign.Play(cmd.Context(), where, c, options)
	if err != nil {
		return err
	}
	if err := o.write(cmd.OutOrStdout(), c, report); err != nil {
		return err
	}
	if _, local := where.(*localArena); local && o.allStages && !o.asJSON && len(ids) == 0 {
		if err := proveBeside(cmd, at); err != nil {
			return err
		}
	}
	if n := report.Differences(); n > 0 {
		return fmt.Errorf("%d of %d attacks did not come out as expected", n, len(report.Results))
	}
	return nil
}

// arena finds where to play: the suite of this machine, unless --url names another
// gateway than its own; a gateway without a launcher is a cluster's.
func (o attackOptions) arena(ctx context.Context, at *place, c *adversary.Campaign) (campaign.Arena, error) {
	const usual = "http://127.0.0.1:19080"
	var state control.State
	here, err := connect(at)
	if err == nil {
		if state, err = here.state(ctx); err != nil {
			return nil, err
		}
	} else if o.url == "" && o.stage == "" {
		return nil, err
	}
	suite, err := campaign.NewSuite(cmp.Or(o.url, "http://"+cmp.Or(state.Gateway, strings.TrimPrefix(usual,
		"http://"))))
	if err != nil {
		return nil, usageError{err}
	}
	if here != nil && (o.url == "" || suite.At(state.Gateway)) {
		return &localArena{Suite: suite, launcher: here}, nil
	}
	if o.stage == "" {
		return nil, usageError{errors.New("on a cluster the stage cannot be read through the gateway: say which is " +
			"in force with --stage; `make attack` reads it from the Cells")}
	}
	return &campaign.Cluster{Suite: suite, Campaign: c, Stage: o.stage, Kubectl: strings.Fields(o.kubectl)}, nil
}

// localArena has the launcher of this machine's suite play and judge.
type localArena struct {
	*campaign.Suite
	launcher *client
}

func (l *localArena) State(ctx context.Context) (campaign.State, error) {
	s, err := l.launcher.state(ctx)
	return campaign.State{Stage: s.Stage, Capture: s.Capture}, err
}

func (l *localArena) SetStage(ctx context.Context, stage string) error {
	var s control.State
	return l.launcher.decode(ctx, http.MethodPost, "stage", map[string]string{"stage": stage}, &s)
}

func (l *localArena) Attack(ctx context.Context, a adversary.Attack) (adversary.Result, error) {
	var r adversary.Result
	return r, l.launcher.decode(ctx, http.MethodPost, "attacks/"+url.PathEscape(a.ID), struct{}{}, &r)
}

func (l *localArena) Lacks(adversary.Attack) string { return "" }

func (o attackOptions) write(out io.Writer, c *adversary.Campaign, report campaign.Report) error {
	if o.junit != "" {
		if err := writeFile(o.junit, report.JUnit); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := writeFile(o.markdown, func(w io.Writer) error { return report.Document(w, c) }); err != nil {
			return err
		}
	}
	if !o.asJSON {
		return report.Table(out, c)
	}
	return writeJSON(out, report)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func writeDocument(saved, markdown string, c *adversary.Campaign) error {
	if markdown == "" {
		return usageError{errors.New("--from goes with --markdown FILE")}
	}
	data, err := os.ReadFile(saved)
	if err != nil {
		return err
	}
	var report campaign.Report
	if err := json.Unmarshal(data, &report); err != nil {
		return fmt.Errorf("read %s: %w", saved, err)
	}
	return writeFile(markdown, func(w io.Writer) error { return report.Document(w, c) })
}

func listAttacks(out io.Writer, c *adversary.Campaign) error {
	for _, a := range c.Attacks {
		if _, err := fmt.Fprintf(out, "%-22s %-15s %s\n", a.ID, a.Attacker, a.Title); err != nil {
			return err
		}
	}
	return nil
}
