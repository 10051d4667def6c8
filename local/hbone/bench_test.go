//lint:file-ignore SA1019 golang.org/x/net/http2 is the other implementation that this package is compared with.

package hbone_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"artemis.example/local/hbone"
	"golang.org/x/net/http2"
)

// BenchmarkEcho sends 1 KiB through an open tunnel and waits until it is back:
// what each byte of a call waits for four times. The same over golang.org/x/net's
// client and server, with the same TLS, is the reason why this package keeps
// connections of its own; when both cost the same, it has none.
func BenchmarkEcho(b *testing.B) {
	b.Run("hbone", func(b *testing.B) {
		c := hboneTunnel(b)
		b.ReportAllocs()
		for b.Loop() {
			roundTrip(b, c)
		}
	})
	b.Run("x-net-http2", func(b *testing.B) {
		c := standardTunnel(b)
		b.ReportAllocs()
		for b.Loop() {
			roundTrip(b, c)
		}
	})
	// In turns of both, so that what else the machine does meets both alike.
	b.Run("ratio", func(b *testing.B) {
		ours, theirs := hboneTunnel(b), standardTunnel(b)
		turn := func(c io.ReadWriter) float64 {
			start := time.Now()
			for range 500 {
				roundTrip(b, c)
			}
			return float64(time.Since(start))
		}
		var ratios []float64
		for len(ratios) < 15 {
			ratios = append(ratios, turn(ours)/turn(theirs))
		}
		slices.Sort(ratios)
		b.ReportMetric(ratios[len(ratios)/2], "of-x-net-http2")
	})
}

var echoed, returned = bytes.Repeat([]byte("artemis "), 128), make([]byte, 1024)

func roundTrip(b *testing.B, c io.ReadWriter) {
	if _, err := c.Write(echoed); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, returned); err != nil {
		b.Fatal(err)
	}
}

func hboneTunnel(b *testing.B) io.ReadWriter {
	b.Helper()
	r := newRig(b, echo)
	st, err := r.open("10.0.0.1:80")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	return st
}

type tunnel struct {
	io.Reader
	io.Writer
}

func standardTunnel(b *testing.B) io.ReadWriter {
	b.Helper()
	r := newRig(b, func(st *hbone.Stream) { _ = st.Refuse(503) })
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", r.ca.Source(serverID).ServerConfig())
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusOK)
		flush := http.NewResponseController(w)
		_ = flush.Flush()
		for buf := make([]byte, 32<<10); ; {
			n, err := req.Body.Read(buf)
			if n > 0 {
				_, _ = w.Write(buf[:n])
				_ = flush.Flush()
			}
			if err != nil {
				return
			}
		}
	})}
	if err := http2.ConfigureServer(srv, &http2.Server{}); err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	transport := &http2.Transport{TLSClientConfig: r.ca.Source(clientID).ClientConfig(serverID)}
	b.Cleanup(transport.CloseIdleConnections)
	up, in := io.Pipe()
	b.Cleanup(func() { _ = in.Close() })
	req, err := http.NewRequestWithContext(context.Background(), http.MethodConnect, "https://"+ln.Addr().String(), up)
	if err != nil {
		b.Fatal(err)
	}
	req.Host, req.URL.Path = "10.0.0.1:80", ""
	res, err := transport.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = res.Body.Close() })
	return tunnel{res.Body, in}
}
