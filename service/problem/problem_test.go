package problem_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"artemis.example/service/problem"
)

func TestEveryCodeComesBackFromItsOwnForm(t *testing.T) {
	t.Parallel()
	for code, status := range problem.Codes() {
		want := problem.New(code, "why %d", 7).In("field").At("orion/guidance-nav")
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := problem.Parse(status, body)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(problem.Problem{})); !ok || diff != "" {
			t.Errorf("%s (-sent +read):\n%s", code, diff)
		}
		if _, ok := problem.Parse(status+1, body); ok {
			t.Errorf("%s was believed with the status %d", code, status+1)
		}
	}
}

func TestWhatIsNoProblemOfOursIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{}`, `RBAC: access denied`,
		`{"code":"teapot","status":418,"type":"urn:artemis:problem:teapot"}`, `{"code":"not-found","status":404}`} {
		if p, ok := problem.Parse(404, []byte(body)); ok {
			t.Errorf("%q was read as %+v", body, p)
		}
	}
}

func TestTheCauseStaysInside(t *testing.T) {
	t.Parallel()
	p := problem.From(errors.New("secret of the machine room"))
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "secret") || p.Code != problem.Internal || !strings.Contains(p.Error(),
		"secret") {
		t.Errorf("caller: %s; log: %v", body, p)
	}
}
