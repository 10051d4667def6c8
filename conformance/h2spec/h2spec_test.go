// Package h2spec holds HBONE's server against h2spec.
package h2spec

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"artemis.example/conformance/figures"
	"artemis.example/local/hbone"
	"artemis.example/local/identity"
)

// cannot are the cases that a peer which serves CONNECT alone cannot have, with the
// reason.
var cannot = map[string]string{
	"generic/2/2 Sends a WINDOW_UPDATE frame on half-closed (remote) stream": "asks for an answer with a body; what " +
		"is no CONNECT gets 400 and nothing else",
	"generic/2/3 Sends a PRIORITY frame on half-closed (remote) stream": "the same",
	"http2/4.2/3 Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE": "its frame exceeds the " +
		"16 KiB that HTTP/2 begins with, not what we offer",
	"http2/8.1.2.6/1 Sends a HEADERS frame with the \"content-length\" header field which does not equal the DATA " +
		"frame payload length": "" +
		"a tunnel's bytes have no length, and what is no CONNECT is answered before it has any",
	"http2/8.1.2.6/2 Sends a HEADERS frame with the \"content-length\" header field which does not equal the sum of " +
		"the multiple DATA frames payload length": "the same",
}

// races are the cases that may go either way: their streams are no CONNECTs, are
// answered 400 at once, and are over before what the case is about, or not. For
// tunnels local/hbone has both.
var races = []string{
	"http2/5.1.2/1 Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
	"http2/6.9.1/3 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
}

// TestHBONEAnswersAsHTTP2Demands runs every case of h2spec, also the strict ones,
// through TLS with a valid certificate.
func TestHBONEAnswersAsHTTP2Demands(t *testing.T) {
	c := &config.Config{Host: "127.0.0.1", Port: serve(t), Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		Strict: true}
	silence(t)
	failed := map[string]string{}
	passed, skipped := 0, 0
	var count func(g *spec.TestGroup)
	count = func(g *spec.TestGroup) {
		for i, tc := range slices.Concat(g.Tests, g.StrictTests) {
			id := fmt.Sprintf("%s/%d %s", g.ID(), i+1, tc.Desc)
			switch {
			case tc.Result == nil || tc.Result.Skipped:
				skipped++
			case tc.Result.Failed && !slices.Contains(races, id):
				failed[id] = strings.Join(strings.Fields(fmt.Sprint(tc.Result.Error)), " ")
			default:
				passed++
			}
		}
		for _, sub := range g.Groups {
			count(sub)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		g.Test(c)
		count(g)
	}
	for id, why := range failed {
		if cannot[id] == "" {
			t.Errorf("%s: %s", id, why)
		}
	}
	for id := range cannot {
		if _, ok := failed[id]; !ok {
			t.Errorf("%s passes, or is no case, and is listed as one that cannot", id)
		}
	}
	t.Logf("%d passed, %d cannot, %d skipped by h2spec", passed, len(failed), skipped)
	if diff := cmp.Diff(146, passed+len(failed)+skipped); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
	if err := figures.Keep(figures.Figure{Order: 22, What: "HBONE's server", Engine: "h2spec v2.2.1",
		Comparisons: passed + len(failed), Disagreements: len(failed) - len(cannot),
		Notes: fmt.Sprintf("%d cases that a peer which serves CONNECT alone cannot have", len(cannot))}); err != nil {
		t.Error(err)
	}
}

// silence keeps h2spec's own report out of the test's output.
func silence(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = stdout
		_ = null.Close()
	})
}

// serve runs an HBONE server and, before it, what speaks TLS for h2spec, which can
// show no certificate. It returns the port.
func serve(t *testing.T) int {
	t.Helper()
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := spiffeid.RequireFromString("spiffe://cluster.local/ns/b/sa/server")
	client := spiffeid.RequireFromString("spiffe://cluster.local/ns/a/sa/client")
	srv := &hbone.Server{Identity: ca.Source(server), Handle: func(st *hbone.Stream) {
		if st.Malformed() {
			_, _ = io.Copy(io.Discard, st) // or many a stream would be over before what its case is about
			_ = st.Refuse(400)
			return
		}
		_ = st.Accept()
		_, _ = io.Copy(st, st)
		_ = st.CloseWrite()
	}}
	t.Cleanup(srv.Close)
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(inner) }()
	outer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outer.Close() })
	go func() {
		for {
			c, err := outer.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s, err := tls.Dial("tcp4", inner.Addr().String(), ca.Source(client).ClientConfig(server))
				if err != nil {
					return
				}
				defer s.Close()
				go func() {
					_, _ = io.Copy(s, c)
					_ = s.CloseWrite()
				}()
				_, _ = io.Copy(c, s)
			}()
		}
	}()
	return outer.Addr().(*net.TCPAddr).Port
}
