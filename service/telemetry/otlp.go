package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlp sends spans as OTLP over HTTP with protobuf bodies
// (opentelemetry.io/docs/specs/otlp, section OTLP/HTTP), as the client of
// OpenTelemetry's exporter. Their own client for HTTP links gRPC into the binary: a
// third of its size and of its memory, eighteen times over.
type otlp struct {
	endpoint string
	headers  http.Header
	timeout  time.Duration
	zip      bool
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
	o := &otlp{endpoint: "http://localhost:4318/v1/traces", headers: http.Header{}, timeout: 10 * time.Second,
		client: &http.Client{}}
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
	switch variable, v := setting("COMPRESSION"); v {
	case "", "none":
	case "gzip":
		o.zip = true
		o.headers.Set("Content-Encoding", "gzip")
	default:
		return nil, fmt.Errorf("%s: want gzip or none, have %q", variable, v)
	}
	if variable, file := setting("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate", variable, file)
		}
		o.client.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	for _, name := range []string{"CLIENT_KEY", "CLIENT_CERTIFICATE"} {
		if variable, v := setting(name); v != "" {
			return nil, fmt.Errorf("%s: a client's certificate is not supported here", variable)
		}
	}
	o.headers.Set("Content-Type", "application/x-protobuf")
	return o, nil
}

func zipped(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// Start does nothing: a connection is made when there are spans to send.
func (o *otlp) Start(context.Context) error { return nil }

// Stop lets go of connections.
func (o *otlp) Stop(context.Context) error { o.client.CloseIdleConnections(); return nil }

// UploadTraces sends one batch; while the collector asks for it, again. The
// ExportTraceServiceRequest of the protocol is a TracesData on the wire.
func (o *otlp) UploadTraces(ctx context.Context, spans []*tracev1.ResourceSpans) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	body, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: spans})
	if err == nil && o.zip {
		body, err = zipped(body)
	}
	if err != nil {
		return fmt.Errorf("write spans: %w", err)
	}
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
