package wire_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"artemis.example/adversary"
	"artemis.example/adversary/wire"
	"github.com/google/go-cmp/cmp"
)

// listen serves every connection by f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return l.Addr().String()
}

func head(c net.Conn) string {
	var lines []string
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			return strings.Join(lines, "")
		}
		lines = append(lines, line)
	}
}

func attack(to, line string, headers ...string) adversary.Attack {
	return adversary.Attack{Target: "guidance-nav", Means: adversary.HTTP,
		Send: []adversary.Request{{To: to, Line: line, Headers: headers}}}
}

func TestARequestIsSentAsWritten(t *testing.T) {
	got := make(chan string, 1)
	to := listen(t, func(c net.Conn) {
		defer c.Close()
		got <- head(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	wire.Sender{}.Send(t.Context(), attack(to, "GET //a/../%2f;x?y", "x-FORWARDED-client-cert: URI=a"))
	want := "GET //a/../%2f;x?y HTTP/1.1\r\nHost: " + to + "\r\nx-FORWARDED-client-cert: URI=a\r\nConnection: close\r\n"
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("on the wire (-want +got):\n%s", diff)
	}
}

func TestEveryFaultHasItsName(t *testing.T) {
	closed := listen(t, func(c net.Conn) { head(c); c.Close() })
	cut := listen(t, func(c net.Conn) { head(c); c.(*net.TCPConn).SetLinger(0); c.Close() })
	noise := listen(t, func(c net.Conn) { head(c); io.WriteString(c, "SSH-2.0-banner\r\n"); c.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for name, c := range map[string]struct {
		to   string
		want adversary.Fault
	}{
		"closed without an answer": {closed, adversary.Closed},
		"reset":                    {cut, adversary.Reset},
		"nobody listens":           {nobody, adversary.Refused},
		"no HTTP":                  {noise, adversary.Garbled},
		"no such name":             {"nowhere.invalid:80", adversary.NoSuchName},
	} {
		t.Run(name, func(t *testing.T) {
			if e := (wire.Sender{}).Send(t.Context(), attack(c.to, "GET /")); e.Fault != c.want {
				t.Errorf("want %q, have %q: %s", c.want, e.Fault, e.Error)
			}
		})
	}
}

func TestSilenceIsATimeOutWithinTheAttackersPatience(t *testing.T) {
	to := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if e := (wire.Sender{}).Send(ctx, attack(to, "GET /")); e.Fault != adversary.TimedOut {
		t.Errorf("want a time-out, have %q: %s", e.Fault, e.Error)
	}
}

func TestAnAnswerCountsAsTheTargetsOnlyByItsTrace(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		effect bool
	}{
		"the target":     {`{"trace":{"service":"guidance-nav"}}`, true},
		"somebody else":  {`{"trace":{"service":"capcom"}}`, false},
		"somebody's 200": {`ok`, false},
	} {
		to := listen(t, func(conn net.Conn) {
			defer conn.Close()
			head(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+c.body)
		})
		if e := (wire.Sender{}).Send(t.Context(), attack(to, "GET /position")); e.Effect != c.effect ||
			e.Status != 200 {
			t.Errorf("%s: effect %t, status %d", name, e.Effect, e.Status)
		}
	}
}

func TestUnderCooperativeCaptureTheBytesGoThroughThePodsProxy(t *testing.T) {
	got := make(chan [2]string, 1)
	proxy := listen(t, func(c net.Conn) {
		defer c.Close()
		connect := head(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		got <- [2]string{strings.SplitN(connect, "\r\n", 2)[0], strings.SplitN(head(c), "\r\n", 2)[0]}
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\nRBAC: access denied")
	})
	e := wire.Sender{Proxy: wire.ProxyFrom("http://" + proxy)}.Send(t.Context(), attack("guidance-nav.orion:8080",
		"GET //position"))
	want := [2]string{"CONNECT guidance-nav.orion:8080 HTTP/1.1", "GET //position HTTP/1.1"}
	if diff := cmp.Diff(want, <-got); diff != "" || e.Status != 403 {
		t.Errorf("status %d, on the wire (-want +got):\n%s", e.Status, diff)
	}
}

func TestACertificateOfAnotherCAIsRefusedByAnAlert(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, own, own, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		verify error
		want   adversary.Verdict
	}{
		"refused":  {errors.New("unknown authority"), adversary.DeniedL4},
		"believed": {nil, adversary.Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			to := listen(t, func(raw net.Conn) {
				defer raw.Close()
				conn := tls.Server(raw, &tls.Config{
					Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
					NextProtos:   []string{"h2"},
					ClientAuth:   tls.RequireAnyClientCert, VerifyPeerCertificate: func([][]byte,
						[][]*x509.Certificate) error {
						return c.verify
					},
				})
				if conn.HandshakeContext(t.Context()) == nil {
					conn.Write([]byte("settings"))
				}
				io.Copy(io.Discard, raw)
			})
			e := wire.Sender{}.Send(t.Context(), adversary.Attack{Means: adversary.ForeignCA,
				Send: []adversary.Request{{To: to}}})
			if e.Concluded != c.want {
				t.Errorf("want %s, have %+v", c.want, e)
			}
		})
	}
}

func TestAFloodCountsWhatWasAnswered(t *testing.T) {
	to := listen(t, func(c net.Conn) {
		defer c.Close()
		head(c)
		body := `{"trace":{"service":"guidance-nav"}}`
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+body)
	})
	a := attack(to, "GET /position")
	a.Send[0].Times = 40
	e := wire.Sender{}.Send(t.Context(), a)
	if e.Attempts != 40 || e.Answered != 40 || !e.Effect {
		t.Errorf("attempts %d, answered %d, effect %t", e.Attempts, e.Answered, e.Effect)
	}
}
