package role_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"artemis.example/adversary"
	"artemis.example/service/process"
	"artemis.example/service/role"
	"github.com/google/go-cmp/cmp"
)

// adversaryProcess runs a role of the adversary on listeners of its own and
// gives its address.
func adversaryProcess(t *testing.T, environ ...string) string {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ctx, stop := context.WithCancel(t.Context())
	mission, done, started := listen(), make(chan error, 1), make(chan struct{})
	go func() {
		done <- process.Run(ctx, process.Options{
			Environ: append(environ, "SHUTDOWN_GRACE=2s"), Log: io.Discard, Mission: mission, Admin: listen(),
			Started: func(net.Addr, net.Addr) { close(started) },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", environ, err)
		}
	})
	select {
	case <-started:
	case err := <-done:
		done <- nil
		t.Fatalf("%s: %v", environ, err)
	}
	return "http://" + mission.Addr().String()
}

func exchange(t *testing.T, method, url, body string, out any) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return answer.StatusCode, string(text)
}

func TestARogueTakesAttacksByNameFromTheConsoleAndReports(t *testing.T) {
	console := adversaryProcess(t, "SERVICE_ROLE=adversary-console")
	adversaryProcess(t, "SERVICE_ROLE=adversary", "ADVERSARY_NAME=orion-rogue", "ADVERSARY_CONSOLE_URL="+console)

	var launched role.Launched
	if status, text := exchange(t, "POST", console+"/operator/attacks/egress", "",
		&launched); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	var results role.Results
	deadline := time.Now().Add(20 * time.Second)
	for len(results.Results) == 0 && time.Now().Before(deadline) {
		exchange(t, "GET", console+"/operator/results?run="+launched.Run, "", &results)
	}
	if len(results.Results) != 1 {
		t.Fatal("no result")
	}
	// There is no such name where this test runs: that is no denial.
	got := results.Results[0]
	if got.ID != "egress" || got.Attacker != "orion-rogue" || got.Evidence == nil ||
		got.Evidence.Fault != adversary.NoSuchName || got.Verdict != adversary.Unknown {
		t.Errorf("%+v, evidence %+v", got, got.Evidence)
	}
	var list adversary.List
	exchange(t, "GET", console+"/operator/attacks", "", &list)
	for _, a := range list.Attackers {
		if a.Online != (a.Name == "orion-rogue") {
			t.Errorf("%s: online %t", a.Name, a.Online)
		}
	}
}

func TestAnAttackWhoseAttackerIsGoneSaysSo(t *testing.T) {
	console := adversaryProcess(t, "SERVICE_ROLE=adversary-console")
	var launched role.Launched
	exchange(t, "POST", console+"/operator/attacks/maneuver", "", &launched)
	var results role.Results
	deadline := time.Now().Add(20 * time.Second)
	for len(results.Results) == 0 && time.Now().Before(deadline) {
		exchange(t, "GET", console+"/operator/results?run="+launched.Run, "", &results)
	}
	if len(results.Results) != 1 || results.Results[0].Verdict != adversary.AttackerDown {
		t.Errorf("%+v", results.Results)
	}
}

// On a cluster the page makes the live controls, and the console judges with them.
func TestTheConsoleJudgesAgainWithTheOperatorsControls(t *testing.T) {
	console := adversaryProcess(t, "SERVICE_ROLE=adversary-console")
	var order role.Order
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for order.Run == "" {
			exchange(t, "POST", console+"/phone-home/poll", `{"name":"orion-rogue"}`, &order)
		}
	}()
	exchange(t, "POST", console+"/operator/attacks/pod-ip", "", nil)
	<-taken
	reset := `{"run":"` + order.Run +
		`","name":"orion-rogue","evidence":{"fault":"reset","error":"connection reset by peer"}}`
	if status, text := exchange(t, "POST", console+"/phone-home/report", reset, nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	const (
		good = `{"status":200,"body":"{\"trace\":{\"service\":\"flight-director\",\"hops\":[{\"from\":\"comms-system\",\"to\":\"guidance-nav\",\"method\":\"GET\",\"path\":\"/position\",\"status\":200}]}}"}`
		bad  = `{"status":502,"body":"no healthy upstream"}`
	)
	for _, c := range []struct {
		name, body string
		status     int
		want       adversary.Judgement
	}{
		{"no stage, and none was told", `{"before":` + good + `,"after":` + good + `}`, 422, adversary.Judgement{}},
		{"both good, at zero-trust", `{"stage":"zero-trust","before":` + good + `,"after":` + good + `}`, 200,
			adversary.Judgement{Verdict: adversary.DeniedL4, Layer: 2, Inferred: true}},
		{"both good, at open: only a NetworkPolicy refuses there", `{"stage":"open","before":` + good + `,"after":` +
			good + `}`, 200, adversary.Judgement{Verdict: adversary.DeniedNetwork, Layer: 1, Inferred: true}},
		{"the second failed", `{"stage":"zero-trust","before":` + good + `,"after":` + bad + `}`, 200,
			adversary.Judgement{Verdict: adversary.Unknown}},
		{"only one was made", `{"stage":"zero-trust","before":` + good + `}`, 200,
			adversary.Judgement{Verdict: adversary.Unknown}},
	} {
		var got adversary.Result
		status, text := exchange(t, "POST", console+"/operator/results/"+order.Run, c.body, &got)
		got.Reason = ""
		if diff := cmp.Diff(c.want, got.Judgement); status != c.status || diff != "" {
			t.Errorf("%s: %d, want %d: %s\n%s", c.name, status, c.status, diff, text)
		}
	}
}

// On a cluster the script that switches the stage tells the console.
func TestResultsAreFiledUnderTheStageThatTheConsoleWasTold(t *testing.T) {
	console := adversaryProcess(t, "SERVICE_ROLE=adversary-console")
	say := func(stage string) int {
		status, _ := exchange(t, "POST", console+"/operator/stage", `{"stage":"`+stage+`"}`, nil)
		return status
	}
	// play has the attack ordered, something happen meanwhile, and the attacker
	// report that it got what it wanted.
	play := func(meanwhile func()) adversary.Result {
		t.Helper()
		var launched role.Launched
		exchange(t, "POST", console+"/operator/attacks/vitals", "", &launched)
		var order role.Order
		for order.Run == "" {
			exchange(t, "POST", console+"/phone-home/poll", `{"name":"orion-rogue"}`, &order)
		}
		meanwhile()
		exchange(t, "POST", console+"/phone-home/report",
			`{"run":"`+order.Run+`","name":"orion-rogue","evidence":{"status":200,"effect":true}}`, nil)
		var results role.Results
		exchange(t, "GET", console+"/operator/results?run="+launched.Run, "", &results)
		if len(results.Results) != 1 {
			t.Fatalf("%d results", len(results.Results))
		}
		return results.Results[0]
	}
	nothing := func() {}
	var stages []string
	stages = append(stages, play(nothing).Stage)
	say("open")
	at := play(nothing)
	stages = append(stages, at.Stage)
	if at.Verdict != adversary.Allowed || at.Differs != "" || at.Expected == nil {
		t.Errorf("at open: %+v", at)
	}
	stages = append(stages, play(func() { say(""); say("open") }).Stage)
	say("zero-trust")
	at = play(nothing)
	stages = append(stages, at.Stage)
	if at.Differs == "" {
		t.Error("an attack that gets through at zero-trust does not differ from what is expected")
	}
	var list adversary.List
	exchange(t, "GET", console+"/operator/attacks", "", &list)
	stages = append(stages, list.Stage)
	say("")
	stages = append(stages, play(nothing).Stage)
	if diff := cmp.Diff([]string{"", "open", "", "zero-trust", "zero-trust", ""}, stages); diff != "" {
		t.Errorf("told nothing, open, open anew meanwhile, zero-trust, asked, nothing (-want +got):\n%s", diff)
	}
	if status := say("closed"); status != http.StatusUnprocessableEntity {
		t.Errorf("a stage that does not exist: %d", status)
	}
}

func TestTheConsoleIsNoProxyAndSaysSo(t *testing.T) {
	console := adversaryProcess(t, "SERVICE_ROLE=adversary-console")
	for name, c := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"an address for a name": {"/operator/attacks/http:%2f%2fguidance-nav:8080%2fmaneuver", "", 404,
			"It is no proxy"},
		"an address in the body": {"/operator/attacks/maneuver", `{"url":"http://guidance-nav:8080/"}`, 400,
			"unknown-field"},
		"a proxy's path":         {"/operator/proxy", `{"url":"http://guidance-nav:8080/"}`, 404, "not-found"},
		"an attack from outside": {"/operator/attacks/gateway-host", "", 409, "artemis attack gateway-host"},
		"a report that nobody wants": {"/phone-home/report", `{"run":"x","name":"orion-rogue","evidence":{}}`, 404,
			"nobody waits"},
		"an attacker nobody knows of": {"/phone-home/poll", `{"name":"somebody"}`, 422, "no attacker"},
	} {
		status, text := exchange(t, "POST", console+c.path, c.body, nil)
		if status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s, want %d with %q", name, status, text, c.status, c.says)
		}
	}
}

func TestTheRogueItselfServesNothing(t *testing.T) {
	rogue := adversaryProcess(t, "SERVICE_ROLE=adversary", "ADVERSARY_NAME=orion-rogue",
		"ADVERSARY_CONSOLE_URL=http://127.0.0.1:1")
	for _, path := range []string{"/", "/proxy?url=http://guidance-nav:8080/", "/phone-home/poll",
		"/operator/attacks"} {
		if status, text := exchange(t, "GET", rogue+path, "", nil); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
