package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issue writes a certificate of that serial number, and its key.
func issue(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour)}
	c, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		// Two in a second are told apart by nothing else.
		at := time.Now().Add(time.Duration(serial) * time.Minute)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestARenewedCertificateIsTakenUpAndABrokenOneIsNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := openCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("there is none, and it is opened")
	}
	cert, key := issue(t, dir, 1)
	if c, err = openCertificate(cert, key, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	later := func() { c.looked = c.looked.Add(-2 * certificateLasts) }
	issue(t, dir, 2)
	if n := serial(); n != 1 {
		t.Errorf("the files are looked at for each connection: %d", n)
	}
	later()
	if n := serial(); n != 2 {
		t.Errorf("a renewed certificate is not taken up: %d", n)
	}
	if err := os.WriteFile(key, []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	later()
	if n := serial(); n != 2 {
		t.Errorf("with a broken key: %d", n)
	}
	issue(t, dir, 3)
	later()
	if n := serial(); n != 3 {
		t.Errorf("a mended pair is not taken up: %d", n)
	}
}
