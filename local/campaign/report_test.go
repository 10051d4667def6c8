package campaign

import (
	"strings"
	"testing"

	"artemis.example/adversary"
	"artemis.example/catalog"
)

func TestTheReportsNameWhatDiffersAndTheDocumentHoldsEveryAttack(t *testing.T) {
	c, err := adversary.Load()
	if err != nil {
		t.Fatal(err)
	}
	r := Report{Capture: "netns", Stages: catalog.Stages()}
	for _, stage := range r.Stages {
		for _, a := range c.Attacks {
			e, _ := a.Expected(stage, "netns")
			r.Results = append(r.Results, adversary.Result{ID: a.ID, Stage: stage, Attacker: a.Attacker,
				Judgement: adversary.Judgement{Verdict: e.Verdict, Reason: "so"}})
		}
	}
	r.Results[0].Verdict, r.Results[0].Differs = adversary.TargetDown, "expected allowed, was target-down: so"
	if n := r.Differences(); n != 1 {
		t.Errorf("%d differences, want 1", n)
	}
	var table, junit, doc strings.Builder
	if err := r.Table(&table, c); err != nil {
		t.Fatal(err)
	}
	if err := r.JUnit(&junit); err != nil {
		t.Fatal(err)
	}
	if err := r.Document(&doc, c); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "DIFFERS  abort at open: expected allowed, was target-down") {
		t.Errorf("table:\n%s", table.String())
	}
	if !strings.Contains(junit.String(), `failures="1"`) || strings.Count(junit.String(), "<failure ") != 1 {
		t.Errorf("JUnit:\n%.600s", junit.String())
	}
	for _, a := range c.Attacks {
		if !strings.Contains(doc.String(), `<a id="`+a.ID+`"></a>`) {
			t.Errorf("%s (category %s) is missing from the document", a.ID, a.Category)
		}
	}
}
