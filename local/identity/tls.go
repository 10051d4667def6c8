package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrPeer is wrapped by the error of a handshake whose peer proved no identity
// that is accepted.
var ErrPeer = errors.New("the peer's identity is not accepted")

// ServerConfig returns the TLS of a listener that proves one identity: 1.3 only,
// HTTP/2, no resumption, and a client certificate that chains to the CA and has
// exactly one URI SAN, a SPIFFE ID of its trust domain.
func (s *Source) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Certificate() },
		VerifyPeerCertificate:  s.ca.verify(x509.ExtKeyUsageClientAuth, nil),
	}
}

// ClientConfig returns the TLS of a client that proves one identity and talks to
// nobody but the expected ones. It sends no server name.
func (s *Source) ClientConfig(expected ...spiffeid.ID) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		// Go's own check compares DNS names, which an SVID has none of: the check
		// below verifies the chain and the name instead.
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.Certificate()
		},
		VerifyPeerCertificate: s.ca.verify(x509.ExtKeyUsageServerAuth, func(id spiffeid.ID) bool {
			return slices.Contains(expected, id)
		}),
	}
}

func (ca *CA) verify(usage x509.ExtKeyUsage, accept func(spiffeid.ID) bool) func([][]byte,
	[][]*x509.Certificate) error {
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) > maxChain {
			return fmt.Errorf("%w: %d certificates", ErrPeer, len(raw))
		}
		id, chains, err := x509svid.ParseAndVerify(raw, ca.bundle, x509svid.WithTime(ca.now()))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPeer, err)
		}
		if leaf := chains[0][0]; !slices.Contains(leaf.ExtKeyUsage, usage) {
			return fmt.Errorf("%w: the certificate of %s is for another use", ErrPeer, id)
		}
		if accept != nil && !accept(id) {
			return fmt.Errorf("%w: it is %s", ErrPeer, id)
		}
		return nil
	}
}

// maxChain bounds how many certificates a peer may have us verify.
const maxChain = 4

// PeerID returns the identity that the peer of a finished handshake has proven.
func PeerID(state tls.ConnectionState) (spiffeid.ID, error) {
	if len(state.PeerCertificates) == 0 {
		return spiffeid.ID{}, fmt.Errorf("%w: no certificate", ErrPeer)
	}
	return x509svid.IDFromCert(state.PeerCertificates[0])
}
