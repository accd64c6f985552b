package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"
)

// oldSeconds is how long the first certificate of resume is good.
const oldSeconds = 5

// holder is a client certificate with its key, and what a server calls it.
type holder struct {
	certificate tls.Certificate
	id          string
}

// resume is a client that keeps TLS sessions and renews its certificate: it connects with the old
// one, with the renewed one, and again when the old one has ended. Each time the server must take
// it for the holder of the certificate it has then.
func resume(server, ca, signer, key string) error {
	authority, err := tls.LoadX509KeyPair(signer, key)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(ca)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: no certificates: %v", ca, err)
	}
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		end := time.Now().Add(oldSeconds * time.Second)
		old, err := issue(authority, end)
		if err != nil {
			return err
		}
		renewed, err := issue(authority, end.Add(time.Hour))
		if err != nil {
			return err
		}
		shown := old
		config := &tls.Config{
			RootCAs:            roots,
			MinVersion:         version,
			MaxVersion:         version,
			ClientSessionCache: tls.NewLRUClientSessionCache(8),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &shown.certificate, nil
			},
		}
		if err := who(server, config, old, version); err != nil {
			return fmt.Errorf("with the first certificate: %w", err)
		}
		shown = renewed
		if err := who(server, config, renewed, version); err != nil {
			return fmt.Errorf("after the renewal: %w", err)
		}
		time.Sleep(time.Until(end.Add(2 * time.Second)))
		if err := who(server, config, renewed, version); err != nil {
			return fmt.Errorf("after the first certificate has ended: %w", err)
		}
	}
	fmt.Println("renewed with kept sessions over TLS 1.3 and 1.2")
	return nil
}

// issue makes a client certificate that ends then.
func issue(authority tls.Certificate, end time.Time) (holder, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return holder{}, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(end.UnixNano()),
		Subject:      pkix.Name{CommonName: "renewing"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     end,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, authority.Leaf, key.Public(), authority.PrivateKey.(crypto.Signer))
	if err != nil {
		return holder{}, err
	}
	sum := sha256.Sum256(der)
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return holder{certificate, "X509SHA256=" + hex.EncodeToString(sum[:])}, nil
}

// who asks over a new connection who this client is, and compares.
func who(server string, config *tls.Config, expected holder, version uint16) error {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: connectionSeconds * time.Second}
	address := server + "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	response, err := client.Post(address, "application/json", strings.NewReader(review))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s: %s", tls.VersionName(version), response.Status, body)
	}
	if !json.Valid(body) || !strings.Contains(string(body), expected.id) {
		return fmt.Errorf("%s: taken for the holder of another certificate: %s", tls.VersionName(version), body)
	}
	return nil
}
