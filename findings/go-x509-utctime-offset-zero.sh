#!/usr/bin/env bash
# Go 1.26.8, crypto/x509: dates of a certificate as UTCTime with an offset in place of Z, which
# X.509 before RFC 5280 allowed. One of +0200 is read, and the offset is taken into account. One of
# +0000, the same instant as Z, makes the whole certificate unreadable: "x509: malformed UTCTime".
# (RFC 5280 4.1.2.5.1 wants Z; Go is neither strict nor lenient about it.)
# Seen: Z: 2020-01-01T00:00:00Z; +0200: 2019-12-31T22:00:00Z; +0000: x509: malformed UTCTime
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
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

type validity struct{ From, To asn1.RawValue }

type written struct {
	Version   asn1.RawValue
	Serial    *big.Int
	Algorithm asn1.RawValue
	Issuer    asn1.RawValue
	Validity  validity
	Subject   asn1.RawValue
	Key       asn1.RawValue
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotBefore: time.Unix(1577836800, 0), NotAfter: time.Unix(1893456000, 0)}
	made := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key))))
	utc := func(text string) asn1.RawValue {
		return asn1.RawValue{Tag: asn1.TagUTCTime, Bytes: []byte(text)}
	}
	raw := func(der []byte) asn1.RawValue { return asn1.RawValue{FullBytes: der} }
	algorithm := must(asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}))
	version := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{2, 1, 2}}
	for _, zone := range []string{"Z", "+0200", "+0000"} {
		body := written{version, big.NewInt(1), raw(algorithm), raw(made.RawIssuer), validity{utc("200101000000" + zone), utc("300101000000Z")}, raw(made.RawSubject), raw(made.RawSubjectPublicKeyInfo)}
		whole := struct {
			Body      written
			Algorithm asn1.RawValue
			Signature asn1.BitString
		}{body, raw(algorithm), asn1.BitString{Bytes: made.Signature, BitLength: 8 * len(made.Signature)}}
		read, err := x509.ParseCertificate(must(asn1.Marshal(whole)))
		if err != nil {
			fmt.Printf("%s: %v\n", zone, err)
			continue
		}
		fmt.Printf("%s: %s\n", zone, read.NotBefore.UTC().Format(time.RFC3339))
	}
}
GO
go mod init finding >/dev/null 2>&1
go run . | tee seen
diff seen - <<'EXPECTED'
Z: 2020-01-01T00:00:00Z
+0200: 2019-12-31T22:00:00Z
+0000: x509: malformed UTCTime
EXPECTED
