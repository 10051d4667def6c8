package peer_test

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"artemis.example/service/problem"
)

// FuzzAnswer has a peer answer with arbitrary bytes: the call ends, as an answer
// of that peer or as a problem that names it.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 49\r\n\r\n" + `{"status":"heard","trace":{"service":"comms-system"}}`,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1/\r\n\r\n",
		"HTTP/1.1 200 OK\r\nArtemis-Clock: liftoff=2199-01-01T00:00:00Z;scale=1\r\n\r\n" +
			`{"trace":{"service":"comms-system"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						_, _ = c.Write(answer)
					}
				}()
			}
		}()
		client, clock := capcom(t, "http://"+ln.Addr().String(), 2*time.Second)
		began := time.Now()
		var out struct{ Status string }
		err = client.Post(t.Context(), "comms-system", "/uplink", struct{}{}, &out)
		var p *problem.Problem
		switch {
		case time.Since(began) > time.Minute:
			t.Fatalf("hangs over %q", answer)
		case err == nil && !bytes.Contains(answer, []byte("comms-system")):
			t.Fatalf("%q counts as an answer of comms-system", answer)
		case err != nil && !errors.As(err, &p):
			t.Fatalf("%q: %v is no problem", answer, err)
		case err != nil && p.Peer == "":
			t.Fatalf("%q: %v names nobody", answer, err)
		case clock.Reading().LiftOff.After(time.Now().Add(time.Minute)):
			t.Fatalf("%q: the lift-off is %v", answer, clock.Reading())
		}
	})
}
