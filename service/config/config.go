// Package config reads a service's configuration: from the environment and from
// nowhere else. Peers are known only by the variables that OpenChoreo injects
// for a declared dependency.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"artemis.example/catalog"
)

// Config is everything that a service is told.
type Config struct {
	// Role is which of the services this process is.
	Role string `env:"SERVICE_ROLE,required,notEmpty"`
	// Port serves the mission, AdminPort the probes and the metrics.
	Port      uint16 `env:"PORT" envDefault:"8080"`
	AdminPort uint16 `env:"ADMIN_PORT" envDefault:"9090"`
	// ListenAddress is the address of both ports; empty means all.
	ListenAddress string `env:"LISTEN_ADDRESS"`

	// TimeScale is how many mission seconds pass in a second after lift-off.
	// Only launch-control uses it: the others hear of it with the clock.
	TimeScale float64 `env:"MISSION_TIME_SCALE" envDefault:"1440"`
	// Seed makes the weather and the crew's vitals what they are.
	Seed uint64 `env:"MISSION_SEED" envDefault:"20260401"`
	// Countdown is how long the terminal count takes, in wall time.
	Countdown time.Duration `env:"MISSION_COUNTDOWN" envDefault:"10s"`
	// Cycle is the time from one telemetry frame to the next, in wall time,
	// and of every other loop that keeps services in step.
	Cycle time.Duration `env:"MISSION_TELEMETRY_CYCLE" envDefault:"1s"`

	// PeerTimeout bounds a call to a peer, and all that the peer does for it.
	PeerTimeout time.Duration `env:"PEER_TIMEOUT" envDefault:"3s"`
	// ShutdownGrace bounds the time from SIGTERM to the exit.
	ShutdownGrace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"10s"`
	// LogLevel is debug, info, warn or error.
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"info"`

	// Peers are the addresses of the declared dependencies, by service name.
	Peers map[string]*url.URL `env:"-"`
	// Environ is the whole environment, for what has its own standard
	// variables (OTEL_*) and for roles outside of the catalog.
	Environ map[string]string `env:"-"`
}

// Load reads the configuration from an environment in the form of os.Environ.
// Its error is one line that names every variable that is missing or malformed.
func Load(environ []string) (Config, error) {
	vars := env.ToMap(environ)
	var c Config
	problems := explain(env.ParseWithOptions(&c, env.Options{Environment: vars}))
	c.Environ = vars
	for _, check := range []struct {
		ok   bool
		name string
		want string
	}{
		{c.TimeScale >= 1 && c.TimeScale <= 1e7, "MISSION_TIME_SCALE", "a number from 1 to 1e7"},
		{c.Countdown > 0 && c.Countdown <= time.Hour, "MISSION_COUNTDOWN", "a duration up to 1h"},
		{c.Cycle >= 10*time.Millisecond && c.Cycle <= time.Minute, "MISSION_TELEMETRY_CYCLE",
			"a duration from 10ms to 1m"},
		{c.PeerTimeout >= 10*time.Millisecond && c.PeerTimeout <= time.Minute, "PEER_TIMEOUT",
			"a duration from 10ms to 1m"},
		{c.ShutdownGrace > 0 && c.ShutdownGrace <= 10*time.Minute, "SHUTDOWN_GRACE", "a duration up to 10m"},
	} {
		named := func(problem string) bool { return strings.HasPrefix(problem, check.name+":") }
		if !check.ok && !slices.ContainsFunc(problems, named) {
			problems = append(problems, fmt.Sprintf("%s: want %s, have %q", check.name, check.want, vars[check.name]))
		}
	}
	c.Peers = map[string]*url.URL{}
	for _, peer := range catalog.Dependencies(c.Role) {
		name := catalog.URLVariable(peer.Name)
		u, err := PeerURL(vars[name])
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v (the address of %s, injected for a declared dependency)",
				name, err, peer.Caller()))
			continue
		}
		c.Peers[peer.Name] = u
	}
	if len(problems) > 0 {
		return c, errors.New(strings.Join(problems, "; "))
	}
	return c, nil
}

// PeerURL reads the address of a peer: http, a host, and nothing behind it.
func PeerURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("required, but not set")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("want http://HOST:PORT, have %q", s)
	}
	u.Path = ""
	return u, nil
}

// variable returns the name of a field's variable: the library's parse errors
// name only the field.
func variable(field string) string {
	f, _ := reflect.TypeFor[Config]().FieldByName(field)
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}

func explain(err error) []string {
	if err == nil {
		return nil
	}
	list := []error{err}
	var all env.AggregateError
	if errors.As(err, &all) {
		list = all.Errors
	}
	var out []string
	for _, err := range list {
		var parse env.ParseError
		var unset env.VarIsNotSetError
		var empty env.EmptyVarError
		switch {
		case errors.As(err, &parse):
			out = append(out, fmt.Sprintf("%s: not a %s: %v", variable(parse.Name), parse.Type, parse.Err))
		case errors.As(err, &unset):
			out = append(out, unset.Key+": required, but not set")
		case errors.As(err, &empty):
			out = append(out, empty.Key+": required, but empty")
		default:
			out = append(out, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	return out
}
