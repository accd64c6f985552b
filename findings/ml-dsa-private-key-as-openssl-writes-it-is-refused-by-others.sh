#!/usr/bin/env bash
# An ML-DSA private key in the form that OpenSSL writes unless told otherwise: RFC 9881's CHOICE
# `both`, the seed of 32 bytes and the expanded key made from it. Node.js 24.21.0 (OpenSSL 3.5.8)
# writes it and has no option for another. Go 1.27.3 (so client-go and kube-apiserver 1.38) refuses
# the file, and so does Python's cryptography 50.0.2, which carries OpenSSL 4.0.3 and still reads
# PKCS#8 by a parser of its own, whose message names neither ML-DSA nor the form. Both read the same
# key when the seed stands alone (54 bytes instead of 4098), and neither when the expanded key does;
# Node reads all three.
# Seen: see below; go says how to convert, cryptography does not.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent node@24.21.0 >/dev/null 2>&1
cat > keys.mjs <<'JS'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
const both = generateKeyPairSync('ml-dsa-65').privateKey.export({ format: 'der', type: 'pkcs8' })
// SEQUENCE { version, algorithm (13 bytes), OCTET STRING { SEQUENCE { OCTET STRING seed, OCTET STRING expanded } } }
const algorithm = both.subarray(4, 20)
const inner = both.subarray(28)
const seed = inner.subarray(2, 34), expanded = inner.subarray(34)
const der = (tag, content) => {
  const size = content.length
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}
const pkcs8 = key => der(0x30, Buffer.concat([algorithm, der(0x04, key)]))
const forms = { both, seed: pkcs8(der(0x80, seed)), expanded: pkcs8(expanded) }
for (const [name, bytes] of Object.entries(forms)) {
  writeFileSync(name + '.der', bytes)
  const read = createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })
  console.log('node', name, bytes.length, read.asymmetricKeyType)
}
JS
node_modules/.bin/node keys.mjs > seen
cat > main.go <<'GO'
package main

import (
	"crypto/x509"
	"fmt"
	"os"
)

func main() {
	for _, form := range []string{"both", "seed", "expanded"} {
		bytes, _ := os.ReadFile(form + ".der")
		_, err := x509.ParsePKCS8PrivateKey(bytes)
		fmt.Println("go", form, map[bool]string{true: "read", false: "refused"}[err == nil])
	}
}
GO
GOTOOLCHAIN=go1.27.3 go run main.go >> seen 2>errors || { cat errors; exit 1; }
python3 -m venv venv
venv/bin/pip install --quiet cryptography==50.0.2
venv/bin/python >> seen <<'PY'
from cryptography.hazmat.primitives.serialization import load_der_private_key
for form in ("both", "seed", "expanded"):
    try:
        load_der_private_key(open(form + ".der", "rb").read(), None)
        print("cryptography", form, "read")
    except ValueError as error:
        print("cryptography", form, "refused", "(ML-DSA is named)" if "ML-DSA" in str(error) else "(ML-DSA is not named)")
PY
cat seen
diff seen - <<'EXPECTED'
node both 4098 ml-dsa-65
node seed 54 ml-dsa-65
node expanded 4060 ml-dsa-65
go both refused
go seed read
go expanded refused
cryptography both refused (ML-DSA is not named)
cryptography seed read
cryptography expanded refused (ML-DSA is not named)
EXPECTED
