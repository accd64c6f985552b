#!/usr/bin/env bash
# aws-lc-rs 1.19.0, RSA_PSS_2048_8192_SHA256: verifies RSASSA-PSS signatures only if their salt is
# as long as the hash. Go's rsa.SignPSS without options (PSSSaltLengthAuto, what nil PSSOptions
# mean) signs with the longest salt that fits, 222 bytes for a key of 2,048 bits: such a signature
# is right, Go and OpenSSL verify it, and aws-lc-rs says only "Unspecified". Kubelets of
# Kubernetes 1.35 and 1.36 prove possession of RSA keys that way. With PSSSaltLengthEqualsHash all
# three agree.
# Seen: auto: go ok, openssl ok, aws-lc-rs refused; equals hash: all ok.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOTOOLCHAIN=go1.26.8
mkdir -p sign verify/src
cat > sign/main.go <<'GO'
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

func main() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	digest := sha256.Sum256([]byte("message"))
	os.WriteFile("message", []byte("message"), 0o600)
	os.WriteFile("pkcs1.der", x509.MarshalPKCS1PublicKey(&key.PublicKey), 0o600)
	spki, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	block := &pem.Block{Type: "PUBLIC KEY", Bytes: spki}
	os.WriteFile("public.pem", pem.EncodeToMemory(block), 0o600)
	for name, options := range map[string]*rsa.PSSOptions{
		"auto": nil, "hash": {SaltLength: rsa.PSSSaltLengthEqualsHash},
	} {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], options)
		if err != nil {
			panic(err)
		}
		if rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], signature, nil) != nil {
			panic("Go refuses its own")
		}
		os.WriteFile(name+".sig", signature, 0o600)
	}
	fmt.Println("go: both ok")
}
GO
cat > verify/Cargo.toml <<'TOML'
[package]
name = "verify"
version = "0.1.0"
edition = "2024"
[dependencies]
aws-lc-rs = "=1.19.0"
TOML
cat > verify/src/main.rs <<'RS'
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

fn main() {
    let read = |name: &str| std::fs::read(name).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, read("pkcs1.der"));
    for name in ["auto", "hash"] {
        let verdict = key.verify(&read("message"), &read(&format!("{name}.sig")));
        println!("aws-lc-rs {name}: {verdict:?}");
    }
}
RS
{
  (cd sign && go mod init sign >/dev/null 2>&1 && go build -o ../signer .)
  ./signer
  for name in auto hash; do
    echo "openssl $name: $(openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-2 \
      -verify public.pem -signature $name.sig message)"
  done
  cargo build -q --release --manifest-path verify/Cargo.toml --target-dir target
  target/release/verify
} | tee seen
diff seen - <<'SEEN'
go: both ok
openssl auto: Verified OK
openssl hash: Verified OK
aws-lc-rs auto: Err(Unspecified)
aws-lc-rs hash: Ok(())
SEEN
