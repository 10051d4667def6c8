package config_test

import (
	"strings"
	"testing"
	"time"

	"artemis.example/catalog"
	"artemis.example/service/config"
)

func TestDefaultsFlyTenDaysInTenMinutes(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"SERVICE_ROLE=life-support"})
	if err != nil {
		t.Fatal(err)
	}
	if flight := time.Duration(float64(10*24*time.Hour) / c.TimeScale); flight != 10*time.Minute || c.Port != 8080 ||
		c.AdminPort != 9090 || len(c.Peers) != 0 {
		t.Errorf("%s, %+v", flight, c)
	}
}

func TestPeersAreExactlyTheDeclaredDependencies(t *testing.T) {
	t.Parallel()
	for _, s := range catalog.Services() {
		env := []string{"SERVICE_ROLE=" + s.Name, "EVIL_URL=http://evil",
			"CAPCOM_URL=http://capcom.ns.svc.cluster.local:8080"}
		for _, d := range catalog.Dependencies(s.Name) {
			env = append(env, catalog.URLVariable(d.Name)+"=http://"+d.Name+".ns.svc.cluster.local:8080")
		}
		c, err := config.Load(env)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if len(c.Peers) != len(catalog.Dependencies(s.Name)) {
			t.Errorf("%s: peers %v", s.Name, c.Peers)
		}
		for _, d := range catalog.Dependencies(s.Name) {
			if u := c.Peers[d.Name]; u == nil || u.String() != "http://"+d.Name+".ns.svc.cluster.local:8080" {
				t.Errorf("%s: %s at %v", s.Name, d.Name, u)
			}
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ env, want string }{
		{"", "SERVICE_ROLE: required, but not set"},
		{"SERVICE_ROLE=", "SERVICE_ROLE: required, but empty"},
		{"SERVICE_ROLE=life-support PORT=99999", "PORT: not a uint16"},
		{"SERVICE_ROLE=life-support MISSION_TIME_SCALE=fast", "MISSION_TIME_SCALE: not a float64"},
		{"SERVICE_ROLE=life-support MISSION_TIME_SCALE=0", "MISSION_TIME_SCALE: want a number from 1 to 1e7"},
		{"SERVICE_ROLE=life-support MISSION_TIME_SCALE=NaN", "MISSION_TIME_SCALE: want a number"},
		{"SERVICE_ROLE=life-support SHUTDOWN_GRACE=10", "SHUTDOWN_GRACE: not a time.Duration"},
		{"SERVICE_ROLE=life-support MISSION_TELEMETRY_CYCLE=1ns", "MISSION_TELEMETRY_CYCLE: want a duration"},
		{"SERVICE_ROLE=life-support LOG_LEVEL=loud", "LOG_LEVEL"},
		{"SERVICE_ROLE=capcom", "COMMS_SYSTEM_URL: required, but not set (the address of orion/comms-system"},
		{"SERVICE_ROLE=capcom COMMS_SYSTEM_URL=https://comms", "COMMS_SYSTEM_URL: want http://HOST:PORT"},
		{"SERVICE_ROLE=capcom COMMS_SYSTEM_URL=http://comms/path", "COMMS_SYSTEM_URL: want http://HOST:PORT"},
		{"SERVICE_ROLE=flight-dynamics PORT=x", "TELEMETRY_MONITOR_URL: required"},
		{"SERVICE_ROLE=flight-dynamics PORT=x", "PORT: not a uint16"},
	} {
		_, err := config.Load(strings.Fields(c.env))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v does not say %q in one line", c.env, err, c.want)
		}
	}
}
