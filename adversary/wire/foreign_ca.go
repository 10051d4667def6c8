package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"artemis.example/adversary"
)

// stolenName is the identity that the attacker would like to have.
const stolenName = "spiffe://cluster.local/ns/dp-default-orion-development-1bced798/sa/comms-system"

// foreignCA speaks to an HBONE port as a workload of the mesh would (TLS 1.3,
// ALPN h2, a SPIFFE ID in the certificate), but with a CA of its own.
func (s Sender) foreignCA(ctx context.Context, r adversary.Request) *adversary.Evidence {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	e := &adversary.Evidence{Sent: "a TLS 1.3 handshake with a certificate for " + stolenName}
	certificate, err := forge()
	if err != nil {
		return failed(e, fmt.Errorf("forge a certificate: %w", err))
	}
	raw, err := s.dial(ctx, r)
	if err != nil {
		return failed(e, err)
	}
	defer raw.Close()
	e.Remote = raw.RemoteAddr().String()
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{certificate},
		// Whoever answers is fine: what is of interest is whether it believes us.
		InsecureSkipVerify: true,
	})
	err = conn.HandshakeContext(ctx)
	if seen := conn.ConnectionState().PeerCertificates; len(seen) > 0 && len(seen[0].URIs) > 0 {
		e.Note = "the server showed " + seen[0].URIs[0].String()
	}
	if err == nil {
		// In TLS 1.3 the server's judgement arrives with the first read.
		_, err = conn.Read(make([]byte, 1))
	}
	switch {
	case err == nil:
		e.Concluded, e.Effect, e.Note = adversary.Allowed, true, "the server believed the certificate"
	case refusedByAlert(err):
		failed(e, err)
		e.Fault, e.Concluded = adversary.TLSAlert, adversary.DeniedL4
		e.Note += " and ended the handshake with an alert: " + err.Error()
	default:
		failed(e, err)
	}
	return e
}

// refusedByAlert reports whether the peer said in TLS that it does not want us.
func refusedByAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// forge makes a CA, and a certificate for stolenName that it has signed.
func forge() (tls.Certificate, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	name, err := url.Parse(stolenName)
	if err != nil {
		return tls.Certificate{}, err
	}
	from, until := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"cluster.local"}}, IsCA: true,
		BasicConstraintsValid: true,
		NotBefore:             from, NotAfter: until, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{name}, NotBefore: from, NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	self, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{signed, self}, PrivateKey: key}, nil
}
