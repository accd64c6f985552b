#!/usr/bin/env bash
# k8s.io/kubernetes v1.37.2: kube-apiserver writes the authorities of --client-ca-file into the
# ConfigMap kube-system/extension-apiserver-authentication, from which aggregated API servers, the
# scheduler and kube-controller-manager learn whom to believe. It adds what is new and takes
# nothing out: an authority that has left the file stays in the ConfigMap until the day that it
# ends. So once a CA was replaced, a certificate of the old one is refused by kube-apiserver and
# believed by the others. Only one that has ended is left out of what is written.
# Seen: written for a new CA beside an old one [old new]; beside one that has ended [new]
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func authority(name string, until time.Time) []byte {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(x509.CreateCertificate(rand.Reader, &ca, &ca, key.Public(), key))})
}

func main() {
	for _, until := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-time.Hour)} {
		old, next := authority("old", until), authority("new", time.Now().Add(time.Hour))
		meta := metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"}
		client := fake.NewClientset(
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}},
			&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"client-ca-file": string(old)}},
		)
		file := must(dynamiccertificates.NewStaticCAContent("--client-ca-file", next))
		controller := clusterauthenticationtrust.NewClusterAuthenticationTrustController(
			clusterauthenticationtrust.ClusterAuthenticationInfo{ClientCA: file}, client)
		ctx, cancel := context.WithCancel(context.Background())
		go controller.Run(ctx, 1)
		names := []string{}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			written := must(client.CoreV1().ConfigMaps("kube-system").Get(ctx, meta.Name, metav1.GetOptions{}))
			names = names[:0]
			for _, one := range must(cert.ParseCertsPEM([]byte(written.Data["client-ca-file"]))) {
				names = append(names, one.Subject.CommonName)
			}
			if len(names) > 0 && names[len(names)-1] == "new" {
				break
			}
		}
		cancel()
		fmt.Println(names)
	}
}
GO
go mod init finding >/dev/null 2>&1
# Kubernetes names its own libraries as v0.0.0 and replaces them by folders.
mod=$(go mod download -json k8s.io/kubernetes@v1.37.2 | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
sed -n 's/^\t\?\(k8s.io\/[^ ]*\) v0\.0\.0$/\1/p; s/^\t\(k8s.io\/[^ ]*\) => .*/\1/p' "$mod" | sort -u |
  while read -r module; do go mod edit -replace "$module=$module@v0.37.2"; done
go get k8s.io/kubernetes@v1.37.2 >/dev/null 2>&1
go run . 2>/dev/null | tee seen
diff seen - <<'EXPECTED'
[old new]
[new]
EXPECTED
