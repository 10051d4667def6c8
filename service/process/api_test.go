package process_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"artemis.example/catalog"
	"artemis.example/service/problem"
)

var update = flag.Bool("update", false, "write docs/api.md anew from this run")

const apiFile = "../../docs/api.md"

// documented is what docs/api.md says of an endpoint, besides the example that
// comes from a run.
type documented struct {
	service, endpoint string
	path              string // of the example, where the endpoint is a prefix or has a query
	body              string // of the example
	says              string
	stream            bool // no JSON: the example is left out
}

// The order is that in which the examples can be had from one flight.
var documentedEndpoints = []documented{
	{service: "flight-director", endpoint: "GET /", stream: true,
		says: "The dashboard's page, from the binary; with a content security policy that admits only this origin."},
	{service: "flight-director", endpoint: "GET /assets/*", stream: true,
		says: "The page's files. The name is the raw path: `..%2f` is a name that no file has."},
	{service: "flight-director", endpoint: "GET /events", stream: true, says: "Server-sent events: `status` (as " +
		"`/mission/status`, once a telemetry cycle; with `unavailable`, a problem, while telemetry-monitor cannot be " +
		"asked), `frame` (each new frame with its `trace`), `trace` (`{at, trace}`: every tree of calls in which " +
		"flight-director took part) and `alert`."},
	{service: "flight-director", endpoint: "GET /mission/status", says: "The flight as the director knows it. Phase, " +
		"clock and time scale are its own; everything else came down with the last frame and is null when it did " +
		"not. `missionTime` is in seconds, negative while counting. `contact.state` is `live`, `late`, `lost` or " +
		"`none`."},
	{service: "flight-director", endpoint: "GET /mission/graph", says: "Who may call whom: the table of the catalog."},
	{service: "flight-director", endpoint: "GET /downlink/telemetry",
		says: "The latest frames, at most 25, each with the calls that brought it."},
	{service: "flight-director", endpoint: "GET /trajectory", says: "The planned and the flown trajectory, the Moon, " +
		"the burns (km, Earth-centred, plane of the flight) and the orbit of the last position that came down."},
	{service: "flight-director", endpoint: "POST /uplink/command", body: `{"type":"attitude","rollDeg":30}`,
		says: "A command for the spacecraft, by `type`: `course-correction` with `deltaV` (m/s along the velocity, " +
			"up to 50 either way; 409 in a phase without corrections), `attitude` with `rollDeg`, `pitchDeg` or " +
			"`yawDeg` (±180), `antenna` with `antenna` (`high-gain` or `low-gain`), `crew-message` with `message` " +
			"(up to 500 bytes), `telemetry-request` (the whole spacecraft is asked; changes nothing)."},
	{service: "flight-director", endpoint: "POST /trajectory/correction", body: `{"deltaV":1.5,"execute":true}`,
		says: "What a burn would do, by flight-dynamics: pericynthion and splashdown. Without `deltaV` the burn that " +
			"undoes those flown. With `execute` it is commanded by capcom, and `command` is the spacecraft's answer."},
	{service: "flight-director", endpoint: "POST /decision/abort", body: `{"reason":"a drill"}`,
		says: "Abort, with or without a reason: the spacecraft goes to its abort mode. Before lift-off the next poll " +
			"for launch is a NO-GO. 409 after the end, and when it aborts already."},
	{service: "flight-director", endpoint: "POST /decision/go-nogo", body: `{"question":"standby"}`,
		says: "Go or no-go. Question `launch` (the default) polls flight-dynamics, telemetry-monitor and capcom at " +
			"once; one that does not answer in time is a NO-GO with the reason. Question `standby` only asks for the " +
			"phase. launch-control adds `state` and `tMinusS` of its count. 409 for `launch` during a flight."},
	{service: "flight-director", endpoint: "POST /handoff",
		body: `{"liftOff":"LIFTOFF","timeScale":SCALE,"vehicle":"Integrity"}`,
		says: "launch-control hands the flight over at T-0. The same lift-off again changes nothing; another one " +
			"during a flight is 409, one that lies more than 5 s ahead 422."},
	{service: "capcom", endpoint: "POST /uplink/command", body: `{"type":"telemetry-request"}`,
		says: "A command of the flight director, passed on to comms-system `/uplink` (an abort to `/uplink/abort`). " +
			"Those that changed the flight are remembered, and told again to a spacecraft that has forgotten them."},
	{service: "capcom", endpoint: "POST /uplink/voice", body: `{"text":"Integrity, Houston, comm check"}`,
		says: "The voice loop; it also carries the clock up."},
	{service: "telemetry-monitor", endpoint: "POST /ingest",
		body: `{"message":{"id":"m-1","at":"2026-04-01T22:00:00Z","from":"Integrity","text":"hello"}}`,
		says: "Exactly one of `frame`, `message`, `serviceModule` and `alert`, with `hops` and `traceId` of the " +
			"calls that led to it. `status` is `recorded`, `late` or `duplicate`; `maneuvers` are those of the " +
			"newest frame."},
	{service: "telemetry-monitor", endpoint: "GET /dashboard",
		says: "The contact, the newest frame, the service module, the crew's messages and the alerts."},
	{service: "telemetry-monitor", endpoint: "GET /alerts",
		says: "What came with the newest frame, what ESA sent, what the frame lacks, and a lost contact."},
	{service: "telemetry-monitor", endpoint: "GET /frames", path: "/frames?since=1",
		says: "The next frames after sequence number `since`, at most 25; `more` says that there are later ones. " +
			"Without `since` the latest 25."},
	{service: "flight-dynamics", endpoint: "GET /trajectory/current",
		says: "As flight-director's `/trajectory`, without the orbit."},
	{service: "flight-dynamics", endpoint: "GET /orbital-mechanics",
		says: "The osculating orbit around Earth of the last position that came down."},
	{service: "flight-dynamics", endpoint: "POST /trajectory/correction", body: `{"deltaV":1.5}`,
		says: "What a burn would do; nothing is commanded."},
	{service: "launch-control", endpoint: "GET /countdown/status", says: "The count: `state` is `idle`, `counting`, " +
		"`holding`, `scrubbed` or `launched`. Until the launch Kennedy's own positions are asked for every answer. " +
		"`handoff` is `pending`, `done`, or why not yet."},
	{service: "launch-control", endpoint: "POST /countdown/start", says: "Begins the count (`MISSION_COUNTDOWN`, 10 " +
		"s). At a quarter of it everybody is polled; a NO-GO holds the count until all are GO. 409 when there is a " +
		"count, or a flight that is not over."},
	{service: "launch-control", endpoint: "POST /countdown/hold", body: `{"reason":"a valve"}`,
		says: "Holds the count until `resume`. 409 when nothing counts."},
	{service: "launch-control", endpoint: "POST /countdown/resume",
		says: "Goes on counting; behind the final poll the count goes back to it. 409 when nothing holds."},
	{service: "launch-control", endpoint: "POST /countdown/scrub", says: "Ends the count. 409 when there is none."},
	{service: "ground-systems", endpoint: "GET /fuel/status", says: "The rocket's tanks."},
	{service: "ground-systems", endpoint: "GET /umbilical/status", says: "The arms that hold the lines to the rocket."},
	{service: "ground-systems", endpoint: "POST /fuel/pressurize",
		says: "Brings the tanks to flight pressure, within three tenths of the count."},
	{service: "weather-station", endpoint: "GET /conditions",
		says: "The weather over the pad, by the seed and the time."},
	{service: "weather-station", endpoint: "GET /forecast",
		says: "The next six hours, with the criteria that they violate."},
	{service: "weather-station", endpoint: "GET /launch-criteria",
		says: "Whether the weather is go, and which criteria it violates."},
	{service: "pad-operations", endpoint: "GET /pad/status", says: "Who is still on LC-39B."},
	{service: "pad-operations", endpoint: "GET /pad/cameras", says: "What the cameras see."},
	{service: "pad-operations", endpoint: "POST /pad/clear",
		says: "Tells the close-out crew to leave, within three tenths of the count."},
	{service: "comms-system", endpoint: "POST /uplink", body: `{"type":"telemetry-request"}`,
		says: "A command, by kind to guidance-nav or crew-interface. Fields as flight-director's `/uplink/command`, " +
			"besides `id`, and `executedAt` (mission time, s) for one that was flown before and is told again. An " +
			"empty body is a `telemetry-request`."},
	{service: "comms-system", endpoint: "POST /uplink/*", path: "/uplink/voice", body: `{"text":"comm check"}`,
		says: "`/uplink/voice` takes `text` and answers with the mode and the maneuvers that the spacecraft " +
			"remembers; `/uplink/abort` takes `reason`. Anything else is 404."},
	{service: "comms-system", endpoint: "POST /downlink", body: `{"station":"madrid","lastSeq":100000}`,
		says: "The next frame: guidance-nav, life-support and crew-interface are asked at once; what does not answer " +
			"in time is null and named in `missing`. `lastSeq` is the ground's, so that a restarted radio goes on " +
			"counting. 409 before lift-off."},
	{service: "comms-system", endpoint: "GET /signal/strength",
		says: "The radio's own state; `carrier` is off on the pad."},
	{service: "comms-system", endpoint: "POST /crew/message", body: `{"id":"m-2","from":"Integrity","text":"hello"}`,
		says: "A message of the crew, by signal-router `/route` to Houston. 409 when no station has the spacecraft."},
	{service: "comms-system", endpoint: "POST /antenna/orient", body: `{"antenna":"high-gain"}`,
		says: "Selects `high-gain` or `low-gain`."},
	{service: "guidance-nav", endpoint: "GET /position",
		says: "Where the spacecraft is: km and km/s, Earth-centred, in the plane of the flight, with the burns flown."},
	{service: "guidance-nav", endpoint: "GET /trajectory", says: "The maneuvers flown, and the way ahead."},
	{service: "guidance-nav", endpoint: "GET /star-tracker", says: "The attitude."},
	{service: "guidance-nav", endpoint: "POST /maneuver", body: `{"type":"attitude","pitchDeg":5}`,
		says: "Flies a `course-correction`, an `attitude` or an `abort`. An `id` that is known already is answered " +
			"with what was flown then. An empty body is a correction of 2.3 m/s, at once or, where the engine cannot " +
			"burn yet, as soon as it can: `note` says so."},
	{service: "life-support", endpoint: "GET /crew/vitals",
		says: "The crew as their suits measure, once in a second of the mission."},
	{service: "life-support", endpoint: "GET /cabin/atmosphere", says: "The air of the cabin."},
	{service: "life-support", endpoint: "GET /consumables", says: "What the crew lives on."},
	{service: "crew-interface", endpoint: "GET /alerts", says: "The alerts on the crew's panel."},
	{service: "crew-interface", endpoint: "GET /displays", says: "What the crew sees."},
	{service: "crew-interface", endpoint: "POST /crew/log", body: `{"from":"capcom","text":"looking good"}`,
		says: "Says something to the crew; their answer goes down by the radio, or waits for a station."},
	{service: "crew-interface", endpoint: "POST /crew/input", body: `{"input":"antenna","antenna":"high-gain"}`,
		says: "The panel: `antenna` orients it by comms-system `/antenna/orient`, `abort` with `text` puts up the " +
			"alert."},
	{service: "signal-router", endpoint: "POST /route", body: `{"id":"m-3","from":"Integrity","text":"hello"}`,
		says: "A message of the crew, to telemetry-monitor. 409 when no station has the spacecraft."},
	{service: "signal-router", endpoint: "POST /handover",
		body: `{"station":"madrid","reason":"elevation 5.9 degrees"}`,
		says: "A station gives the spacecraft away; the highest of the others that see it takes over. `status` is " +
			"`handed over`, `lost` when none sees it, `already` when another has it."},
	{service: "goldstone", endpoint: "GET /antenna/status",
		says: "What the dish sees; the same at madrid and canberra."},
	{service: "goldstone", endpoint: "GET /signal", says: "The link as measured. 409 when the station does not track " +
		"the spacecraft."},
	{service: "goldstone", endpoint: "POST /track", body: `{"track":false}`, says: "Tracks the spacecraft, or lets " +
		"go. `maneuvers` are those of the last frame: the dish points where they lead. 409 when the station does not " +
		"see it."},
	{service: "service-module-monitor", endpoint: "GET /propulsion/status",
		says: "Engines and tanks, with the corrections that Houston has seen come down."},
	{service: "service-module-monitor", endpoint: "GET /power/solar-arrays",
		says: "The four wings: no power in Earth's shadow."},
	{service: "service-module-monitor", endpoint: "GET /consumables", says: "What the module holds for the crew."},
	{service: "service-module-monitor", endpoint: "GET /thermal", says: "The cooling."},
	{service: "mission-relay", endpoint: "POST /relay/telemetry",
		body: `{"propulsion":null,"solarArrays":null,"thermal":null,"consumables":null,"sampledAt":"2026-04-01T22:00:00Z"}`, says: "A sample of the service module, to telemetry-monitor; the answer tells of the maneuvers that came down."},
	{service: "mission-relay", endpoint: "POST /relay/alert",
		body: `{"id":"a-1","at":"2026-04-01T22:00:00Z","severity":"info","source":"service-module-monitor","text":"a test"}`, says: "An alert, to telemetry-monitor: `severity` is `info`, `caution` or `warning`."},
	{service: "mission-relay", endpoint: "GET /relay/status",
		says: "How much was relayed, and whether the monitor answers."},
}

// TestTheAPIDocumentIsComplete compares docs/api.md with the table and with the
// answers of a run: an endpoint that is missing there, or an example with other
// fields than the answer has now, fails. With -update it writes the document.
func TestTheAPIDocumentIsComplete(t *testing.T) {
	t.Parallel()
	s := start(t, fast(60))
	s.launch()
	s.until("the spacecraft is on its way and in contact", func() (bool, string) {
		got := s.status()
		return slices.Contains([]string{"outbound", "flyby", "return"}, got.Phase) && got.Contact.State == "live",
			fmt.Sprint(got.Phase, got.Contact.State)
	})
	flight := s.status()
	examples := map[string]example{}
	for _, d := range documentedEndpoints {
		if d.stream {
			continue
		}
		examples[d.service+" "+d.endpoint] = s.example(d, flight.LiftOff.Format(time.RFC3339Nano),
			fmt.Sprint(*flight.TimeScale))
	}
	if *update {
		if err := os.WriteFile(apiFile, document(examples), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatalf("%v: write it with go test ./service/process -run APIDocument -update", err)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, service := range catalog.Services() {
		name := service.Name
		if name == "madrid" || name == "canberra" {
			continue // as goldstone
		}
		for _, r := range service.Rules {
			for _, p := range r.Paths {
				want[name+" "+r.Method+" "+p] = true
			}
		}
	}
	service := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			service, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		}
		if name, ok := strings.CutPrefix(line, "### "); ok {
			got[service+" "+strings.Trim(strings.TrimSpace(name), "`")] = true
		}
	}
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("endpoints of the table (-) and of docs/api.md (+):\n%s", diff)
	}
	for name, e := range examples {
		if block := exampleIn(string(text), name); block == "" || !slices.Equal(fields(block), fields(e.answer)) &&
			fields(block) != nil && e.status == 200 && exampleStatus(string(text), name) == 200 {
			t.Errorf("docs/api.md has another example of %s: fields %v, now %v", name, fields(block), fields(e.answer))
		}
	}
}

type example struct {
	line   string // method and path as called
	body   string
	status int
	answer string
}

func (s *suite) example(d documented, liftOff, scale string) example {
	s.t.Helper()
	method, path, _ := strings.Cut(d.endpoint, " ")
	if d.path != "" {
		path = d.path
	}
	body := strings.NewReplacer("LIFTOFF", liftOff, "SCALE", scale).Replace(d.body)
	status, answer := s.call(method, d.service, path, body)
	if status != 200 {
		var p problem.Problem
		if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Code != problem.WrongPhase {
			s.t.Errorf("%s %s %s of %s: %d %s", method, path, body, d.service, status, answer)
		}
	}
	return example{line: method + " " + path, body: body, status: status, answer: answer}
}

// fields returns the names at the top of a JSON object, in their order.
func fields(object string) []string {
	var all map[string]json.RawMessage
	if json.Unmarshal([]byte(object), &all) != nil {
		return nil
	}
	// Fields that are left out when empty come and go.
	delete(all, "holdReason")
	delete(all, "reply")
	return slices.Sorted(maps.Keys(all))
}

func section(text, name string) string {
	service, endpoint, _ := strings.Cut(name, " ")
	_, rest, ok := strings.Cut(text, "\n## "+service+" ")
	if !ok {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	_, rest, ok = strings.Cut(rest, "\n### `"+endpoint+"`\n")
	if !ok {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "\n### ")
	return rest
}

func exampleIn(text, name string) string {
	_, block, _ := strings.Cut(section(text, name), "```json\n")
	block, _, _ = strings.Cut(block, "```")
	return block
}

func exampleStatus(text, name string) int {
	var status int
	_, line, _ := strings.Cut(section(text, name), "answers ")
	fmt.Sscanf(line, "%d", &status)
	return status
}

// document writes docs/api.md.
func document(examples map[string]example) []byte {
	var b bytes.Buffer
	b.WriteString(`# Every endpoint

Written by ` + "`go test ./service/process -run APIDocument -update`" + ` from a flight; the test without ` +
		"`-update`" + ` fails when an
endpoint of the table is missing here, or when an example's fields are no longer those of the answer. Long lists are cut after their first
element, and nested ` + "`hops`" + ` after the first call.

Who may call what is in [the catalog](../catalog/catalog.go). Every service answers on its mission port (8080), besides
` + "`/healthz`, `/readyz` and `/metrics`" + ` on its admin port (9090).

## Answers

An answer has its domain fields first and then ` + "`trace`" + `: who served it (` + "`service`, `cell`" + `), when (` +
		"`at`, `missionTime`" + ` in seconds since lift-off,
null before it), under which W3C trace (` + "`traceId`" + `), for whom (` + "`caller`" + `) and by which calls (` +
		"`hops`" + `, nested). A hop has ` + "`from`, `to`, `method`, `path`,\n`status`, `durationMs`" + `, ` +
		"`error`" + ` (the problem code that the caller made of it), ` + "`seenAs`" +
		` (the identity by which the callee knew the caller) and
` + "`proof`" + `: ` + "`waypoint`" +
		` when the random value that the caller sent had been replaced on the way, otherwise ` + "`none`" + `.

` + "`caller.identity`" + ` is what the header ` + "`x-forwarded-client-cert`" + ` said. ` + "`caller.claimed`" +
		` is true unless a waypoint is known to be in the path. No code
decides anything by it.

The header ` + "`Artemis-Clock: liftoff=RFC3339;scale=NUMBER`" +
		` on requests between services and on answers is how the mission clock spreads; endpoints
that the gateway reaches do not take it from a request. ` + "`Artemis-Budget-Ms`" + ` says how long a caller waits.

## Problems

Errors are problem details (RFC 9457, ` + "`application/problem+json`" + `): ` +
		"`type`, `title`, `status`, `detail`, `code`" + `, and where they apply ` + "`field`" + ` and ` + "`peer`" + `,
besides the ` + "`trace`" + `. A peer's 409 and 422, and what it says of a peer further on, are passed on as they are.

| code | status | |
|---|---|---|
`)
	codes := problem.Codes()
	for _, code := range slices.SortedFunc(maps.Keys(codes), func(a, b problem.Code) int {
		if codes[a] != codes[b] {
			return codes[a] - codes[b]
		}
		return strings.Compare(string(a), string(b))
	}) {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", code, codes[code], problem.New(code, "").Title)
	}
	b.WriteString("\nBodies may have 64 KiB, headers 16 KiB. A body is one JSON object with no other fields than " +
		"those named; no body is an empty object.\n")
	b.WriteString("An endpoint takes its one method, as its row of the catalog has it; another one, HEAD too, is " +
		"answered " +
		"405 with `Allow`.\n")
	writeVariables(&b)
	last := ""
	for _, d := range documentedEndpoints {
		if d.service != last {
			service, _ := catalog.Lookup(d.service)
			fmt.Fprintf(&b, "\n## %s (%s)\n", d.service, service.Cell)
			last = d.service
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n", d.endpoint, d.says)
		e, ok := examples[d.service+" "+d.endpoint]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "\n`%s`", e.line)
		if e.body != "" {
			fmt.Fprintf(&b, " with `%s`", e.body)
		}
		fmt.Fprintf(&b, " answers %d:\n\n```json\n%s\n```\n", e.status, short(e.answer))
	}
	return b.Bytes()
}

// short indents an answer and cuts its long lists.
func short(answer string) string {
	d := json.NewDecoder(strings.NewReader(answer))
	var b strings.Builder
	writeShort(&b, d, "", "", 0)
	return b.String()
}

// writeShort copies one value from the decoder, in its order of fields.
func writeShort(b *strings.Builder, d *json.Decoder, indent, field string, depth int) {
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return
	}
	delim, nested := token.(json.Delim)
	if !nested {
		v, _ := json.Marshal(token)
		b.Write(v)
		return
	}
	closing := map[json.Delim]string{'{': "}", '[': "]"}[delim]
	b.WriteString(delim.String())
	inner, n := indent+"  ", 0
	for d.More() {
		if delim == '{' {
			key, _ := d.Token()
			if n++; n > 1 {
				b.WriteString(",")
			}
			fmt.Fprintf(b, "\n%s%q: ", inner, key)
			writeShort(b, d, inner, key.(string), depth+1)
			continue
		}
		if n++; n > 1 {
			var skipped json.RawMessage
			_ = d.Decode(&skipped)
			continue
		}
		b.WriteString("\n" + inner)
		writeShort(b, d, inner, field, depth+1)
	}
	_, _ = d.Token()
	if n > 0 {
		b.WriteString("\n" + indent)
	}
	b.WriteString(closing)
}
