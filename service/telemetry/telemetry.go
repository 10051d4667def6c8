// Package telemetry is what a service tells about itself: spans by OpenTelemetry
// when the standard OTEL_* variables ask for them, Prometheus metrics, and JSON
// logs that carry the trace. What it measures belongs to the packages that know.
package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Tracing makes spans, or passes only their identifiers on when it is off: a
// trace ID goes through every hop and into every answer and log line anyway.
type Tracing struct {
	Tracer trace.Tracer
	on     bool
	stop   func(context.Context) error
}

// Propagator is the W3C Trace Context, on every hop.
func Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// NewTracing sets tracing up as the OTEL_* variables say: off unless an endpoint
// or an exporter is named. Only the otlp exporter over HTTP is known.
func NewTracing(ctx context.Context, environ map[string]string, cell, service, version string) (*Tracing, error) {
	off := &Tracing{Tracer: noop.NewTracerProvider().Tracer("artemis"),
		stop: func(context.Context) error { return nil }}
	if strings.EqualFold(environ["OTEL_SDK_DISABLED"], "true") {
		return off, nil
	}
	switch exporter := environ["OTEL_TRACES_EXPORTER"]; exporter {
	case "none":
		return off, nil
	case "":
		if environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "" && environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "" {
			return off, nil
		}
	case "otlp":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: want otlp or none, have %q", exporter)
	}
	client, err := newOTLP(environ)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("start the exporter of spans: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", service),
			attribute.String("service.namespace", cell),
			attribute.String("service.version", version),
		),
		resource.WithFromEnv(),
		resource.WithTelemetrySDK(),
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	batching, err := batchOptions(environ)
	if err != nil {
		return nil, err
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter, batching...), sdk.WithResource(described))
	return &Tracing{Tracer: provider.Tracer("artemis"), on: true, stop: provider.Shutdown}, nil
}

// batchOptions reads the OTEL_BSP_* variables
// (opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables).
func batchOptions(environ map[string]string) ([]sdk.BatchSpanProcessorOption, error) {
	var options []sdk.BatchSpanProcessorOption
	for name, option := range map[string]func(n int) sdk.BatchSpanProcessorOption{
		"OTEL_BSP_SCHEDULE_DELAY": func(n int) sdk.BatchSpanProcessorOption {
			return sdk.WithBatchTimeout(time.Duration(n) * time.Millisecond)
		},
		"OTEL_BSP_EXPORT_TIMEOUT": func(n int) sdk.BatchSpanProcessorOption {
			return sdk.WithExportTimeout(time.Duration(n) * time.Millisecond)
		},
		"OTEL_BSP_MAX_QUEUE_SIZE":        sdk.WithMaxQueueSize,
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": sdk.WithMaxExportBatchSize,
	} {
		v := environ[name]
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s: want a number above 0, have %q", name, v)
		}
		options = append(options, option(n))
	}
	return options, nil
}

// On reports whether spans are made.
func (t *Tracing) On() bool { return t.on }

// Stop sends what is left and ends tracing.
func (t *Tracing) Stop(ctx context.Context) error { return t.stop(ctx) }

// Root returns a context with a trace ID if it has none yet. With tracing on the
// first span makes it.
func (t *Tracing) Root(ctx context.Context) context.Context {
	if t.on || trace.SpanContextFromContext(ctx).HasTraceID() {
		return ctx
	}
	var id trace.TraceID
	var span trace.SpanID
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64()|1)
	binary.LittleEndian.PutUint64(span[:], rand.Uint64()|1)
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span,
		Remote: true}))
}

// TraceID returns the context's trace ID in hex, or nothing.
func TraceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// NewLogger makes a JSON logger whose lines name the service and, where the
// context has one, the trace.
func NewLogger(w io.Writer, level slog.Leveler, cell, service string) *slog.Logger {
	return slog.New(traced{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})}).With("service", service, "cell",
		cell)
}

type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		r.AddAttrs(slog.String("traceId", sc.TraceID().String()), slog.String("spanId", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }
func (h traced) WithGroup(name string) slog.Handler       { return traced{h.Handler.WithGroup(name)} }
