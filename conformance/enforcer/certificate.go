package enforcer

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"istio.io/istio/security/pkg/pki/util"
)

// certificate is a certificate with its key, and both as PEM.
type certificate struct {
	tls.Certificate
	chain, key []byte
}

func generate(o util.CertOptions) (c certificate, err error) {
	o.TTL, o.ECSigAlg, o.PKCS8Key = 24*time.Hour, util.EcdsaSigAlg, true
	if c.chain, c.key, err = util.GenCertKeyFromOptions(o); err == nil {
		c.Certificate, err = tls.X509KeyPair(c.chain, c.key)
	}
	return c, err
}

// authority issues the certificates of one run. Unlike the mesh's own it issues
// any identity, malformed ones included.
type authority struct{ certificate }

func newAuthority() (authority, error) {
	c, err := generate(util.CertOptions{IsCA: true, IsSelfSigned: true})
	if err != nil {
		err = fmt.Errorf("make a certificate authority: %w", err)
	}
	return authority{c}, err
}

// issue makes a certificate whose only name is the URI.
func (a authority) issue(uri string) (certificate, error) {
	c, err := generate(util.CertOptions{Host: uri, IsClient: true, IsServer: true, SignerCert: a.Leaf,
		SignerPriv: a.PrivateKey})
	if err != nil {
		err = fmt.Errorf("issue a certificate for %s: %w", uri, err)
	}
	return c, err
}

// secretPath is where a waypoint's secret is.
func secretPath(dir, cell, name string) string { return filepath.Join(dir, cell+"-"+name+".json") }

// writeSecrets writes the two secrets that a waypoint asks for, as discovery responses.
func (a authority) writeSecrets(dir, cell string) error {
	leaf, err := a.issue("spiffe://cluster.local/ns/" + cell + "/sa/waypoint")
	if err != nil {
		return err
	}
	text := func(pem []byte) object { return object{"inlineString": string(pem)} }
	for name, secret := range map[string]object{
		"default": {"tlsCertificate": object{"certificateChain": text(leaf.chain), "privateKey": text(leaf.key)}},
		"ROOTCA":  {"validationContext": object{"trustedCa": text(a.chain)}},
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
