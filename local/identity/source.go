package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source holds the current SVID of one identity. It makes a new one when half of
// the old one's life is over, when the clock was set to before its beginning, and
// when nobody trusts the root of the old one any more, so that nobody ever presents one that is not
// valid and no call waits for more
// than a signature.
type Source struct {
	id spiffeid.ID
	ca *CA

	mu   sync.Mutex
	svid *x509svid.SVID
	cert *tls.Certificate
	root *x509.Certificate // that signed it
	used validity
}

// Source returns the source of an identity: the same for the same identity.
func (ca *CA) Source(id spiffeid.ID) *Source {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	s := ca.sources[id]
	if s == nil {
		s = &Source{id: id, ca: ca}
		ca.sources[id] = s
	}
	return s
}

// ID returns the identity.
func (s *Source) ID() spiffeid.ID { return s.id }

// GetX509SVID returns the current SVID; it makes Source an x509svid.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	return s.svid, nil
}

// Certificate returns the current SVID for a TLS handshake.
func (s *Source) Certificate() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	return s.cert, nil
}

func (s *Source) refresh() error {
	now := s.ca.now()
	// The clock may have been where the root was over, and have come back.
	if s.used.holds(now) && s.ca.bundle.HasX509Authority(s.root) {
		return nil
	}
	svid, root, err := s.ca.issue(s.id, now)
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	s.svid, s.root = svid, root
	s.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: svid.PrivateKey, Leaf: leaf}
	s.used = validityOf(leaf)
	return nil
}

// PEM is an identity for a proxy that is another process.
type PEM struct {
	Certificate []byte // chain
	Key         []byte // PKCS #8
	Roots       []byte
}

// PEM returns the current SVID and the roots. Whoever asks again before half of
// the SVID's life is over never presents an expired one.
func (s *Source) PEM() (PEM, error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return PEM{}, err
	}
	certificate, key, err := svid.Marshal()
	if err != nil {
		return PEM{}, fmt.Errorf("write %s as PEM: %w", s.id, err)
	}
	var roots []byte
	for _, root := range s.ca.bundle.X509Authorities() {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	return PEM{certificate, key, roots}, nil
}
