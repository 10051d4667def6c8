package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"artemis.example/local/identity"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func id(s string) spiffeid.ID { return spiffeid.RequireFromString(s) }

func TestAnSVIDIsWhatZtunnelAsksFor(t *testing.T) {
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	nav := id("spiffe://cluster.local/ns/orion/sa/guidance-nav")
	svid, err := ca.Issue(nav)
	if err != nil {
		t.Fatal(err)
	}
	leaf := svid.Certificates[0]
	type facts struct {
		IDs      []string
		Usage    x509.KeyUsage
		Extended []x509.ExtKeyUsage
		CA       bool
		Subject  string
		Curve    string
		Hours    int
	}
	want := facts{[]string{nav.String()}, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, false, "",
		elliptic.P256().Params().Name, 24}
	got := facts{nil, leaf.KeyUsage, leaf.ExtKeyUsage, leaf.IsCA, leaf.Subject.String(),
		leaf.PublicKey.(*ecdsa.PublicKey).Curve.Params().Name, int(leaf.NotAfter.Sub(leaf.NotBefore).Hours())}
	for _, u := range leaf.URIs {
		got.IDs = append(got.IDs, u.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if verified, _, err := x509svid.Verify(svid.Certificates, ca.Bundle()); err != nil || verified != nav {
		t.Errorf("go-spiffe verifies it as %s, %v", verified, err)
	}
	if _, err := ca.Issue(id("spiffe://elsewhere.example/ns/a/sa/b")); err == nil {
		t.Error("an identity of another trust domain was issued")
	}
}

func TestSourcesRenewAtHalfLife(t *testing.T) {
	now := time.Now()
	ca, err := identity.NewCA(identity.Options{TTL: time.Hour, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	source := ca.Source(id("spiffe://cluster.local/ns/a/sa/b"))
	serial := func() string {
		svid, err := source.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		if left := svid.Certificates[0].NotAfter.Sub(now); left < 30*time.Minute {
			t.Errorf("a certificate with %v left was given out", left)
		}
		return svid.Certificates[0].SerialNumber.String()
	}
	first := serial()
	now = now.Add(28 * time.Minute)
	if serial() != first {
		t.Error("renewed before half of its life")
	}
	now = now.Add(3 * time.Minute)
	if serial() == first {
		t.Error("not renewed after half of its life")
	}
	if ca.Source(source.ID()) != source {
		t.Error("two sources for one identity")
	}
}

// authorityAt returns an authority whose clock is now, and two of its identities.
func authorityAt(t *testing.T, now *time.Time) (ca *identity.CA, a, b spiffeid.ID) {
	t.Helper()
	ca, err := identity.NewCA(identity.Options{Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return ca, id("spiffe://cluster.local/ns/x/sa/a"), id("spiffe://cluster.local/ns/x/sa/b")
}

// TestTheClockIsSet sets the machine's clock while sources have certificates, by
// more than a certificate lives and by more than a root does, there and back.
func TestTheClockIsSet(t *testing.T) {
	began := time.Now()
	now := began
	ca, a, b := authorityAt(t, &now)
	accept := ca.Source(b).ServerConfig().VerifyPeerCertificate
	if err := accept(chainOf(t, ca, a), nil); err != nil {
		t.Fatal(err)
	}
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, step := range []time.Duration{30 * time.Hour, 0, -day, 0, 6 * year, 0, 20 * year, 0, -3 * year, 0} {
		old := chainOf(t, ca, a)
		was := now
		now = began.Add(step)
		if err := accept(chainOf(t, ca, a), nil); err != nil {
			t.Errorf("the clock at %v: %v", step, err)
		}
		leaf, err := x509.ParseCertificate(old[0])
		if err != nil {
			t.Fatal(err)
		}
		valid := !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
		if err := accept(old, nil); (err == nil) != valid {
			t.Errorf("the clock from %v to %v: the certificate of before is accepted with %v, valid: %v",
				was.Sub(began), step, err, valid)
		}
		p, err := ca.Source(a).PEM()
		if err != nil {
			t.Fatal(err)
		}
		svid, err := x509svid.Parse(p.Certificate, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(p.Roots)
		if _, err := svid.Certificates[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("the clock at %v: as PEM: %v", step, err)
		}
	}
	if n := len(ca.Bundle().X509Authorities()); n > 5 {
		t.Errorf("%d roots are trusted", n)
	}
}

func chainOf(t *testing.T, ca *identity.CA, id spiffeid.ID) [][]byte {
	t.Helper()
	cert, err := ca.Source(id).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return cert.Certificate
}

// TestAnIdentityUnusedWhileTheClockWasElsewhere has a certificate from before, of a
// root that was dropped meanwhile, when the clock is where it was.
func TestAnIdentityUnusedWhileTheClockWasElsewhere(t *testing.T) {
	began := time.Now()
	now := began
	ca, a, b := authorityAt(t, &now)
	accept := ca.Source(b).ServerConfig().VerifyPeerCertificate
	old := chainOf(t, ca, a)
	now = began.Add(20 * 365 * 24 * time.Hour)
	if err := accept(chainOf(t, ca, b), nil); err != nil {
		t.Error(err)
	}
	now = began
	if err := accept(old, nil); err == nil {
		t.Error("a root that was over is trusted again")
	}
	if err := accept(chainOf(t, ca, a), nil); err != nil {
		t.Errorf("the clock is back: %v", err)
	}
}

func TestHandshakesNameBothEnds(t *testing.T) {
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := id("spiffe://cluster.local/ns/x/sa/a"), id("spiffe://cluster.local/ns/x/sa/b"),
		id("spiffe://cluster.local/ns/x/sa/c")
	handshake := func(expected spiffeid.ID) (spiffeid.ID, error) {
		left, right := net.Pipe()
		defer left.Close()
		defer right.Close()
		server := tls.Server(right, ca.Source(b).ServerConfig())
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		client := tls.Client(left, ca.Source(a).ClientConfig(expected))
		if err := client.Handshake(); err != nil {
			return spiffeid.ID{}, err
		}
		if err := <-done; err != nil {
			return spiffeid.ID{}, err
		}
		return identity.PeerID(server.ConnectionState())
	}
	if peer, err := handshake(b); err != nil || peer != a {
		t.Errorf("the server sees %s, %v", peer, err)
	}
	if _, err := handshake(c); !errors.Is(err, identity.ErrPeer) {
		t.Errorf("got %v, want %v", err, identity.ErrPeer)
	}
}

func TestPEMForAnotherProcess(t *testing.T) {
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Source(id("spiffe://cluster.local/ns/x/sa/waypoint")).PEM()
	if err != nil {
		t.Fatal(err)
	}
	svid, err := x509svid.Parse(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.Roots) {
		t.Fatalf("no roots in %q", p.Roots)
	}
	if _, err := svid.Certificates[0].Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		t.Error(err)
	}
}
