package campaign

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"artemis.example/adversary"
)

// Cluster is the Arena behind a gateway without a launcher: nobody can switch the
// stage from here, and who decided is read from the proxies' own logs.
type Cluster struct {
	*Suite
	Campaign *adversary.Campaign
	Stage    string // the stage that is in force
	// Kubectl is the command that reaches the cluster, with its flags; empty where
	// the proxies' logs cannot be read. Layers are then inferred, and say so.
	Kubectl []string
}

// State returns the stage that it was told.
func (c *Cluster) State(context.Context) (State, error) { return State{Stage: c.Stage}, nil }

// SetStage fails for any stage but the one that is in force.
func (c *Cluster) SetStage(_ context.Context, stage string) error {
	if stage != c.Stage {
		return fmt.Errorf("on a cluster the stage cannot be switched from here, and %s is in force: `make stage-%s` "+
			"does it",
			c.Stage, stage)
	}
	return nil
}

// Attack plays one attack and judges it.
func (c *Cluster) Attack(ctx context.Context, a adversary.Attack) (adversary.Result, error) {
	p := Player{Suite: c.Suite, Campaign: c.Campaign, Stage: func() string { return c.Stage }}
	if len(c.Kubectl) > 0 {
		p.Denials = c.denials
	}
	return p.Play(ctx, a), nil
}

// Lacks returns why an attack needs the launcher.
func (c *Cluster) Lacks(a adversary.Attack) string { return a.Local }

// denials reads what ztunnel and the waypoints have logged about an attacker's
// refused calls. Logs that cannot be read are an error: to know nothing of a
// decision is not to know that there was none.
func (c *Cluster) denials(ctx context.Context, since time.Time, who adversary.Attacker) ([]adversary.Decision, error) {
	read := func(namespace, label string) ([]byte, error) {
		return c.kubectl(ctx, "logs", "-n", namespace, "-l", label, "--tail=-1",
			"--since-time="+since.Add(-time.Second).UTC().Format(time.RFC3339))
	}
	var all []adversary.Decision
	out, err := read("istio-system", "app=ztunnel")
	if err != nil {
		return nil, err
	}
	all = append(all, ztunnelDenials(out, who)...)
	namespaces, err := c.waypoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, ns := range namespaces {
		out, err := read(ns, "gateway.networking.k8s.io/gateway-name=waypoint")
		if err != nil {
			return nil, err
		}
		all = append(all, waypointDenials(out, who)...)
	}
	for i := range all {
		all[i].Stage = c.Stage
	}
	return all, nil
}

// waypoints returns the namespaces that have one.
func (c *Cluster) waypoints(ctx context.Context) ([]string, error) {
	out, err := c.kubectl(ctx, "get", "gateways.gateway.networking.k8s.io", "-A", "--field-selector",
		"metadata.name=waypoint",
		"-o", `jsonpath={range .items[*]}{.metadata.namespace}{"\n"}{end}`)
	return strings.Fields(string(out)), err
}

func (c *Cluster) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	args = append(slices.Clone(c.Kubectl[1:]), args...)
	out, err := exec.CommandContext(ctx, c.Kubectl[0], args...).Output()
	if err != nil {
		return nil, fmt.Errorf("ask the cluster by %s %s: %w", c.Kubectl[0], strings.Join(args, " "), err)
	}
	return out, nil
}

// field finds name="value" or name=value in a line of ztunnel's access log.
var field = regexp.MustCompile(`([a-z_.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S+))`)

// ztunnelDenials picks the refused connections of an attacker out of ztunnel's
// access log: a policy's refusal is layer 2, a connection that could not be
// opened at all the perimeter's.
func ztunnelDenials(log []byte, who adversary.Attacker) []adversary.Decision {
	var out []adversary.Decision
	for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
		f := map[string]string{}
		for _, m := range field.FindAllStringSubmatch(lines.Text(), -1) {
			f[m[1]] = m[2] + m[3]
		}
		own := f["src.identity"] != "" && f["src.identity"] == who.Identity() ||
			f["src.namespace"] == who.Namespace && strings.HasPrefix(f["src.workload"], who.Pod)
		problem := f["error"]
		if !own || problem == "" {
			continue
		}
		hop := "node-proxy-" + f["direction"]
		switch {
		case strings.Contains(problem, "policy rejection"), strings.Contains(problem, "unauthorized"),
			strings.Contains(problem, "401"):
			policy := ""
			if _, name, ok := strings.Cut(problem, "explicitly denied by: "); ok {
				policy = name
			}
			out = append(out, adversary.Decision{Hop: hop, Layer: 2, Verdict: adversary.DeniedL4, Policy: policy,
				Reason: problem})
		case strings.Contains(problem, "refused"), strings.Contains(problem, "connection failed"),
			strings.Contains(problem, "timed out"):
			out = append(out, adversary.Decision{Hop: "network-policy", Layer: 1, Verdict: adversary.DeniedNetwork,
				Reason: problem})
		}
	}
	return out
}

// waypointDenials picks the refused requests of an attacker out of a waypoint's
// access log, in the format of istio/install/istiod.yaml.
func waypointDenials(log []byte, who adversary.Attacker) []adversary.Decision {
	var out []adversary.Decision
	for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
		var line struct{ Caller, Decision, Closed string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || who.Identity() == "" || line.Caller != who.Identity() {
			continue
		}
		const denied = "rbac_access_denied_matched_policy["
		rule, found := strings.CutPrefix(line.Decision, denied)
		if !found {
			rule, found = strings.CutPrefix(line.Closed, denied) // of a TCP chain
		}
		if !found {
			continue
		}
		rule = strings.TrimSuffix(rule, "]")
		d := adversary.Decision{Hop: "waypoint", Layer: 3, Verdict: adversary.DeniedL7, Rule: rule,
			Reason: "a policy denies it"}
		if rule == "none" {
			d.Rule, d.Reason = "", "ALLOW policies apply, but none of their rules matches"
		}
		out = append(out, d)
	}
	return out
}
