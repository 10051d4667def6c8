package process_test

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"artemis.example/service/config"
)

// documentedVariables says what each variable of config.Config is, in the order of
// its fields.
var documentedVariables = []struct{ name, says string }{
	{"SERVICE_ROLE", "which of the services this process is"},
	{"PORT", "the mission's port"},
	{"ADMIN_PORT", "the port of probes and metrics"},
	{"LISTEN_ADDRESS", "the address of both ports"},
	{"MISSION_TIME_SCALE", "mission seconds per second after lift-off, 1 to 1e7; launch-control's is the mission's"},
	{"MISSION_SEED", "what makes the weather and the crew's vitals what they are"},
	{"MISSION_COUNTDOWN", "how long the terminal count takes, up to 1h"},
	{"MISSION_TELEMETRY_CYCLE", "from one telemetry frame to the next, 10ms to 1m"},
	{"PEER_TIMEOUT", "how long a call to a peer may take, and all that the peer does for it, 10ms to 1m"},
	{"SHUTDOWN_GRACE", "from SIGTERM to the exit at most, up to 10m"},
	{"LOG_LEVEL", "`debug`, `info`, `warn` or `error`"},
}

// writeVariables writes the section about the environment.
func writeVariables(b *bytes.Buffer) {
	b.WriteString(`
## Environment

All that a service is told comes from its environment. What is missing or malformed stops the start, with one line that names all of it.

| variable | default | |
|---|---|---|
`)
	defaults := variables()
	for _, v := range documentedVariables {
		fallback := "`" + defaults[v.name] + "`"
		switch {
		case v.name == "SERVICE_ROLE":
			fallback = "required"
		case defaults[v.name] == "":
			fallback = "all"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", v.name, fallback, v.says)
	}
	b.WriteString("| `CAPCOM_URL`, `GUIDANCE_NAV_URL`, ... | required | the address of each dependency that the " +
		"Workload declares, which OpenChoreo sets |\n" +
		"| `OTEL_EXPORTER_OTLP_ENDPOINT` and the other standard variables | no traces | where traces go, over OTLP " +
		"by HTTP: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*` |\n")
}

// variables returns the variables of the configuration, with their defaults.
func variables() map[string]string {
	all := map[string]string{}
	for f := range reflect.TypeFor[config.Config]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("env"), ","); name != "-" {
			all[cmp.Or(name, f.Name)] = f.Tag.Get("envDefault")
		}
	}
	return all
}

func TestEveryVariableIsDocumented(t *testing.T) {
	all := variables()
	for _, v := range documentedVariables {
		if _, ok := all[v.name]; !ok {
			t.Errorf("%s is documented, and no variable of the configuration", v.name)
		}
		delete(all, v.name)
	}
	for name := range all {
		t.Errorf("%s is not documented", name)
	}
}
