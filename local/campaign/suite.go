// Package campaign plays the campaign against a running suite, on this machine or on
// a cluster: it orders attacks at the attacker's console, makes the live
// controls as an operator would, reads the decision log where there is one, and
// has every attack judged. It comes through the gateway like everybody else.
package campaign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"artemis.example/policy/decision"
)

// GatewayHost is the name under which OpenChoreo's routes are published.
const GatewayHost = "development-default.openchoreoapis.localhost"

// Suite is a running suite as it looks through its gateway.
type Suite struct {
	address string // HOST:PORT to connect to
	host    string // the Host header, with the port
	http    *http.Client
	// Tap listens on the wire between the pods, a JSON line a segment; nil
	// where nobody can.
	Tap func(ctx context.Context) (io.ReadCloser, error)
}

// NewSuite returns the suite behind a gateway such as http://127.0.0.1:19080. The
// host of the URL is where to connect; the name asked for is GatewayHost.
func NewSuite(gateway string) (*Suite, error) {
	u, err := url.Parse(gateway)
	if err != nil || u.Scheme != "http" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("gateway %q: want http://HOST:PORT", gateway)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	name := u.Hostname()
	if name == GatewayHost || name == "localhost" {
		name = "127.0.0.1"
	}
	s := &Suite{address: net.JoinHostPort(name, port), host: net.JoinHostPort(GatewayHost, port)}
	s.http = &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				d := net.Dialer{Timeout: 5 * time.Second}
				return d.DialContext(ctx, "tcp", s.address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// answer is what came back through the gateway.
type answer struct {
	status int
	body   []byte
}

// ask calls through the gateway; a body makes it a POST.
func (s *Suite) ask(ctx context.Context, path string, body any) (answer, error) {
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, fmt.Errorf("write the call to %s: %w", path, err)
		}
		method, reader = http.MethodPost, bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.host+path, reader)
	if err != nil {
		return answer{}, fmt.Errorf("call %s: %w", path, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := s.http.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("the gateway: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return answer{}, fmt.Errorf("the gateway's answer to %s: %w", path, err)
	}
	return answer{response.StatusCode, data}, nil
}

// State is what the launcher says of itself.
type State struct {
	Stage   string `json:"stage"`
	Capture string `json:"capture"`
}

// ErrNoLauncher says that there is no launcher behind the gateway: a cluster.
var ErrNoLauncher = errors.New("no launcher behind this gateway")

// State returns the launcher's state, or ErrNoLauncher.
func (s *Suite) State(ctx context.Context) (State, error) {
	var state State
	return state, s.launcher(ctx, "/_artemis/state", nil, &state)
}

// SetStage switches the layers; the next call is judged at that stage.
func (s *Suite) SetStage(ctx context.Context, stage string) error {
	return s.launcher(ctx, "/_artemis/stage", map[string]string{"stage": stage}, nil)
}

func (s *Suite) launcher(ctx context.Context, path string, body, out any) error {
	a, err := s.ask(ctx, path, body)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusNotFound:
		return ErrNoLauncher
	case a.status != http.StatusOK:
		return fmt.Errorf("%s was answered %d: %.200s", path, a.status, a.body)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return nil
}

// decisions returns the records after seq and the number of the last.
func (s *Suite) decisions(ctx context.Context, seq uint64) ([]decision.Record, uint64, error) {
	const page = 1000
	var all []decision.Record
	for {
		var got struct {
			Decisions []decision.Record `json:"decisions"`
			Next      uint64            `json:"next"`
		}
		path := "/_artemis/decisions?limit=" + strconv.Itoa(page) + "&since=" + strconv.FormatUint(seq, 10)
		if err := s.launcher(ctx, path, nil, &got); err != nil {
			return nil, seq, fmt.Errorf("read the decision log: %w", err)
		}
		all, seq = append(all, got.Decisions...), got.Next
		if len(got.Decisions) < page {
			return all, seq, nil
		}
	}
}
