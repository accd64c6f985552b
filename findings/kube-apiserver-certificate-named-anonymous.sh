#!/usr/bin/env bash
# k8s.io/apiserver v0.37.2 (Kubernetes 1.37): a client certificate that verifies and has the common
# name system:anonymous. It is an authenticated user by every rule, and still gets no
# system:authenticated: the group adder leaves that name alone. Its user has neither that group nor
# system:unauthenticated, so that the default bindings for everybody (system:basic-user,
# system:discovery, system:public-info-viewer) do not apply, although both a stranger and any other
# certificate have them.
# Seen: system:anonymous []; jane [system:authenticated]
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	stdx509 "crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/x509"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	base := stdx509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	ca := base
	ca.Subject, ca.IsCA, ca.BasicConstraintsValid = pkix.Name{CommonName: "ca"}, true, true
	root := must(stdx509.ParseCertificate(must(stdx509.CreateCertificate(rand.Reader, &ca, &ca, key.Public(), key))))
	options := x509.DefaultVerifyOptions()
	options.Roots = stdx509.NewCertPool()
	options.Roots.AddCert(root)
	authenticator := group.NewAuthenticatedGroupAdder(x509.New(options, x509.CommonNameUserConversion))
	for _, name := range []string{"system:anonymous", "jane"} {
		leaf := base
		leaf.Subject, leaf.ExtKeyUsage = pkix.Name{CommonName: name}, []stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}
		signed := must(stdx509.ParseCertificate(must(stdx509.CreateCertificate(rand.Reader, &leaf, root, key.Public(), key))))
		request := must(http.NewRequest("GET", "/", nil))
		request.TLS = &tls.ConnectionState{PeerCertificates: []*stdx509.Certificate{signed}}
		answer, ok, err := authenticator.AuthenticateRequest(request)
		if err != nil || !ok {
			panic(fmt.Sprint(ok, err))
		}
		fmt.Println(answer.User.GetName(), answer.User.GetGroups())
	}
}
GO
go mod init finding >/dev/null 2>&1
go get k8s.io/apiserver@v0.37.2 >/dev/null 2>&1
go run . | tee seen
diff seen - <<'EXPECTED'
system:anonymous []
jane [system:authenticated]
EXPECTED
