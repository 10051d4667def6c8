// Package catalog holds, as data, who may call whom in the mission: the one
// table that routes, Workload dependencies, the allowFrom parameters of the
// components, the documentation and the dashboard's graph follow or are checked
// against. It knows no HTTP, no mesh and no Kubernetes; what may be added here
// is a row.
package catalog

import (
	"slices"
	"strings"
)

// Caller is one identity that may call an endpoint: a Component of a Cell, or
// Ingress.
type Caller struct {
	Cell      string // the OpenChoreo Project; empty for Ingress
	Component string
}

// Ingress is the operator, who comes through the gateway.
var Ingress = Caller{Component: "ingress"}

// String returns "cell/component", or "ingress".
func (c Caller) String() string {
	if c.Cell == "" {
		return c.Component
	}
	return c.Cell + "/" + c.Component
}

// Rule admits callers to one method on some paths. A path is exact, or a prefix
// when it ends in "/*" (the prefix keeps the slash: "/assets/*" admits
// "/assets/app.js", not "/assets"). Whatever no Rule admits is denied.
type Rule struct {
	Method  string
	Paths   []string
	Callers []Caller
}

// Service is one of the mission's services: its role name, which is also its
// Component's name, the Cell that it lives in, whom its endpoint is visible to
// beyond its own Cell, and its rules.
type Service struct {
	Name       string
	Cell       string
	Namespaced bool // visibility "namespace": other Cells of the environment may reach it
	External   bool // visibility "external": the gateway may reach it
	Rules      []Rule
}

// Cells lists the Cells in the order in which they are shown.
var cells = []string{"houston", "kennedy", "orion", "deep-space-network", "esa-ops"}

// Cells returns the names of the five Cells, in the order in which they are shown.
func Cells() []string { return slices.Clone(cells) }

func get(paths string, callers ...string) Rule  { return rule("GET", paths, callers) }
func post(paths string, callers ...string) Rule { return rule("POST", paths, callers) }

func rule(method, paths string, callers []string) Rule {
	r := Rule{Method: method, Paths: strings.Fields(paths)}
	for _, c := range callers {
		cell, component, ok := strings.Cut(c, "/")
		if !ok {
			cell, component = "", c
		}
		r.Callers = append(r.Callers, Caller{Cell: cell, Component: component})
	}
	return r
}

var services = []Service{
	{Name: "flight-director", Cell: "houston", Namespaced: true, External: true, Rules: []Rule{
		get("/ /assets/* /events /mission/status /mission/graph /downlink/telemetry /trajectory", "ingress"),
		post("/uplink/command /decision/abort /trajectory/correction", "ingress"),
		post("/decision/go-nogo", "ingress", "kennedy/launch-control"),
		post("/handoff", "kennedy/launch-control"),
	}},
	{Name: "capcom", Cell: "houston", Rules: []Rule{
		post("/uplink/command /uplink/voice", "houston/flight-director"),
	}},
	{Name: "telemetry-monitor", Cell: "houston", Namespaced: true, Rules: []Rule{
		post("/ingest", "deep-space-network/signal-router", "esa-ops/mission-relay"),
		get("/dashboard /alerts /frames", "houston/flight-director", "houston/flight-dynamics"),
	}},
	{Name: "flight-dynamics", Cell: "houston", Rules: []Rule{
		get("/trajectory/current /orbital-mechanics", "houston/flight-director"),
		post("/trajectory/correction", "houston/flight-director"),
	}},
	{Name: "launch-control", Cell: "kennedy", External: true, Rules: []Rule{
		get("/countdown/status", "ingress"),
		post("/countdown/start /countdown/hold /countdown/resume /countdown/scrub", "ingress"),
	}},
	{Name: "ground-systems", Cell: "kennedy", Rules: []Rule{
		get("/fuel/status /umbilical/status", "kennedy/launch-control"),
		post("/fuel/pressurize", "kennedy/launch-control"),
	}},
	{Name: "weather-station", Cell: "kennedy", Rules: []Rule{
		get("/conditions /forecast /launch-criteria", "kennedy/launch-control"),
	}},
	{Name: "pad-operations", Cell: "kennedy", Rules: []Rule{
		get("/pad/status /pad/cameras", "kennedy/launch-control"),
		post("/pad/clear", "kennedy/launch-control"),
	}},
	{Name: "comms-system", Cell: "orion", Namespaced: true, Rules: []Rule{
		post("/uplink /uplink/*", "houston/capcom"),
		post("/downlink", "deep-space-network/signal-router"),
		get("/signal/strength", "deep-space-network/signal-router"),
		post("/crew/message /antenna/orient", "orion/crew-interface"),
	}},
	{Name: "guidance-nav", Cell: "orion", Rules: []Rule{
		get("/position /trajectory", "orion/comms-system", "orion/crew-interface"),
		get("/star-tracker", "orion/comms-system"),
		post("/maneuver", "orion/comms-system"),
	}},
	{Name: "life-support", Cell: "orion", Rules: []Rule{
		get("/crew/vitals /cabin/atmosphere /consumables", "orion/comms-system", "orion/crew-interface"),
	}},
	{Name: "crew-interface", Cell: "orion", Rules: []Rule{
		get("/alerts /displays", "orion/comms-system"),
		post("/crew/log /crew/input", "orion/comms-system"),
	}},
	{Name: "signal-router", Cell: "deep-space-network", Namespaced: true, Rules: []Rule{
		post("/route", "orion/comms-system"),
		post("/handover", "deep-space-network/goldstone", "deep-space-network/madrid", "deep-space-network/canberra"),
	}},
	station("goldstone"),
	station("madrid"),
	station("canberra"),
	{Name: "service-module-monitor", Cell: "esa-ops", Rules: []Rule{
		get("/propulsion/status /power/solar-arrays /consumables /thermal", "esa-ops/mission-relay"),
	}},
	{Name: "mission-relay", Cell: "esa-ops", Rules: []Rule{
		post("/relay/telemetry /relay/alert", "esa-ops/service-module-monitor"),
		get("/relay/status", "esa-ops/service-module-monitor"),
	}},
}

func station(name string) Service {
	return Service{Name: name, Cell: "deep-space-network", Rules: []Rule{
		get("/antenna/status /signal", "deep-space-network/signal-router"),
		post("/track", "deep-space-network/signal-router"),
	}}
}

// Services returns the eighteen services in the order in which they are shown.
// The rules are shared: they are not to be changed.
func Services() []Service { return slices.Clone(services) }

// Lookup returns the service of that name, and whether there is one.
func Lookup(name string) (Service, bool) {
	i := slices.IndexFunc(services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return Service{}, false
	}
	return services[i], true
}

// Caller returns the service as a caller of others.
func (s Service) Caller() Caller { return Caller{Cell: s.Cell, Component: s.Name} }

// Allows reports whether the table admits the caller to method and path.
func (s Service) Allows(c Caller, method, path string) bool {
	return slices.ContainsFunc(s.Rules, func(r Rule) bool {
		return r.Method == method && slices.Contains(r.Callers, c) && slices.ContainsFunc(r.Paths, func(p string) bool {
			return Matches(p, path)
		})
	})
}

// Matches reports whether a path of a Rule covers the path of a request.
func Matches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// Edge is one declared way from a caller to a service.
type Edge struct{ From, To Caller }

// Edges returns every pair of caller and service that some Rule connects, the
// ingress among the callers, in the order of the table and without repetition.
func Edges() []Edge {
	var edges []Edge
	for _, s := range services {
		for _, r := range s.Rules {
			for _, c := range r.Callers {
				if e := (Edge{From: c, To: s.Caller()}); !slices.Contains(edges, e) {
					edges = append(edges, e)
				}
			}
		}
	}
	return edges
}

// Dependencies returns the services that a service calls, in the order of the
// table: what its Workload declares.
func Dependencies(name string) []Service {
	var deps []Service
	for _, e := range Edges() {
		if e.From.Component == name {
			s, _ := Lookup(e.To.Component)
			deps = append(deps, s)
		}
	}
	return deps
}

// URLVariable returns the environment variable in which OpenChoreo injects the
// address of a dependency, such as COMMS_SYSTEM_URL for comms-system.
func URLVariable(component string) string {
	return strings.ToUpper(strings.ReplaceAll(component, "-", "_")) + "_URL"
}
