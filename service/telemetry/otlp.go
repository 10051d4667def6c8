package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// otlp sends spans as OTLP over HTTP with protobuf bodies
// (opentelemetry.io/docs/specs/otlp, section OTLP/HTTP). OpenTelemetry's own
// exporter does the same, but links gRPC into the binary: a third of its size
// and of its memory, eighteen times over.
type otlp struct {
	endpoint string
	headers  http.Header
	timeout  time.Duration
	client   *http.Client
}

// newOTLP reads the OTEL_EXPORTER_OTLP_* variables
// (opentelemetry.io/docs/specs/otel/protocol/exporter): those for traces win.
func newOTLP(environ map[string]string) (*otlp, error) {
	setting := func(name string) (variable, value string) {
		if v := environ["OTEL_EXPORTER_OTLP_TRACES_"+name]; v != "" {
			return "OTEL_EXPORTER_OTLP_TRACES_" + name, v
		}
		return "OTEL_EXPORTER_OTLP_" + name, environ["OTEL_EXPORTER_OTLP_"+name]
	}
	o := &otlp{endpoint: "http://localhost:4318/v1/traces", headers: http.Header{}, timeout: 10 * time.Second, client: &http.Client{}}
	if variable, v := setting("PROTOCOL"); v != "" && v != "http/protobuf" {
		return nil, fmt.Errorf("%s: want http/protobuf, have %q", variable, v)
	}
	if variable, v := setting("ENDPOINT"); v != "" {
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("%s: want http://HOST:PORT, have %q", variable, v)
		}
		if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
			u = u.JoinPath("v1/traces")
		}
		o.endpoint = u.String()
	}
	if variable, v := setting("TIMEOUT"); v != "" {
		ms, err := strconv.Atoi(v)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s: want milliseconds, have %q", variable, v)
		}
		o.timeout = time.Duration(ms) * time.Millisecond
	}
	if variable, v := setting("HEADERS"); v != "" {
		for pair := range strings.SplitSeq(v, ",") {
			key, value, ok := strings.Cut(pair, "=")
			if value, err := url.PathUnescape(strings.TrimSpace(value)); ok && err == nil {
				o.headers.Set(strings.TrimSpace(key), value)
			} else {
				return nil, fmt.Errorf("%s: want KEY=VALUE,KEY=VALUE", variable)
			}
		}
	}
	o.headers.Set("Content-Type", "application/x-protobuf")
	return o, nil
}

// ExportSpans sends one batch; while the collector asks for it, again.
func (o *otlp) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	body := request(spans)
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		again, err := o.send(ctx, body)
		if err == nil || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (o *otlp) send(ctx context.Context, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.endpoint, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("send spans: %w", err)
	}
	r.Header = o.headers.Clone()
	response, err := o.client.Do(r)
	if err != nil {
		return true, fmt.Errorf("send spans: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	switch status := response.StatusCode; status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, fmt.Errorf("send spans: the collector answered %d", status)
	default:
		if status/100 != 2 {
			return false, fmt.Errorf("send spans: the collector answered %d", status)
		}
		return false, nil
	}
}

// Shutdown lets go of connections.
func (o *otlp) Shutdown(context.Context) error { o.client.CloseIdleConnections(); return nil }

// request writes an ExportTraceServiceRequest. The numbers are the fields' of
// opentelemetry/proto/trace/v1/trace.proto, resource.proto and common.proto.
// All spans of a process have one resource and one scope.
func request(spans []sdk.ReadOnlySpan) []byte {
	first := spans[0]
	resource := attributes(nil, 1, first.Resource().Attributes())
	scope := text(nil, 1, first.InstrumentationScope().Name)
	scopeSpans := message(nil, 1, scope)
	for _, s := range spans {
		scopeSpans = message(scopeSpans, 2, span(s))
	}
	resourceSpans := message(nil, 1, resource)
	resourceSpans = message(resourceSpans, 2, scopeSpans)
	return message(nil, 1, resourceSpans)
}

func span(s sdk.ReadOnlySpan) []byte {
	context, parent := s.SpanContext(), s.Parent()
	traceID, spanID := context.TraceID(), context.SpanID()
	b := message(nil, 1, traceID[:])
	b = message(b, 2, spanID[:])
	b = text(b, 3, context.TraceState().String())
	if parent.HasSpanID() {
		id := parent.SpanID()
		b = message(b, 4, id[:])
	}
	b = text(b, 5, s.Name())
	// The SDK's SpanKind counts as the protocol's does.
	b = number(b, 6, uint64(s.SpanKind()))
	b = nanos(b, 7, s.StartTime())
	b = nanos(b, 8, s.EndTime())
	b = attributes(b, 9, s.Attributes())
	for _, e := range s.Events() {
		event := nanos(nil, 1, e.Time)
		event = text(event, 2, e.Name)
		b = message(b, 11, attributes(event, 3, e.Attributes))
	}
	if s.Status().Code != codes.Unset {
		status := text(nil, 2, s.Status().Description)
		code := uint64(1) // STATUS_CODE_OK
		if s.Status().Code == codes.Error {
			code = 2
		}
		b = message(b, 15, number(status, 3, code))
	}
	flags := uint32(context.TraceFlags()) | 0x100 // has_is_remote
	if parent.IsRemote() {
		flags |= 0x200
	}
	b = protowire.AppendTag(b, 16, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, flags)
}

func attributes(b []byte, field protowire.Number, all []attribute.KeyValue) []byte {
	for _, kv := range all {
		pair := text(nil, 1, string(kv.Key))
		b = message(b, field, message(pair, 2, value(kv.Value)))
	}
	return b
}

func value(v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		b := protowire.AppendTag(nil, 2, protowire.VarintType)
		return protowire.AppendVarint(b, protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		b := protowire.AppendTag(nil, 3, protowire.VarintType)
		return protowire.AppendVarint(b, uint64(v.AsInt64()))
	case attribute.FLOAT64:
		b := protowire.AppendTag(nil, 4, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(v.AsFloat64()))
	default:
		b := protowire.AppendTag(nil, 1, protowire.BytesType)
		return protowire.AppendString(b, v.String())
	}
}

func message(b []byte, field protowire.Number, content []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, content)
}

func text(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func number(b []byte, field protowire.Number, n uint64) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, n)
}

func nanos(b []byte, field protowire.Number, at time.Time) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, uint64(at.UnixNano()))
}
