// Package identity issues and checks workload identities: X.509-SVIDs of one
// trust domain, from a certificate authority that lives as long as the process.
// It knows no pod and no policy; who gets an identity is its caller's business.
package identity

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Options of a CA. The zero value is Istio's: a day's certificates for
// cluster.local.
type Options struct {
	TrustDomain string        // default cluster.local
	TTL         time.Duration // how long an SVID is valid, default 24 h
	RootTTL     time.Duration // how long a root is valid, default 10 years
	Now         func() time.Time
}

// clockSkew is how long before its making a certificate is valid already.
const clockSkew = 2 * time.Minute

// CA is a certificate authority with its keys in memory only. It makes a new root
// when half of the old one's life is over, and when the machine's clock is set to
// where the old one is not valid; whoever trusted the old root trusts the new one
// beside it. It may be used from many goroutines.
type CA struct {
	domain  spiffeid.TrustDomain
	ttl     time.Duration
	rootTTL time.Duration
	now     func() time.Time
	bundle  *x509bundle.Bundle // of all roots that are not over

	mu      sync.Mutex
	sources map[spiffeid.ID]*Source
	signer  root
}

// root is a certificate that signs, and its key.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	validity
}

// validity is when a certificate is used: until half of its life is over.
type validity struct{ from, until time.Time }

func validityOf(c *x509.Certificate) validity {
	return validity{c.NotBefore, c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)}
}

func (v validity) holds(now time.Time) bool { return !now.Before(v.from) && now.Before(v.until) }

// NewCA makes a CA with a fresh root.
func NewCA(o Options) (*CA, error) {
	const day = 24 * time.Hour
	o.TrustDomain, o.TTL = cmp.Or(o.TrustDomain, "cluster.local"), cmp.Or(o.TTL, day)
	o.RootTTL = cmp.Or(o.RootTTL, 10*365*day)
	if o.Now == nil {
		o.Now = time.Now
	}
	domain, err := spiffeid.TrustDomainFromString(o.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	ca := &CA{
		domain:  domain,
		ttl:     o.TTL,
		rootTTL: o.RootTTL,
		// Certificates go by the clock on the wall, which may be set; a monotonic
		// reading would hide that from comparisons.
		now:     func() time.Time { return o.Now().Round(0) },
		bundle:  x509bundle.New(domain),
		sources: map[spiffeid.ID]*Source{},
	}
	_, err = ca.root(ca.now())
	return ca, err
}

// root returns the root that signs at that time.
func (ca *CA) root(now time.Time) (root, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.signer.holds(now) {
		return ca.signer, nil
	}
	cert, key, err := certify(&x509.Certificate{
		Subject:               pkix.Name{Organization: []string{ca.domain.Name()}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(ca.rootTTL),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{ca.domain.ID().URL()},
	}, root{})
	if err != nil {
		return root{}, fmt.Errorf("make the CA's root: %w", err)
	}
	for _, old := range ca.bundle.X509Authorities() {
		if now.After(old.NotAfter) {
			ca.bundle.RemoveX509Authority(old)
		}
	}
	ca.bundle.AddX509Authority(cert)
	ca.signer = root{cert, key, validityOf(cert)}
	return ca.signer, nil
}

// certify makes a certificate with a key and a serial number of its own, signed by a
// root; by itself where that is none.
func certify(template *x509.Certificate, signer root) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, cmp.Or(signer.cert, template), &key.PublicKey,
		cmp.Or(signer.key, key))
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// TrustDomain returns the CA's trust domain.
func (ca *CA) TrustDomain() spiffeid.TrustDomain { return ca.domain }

// Bundle returns what verifies the CA's certificates; it follows the CA.
func (ca *CA) Bundle() *x509bundle.Bundle { return ca.bundle }

// Issue makes an SVID with a key of its own, as ztunnel asks istiod for one:
// ECDSA P-256, for clients and servers, named by one URI SAN and nothing else.
func (ca *CA) Issue(id spiffeid.ID) (*x509svid.SVID, error) {
	svid, _, err := ca.issue(id, ca.now())
	return svid, err
}

// issue also returns the root that has signed.
func (ca *CA) issue(id spiffeid.ID, now time.Time) (*x509svid.SVID, *x509.Certificate, error) {
	if !id.MemberOf(ca.domain) {
		return nil, nil, fmt.Errorf("issue %s: not of trust domain %s", id, ca.domain)
	}
	signer, err := ca.root(now)
	if err != nil {
		return nil, nil, fmt.Errorf("issue %s: %w", id, err)
	}
	cert, key, err := certify(&x509.Certificate{
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(ca.ttl),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id.URL()},
	}, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("issue %s: %w", id, err)
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert}, PrivateKey: key}, signer.cert, nil
}

// SignTemplate signs a certificate as the template says, for tests of those who
// have to refuse what no honest CA would sign. It is no part of issuing.
func (ca *CA) SignTemplate(template *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	signer, err := ca.root(ca.now())
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, template, signer.cert, key, signer.key)
}
