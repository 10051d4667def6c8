package campaign

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/junit"
)

// Report is one run of the campaign, or of a part of it.
type Report struct {
	At time.Time `json:"at"`
	// Capture is how the pods' traffic was taken: "netns", "proxy", or empty on
	// a cluster.
	Capture string             `json:"capture,omitempty"`
	Stages  []string           `json:"stages"`
	Results []adversary.Result `json:"results"`
}

// Differences counts the results that are not as expected.
func (r Report) Differences() int {
	n := 0
	for _, one := range r.Results {
		if one.Differs != "" {
			n++
		}
	}
	return n
}

// result returns what came of an attack at a stage.
func (r Report) result(id, stage string) (adversary.Result, bool) {
	for _, one := range r.Results {
		if one.ID == id && one.Stage == stage {
			return one, true
		}
	}
	return adversary.Result{}, false
}

// Table writes attack by stage, with the layer that answered and its policy,
// and every difference below.
func (r Report) Table(w io.Writer, c *adversary.Campaign) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "ATTACK\tATTACKER\t%s\n", strings.ToUpper(strings.Join(r.Stages, "\t")))
	for _, a := range c.Attacks {
		cells := make([]string, 0, len(r.Stages))
		played := false
		for _, stage := range r.Stages {
			one, ok := r.result(a.ID, stage)
			played = played || ok
			cells = append(cells, cell(one, ok))
		}
		if played {
			fmt.Fprintf(out, "%s\t%s\t%s\n", a.ID, a.Attacker, strings.Join(cells, "\t"))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, one := range r.Results {
		if one.Differs != "" {
			fmt.Fprintf(w, "\nDIFFERS  %s at %s: %s", one.ID, one.Stage, one.Differs)
		}
	}
	note := ""
	if r.Capture == "proxy" {
		note = ", cooperative capture: a program that ignores HTTP_PROXY is not confined"
	}
	_, err := fmt.Fprintf(w, "\n%d attacks played, %d not as expected%s\n", len(r.Results), r.Differences(), note)
	return err
}

func cell(one adversary.Result, played bool) string {
	if !played {
		return "-"
	}
	text := string(one.Verdict)
	if one.Layer != 0 {
		text += fmt.Sprintf(" L%d", one.Layer)
	}
	if name := shortPolicy(one.Policy); name != "" {
		text += " " + name
	} else if one.Decision != nil {
		text += " no rule admits it"
	}
	switch {
	case one.Verdict == adversary.Allowed && one.Evidence != nil && !one.Evidence.Effect:
		text += ", to no effect"
	case one.Inferred:
		text += " (inferred)"
	}
	if one.Differs != "" {
		text += " (!)"
	}
	return text
}

// shortPolicy is the name without the namespace, which is the target's. Where a
// refusal names all policies that would have had to admit the call, the one of
// the Service says more than the Cell's default-deny.
func shortPolicy(policy string) string {
	var names []string
	for name := range strings.SplitSeq(policy, ", ") {
		names = append(names, name[strings.LastIndexByte(name, '/')+1:])
	}
	if len(names) > 1 {
		names = slices.DeleteFunc(names, func(n string) bool { return n == "default-deny" })
	}
	return strings.Join(names, " ")
}

// JUnit writes the report as a test suite, a case for each attack and stage.
func (r Report) JUnit(w io.Writer) error {
	suite := junit.Suite{Name: "artemis attack", At: r.At.UTC().Format(time.RFC3339)}
	for _, one := range r.Results {
		c := junit.Case{Class: one.Stage, Name: one.ID, Output: cell(one, true) + ": " + one.Reason}
		if one.Evidence != nil {
			c.Seconds = fmt.Sprintf("%.3f", one.Evidence.DurationMs/1000)
		}
		if one.Differs != "" {
			c.Failure = &junit.Failure{Message: one.Differs}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return suite.Write(w)
}
