package mesh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"artemis.example/local/hbone"
	"artemis.example/local/identity"
	"artemis.example/local/identity/identitytest"
	"artemis.example/policy/decision"
	"artemis.example/policy/topology"
	"golang.org/x/net/http2"
)

// ports are the mesh ports that a hostile peer may reach: a pod's and a
// waypoint's.
func meshPorts(r *rig) map[string]netip.AddrPort {
	return map[string]netip.AddrPort{
		"pod": netip.AddrPortFrom(r.world.Pod(app("orion", "guidance-nav")).IP, topology.HBONEPort),
		"waypoint": netip.AddrPortFrom(r.world.WaypointGateway(topology.Ref{Namespace: orion, Name: "waypoint"}).Pod.IP,
			topology.HBONEPort),
	}
}

func (r *rig) hostile(to netip.AddrPort) net.Conn {
	r.t.Helper()
	c, err := r.node.Dial(context.Background(), r.world.Pod(rogue("dark-side")).IP, to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

// wellServed fails the test unless a legitimate caller is still answered.
func (r *rig) wellServed() {
	r.t.Helper()
	_, seen := r.mesh.Decisions().Since(0, 0)
	if got := r.call(app("orion", "comms-system"), "GET", endpoint(orion, "guidance-nav", "/position")); got != "200" {
		since, _ := r.mesh.Decisions().Since(seen, 0)
		r.t.Errorf("the legitimate caller got %s; decided since it asked: %+v", got, since)
	}
}

func TestPeersThatProveNothingAreRefused(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	now := time.Now()
	comms := "spiffe://cluster.local/ns/" + orion + "/sa/comms-system"
	uri := func(s ...string) (out []*url.URL) {
		for _, x := range s {
			u, err := url.Parse(x)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, u)
		}
		return out
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	good := x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), URIs: uri(comms),
		ExtKeyUsage: both, KeyUsage: x509.KeyUsageDigitalSignature}
	with := func(change func(*x509.Certificate)) x509.Certificate { c := good; change(&c); return c }
	foreign := identitytest.New(t)
	cases := []struct {
		name   string
		config *tls.Config
	}{
		{"no certificate", identitytest.Client(nil)},
		{"certificate of another CA", identitytest.Client(identitytest.Sign(t, foreign, good))},
		{"expired", identitytest.Client(identitytest.Sign(t, r.ca,
			with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })))},
		{"not yet valid", identitytest.Client(identitytest.Sign(t, r.ca,
			with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })))},
		{"another trust domain", identitytest.Client(identitytest.Sign(t, r.ca,
			with(func(c *x509.Certificate) { c.URIs = uri("spiffe://elsewhere.example/ns/a/sa/b") })))},
		{"no SAN", identitytest.Client(identitytest.Sign(t, r.ca, with(func(c *x509.Certificate) { c.URIs = nil })))},
		{"a DNS name only", identitytest.Client(identitytest.Sign(t, r.ca, with(func(c *x509.Certificate) {
			c.URIs, c.DNSNames = nil, []string{"guidance-nav"}
		})))},
		{"two SANs", identitytest.Client(identitytest.Sign(t, r.ca, with(func(c *x509.Certificate) {
			c.URIs = uri(comms, "spiffe://cluster.local/ns/x/sa/y")
		})))},
		{"a URI that is no SPIFFE ID", identitytest.Client(identitytest.Sign(t, r.ca,
			with(func(c *x509.Certificate) { c.URIs = uri("https://cluster.local/ns/a/sa/b") })))},
		{"for servers only", identitytest.Client(identitytest.Sign(t, r.ca, with(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})))},
		{"a CA's own certificate", identitytest.Client(identitytest.Sign(t, r.ca, with(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		})))},
		{"TLS 1.2", func() *tls.Config {
			c := identitytest.Client(identitytest.Sign(t, r.ca, good))
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}()},
		{"HTTP/1.1 only", func() *tls.Config {
			c := identitytest.Client(identitytest.Sign(t, r.ca, good))
			c.NextProtos = []string{"http/1.1"}
			return c
		}()},
	}
	for port, addr := range meshPorts(r) {
		for _, c := range cases {
			t.Run(port+"/"+c.name, func(t *testing.T) {
				r.records()
				nc := tls.Client(r.hostile(addr), c.config)
				_, err := nc.Write([]byte(http2.ClientPreface))
				if err == nil {
					var n int
					n, err = nc.Read(make([]byte, 1))
					if err == nil {
						t.Errorf("it was answered with %d bytes", n)
					}
				}
				r.awaitRecord("the refusal", func(rec decision.Record) bool {
					return rec.Verdict == decision.DeniedL4 && rec.Layer == 2 && rec.From.Identity == ""
				})
			})
		}
		t.Run(port+"/no TLS", func(t *testing.T) {
			r.records()
			c := r.hostile(addr)
			if _, err := io.WriteString(c, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c); strings.HasPrefix(string(b), "HTTP/1.1 2") {
				t.Errorf("answered %q, %v", b, err)
			}
			r.awaitRecord("the refusal", func(rec decision.Record) bool { return rec.Verdict == decision.DeniedL4 })
		})
	}
	t.Run("the control of these refusals: the good certificate is answered", func(t *testing.T) {
		for port, addr := range meshPorts(r) {
			nc := tls.Client(r.hostile(addr), identitytest.Client(identitytest.Sign(t, r.ca, good)))
			if _, err := nc.Write([]byte(http2.ClientPreface)); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				t.Errorf("%s: %v", port, err)
			}
		}
	})
	r.wellServed()
}

// tunnel opens a tunnel as an identity that the CA vouches for, past every node
// proxy.
func (r *rig) tunnel(as topology.Ref, to netip.AddrPort, peer topology.Ref, authority string) (*hbone.Stream, error) {
	r.t.Helper()
	pool := hbone.NewPool(r.node.Dial)
	r.t.Cleanup(pool.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p := r.world.Pod(as)
	return pool.Open(ctx, hbone.Target{Source: r.ca.Source(p.ID), SourceIP: p.IP, Address: to,
		Peer: r.world.Pod(peer).ID}, authority, `for="10.244.0.1:1";host=x`)
}

func TestTunnelsToElsewhereAreRefused(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	nav, way := app("orion", "guidance-nav"), topology.Ref{Namespace: orion, Name: "waypoint"}
	navIP := r.world.Pod(nav).IP
	other := r.world.Pod(app("orion", "life-support")).IP
	ports := meshPorts(r)
	for _, authority := range []string{
		other.String() + ":8080", "127.0.0.1:22", "169.254.169.254:80", navIP.String(), "localhost:8080",
		navIP.String() + ":0",
		navIP.String() + ":15008", "[::1]:8080", "guidance-nav." + orion + ":8080", navIP.String() + ":99999",
	} {
		t.Run("pod/"+authority, func(t *testing.T) {
			_, err := r.tunnel(way, ports["pod"], nav, authority)
			var status *hbone.StatusError
			if !errors.As(err, &status) || status.Code != 400 {
				t.Errorf("got %v, want status 400", err)
			}
		})
	}
	t.Run("pod/an identity that the L4 policy does not admit", func(t *testing.T) {
		_, err := r.tunnel(rogue(orion), ports["pod"], nav, navIP.String()+":8080")
		var status *hbone.StatusError
		if !errors.As(err, &status) || status.Code != 401 {
			t.Errorf("got %v, want status 401", err)
		}
	})
	t.Run("pod/a port on which nobody listens", func(t *testing.T) {
		_, err := r.tunnel(way, ports["pod"], nav, navIP.String()+":1234")
		var status *hbone.StatusError
		if !errors.As(err, &status) || status.Code != 503 {
			t.Errorf("got %v, want status 503", err)
		}
	})
	// A waypoint answers first and has no chain afterwards, as Envoy does.
	houstonVIP := r.world.Service(topology.Ref{Namespace: houston, Name: "capcom"}).VIP
	for _, authority := range []string{navIP.String() + ":8080", "127.0.0.1:22", houstonVIP.String() + ":8080",
		netip.AddrPortFrom(r.world.Service(topology.Ref{Namespace: orion, Name: "guidance-nav"}).VIP, 9090).String()} {
		t.Run("waypoint/"+authority, func(t *testing.T) {
			st, err := r.tunnel(app("orion", "comms-system"), ports["waypoint"], way, authority)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(st, "GET /position HTTP/1.1\r\nHost: x\r\n\r\n")
			if b, err := io.ReadAll(st); len(b) > 0 || !errors.Is(err, hbone.ErrReset) {
				t.Errorf("got %q, %v; want a reset", b, err)
			}
		})
	}
	r.wellServed()
}

func TestAServerThatIsNotWhoItShouldBeIsNotTalkedTo(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	_, err := r.tunnel(app("orion", "comms-system"), meshPorts(r)["pod"], app("orion", "life-support"), "10.0.0.1:1")
	if !errors.Is(err, identity.ErrPeer) {
		t.Errorf("got %v, want %v", err, identity.ErrPeer)
	}
}

func TestMessagesThatTwoReadersCouldReadDifferentlyAreRefused(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	const smuggled = "GET /maneuver HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct{ name, request, want string }{
		{"content-length and chunks", "GET /position HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: " +
			"chunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
		{"two lengths", "GET /position HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n" +
			smuggled, "400"},
		{"a list of lengths", "GET /position HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n", "400"},
		{"a signed length", "GET /position HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", "400"},
		{"an obscured coding", "GET /position HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", "501"},
		{"two codings", "GET /position HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: " +
			"identity\r\n\r\n", "501"},
		{"chunks in HTTP/1.0", "GET /position HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"426"},
		{"a space before the colon", "GET /position HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd", "400"},
		{"no host", "GET /position HTTP/1.1\r\n\r\n", "400"},
		{"the length made hop by hop", "POST /position HTTP/1.1\r\nHost: x\r\nConnection: " +
			"content-length\r\nContent-Length: 40\r\n\r\n" + smuggled, "400"},
		{"another version", "GET /position HTTP/3.0\r\nHost: x\r\n\r\n", "426"},
		{"a NUL", "GET /position HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", "400"},
		{"a head that is too large", "GET /position HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 70<<10) +
			"\r\n\r\n", "431"},
		{"too many headers", "GET /position HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 300) + "\r\n", "431"},
		{"CONNECT inside", "CONNECT 10.244.0.1:22 HTTP/1.1\r\nHost: 10.244.0.1:22\r\n\r\n", "403"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, _ := r.raw(app("orion", "comms-system"), "guidance-nav."+orion+":8080", c.request); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	r.wellServed()
}

// TestIdleCrowdsHarmNobodyElse holds a thousand connections of each idle kind
// open and asks whether the legitimate caller is served.
func TestIdleCrowdsHarmNobodyElse(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	const crowd = 1000
	for port, addr := range meshPorts(r) {
		t.Run("strangers on the port of the "+port, func(t *testing.T) {
			held := make([]net.Conn, 0, crowd)
			defer func() {
				for _, c := range held {
					c.Close()
				}
			}()
			for range crowd {
				held = append(held, r.hostile(addr))
			}
			r.wellServed()
			proven, pending := r.mesh.serverAt(addr).Connections()
			if pending > 200 || proven > 600 {
				t.Errorf("%d proven and %d other connections are held", proven, pending)
			}
		})
	}
	t.Run("an adversary of the Cell through its node proxy", func(t *testing.T) {
		to := netip.AddrPortFrom(r.world.Service(topology.Ref{Namespace: orion, Name: "guidance-nav"}).VIP, 8080)
		held := 0
		for range crowd {
			c, err := r.dial(rogue(orion), to)
			if err != nil { // some of so many may be turned away at once
				continue
			}
			held++
			defer c.Close()
			_, _ = io.WriteString(c, "GET /posi")
		}
		if held < crowd/2 {
			t.Errorf("only %d of %d connections could be opened: this is no crowd", held, crowd)
		}
		r.wellServed()
	})
}

// TestASlowRequestIsEnded sends a head byte by byte.
func TestASlowRequestIsEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, suite(t, options{}))
	to := netip.AddrPortFrom(r.world.Service(topology.Ref{Namespace: orion, Name: "guidance-nav"}).VIP, 8080)
	c, err := r.dial(app("orion", "comms-system"), to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	done := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(c)
		done <- b
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	_, _ = io.WriteString(c, "GET /position HTTP/1.1\r\nX: ")
	for {
		select {
		case b := <-done:
			if !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
				t.Errorf("got %q, want 408", b)
			}
			if took := time.Since(start); took > headTimeout+time.Minute {
				t.Errorf("it took %v", took)
			}
			return
		case <-tick.C:
			_, _ = io.WriteString(c, "a")
		}
	}
}

// TestRapidResetsEndTheConnection opens and resets streams as fast as it can.
func TestRapidResetsEndTheConnection(t *testing.T) {
	r := newRig(t, Config{}, suite(t, options{}))
	p := r.world.Pod(app("orion", "comms-system"))
	nc := tls.Client(r.hostile(meshPorts(r)["waypoint"]),
		r.ca.Source(p.ID).ClientConfig(r.world.Pod(topology.Ref{Namespace: orion, Name: "waypoint"}).ID))
	fr := http2.NewFramer(nc, nc)
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		block := []byte{0x42, 0x07, 'C', 'O', 'N', 'N', 'E', 'C', 'T', 0x41, 0x09}
		block = append(block, "10.0.0.1:"...)
		for id := uint32(1); id < 200_000; id += 2 {
			if fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil {
				return
			}
			if fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	})
	reader := http2.NewFramer(io.Discard, nc)
	for {
		f, err := reader.ReadFrame()
		if err != nil {
			break // ended without a word, which is as good
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("ended with %v", g.ErrCode)
			}
			break
		}
	}
	nc.Close()
	sending.Wait()
	r.wellServed()
}

func TestForgedTunnelHeadersCarryNoWeight(t *testing.T) {
	// The tunnel's own headers name another caller; the certificate decides.
	r := newRig(t, Config{}, suite(t, options{}))
	way := topology.Ref{Namespace: orion, Name: "waypoint"}
	vip := netip.AddrPortFrom(r.world.Service(topology.Ref{Namespace: orion, Name: "guidance-nav"}).VIP, 8080)
	pool := hbone.NewPool(r.node.Dial)
	defer pool.Close()
	p := r.world.Pod(rogue(orion))
	st, err := pool.Open(context.Background(), hbone.Target{Source: r.ca.Source(p.ID), SourceIP: p.IP,
		Address: meshPorts(r)["waypoint"], Peer: r.world.Pod(way).ID},
		vip.String(), fmt.Sprintf(`for="%s";by=spiffe://cluster.local/ns/%s/sa/comms-system`,
			r.world.Pod(app("orion", "comms-system")).IP, orion))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(st, "GET /position HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(st)
	if !strings.HasPrefix(string(b), "HTTP/1.1 403 ") {
		t.Errorf("got %q, want 403", b)
	}
}

func (m *Mesh) serverAt(addr netip.AddrPort) *hbone.Server {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.pods {
		if n.ip == addr.Addr() {
			return n.tunnel
		}
	}
	for _, w := range m.waypoints {
		if w.ip == addr.Addr() {
			return w.server
		}
	}
	return nil
}
