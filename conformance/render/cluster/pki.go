package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Authority is a certificate authority of one run, with the one certificate that it
// has issued: for the loopback interface, for servers and clients.
type Authority struct {
	PEM       []byte // the authority's own certificate
	File      string // with it
	Cert, Key string // files of the certificate that it has issued
}

// NewAuthority makes an authority whose files are in dir.
func NewAuthority(dir string) (*Authority, error) {
	a := &Authority{File: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "loopback.crt"),
		Key: filepath.Join(dir, "loopback.key")}
	if err := a.issue(); err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	return a, nil
}

func (a *Authority) issue() error {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "artemis render"}, signer)
	if err != nil {
		return err
	}
	if a.PEM, err = cert.EncodeCertificates(ca); err != nil {
		return err
	}
	keyPEM, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return err
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "loopback"},
		NotBefore:    ca.NotBefore,
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca, key.(*ecdsa.PrivateKey).Public(), signer)
	if err != nil {
		return err
	}
	return errors.Join(cert.WriteCert(a.File, a.PEM), keyutil.WriteKey(a.Key, keyPEM),
		cert.WriteCert(a.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}
