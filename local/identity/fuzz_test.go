package identity_test

import (
	"bytes"
	"testing"

	"artemis.example/local/identity"
)

// FuzzPeerCertificate presents arbitrary chains: none is accepted but one that
// begins with a certificate which the authority has signed.
func FuzzPeerCertificate(f *testing.F) {
	ca, err := identity.NewCA(identity.Options{})
	if err != nil {
		f.Fatal(err)
	}
	other, err := identity.NewCA(identity.Options{})
	if err != nil {
		f.Fatal(err)
	}
	a := id("spiffe://cluster.local/ns/x/sa/a")
	own, err := ca.Source(a).Certificate()
	if err != nil {
		f.Fatal(err)
	}
	foreign, err := other.Source(a).Certificate()
	if err != nil {
		f.Fatal(err)
	}
	good := own.Certificate[0]
	f.Add(good, []byte{})
	f.Add(foreign.Certificate[0], good)
	f.Add(good[:len(good)-1], []byte{})
	f.Add([]byte{0x30, 0x82}, []byte{0})
	accept := ca.Source(id("spiffe://cluster.local/ns/x/sa/b")).ServerConfig().VerifyPeerCertificate
	f.Fuzz(func(t *testing.T, leaf, next []byte) {
		chain := [][]byte{leaf}
		if len(next) > 0 {
			chain = append(chain, next)
		}
		if err := accept(chain, nil); (err == nil) != bytes.Equal(leaf, good) && (err == nil || len(chain) == 1) {
			t.Fatalf("%x: %v", chain, err)
		}
	})
}
