// Package peer calls the services that this one depends on: only along the
// catalog, within a bound of time, with the trace, the mission clock and a
// random identity value passed on, and with every way to fail told apart.
package peer

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
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"artemis.example/catalog"
	"artemis.example/service/endpoint"
	"artemis.example/service/missionclock"
	"artemis.example/service/problem"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// MaxAnswer bounds what is read from a peer.
const MaxAnswer = 1 << 20

// Config is what a Client is made from.
type Config struct {
	Self      catalog.Caller
	Addresses map[string]*url.URL // by the peer's name
	Timeout   time.Duration       // of one call
	Clock     *missionclock.Clock
	Tracing   *telemetry.Tracing
	Metrics   *telemetry.Metrics
	Evidence  *trace.Evidence
}

// Client calls a service's peers.
type Client struct {
	Config
	http *http.Client
}

// New returns the client of one service.
func New(c Config) *Client {
	return &Client{Config: c, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: c.Timeout}).DialContext,
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: endpoint.MaxHeader,
			ReadBufferSize:         4 << 10,
			WriteBufferSize:        4 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get asks a peer; out may be nil.
func (c *Client) Get(ctx context.Context, peer, path string, out any) error {
	return c.do(ctx, call{peer: peer, method: http.MethodGet, path: path, out: out})
}

// Post sends a message to a peer; in is a JSON object, out may be nil.
func (c *Client) Post(ctx context.Context, peer, path string, in, out any) error {
	return c.do(ctx, call{peer, http.MethodPost, path, in, out})
}

type call struct {
	peer, method, path string
	in, out            any
}

// do makes one call and records it as a hop. Its error is a *problem.Problem:
// an upstream one, or one of the peer's own that concerns what our caller sent.
func (c *Client) do(ctx context.Context, to call) error {
	// The query is no part of what a rule covers, of a metric or of a span.
	route, _, _ := strings.Cut(to.path, "?")
	service, ok := catalog.Lookup(to.peer)
	address := c.Addresses[to.peer]
	if !ok || address == nil || !service.Allows(c.Self, to.method, route) {
		return problem.New(problem.Internal, "see the service's log").
			Because(fmt.Errorf("%s has no declared way to %s %s of %s", c.Self, to.method, to.path, to.peer))
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	ctx = c.Tracing.Root(ctx)
	r, err := c.request(ctx, to.method, address.String()+to.path, to.in)
	if err != nil {
		return fmt.Errorf("write the call to %s: %w", to.peer, err)
	}
	var span oteltrace.Span
	if c.Tracing.On() {
		ctx, span = c.Tracing.Tracer.Start(ctx, to.method+" "+route, oteltrace.WithSpanKind(oteltrace.SpanKindClient),
			oteltrace.WithAttributes(
				attribute.String("http.request.method", to.method), attribute.String("peer.service", to.peer),
				attribute.String("url.path", route)))
		defer span.End()
	}
	telemetry.Propagator().Inject(ctx, propagation.HeaderCarrier(r.Header))
	hop := trace.Hop{From: c.Self.Component, To: to.peer, Method: to.method, Path: route}
	began := time.Now()
	err = c.exchange(r.WithContext(ctx), service, to.out, &hop)
	took := time.Since(began)
	hop.DurationMs = float64(took.Microseconds()) / 1000
	result := "ok"
	if err != nil {
		p := problem.From(err)
		hop.Error, result = string(p.Code), string(p.Code)
		if span != nil {
			span.SetStatus(codes.Error, result)
		}
	}
	if span != nil && hop.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", hop.Status))
	}
	trace.RecorderFrom(ctx).Add(hop)
	c.Metrics.Call(to.peer, to.method, route, result, took)
	return err
}

// NewRequest returns a request with in as its JSON body; nil is none.
func NewRequest(ctx context.Context, method, address string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err == nil && in != nil {
		r.Header["Content-Type"] = []string{"application/json"}
	}
	return r, err
}

// request returns a call with all that goes with it but the span.
func (c *Client) request(ctx context.Context, method, address string, in any) (*http.Request, error) {
	r, err := NewRequest(ctx, method, address, in)
	if err != nil {
		return nil, err
	}
	r.Header[trace.IdentityHeader] = []string{trace.NewNonce()}
	r.Header["Accept"] = []string{"application/json"}
	r.Header["User-Agent"] = []string{c.Self.String()}
	if clock := c.Clock.Header(); clock != "" {
		r.Header[missionclock.Header] = []string{clock}
	}
	if deadline, ok := ctx.Deadline(); ok {
		r.Header[endpoint.BudgetHeader] = []string{strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)}
	}
	return r, nil
}

// exchange sends a request, reads the answer into out, and notes in hop what came of it.
func (c *Client) exchange(r *http.Request, service catalog.Service, out any, hop *trace.Hop) error {
	name := service.Caller().String()
	response, err := c.http.Do(r)
	if err != nil {
		return failure(name, err)
	}
	defer response.Body.Close()
	hop.Status = response.StatusCode
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Nobody asked for that; what follows would be read without any deadline.
		return problem.New(problem.UpstreamNonsense, "%s changed the protocol", name).At(name)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return failure(name, err)
	}
	if len(answer) > MaxAnswer {
		return problem.New(problem.UpstreamNonsense, "%s answered with more than %d bytes", name, MaxAnswer).At(name)
	}
	var traced struct {
		Trace trace.Trace `json:"trace"`
	}
	ours := json.Unmarshal(answer, &traced) == nil && traced.Trace.Service == service.Name
	if ours {
		hop.Hops = traced.Trace.Hops
		hop.SeenAs = traced.Trace.Caller.Identity
		hop.Proof = c.Evidence.Echo(r.Header[trace.IdentityHeader][0], traced.Trace.Caller, service.Cell == c.Self.Cell)
		// What an answer says of the clock counts only if the peer made it.
		if err := c.Clock.Observe(response.Header.Get(missionclock.Header)); err != nil {
			return problem.New(problem.UpstreamNonsense, "%s answered with an impossible clock",
				name).At(name).Because(err)
		}
	}
	switch status := response.StatusCode; {
	case status == http.StatusOK || status == http.StatusAccepted:
		if !ours {
			return problem.New(problem.UpstreamNonsense, "%s did not answer as %s does", name, service.Name).At(name)
		}
		if out != nil {
			if err := json.Unmarshal(answer, out); err != nil {
				return problem.New(problem.UpstreamNonsense, "%s answered with fields of another kind",
					name).At(name).Because(err)
			}
		}
		return nil
	case !ours:
		return foreign(name, status)
	default:
		return refused(name, status, answer)
	}
}

// refused makes of a peer's own problem what our caller gets: its problem
// as it is where it concerns what was asked or names a peer further on.
func refused(name string, status int, answer []byte) error {
	p, ok := problem.Parse(status, answer)
	if !ok {
		return problem.New(problem.UpstreamNonsense, "%s answered %d without saying why", name, status).At(name)
	}
	if p.Code == problem.OutOfRange || p.Code == problem.WrongPhase || p.Code.IsUpstream() {
		if p.Peer == "" {
			p.Peer = name
		}
		return p
	}
	return problem.New(problem.UpstreamError, "%s answered %d (%s)", name, status, p.Code).At(name)
}

// foreign is an answer of somebody before the peer: the mesh, or a gateway.
func foreign(name string, status int) error {
	switch status {
	case http.StatusForbidden:
		return problem.New(problem.UpstreamDenied, "the call to %s was denied by policy", name).At(name)
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return problem.New(problem.UpstreamUnreachable, "%s could not be reached behind its proxy (%d)", name,
			status).At(name)
	case http.StatusGatewayTimeout:
		return problem.New(problem.UpstreamTimeout, "%s did not answer its proxy in time", name).At(name)
	default:
		return problem.New(problem.UpstreamNonsense, "%s answered %d, not as itself", name, status).At(name)
	}
}

// failure distinguishes the ways in which no answer came.
func failure(name string, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.UpstreamTimeout, "%s did not answer in time", name).At(name).Because(err)
	case errors.Is(err, context.Canceled):
		return problem.New(problem.UpstreamTimeout, "the call to %s was given up", name).At(name).Because(err)
	case errors.As(err, &dns), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH),
		errors.Is(err, syscall.ENETUNREACH),
		errors.As(err, &op) && op.Op == "dial":
		return problem.New(problem.UpstreamUnreachable, "%s could not be reached", name).At(name).Because(err)
	case strings.Contains(err.Error(), "malformed"):
		return problem.New(problem.UpstreamNonsense, "%s did not speak HTTP", name).At(name).Because(err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF),
		strings.Contains(err.Error(), "server closed idle connection"), strings.Contains(err.Error(),
			"transport connection broken"):
		return problem.New(problem.UpstreamReset, "the connection to %s was cut", name).At(name).Because(err)
	default:
		return problem.New(problem.UpstreamNonsense, "%s did not speak HTTP as expected", name).At(name).Because(err)
	}
}
