package proxy

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"artemis.example/local/capture"
)

// TestNodesSideBySideShareNoPort has two nodes look for ports from the same place
// on, before any program listens, as two suites that start at once do.
func TestNodesSideBySideShareNoPort(t *testing.T) {
	spec := capture.PodSpec{Namespace: "orion", Name: "x", IP: netip.MustParseAddr("10.244.0.7"),
		Ports: []uint16{8080, 9090, 8081}}
	owner := map[uint16]int{}
	var first capture.Pod
	for i := range 2 {
		n, err := NewNode()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		n.nextPort = firstPort
		pod, err := n.AddPod(spec)
		if err != nil {
			t.Fatal(err)
		}
		for named, r := range pod.(*Pod).ports {
			if other, taken := owner[r.port()]; taken {
				t.Errorf("node %d has port %d for %d, which node %d has", i, r.port(), named, other)
			}
			owner[r.port()] = i
		}
		if i == 0 {
			first = pod
		}
	}
	if len(owner) != 6 {
		t.Errorf("%d ports, want 6", len(owner))
	}
	port := first.(*Pod).ports[8080].port()
	if _, err := reserve(port); err == nil {
		t.Errorf("port %d is reserved twice", port)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := reserve(port)
	if err != nil {
		t.Fatalf("a port that was given back: %v", err)
	}
	_ = r.Close()
}

// TestStrangersWaitAndAreTurnedAway connects to the port behind an address of the pod
// network as another program of this machine would: nobody hears of it, and who is
// of the node does not wait behind it.
func TestStrangersWaitAndAreTurnedAway(t *testing.T) {
	t.Parallel()
	n, err := NewNode()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	to := netip.MustParseAddrPort("10.244.0.8:15008")
	ln, err := n.Listen(to)
	if err != nil {
		t.Fatal(err)
	}
	var strangers []net.Conn
	for range unknown / 2 {
		c, err := net.Dial("tcp4", ln.(*listener).port.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		strangers = append(strangers, c)
	}
	for range 3 {
		near, err := n.Dial(t.Context(), netip.MustParseAddr("10.244.0.7"), to)
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		if got, want := far.RemoteAddr().String(), near.LocalAddr().String(); got != want {
			t.Errorf("accepted one from %s, want %s", got, want)
		}
	}
	for _, c := range strangers {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a stranger read %v, want the end", err)
		}
	}
}
