// Package identity issues and checks workload identities: X.509-SVIDs of one
// trust domain, from a certificate authority that lives as long as the process.
// It knows no pod and no policy; who gets an identity is its caller's business.
package identity

import (
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
	RootTTL     time.Duration // how long the root is valid, default 10 years
	Now         func() time.Time
}

// clockSkew is how long before its making a certificate is valid already.
const clockSkew = 2 * time.Minute

// CA is a certificate authority with its key in memory only. It may be used from
// many goroutines.
type CA struct {
	domain spiffeid.TrustDomain
	ttl    time.Duration
	now    func() time.Time
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	bundle *x509bundle.Bundle

	mu      sync.Mutex
	sources map[spiffeid.ID]*Source
}

// NewCA makes a CA with a fresh root.
func NewCA(o Options) (*CA, error) {
	if o.TrustDomain == "" {
		o.TrustDomain = "cluster.local"
	}
	if o.TTL == 0 {
		o.TTL = 24 * time.Hour
	}
	if o.RootTTL == 0 {
		o.RootTTL = 10 * 365 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	domain, err := spiffeid.TrustDomainFromString(o.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{Organization: []string{o.TrustDomain}},
		NotBefore:             o.Now().Add(-clockSkew),
		NotAfter:              o.Now().Add(o.RootTTL),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{domain.ID().URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's root: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the CA's root: %w", err)
	}
	return &CA{
		domain:  domain,
		ttl:     o.TTL,
		now:     o.Now,
		cert:    root,
		key:     key,
		bundle:  x509bundle.FromX509Authorities(domain, []*x509.Certificate{root}),
		sources: map[spiffeid.ID]*Source{},
	}, nil
}

// TrustDomain gives the CA's trust domain.
func (ca *CA) TrustDomain() spiffeid.TrustDomain { return ca.domain }

// Bundle gives what verifies the CA's certificates.
func (ca *CA) Bundle() *x509bundle.Bundle { return ca.bundle }

// Issue makes an SVID with a key of its own, as ztunnel asks istiod for one:
// ECDSA P-256, for clients and servers, named by one URI SAN and nothing else.
func (ca *CA) Issue(id spiffeid.ID) (*x509svid.SVID, error) {
	if !id.MemberOf(ca.domain) {
		return nil, fmt.Errorf("issue %s: not of trust domain %s", id, ca.domain)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	now := ca.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(ca.ttl),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{id.URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert}, PrivateKey: key}, nil
}

// SignTemplate signs a certificate as the template says, for tests of those who
// have to refuse what no honest CA would sign. It is no part of issuing.
func (ca *CA) SignTemplate(template *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
}
