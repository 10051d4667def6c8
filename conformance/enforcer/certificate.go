package enforcer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// authority issues the certificates of one run. Unlike the mesh's own it issues
// any identity, malformed ones included.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().Add(24 * time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	return &authority{cert, key}, nil
}

// issue makes a certificate whose only name is the URI.
func (a *authority) issue(uri string) (tls.Certificate, error) {
	id, err := url.Parse(uri)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate: %w", err)
	}
	t := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().Add(24 * time.Hour),
		URIs:     []*url.URL{id}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate for %s: %w", uri, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// secretPath is where a waypoint's secret is.
func secretPath(dir, cell, name string) string { return filepath.Join(dir, cell+"-"+name+".json") }

// writeSecrets writes the two secrets that a waypoint asks for, as discovery responses.
func (a *authority) writeSecrets(dir, cell string) error {
	leaf, err := a.issue("spiffe://cluster.local/ns/" + cell + "/sa/waypoint")
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		return fmt.Errorf("write the secrets of %s: %w", cell, err)
	}
	text := func(kind string, der []byte) object {
		return object{"inlineString": string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))}
	}
	for name, secret := range map[string]object{
		"default": {"tlsCertificate": object{"certificateChain": text("CERTIFICATE", leaf.Certificate[0]),
			"privateKey": text("PRIVATE KEY", key)}},
		"ROOTCA": {"validationContext": object{"trustedCa": text("CERTIFICATE", a.cert.Raw)}},
	} {
		secret["@type"], secret["name"] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", name
		b, err := json.Marshal(object{"resources": []any{secret}})
		if err == nil {
			err = os.WriteFile(secretPath(dir, cell, name), b, 0o600)
		}
		if err != nil {
			return fmt.Errorf("write the secrets of %s: %w", cell, err)
		}
	}
	return nil
}
