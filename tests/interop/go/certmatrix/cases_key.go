package main

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"math/big"
)

// rsaSizes: 768 is made to be refused; 4096 is what careful people have.
var rsaSizes = []struct {
	name string
	bits int
}{{"768", 768}, {"1024", 1024}, {"1536", 1536}, {"2048", 2048}, {"2047", 2047}, {"3072", 3072}, {"4096", 4096}}

var curves = []struct {
	name  string
	curve elliptic.Curve
}{{"p224", elliptic.P224()}, {"p256", elliptic.P256()}, {"p384", elliptic.P384()}, {"p521", elliptic.P521()}}

// leafKeys are about the keys of clients.
func leafKeys(m *matrix) {
	for _, c := range curves {
		m.plain("key/"+c.name, with(ec(c.curve))).TLS12 = c.name == "p224"
	}
	m.plain("key/p256-tls12", with(p256())).TLS12 = true
	m.plain("key/ed25519", with(ed()))
	m.plain("key/ed25519-tls12", with(ed())).TLS12 = true
	for _, size := range rsaSizes {
		m.plain("key/rsa-"+size.name, with(rsaKey(size.bits)))
	}
	m.plain("key/rsa-exponent-3", with(rsaExponent3(2048)))
	m.plain("key/rsa-tls12", with(rsaKey(2048))).TLS12 = true
	leafKeyInfos(m)
}

// leafKeyInfos are about how a key is written.
func leafKeyInfos(m *matrix) {
	// The key that signs the handshake is not asked for where the certificate's cannot be used at all.
	k, r := p256(), rsaKey(2048)
	point, modulus := k.point(), r.point()
	curve := func(parameters ...[]byte) []byte { return spki(identifier(oidEC, parameters...), point) }
	number := func(n, e *big.Int) []byte { return seq(bigInteger(n), bigInteger(e)) }
	n, e := big.NewInt(0).SetBit(big.NewInt(12345), 2047, 1), big.NewInt(65537)
	null := null()
	for _, c := range []struct {
		name string
		spki []byte
	}{
		{"rsa-without-null", spki(identifier(oidRSA), modulus)},
		{"rsa-parameters-sequence", spki(identifier(oidRSA, seq()), modulus)},
		{"rsa-null-and-more", spki(identifier(oidRSA, null, null), modulus)},
		{"rsa-9000", spki(identifier(oidRSA, null), number(big.NewInt(0).SetBit(big.NewInt(12345), 8999, 1), e))},
		{"rsa-exponent-0", spki(identifier(oidRSA, null), number(n, big.NewInt(0)))},
		{"rsa-exponent-1", spki(identifier(oidRSA, null), number(n, big.NewInt(1)))},
		{"rsa-exponent-2", spki(identifier(oidRSA, null), number(n, big.NewInt(2)))},
		{"rsa-exponent-negative", spki(identifier(oidRSA, null), number(n, big.NewInt(-3)))},
		{"rsa-exponent-2-31", spki(identifier(oidRSA, null), number(n, big.NewInt(1<<31+1)))},
		{"rsa-exponent-2-64", spki(identifier(oidRSA, null), number(n, big.NewInt(0).Lsh(big.NewInt(1), 64)))},
		{"rsa-modulus-negative", spki(identifier(oidRSA, null), number(big.NewInt(0).Neg(n), e))},
		{"rsa-modulus-zero", spki(identifier(oidRSA, null), number(big.NewInt(0), e))},
		{"rsa-modulus-even", spki(identifier(oidRSA, null), number(big.NewInt(0).Lsh(n, 1), e))},
		{"rsa-empty", spki(identifier(oidRSA, null), nil)},
		{"rsa-key-and-more", spki(identifier(oidRSA, null), append(append([]byte{}, modulus...), 5, 0))},
		{"rsa-pss", spki(identifier(oidRSAPSS), modulus)},
		{"rsa-oaep", spki(identifier("1.2.840.113549.1.1.7"), modulus)},
		{"ec-without-curve", curve()},
		{"ec-null-curve", curve(null)},
		{"ec-secp256k1", curve(oid(oidK256))},
		{"ec-brainpool", curve(oid("1.3.36.3.3.2.8.1.1.7"))},
		{"ec-explicit-parameters", curve(seq(integer(1), seq(oid("1.2.840.10045.1.1"), integer(23))))},
		{"ec-curve-and-more", curve(oid(oidP256), null)},
		{"ec-compressed", spki(identifier(oidEC, oid(oidP256)), elliptic.MarshalCompressed(elliptic.P256(), big.NewInt(0).SetBytes(point[1:33]), big.NewInt(0).SetBytes(point[33:])))},
		{"ec-hybrid", spki(identifier(oidEC, oid(oidP256)), append([]byte{6 + point[64]&1}, point[1:]...))},
		{"ec-not-on-curve", spki(identifier(oidEC, oid(oidP256)), append(append([]byte{}, point[:64]...), point[64]^1))},
		{"ec-infinity", spki(identifier(oidEC, oid(oidP256)), []byte{0})},
		{"ec-short-point", spki(identifier(oidEC, oid(oidP256)), point[:64])},
		{"ec-long-point", spki(identifier(oidEC, oid(oidP256)), append(append([]byte{}, point...), 0))},
		{"ec-other-curve", spki(identifier(oidEC, oid("1.3.132.0.34")), point)},
		{"ecdh-only", spki(identifier("1.3.132.1.12", oid(oidP256)), point)},
		{"ed25519-null", spki(identifier(oidEd25519, null), point[1:33])},
		{"ed25519-short", spki(identifier(oidEd25519), point[1:32])},
		{"ed448", spki(identifier(oidEd448), point[1:58])},
		{"x25519", spki(identifier(oidX25519), point[1:33])},
		{"dsa", dsaKey(false)},
		{"dsa-zero", dsaKey(true)},
		{"unknown-algorithm", spki(identifier(oidUnknown), point)},
		{"ml-dsa-44", spki(identifier("2.16.840.1.101.3.4.3.17"), point)},
		{"key-in-octets", seq(identifier(oidEC, oid(oidP256)), octets(point))},
		{"info-and-more", seq(identifier(oidEC, oid(oidP256)), bits(0, point...), null)},
		{"bits-unused-1", seq(identifier(oidEC, oid(oidP256)), bits(1, point...))},
		{"bits-unused-8", seq(identifier(oidEC, oid(oidP256)), bits(8, point...))},
		{"bits-empty", seq(identifier(oidEC, oid(oidP256)), tlv(tagBits))},
		{"algorithm-empty", spki(seq(), point)},
		{"info-empty", seq()},
	} {
		key := k
		if len(c.name) > 3 && c.name[:3] == "rsa" {
			key = r
		}
		m.plain("key/"+c.name, with(key.withSPKI(c.spki)))
	}
	m.plain("key/p256-and-null", with(k.withSPKI(curve(oid(oidP256)))))
}

// dsaKey is a public key of an algorithm that nobody has any more.
func dsaKey(isZero bool) []byte {
	p, q, g := must(rand.Prime(rand.Reader, 1024)), must(rand.Prime(rand.Reader, 160)), big.NewInt(2)
	y := big.NewInt(4)
	if isZero {
		g = big.NewInt(0)
	}
	return spki(identifier(oidDSA, seq(bigInteger(p), bigInteger(q), bigInteger(g))), bigInteger(y))
}

// authorityKeys are about the keys of authorities.
func authorityKeys(m *matrix) {
	for _, c := range curves {
		m.under("ca-key/"+c.name, with(ec(c.curve)))
	}
	m.under("ca-key/ed25519", with(ed()))
	for _, size := range rsaSizes {
		m.under("ca-key/rsa-"+size.name, with(rsaKey(size.bits)))
	}
	m.under("ca-key/rsa-exponent-3", with(rsaExponent3(2048)))
	for _, c := range curves {
		m.between("ca-key/intermediate-"+c.name, with(ec(c.curve)))
	}
	m.between("ca-key/intermediate-ed25519", with(ed()))
	m.between("ca-key/intermediate-rsa-2048", with(rsaKey(2048)))
	m.between("ca-key/intermediate-rsa-1024", with(rsaKey(1024)))
	// An intermediate that cannot be used beside one that can: only what cannot be read spoils the
	// whole.
	good := m.sub(m.ca, "ca-key/beside")
	for _, c := range []struct {
		name string
		spki []byte
	}{
		{"unknown-algorithm", spki(identifier(oidUnknown), good.key.point())},
		{"x25519", spki(identifier(oidX25519), good.key.point()[1:33])},
		{"dsa", dsaKey(false)},
		{"secp256k1", spki(identifier(oidEC, oid(oidK256)), good.key.point())},
		{"rsa-without-null", spki(identifier(oidRSA), rsaKey(1024).point())},
		{"rsa-pss", spki(identifier(oidRSAPSS), rsaKey(1024).point())},
		{"rsa-9000", spki(identifier(oidRSA, null()), seq(bigInteger(big.NewInt(0).SetBit(big.NewInt(12345), 8999, 1)), integer(65537)))},
	} {
		odd := m.sub(m.ca, "ca-key/beside", with(good.key.withSPKI(c.spki)))
		m.add("ca-key/beside-"+c.name, m.leaf(good), odd, good)
	}
	for _, c := range []struct {
		name string
		key  *key
		how  algorithm
	}{
		{"unknown-algorithm", p256(), ecdsaWith(crypto.SHA256)},
		{"x25519", p256(), ecdsaWith(crypto.SHA256)},
	} {
		point := c.key.point()
		info := spki(identifier(oidUnknown), point)
		if c.name == "x25519" {
			info = spki(identifier(oidX25519), point[1:33])
		}
		m.under("ca-key/"+c.name, with(c.key.withSPKI(info)))
	}
}
