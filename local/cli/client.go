package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"artemis.example/local/control"
	"artemis.example/policy/topology"
)

// client talks to the launcher over its control socket.
type client struct {
	at   place
	http *http.Client
}

func newClient(at place) *client {
	c := &client{at: at}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	return c
}

// dial connects to the control socket.
func (c *client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", c.at.controlSocket())
}

func noSuite(at *place) error {
	return fmt.Errorf("no suite is running here: start one with `%s`", at.command("up"))
}

// connect resolves the place and returns a client of the suite that runs there,
// or an error that says that none does.
func connect(at *place) (*client, error) {
	if err := at.resolve(); err != nil {
		return nil, err
	}
	runs, err := at.isRunning()
	if err != nil {
		return nil, err
	}
	if !runs {
		return nil, noSuite(at)
	}
	return newClient(*at), nil
}

// withSuite returns what a command does with the suite that runs at a place.
func withSuite(at *place, do func(*cobra.Command, []string, *client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := connect(at)
		if err != nil {
			return err
		}
		return do(cmd, args, c)
	}
}

func (c *client) call(ctx context.Context, method, path string, body any) (*http.Response, error) {
	r, err := control.NewRequest(ctx, method, "http://localhost/_artemis/"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if runs, lockErr := c.at.isRunning(); lockErr == nil && !runs { // it ended while it was asked
			return nil, noSuite(&c.at)
		}
		return nil, fmt.Errorf("ask the launcher: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var problem struct {
		Detail string `json:"detail"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&problem); err != nil || problem.Detail == "" {
		return nil, fmt.Errorf("the launcher answered %s", resp.Status)
	}
	return nil, errors.New(problem.Detail)
}

func (c *client) get(ctx context.Context, path string, out any) error {
	return c.decode(ctx, http.MethodGet, path, nil, out)
}

func (c *client) decode(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the launcher's answer: %w", err)
	}
	return nil
}

func (c *client) state(ctx context.Context) (control.State, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var s control.State
	return s, c.get(ctx, "state", &s)
}

// operator returns the address that makes a browser the operator's.
func (c *client) operator(ctx context.Context) (string, error) {
	var told struct {
		Address string `json:"address"`
	}
	return told.Address, c.get(ctx, "operator", &told)
}

// pod finds a running pod by any of its names.
func (c *client) pod(ctx context.Context, name string) (control.State, control.Pod, error) {
	s, err := c.state(ctx)
	if err != nil {
		return s, control.Pod{}, err
	}
	names := make([]topology.Named, len(s.Pods))
	for i, p := range s.Pods {
		names[i] = topology.Named{
			Cell: p.Cell, Namespace: p.Namespace, Names: []string{p.Component}, Identity: p.Identity,
			Address: p.Address,
		}
	}
	i, err := topology.Match(strings.TrimPrefix(name, "pod:"), names)
	if err != nil {
		return s, control.Pod{}, usageError{err}
	}
	return s, s.Pods[i], nil
}
