package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/local/capture"
	"artemis.example/local/capture/proxy"
)

// FuzzOutbound sends arbitrary bytes to a pod's outbound listener: they open no
// way but to destinations that the pod named, the connection ends, and another
// program of the pod is served afterwards.
func FuzzOutbound(f *testing.F) {
	for _, s := range []string{
		"GET http://guidance-nav:8080/position HTTP/1.1\r\nHost: guidance-nav:8080\r\n\r\n",
		"POST http://guidance-nav:8080/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"CONNECT guidance-nav:8080 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://guidance-nav:8080\\@elsewhere/ HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\nConnection: Upgrade\r\n\r\nz",
		"GET http://guidance-nav:8080/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	} {
		f.Add([]byte(s))
	}
	n, err := proxy.NewNode()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	p, err := n.AddPod(capture.PodSpec{
		Namespace: "orion", Name: "comms-system", IP: commsIP, Ports: []uint16{8080},
		Resolve: func(name string) ([]netip.Addr, bool) { return []netip.Addr{serviceIP}, name == "guidance-nav" },
	})
	if err != nil {
		f.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[netip.AddrPort]bool{}
	go func() {
		for {
			c, err := p.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			asked[c.Dst] = true
			mu.Unlock()
			go func() { // it answers one request as a program does, and goes
				defer c.Close()
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(make([]byte, 4<<10)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
				}
			}()
		}
	}()
	address := strings.TrimPrefix(environ(p, "HTTP_PROXY"), "http://")
	ask := func(b []byte) []byte {
		c, err := net.Dial("tcp", address)
		if err != nil {
			f.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		answer, err := io.ReadAll(c)
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			return []byte("hangs")
		}
		return answer
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		mu.Lock()
		clear(asked)
		mu.Unlock()
		if string(ask(b)) == "hangs" {
			t.Fatalf("hangs over %q", b)
		}
		mu.Lock()
		for dst := range asked {
			ip := dst.Addr().String()
			if dst.Addr() != serviceIP && !bytes.Contains(b, []byte(ip)) && !dst.Addr().Is6() {
				t.Errorf("%q leads to %s", b, dst)
			}
		}
		mu.Unlock()
		if got := ask([]byte("GET http://guidance-nav:8080/ HTTP/1.1\r\nHost: x\r\n\r\n")); !bytes.Contains(got,
			[]byte(http.StatusText(http.StatusOK))) {
			t.Fatalf("another program got %q", got)
		}
	})
}
