#!/usr/bin/env bash
# Go 1.26.8, crypto/x509: a CA with a name constraint for DNS names alone (permitted: example.org).
# A leaf with the DNS name a.example.org verifies. The same leaf with one more name of a form that
# nobody constrains, the URI urn:uuid:…, does not: "URI with empty host … cannot be matched against
# constraints". RFC 5280 4.2.1.10: restrictions apply only to names of the constrained form. OpenSSL
# 3 takes the second leaf.
# Seen: good=<nil>; with urn: x509: a root or intermediate certificate is not authorized to sign for
# this name: URI with empty host ("urn:uuid:00000000-0000-0000-0000-000000000000") cannot be matched
# against constraints
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	base := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	ca := base
	ca.Subject = pkix.Name{CommonName: "ca"}
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	ca.PermittedDNSDomainsCritical, ca.PermittedDNSDomains = true, []string{"example.org"}
	root := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &ca, &ca, key.Public(), key))))
	roots := x509.NewCertPool()
	roots.AddCert(root)
	write := func(name string, der []byte) {
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			panic(err)
		}
	}
	write("ca.pem", root.Raw)
	for _, uris := range [][]*url.URL{nil, {must(url.Parse("urn:uuid:00000000-0000-0000-0000-000000000000"))}} {
		leaf := base
		leaf.Subject = pkix.Name{CommonName: "leaf"}
		leaf.DNSNames, leaf.URIs = []string{"a.example.org"}, uris
		signed := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &leaf, root, key.Public(), key))))
		write(fmt.Sprintf("leaf%d.pem", len(uris)), signed.Raw)
		_, err := signed.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		fmt.Printf("%d URIs: %v\n", len(uris), err)
	}
}
GO
go mod init finding >/dev/null 2>&1
go run . | tee seen
grep -qx '0 URIs: <nil>' seen
grep -q '^1 URIs: .*URI with empty host .* cannot be matched against constraints' seen
openssl verify -CAfile ca.pem leaf0.pem leaf1.pem
