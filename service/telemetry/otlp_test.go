package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"artemis.example/service/telemetry"
)

func TestSpansReachTheCollectorWhole(t *testing.T) {
	t.Parallel()
	var got tracev1.TracesData
	calls := 0
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if calls == 1 { // asked to come again, it does
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		plain, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%v, encoding %q", err, r.Header.Get("Content-Encoding"))
			return
		}
		body, err := io.ReadAll(plain)
		if err != nil || r.URL.Path != "/base/v1/traces" || r.Header.Get("Api-Key") != "a b" {
			t.Errorf("%v %s %v", err, r.URL, r.Header)
		}
		if err := proto.Unmarshal(body, &got); err != nil {
			t.Errorf("not OTLP: %v", err)
		}
	}))
	defer collector.Close()
	tracing, err := telemetry.NewTracing(t.Context(), map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL + "/base", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
	}, "orion", "guidance-nav", "v1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := tracing.Tracer.Start(t.Context(), "GET /position", trace.WithSpanKind(trace.SpanKindServer))
	_, child := tracing.Tracer.Start(ctx, "inner", trace.WithAttributes(
		attribute.String("s", "text"), attribute.Int("i", -7), attribute.Float64("f", 1.5), attribute.Bool("b", true)))
	child.SetStatus(codes.Error, "upstream-denied")
	child.AddEvent("tried")
	child.End()
	parent.End()
	if err := tracing.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(got.ResourceSpans) != 1 || len(got.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("got %v", &got)
	}
	resource := map[string]string{}
	for _, a := range got.ResourceSpans[0].Resource.Attributes {
		resource[a.Key] = a.Value.GetStringValue()
	}
	if resource["service.name"] != "guidance-nav" || resource["service.namespace"] != "orion" ||
		resource["service.version"] != "v1" {
		t.Errorf("resource %v", resource)
	}
	spans := got.ResourceSpans[0].ScopeSpans[0].Spans
	inner, outer := spans[0], spans[1]
	if outer.Name != "GET /position" || outer.Kind != tracev1.Span_SPAN_KIND_SERVER || len(outer.ParentSpanId) != 0 {
		t.Errorf("outer: %v", outer)
	}
	if string(inner.ParentSpanId) != string(outer.SpanId) || string(inner.TraceId) != string(outer.TraceId) ||
		len(inner.TraceId) != 16 ||
		inner.Kind != tracev1.Span_SPAN_KIND_INTERNAL || inner.Status.Code != tracev1.Status_STATUS_CODE_ERROR ||
		inner.Status.Message != "upstream-denied" ||
		inner.EndTimeUnixNano < inner.StartTimeUnixNano || len(inner.Events) != 1 || inner.Events[0].Name != "tried" ||
		inner.Flags != 0x101 {
		t.Errorf("inner: %v", inner)
	}
	values := map[string]any{}
	for _, a := range inner.Attributes {
		switch a.Key {
		case "s":
			values["s"] = a.Value.GetStringValue()
		case "i":
			values["i"] = a.Value.GetIntValue()
		case "f":
			values["f"] = a.Value.GetDoubleValue()
		case "b":
			values["b"] = a.Value.GetBoolValue()
		}
	}
	if values["s"] != "text" || values["i"] != int64(-7) || values["f"] != 1.5 || values["b"] != true {
		t.Errorf("attributes %v", values)
	}
}

func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		on   bool
		fail string
	}{
		{env: map[string]string{}},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}},
		{env: map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "jaeger"}, fail: "OTEL_TRACES_EXPORTER"},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318"}, fail: "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			fail: "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
			fail: "OTEL_EXPORTER_OTLP_COMPRESSION"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/nowhere"},
			fail: "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/nowhere"},
			fail: "OTEL_EXPORTER_OTLP_CLIENT_KEY"},
	} {
		tracing, err := telemetry.NewTracing(t.Context(), c.env, "orion", "guidance-nav", "v1")
		switch {
		case c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)):
			t.Errorf("%v: %v does not name %s", c.env, err, c.fail)
		case c.fail == "" && (err != nil || tracing.On() != c.on):
			t.Errorf("%v: %v", c.env, err)
		}
		if err == nil {
			if id := telemetry.TraceID(tracing.Root(t.Context())); !c.on && len(id) != 32 {
				t.Errorf("%v: trace ID %q", c.env, id)
			}
			_ = tracing.Stop(t.Context())
		}
	}
}

func TestALogLineNamesItsTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelInfo, "orion", "guidance-nav")
	tracing, err := telemetry.NewTracing(t.Context(), nil, "orion", "guidance-nav", "v1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := tracing.Root(t.Context())
	log.With("a", 1).InfoContext(ctx, "turned")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["traceId"] != telemetry.TraceID(ctx) || line["service"] != "guidance-nav" || line["cell"] != "orion" ||
		line["msg"] != "turned" {
		t.Errorf("line %v", line)
	}
}
