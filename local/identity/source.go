package identity

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source holds the current SVID of one identity. It makes a new one when half of
// the old one's life is over, so that nobody ever presents an expired one and
// no call waits for more than a signature.
type Source struct {
	id spiffeid.ID
	ca *CA

	mu      sync.Mutex
	svid    *x509svid.SVID
	cert    *tls.Certificate
	renewAt time.Time
}

// Source gives the source of an identity: the same for the same identity.
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

// ID gives the identity.
func (s *Source) ID() spiffeid.ID { return s.id }

// GetX509SVID gives the current SVID; it makes Source an x509svid.Source.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	return s.svid, nil
}

// Certificate gives the current SVID for a TLS handshake.
func (s *Source) Certificate() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	return s.cert, nil
}

func (s *Source) refresh() error {
	if s.svid != nil && s.ca.now().Before(s.renewAt) {
		return nil
	}
	svid, err := s.ca.Issue(s.id)
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	s.svid = svid
	s.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: svid.PrivateKey, Leaf: leaf}
	s.renewAt = s.ca.now().Add(leaf.NotAfter.Sub(s.ca.now()) / 2)
	return nil
}

// Files are an identity in PEM, for a proxy that is another process.
type Files struct {
	Certificate string // chain, tls.crt
	Key         string // PKCS #8, tls.key
	Roots       string // ca.crt
}

// WriteFiles writes the current SVID and the roots into a directory, readable by
// the owner only. Each file is replaced as a whole; they last until the SVID
// expires, and are then to be written again.
func (s *Source) WriteFiles(dir string) (Files, error) {
	f := Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
	svid, err := s.GetX509SVID()
	if err != nil {
		return f, err
	}
	certificate, key, err := svid.Marshal()
	if err != nil {
		return f, fmt.Errorf("write the files of %s: %w", s.id, err)
	}
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw})
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, fmt.Errorf("write the files of %s: %w", s.id, err)
	}
	for _, file := range []struct {
		path    string
		content []byte
	}{{f.Key, key}, {f.Roots, roots}, {f.Certificate, certificate}} {
		if err := replace(file.path, file.content); err != nil {
			return f, fmt.Errorf("write the files of %s: %w", s.id, err)
		}
	}
	return f, nil
}

func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
