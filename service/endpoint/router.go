package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"artemis.example/catalog"
	"artemis.example/service/missionclock"
	"artemis.example/service/problem"
	"artemis.example/service/telemetry"
	"artemis.example/service/trace"
)

// BudgetHeader says to a callee how many milliseconds its caller will wait, so
// that the one who waits for a silent peer can still say so.
const BudgetHeader = "Artemis-Budget-Ms"

// Server is what all endpoints of a service share.
type Server struct {
	Service, Cell string
	Clock         *missionclock.Clock
	Tracing       *telemetry.Tracing
	Metrics       *telemetry.Metrics
	Evidence      *trace.Evidence
	Log           *slog.Logger
	// Budget bounds the time of an answer for callers who do not say.
	Budget time.Duration
	// Finished is told the trace of every answer; may be nil.
	Finished func(trace.Trace)
	// Draining asks callers to come back over another connection.
	Draining atomic.Bool
	arrived  atomic.Int64
}

// LastArrival returns when the last request came in; zero when none did.
func (s *Server) LastArrival() time.Time {
	if at := s.arrived.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Handler routes the endpoints on the raw, escaped path.
func (s *Server) Handler(endpoints []Endpoint) chi.Router {
	mux := chi.NewRouter()
	mux.Use(s.onRawPath)
	for _, e := range endpoints {
		mux.Method(e.Method, e.Path, s.serve(e, s.hears(e)))
	}
	other := s.Metrics.Route("other", "unknown")
	mux.NotFound(s.refuse(other, func(r *http.Request) *problem.Problem {
		return problem.New(problem.NotFound, "%s has no such endpoint", s.Service)
	}))
	mux.MethodNotAllowed(s.refuse(other, func(r *http.Request) *problem.Problem {
		var allow []string
		for _, e := range endpoints {
			if catalog.Matches(e.Path, r.URL.EscapedPath()) && !slices.Contains(allow, e.Method) {
				allow = append(allow, e.Method)
			}
		}
		p := problem.New(problem.MethodNotAllowed, "this endpoint takes %s", strings.Join(allow, ", "))
		p.Allow = allow
		return p
	}))
	return mux
}

// onRawPath makes chi route on the path as it was sent: where a policy saw
// "%2f", no slash is routed.
func (s *Server) onRawPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chi.RouteContext(r.Context()).RoutePath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}

// hears reports whether the endpoint takes the mission clock from its callers:
// the operator is no source of it.
func (s *Server) hears(e Endpoint) bool {
	service, ok := catalog.Lookup(s.Service)
	return ok && !service.Allows(catalog.Ingress, e.Method, strings.TrimSuffix(e.Path, "*"))
}

type written struct {
	http.ResponseWriter
	status int
}

func (w *written) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *written) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *written) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// exchange is one request under way.
type exchange struct {
	*Server
	began    time.Time
	caller   trace.Caller
	recorder trace.Recorder
	name     string
}

func (s *Server) begin(r *http.Request, name string) (context.Context, *exchange) {
	now := time.Now()
	s.arrived.Store(now.UnixNano())
	x := &exchange{Server: s, began: now, name: name, caller: s.Evidence.Judge(r.Header[trace.IdentityHeader])}
	ctx := r.Context()
	if r.Header.Get("Traceparent") != "" {
		ctx = telemetry.Propagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	return trace.WithRecorder(s.Tracing.Root(ctx), &x.recorder), x
}

func (s *Server) serve(e Endpoint, hears bool) http.Handler {
	route := s.Metrics.Route(e.Method, e.Path)
	name := e.Method + " " + e.Path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, x := s.begin(r, name)
		if hears {
			if err := s.Clock.Observe(r.Header.Get(missionclock.Header)); err != nil {
				s.Log.WarnContext(ctx, "clock of a caller refused", "error", err)
			}
		}
		var span oteltrace.Span
		if s.Tracing.On() {
			ctx, span = s.Tracing.Tracer.Start(ctx, name, oteltrace.WithSpanKind(oteltrace.SpanKindServer),
				oteltrace.WithAttributes(
					attribute.String("http.request.method", r.Method), attribute.String("http.route", e.Path),
					attribute.String("artemis.caller", x.caller.Identity), attribute.Bool("artemis.caller.claimed",
						x.caller.Claimed)))
		}
		var status int
		if e.stream != nil {
			out := &written{ResponseWriter: w}
			x.headers(w)
			e.stream.ServeHTTP(out, r.WithContext(ctx))
			status = max(out.status, http.StatusOK)
		} else {
			bounded := &budgeted{Context: ctx, deadline: x.began.Add(s.budget(r))}
			answer, err := e.answer(bounded, r)
			bounded.release()
			status = x.write(ctx, w, answer, err)
		}
		if span != nil {
			span.SetAttributes(attribute.Int("http.response.status_code", status))
			if status >= 500 {
				span.SetStatus(codes.Error, http.StatusText(status))
			}
			span.End()
		}
		route.Observe(status, time.Since(x.began))
	})
}

func (s *Server) refuse(route *telemetry.Route, why func(*http.Request) *problem.Problem) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, x := s.begin(r, "")
		status := x.write(ctx, w, nil, why(r))
		route.Observe(status, time.Since(x.began))
	}
}

// budget leaves a callee a little less than its caller waits.
func (s *Server) budget(r *http.Request) time.Duration {
	h := r.Header.Get(BudgetHeader)
	if h == "" {
		return s.Budget
	}
	ms, err := strconv.ParseUint(h, 10, 32)
	if err != nil {
		return s.Budget
	}
	return min(s.Budget, max(time.Duration(ms)*time.Millisecond*9/10, time.Millisecond))
}

func (x *exchange) headers(w http.ResponseWriter) {
	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	if clock := x.Clock.HeaderLine(); clock != nil {
		h[missionclock.Header] = clock
	}
	if x.Draining.Load() {
		h.Set("Connection", "close")
	}
}

var (
	nosniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
	typeJSON  = []string{"application/json"}
	typeError = []string{problem.MediaType}
)

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (x *exchange) write(ctx context.Context, w http.ResponseWriter, answer any, err error) int {
	status, contentType := http.StatusOK, typeJSON
	if accepted, ok := answer.(Accepted); ok && err == nil {
		status, answer = http.StatusAccepted, accepted.Answer
	}
	if err != nil {
		p := problem.From(err)
		status, contentType, answer = p.Status, typeError, p
		if len(p.Allow) > 0 {
			w.Header().Set("Allow", strings.Join(p.Allow, ", "))
		}
		if status >= 500 {
			x.Log.WarnContext(ctx, "answered with a problem", "operation", x.name, "code", p.Code, "error", err)
		} else {
			x.Log.DebugContext(ctx, "refused", "operation", x.name, "code", p.Code, "error", err)
		}
	}
	t := x.trace(ctx)
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	body, err := appendAnswer((*buffer)[:0], answer, &t)
	if err != nil {
		x.Log.ErrorContext(ctx, "answer cannot be written", "operation", x.name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return http.StatusInternalServerError
	}
	*buffer = body
	x.headers(w)
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = contentType, noStore
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		x.Log.DebugContext(ctx, "caller went away", "operation", x.name, "error", err)
	}
	if x.Finished != nil && x.name != "" {
		x.Finished(t)
	}
	return status
}

// Refuse answers a stream's request with a problem.
func Refuse(w http.ResponseWriter, p *problem.Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	w.Header()["Content-Type"], w.Header()["Cache-Control"] = typeError, noStore
	w.WriteHeader(p.Status)
	w.Write(body)
}

// Accepted marks an answer as 202: begun, not done.
type Accepted struct{ Answer any }

func (x *exchange) trace(ctx context.Context) trace.Trace {
	return x.Trace(ctx, x.name, x.caller, x.recorder.Hops())
}

// Trace makes the Trace of something that this service did.
func (s *Server) Trace(ctx context.Context, operation string, caller trace.Caller, hops []trace.Hop) trace.Trace {
	now := s.Clock.Now()
	t := trace.Trace{
		Service: s.Service, Cell: s.Cell, At: now.UTC(), TraceID: telemetry.TraceID(ctx),
		Operation: operation, Caller: caller, Hops: hops,
	}
	if mission, ok := s.Clock.Reading().At(now); ok {
		t.MissionTime = &mission
	}
	return t
}

var errNoObject = errors.New("an answer must be a JSON object")

// appendAnswer writes the domain fields, then the trace.
func appendAnswer(b []byte, answer any, t *trace.Trace) ([]byte, error) {
	fields := []byte(`{}`)
	if answer != nil {
		var err error
		if fields, err = json.Marshal(answer); err != nil {
			return nil, err
		}
	}
	if fields[0] != '{' {
		return nil, errNoObject
	}
	b = append(b, fields[:len(fields)-1]...)
	if len(fields) > 2 {
		b = append(b, ',')
	}
	b = append(b, `"trace":`...)
	b, err := t.Append(b)
	if err != nil {
		return nil, err
	}
	return append(b, '}', '\n'), nil
}
