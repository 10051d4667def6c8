package process_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/problem"
	"github.com/google/go-cmp/cmp"
)

// TestBadInputIsNamed sends raw requests to real processes, since an HTTP client
// would mend some of them.
func TestBadInputIsNamed(t *testing.T) {
	t.Parallel()
	path := binary(t)
	guidance, director := run(t, path, "guidance-nav", nil), run(t, path, "flight-director", nil)
	post := func(path, contentType, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: "+
			"close\r\n\r\n%s", path, contentType, len(body), body)
	}
	maneuver := func(body string) string { return post("/maneuver", "application/json", body) }
	get := func(method, path string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	}
	for _, c := range []struct {
		name    string
		at      *command
		request string
		status  int
		code    problem.Code
		detail  string
	}{
		{"unknown path", guidance, get("GET", "/nowhere"), 404, problem.NotFound, ""},
		{"a slash more", guidance, get("GET", "/position/"), 404, problem.NotFound, ""},
		{"two slashes", guidance, get("GET", "//position"), 404, problem.NotFound, ""},
		{"another case", guidance, get("GET", "/POSITION"), 404, problem.NotFound, ""},
		{"an escaped letter", guidance, get("GET", "/%70osition"), 404, problem.NotFound, ""},
		{"an escaped slash", guidance, get("GET", "/..%2fposition"), 404, problem.NotFound, ""},
		{"a dot segment", guidance, get("GET", "/x/../position"), 404, problem.NotFound, ""},
		{"a parameter", guidance, get("GET", "/position;a=b"), 404, problem.NotFound, ""},
		{"an escaped slash behind a prefix", director, get("GET", "/assets/..%2f..%2fmission/status"), 404,
			problem.NotFound, "no such asset"},
		{"a prefix without its slash", director, get("GET", "/assets"), 404, problem.NotFound, ""},
		{"HEAD is not GET", guidance, get("HEAD", "/position"), 405, "", ""},
		{"wrong method", guidance, get("DELETE", "/position"), 405, problem.MethodNotAllowed, "takes GET"},
		{"a method of one's own", guidance, get("LAUNCH", "/position"), 405, problem.MethodNotAllowed, ""},
		{"GET of a POST", guidance, get("GET", "/maneuver"), 405, problem.MethodNotAllowed, "takes POST"},
		{"method override", guidance, "GET /maneuver HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: " +
			"POST\r\nConnection: close\r\n\r\n", 405, problem.MethodNotAllowed, ""},
		{"a form", guidance, post("/maneuver", "application/x-www-form-urlencoded", "type=abort"), 415,
			problem.WrongContentType, "application/json"},
		{"text", guidance, post("/maneuver", "text/plain", `{"type":"attitude"}`), 415, problem.WrongContentType, ""},
		{"no content type", guidance, post("/maneuver", "", `{"type":"attitude"}`), 415, problem.WrongContentType, ""},
		{"no JSON", guidance, maneuver(`{"type":`), 400, problem.MalformedBody, ""},
		{"an array", guidance, maneuver(`[]`), 400, problem.MalformedBody, "one JSON object"},
		{"null", guidance, maneuver(`null`), 400, problem.MalformedBody, "one JSON object"},
		{"something behind", guidance, maneuver(`{"type":"attitude","rollDeg":1} {}`), 400, problem.MalformedBody,
			"follows"},
		{"unknown field", guidance, maneuver(`{"type":"attitude","warp":9}`), 400, problem.UnknownField, `"warp"`},
		{"wrong type", guidance, maneuver(`{"type":"attitude","rollDeg":"much"}`), 400, problem.WrongType,
			`"rollDeg": want a number`},
		{"too much", guidance, maneuver(`{"type":"` + strings.Repeat("a", endpoint.MaxBody) + `"}`), 413,
			problem.BodyTooLarge, "65536"},
		{"an empty object", guidance, maneuver(`{}`), 422, problem.OutOfRange, `"type" is required`},
		{"unknown type", guidance, maneuver(`{"type":"warp"}`), 422, problem.OutOfRange, "course-correction"},
		{"too large a burn", guidance, maneuver(`{"type":"course-correction","deltaV":51}`), 422, problem.OutOfRange,
			"50 m/s"},
		{"no burn at all", guidance, maneuver(`{"type":"course-correction","deltaV":0}`), 422, problem.OutOfRange,
			"not 0"},
		{"a field of another type", guidance, maneuver(`{"type":"attitude","rollDeg":1,"deltaV":1}`), 422,
			problem.OutOfRange, `"deltaV"`},
		{"before lift-off", guidance, maneuver(`{"type":"course-correction","deltaV":5}`), 409, problem.WrongPhase,
			"before lift-off"},
		{"an abort on the pad", guidance, maneuver(`{"type":"abort","reason":"test"}`), 409, problem.WrongPhase,
			"scrub"},
		{"a handoff without a lift-off", director, post("/handoff", "application/json", `{"timeScale":10}`), 422,
			problem.OutOfRange, "liftOff"},
		{"a handoff that lies ahead", director, post("/handoff", "application/json",
			`{"liftOff":"2100-01-01T00:00:00Z","timeScale":10}`), 422, problem.OutOfRange, "ahead"},
		{"an abort by command", director, post("/uplink/command", "application/json", `{"type":"abort","reason":"x"}`),
			422, problem.OutOfRange, "/decision/abort"},
		{"a replay by the operator", director, post("/uplink/command", "application/json",
			`{"type":"course-correction","deltaV":1,"executedAt":5}`), 422, problem.OutOfRange, "not for operators"},
		{"a large header", guidance, "GET /position HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("a",
			2*endpoint.MaxHeader) + "\r\nConnection: close\r\n\r\n", 431, "", ""},
		{"no HTTP", guidance, "HELLO\r\n\r\n", 400, "", ""},
	} {
		status, header, body := raw(t, c.at.mission, c.request)
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
			continue
		}
		if status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s: 405 without Allow", c.name)
		}
		if c.code == "" {
			continue
		}
		var p problem.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Code != c.code || !strings.Contains(p.Detail,
			c.detail) || p.Status != status ||
			header.Get("Content-Type") != problem.MediaType || p.Type != problem.TypePrefix+string(c.code) {
			t.Errorf("%s: %v %s", c.name, err, body)
		}
	}
}

// The lines of the article that this project comes from, as they are printed there: an empty body is an order.
func TestAnEmptyBodyIsTheArticlesOrder(t *testing.T) {
	t.Parallel()
	path := binary(t)
	bare := func(more string) string {
		return "POST %s HTTP/1.1\r\nHost: x\r\n" + more + "Connection: close\r\n\r\n"
	}
	for _, c := range []struct{ role, path, want string }{
		{"guidance-nav", "/maneuver",
			`{"status":"acknowledged","type":"course-correction","deltaV":"2.3 m/s","note":"flown after lift-off, as soon as the spacecraft can burn"}`},
		{"comms-system", "/uplink", `{"status":"acknowledged","type":"telemetry-request"}`},
		{"flight-director", "/decision/abort",
			`{"status":"acknowledged","type":"abort","note":"nothing flies yet: the next poll for launch is a NO-GO"}`},
	} {
		at := run(t, path, c.role, nil)
		for _, headers := range []string{"", "Content-Length: 0\r\n",
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n"} {
			status, _, body := raw(t, at.mission, fmt.Sprintf(bare(headers), c.path))
			var got, want map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
				t.Errorf("%s with %q: %d %s", c.path, headers, status, body)
				continue
			}
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			delete(got, "trace")
			delete(got, "report") // what the spacecraft's services answer: none of them runs here
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.path, diff)
			}
		}
	}
}

func raw(t *testing.T, address, request string) (int, http.Header, string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Logf("write: %v", err) // it may refuse before all has been sent
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(body)
}

// TestTheOperatorIsNoSourceOfTheClock: an endpoint that the gateway reaches does
// not take the header; one that only services reach does.
func TestTheOperatorIsNoSourceOfTheClock(t *testing.T) {
	t.Parallel()
	path := binary(t)
	director, guidance := run(t, path, "flight-director", nil), run(t, path, "guidance-nav", nil)
	header := missionclock.Header + ": liftoff=2026-01-01T00:00:00Z;scale=1000\r\n"
	for _, c := range []struct {
		at      *command
		request string
		heard   bool
	}{
		{director, "GET /mission/graph HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n", false},
		{director, "POST /decision/go-nogo HTTP/1.1\r\nHost: x\r\n" + header +
			"Content-Length: 0\r\nConnection: close\r\n\r\n", false},
		{guidance, "GET /nowhere HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n", false},
		{guidance, "GET /position HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n", true},
	} {
		_, got, _ := raw(t, c.at.mission, c.request)
		if heard := got.Get(missionclock.Header) != ""; heard != c.heard {
			t.Errorf("%.40q: clock heard: %v", c.request, heard)
		}
	}
}

// TestTheAdminPortServesProbesAndMetricsAndTheMissionPortDoesNot keeps the two
// apart.
func TestTheAdminPortServesProbesAndMetricsAndTheMissionPortDoesNot(t *testing.T) {
	t.Parallel()
	p := run(t, binary(t), "life-support", nil)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, _, body := raw(t, p.admin, "GET "+path+
			" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != 200 {
			t.Errorf("admin %s: %d %s", path, status, body)
		}
		if status, _, body := raw(t, p.mission, "GET "+path+
			" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != 404 {
			t.Errorf("mission %s: %d %s", path, status, body)
		}
	}
	raw(t, p.mission, "GET /crew/vitals HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	_, _, metrics := raw(t, p.admin, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	for _, want := range []string{
		`artemis_build_info{cell="orion",goversion="` + runtime.Version() + `",service="life-support",version="`,
		`artemis_http_requests_total{cell="orion",method="GET",route="/crew/vitals",service="life-support",status="200"} 1`,
		`artemis_http_requests_total{cell="orion",method="other",route="unknown",service="life-support",status="404"} 3`,
		`artemis_http_request_duration_seconds_count{cell="orion",method="GET",route="/crew/vitals",service="life-support"} 1`,
		"artemis_mission_time_seconds",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if status, _, _ := raw(t, p.admin,
		"GET /crew/vitals HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != 404 {
		t.Errorf("admin serves the mission: %d", status)
	}
}
