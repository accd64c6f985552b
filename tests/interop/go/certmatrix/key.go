package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
)

// Algorithms of public keys.
const (
	oidRSA     = "1.2.840.113549.1.1.1"
	oidRSAPSS  = "1.2.840.113549.1.1.10"
	oidDSA     = "1.2.840.10040.4.1"
	oidEC      = "1.2.840.10045.2.1"
	oidX25519  = "1.3.101.110"
	oidEd25519 = "1.3.101.112"
	oidEd448   = "1.3.101.113"
	oidP256    = "1.2.840.10045.3.1.7"
	oidK256    = "1.3.132.0.10"
)

// key is a private key, and how a certificate writes its public half.
type key struct {
	signer crypto.Signer
	spki   []byte
}

// must is for what cannot fail here; a table that is wrong ends the program.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newKey(signer crypto.Signer) *key {
	return &key{signer, must(x509.MarshalPKIXPublicKey(signer.Public()))}
}

func ec(curve elliptic.Curve) *key { return newKey(must(ecdsa.GenerateKey(curve, rand.Reader))) }

func p256() *key { return ec(elliptic.P256()) }

func ed() *key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return newKey(must(private, err))
}

func rsaKey(bits int) *key { return newKey(must(rsa.GenerateKey(rand.Reader, bits))) }

// rsaExponent3 makes by hand what crypto/rsa has only for 65537.
func rsaExponent3(bits int) *key {
	one, three := big.NewInt(1), big.NewInt(3)
	prime := func() *big.Int {
		for {
			p := must(rand.Prime(rand.Reader, bits/2))
			if new(big.Int).Mod(p, three).Int64() == 2 {
				return p
			}
		}
	}
	p, q := prime(), prime()
	n := new(big.Int).Mul(p, q)
	if n.BitLen() != bits {
		return rsaExponent3(bits)
	}
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: 3},
		D:         new(big.Int).ModInverse(three, phi),
		Primes:    []*big.Int{p, q},
	}
	private.Precompute()
	return newKey(private)
}

// withSPKI is the same private key under another description of the public one.
func (k *key) withSPKI(spki []byte) *key { return &key{k.signer, spki} }

// point is the public key's BIT STRING content.
func (k *key) point() []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	must(asn1.Unmarshal(k.spki, &info))
	return info.Key.Bytes
}

// pkcs8 is the private key for the one who shows the certificate.
func (k *key) pkcs8() []byte { return must(x509.MarshalPKCS8PrivateKey(k.signer)) }

// spki is a SubjectPublicKeyInfo of any content.
func spki(algorithm []byte, publicKey []byte) []byte {
	return seq(algorithm, bits(0, publicKey...))
}

// identifier is an AlgorithmIdentifier.
func identifier(algorithm string, parameters ...[]byte) []byte {
	return seq(append([][]byte{oid(algorithm)}, parameters...)...)
}
