package main

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
)

// hashes in the order of their names.
var hashes = []struct {
	name string
	hash crypto.Hash
}{{"sha1", crypto.SHA1}, {"sha224", crypto.SHA224}, {"sha256", crypto.SHA256}, {"sha384", crypto.SHA384}, {"sha512", crypto.SHA512}}

// signatures are about how a leaf is signed, and what a certificate says about it.
func signatures(m *matrix) {
	r := m.root("signature/rsa", with(rsaKey(2048)))
	small := m.root("signature/rsa-1024", with(rsaKey(1024)))
	m.add("signature/rsa-md5", m.leaf(r, signed(rsaWith(crypto.MD5))))
	for _, h := range hashes {
		m.add("signature/rsa-"+h.name, m.leaf(r, signed(rsaWith(h.hash))))
		for _, c := range curves {
			by := m.root("signature/"+c.name+"-"+h.name, with(ec(c.curve)))
			m.add("signature/"+c.name+"-"+h.name, m.leaf(by, signed(ecdsaWith(h.hash))))
		}
	}
	m.add("signature/rsa-1024-sha512", m.leaf(small, signed(rsaWith(crypto.SHA512))))
	m.add("signature/ed25519", m.leaf(m.root("signature/ed25519", with(ed()))))
	signaturesPSS(m, r)
	signatureNames(m, r)
	signaturesBroken(m)
	// A root's own signature proves nothing, and is not looked at.
	m.under("signature/root-sha1", signed(ecdsaWith(crypto.SHA1)))
	m.under("signature/root-broken", func(t *template) { t.signature = flip })
	m.under("signature/root-unknown-algorithm", signed(ecdsaWith(crypto.SHA256).saying(identifier(oidUnknown))))
	m.between("signature/intermediate-sha1", signed(ecdsaWith(crypto.SHA1)))
	m.between("signature/intermediate-broken", func(t *template) { t.signature = flip })
}

func signaturesPSS(m *matrix, r *entity) {
	for _, c := range []struct {
		name string
		pss  pss
	}{
		{"sha256", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 32}},
		{"sha384", pss{hash: crypto.SHA384, mask: crypto.SHA384, salt: 48}},
		{"sha512", pss{hash: crypto.SHA512, mask: crypto.SHA512, salt: 64}},
		{"sha256-without-null", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 32, noNull: true}},
		{"sha256-trailer-1", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 32, trailer: 1}},
		{"sha256-trailer-2", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 32, trailer: 2}},
		{"sha256-salt-20", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 20}},
		{"sha256-salt-said-32", pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 20, saltSaid: 32}},
		{"sha256-mask-sha1", pss{hash: crypto.SHA256, mask: crypto.SHA1, salt: 32}},
		{"sha1", pss{hash: crypto.SHA1, mask: crypto.SHA1, salt: 20}},
	} {
		m.add("signature/pss-"+c.name, m.leaf(r, signed(c.pss.algorithm())))
	}
	usual := algorithm{hash: crypto.SHA256, options: &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}}
	m.add("signature/pss-without-parameters", m.leaf(r, signed(usual.saying(identifier(oidRSAPSS)))))
	m.add("signature/pss-default-parameters", m.leaf(r, signed(usual.saying(identifier(oidRSAPSS, seq())))))
	m.add("signature/pss-called-pkcs1", m.leaf(r, signed(usual.saying(rsaWith(crypto.SHA256).identifier))))
	pssName := pss{hash: crypto.SHA256, mask: crypto.SHA256, salt: 32}.algorithm().identifier
	m.add("signature/pkcs1-called-pss", m.leaf(r, signed(rsaWith(crypto.SHA256).saying(pssName))))
	key := rsaKey(2048)
	pssRoot := m.root("signature/pss-key", with(key.withSPKI(spki(identifier(oidRSAPSS), key.point()))), signed(usual.saying(pssName)))
	m.add("signature/pss-key", m.leaf(pssRoot, signed(usual.saying(pssName))))
	m.under("signature/pss-root", with(key), signed(usual.saying(pssName)))
}

// signatureNames are about the AlgorithmIdentifier.
func signatureNames(m *matrix, r *entity) {
	sha256, rsa256 := ecdsaWith(crypto.SHA256), oidRSAWith(crypto.SHA256)
	ecName := "1.2.840.10045.4.3.2"
	for _, c := range []struct {
		name string
		id   []byte
	}{
		{"ecdsa-null", identifier(ecName, null())},
		{"ecdsa-parameters", identifier(ecName, seq())},
		{"ecdsa-and-more", identifier(ecName, null(), null())},
		{"ecdsa-called-sha384", ecdsaWith(crypto.SHA384).identifier},
		{"ecdsa-called-rsa", rsaWith(crypto.SHA256).identifier},
		{"ecdsa-called-ed25519", identifier(oidEd25519)},
		{"ecdsa-called-key", identifier(oidEC)},
		{"unknown", identifier(oidUnknown)},
		{"sha3", identifier("2.16.840.1.101.3.4.3.10")},
		{"empty", seq()},
		{"not-a-sequence", oid(ecName)},
		{"malformed-oid", seq(tlv(tagOID))},
	} {
		m.plain("signature/name-"+c.name, signed(sha256.saying(c.id)))
	}
	for _, c := range []struct {
		name string
		id   []byte
	}{
		{"rsa-without-null", identifier(rsa256)},
		{"rsa-parameters", identifier(rsa256, seq())},
		{"rsa-iso", identifier("1.3.14.3.2.29", null())},
	} {
		m.add("signature/name-"+c.name, m.leaf(r, signed(rsaWith(crypto.SHA256).saying(c.id))))
	}
	iso := rsaWith(crypto.SHA1).saying(identifier("1.3.14.3.2.29", null()))
	m.add("signature/name-rsa-iso-sha1", m.leaf(r, signed(iso)))
	eddsa := m.root("signature/ed25519-null", with(ed()))
	m.add("signature/name-ed25519-null", m.leaf(eddsa, signed(ed25519Plain().saying(identifier(oidEd25519, null())))))
	inner := func(id []byte) edit { return func(t *template) { t.inner = id } }
	m.plain("signature/inner-other-hash", inner(ecdsaWith(crypto.SHA384).identifier))
	m.plain("signature/inner-with-null", inner(identifier(ecName, null())))
	m.plain("signature/inner-rsa", inner(rsaWith(crypto.SHA256).identifier))
	m.plain("signature/inner-empty", inner(seq()))
	m.under("signature/root-inner-null", signed(sha256.saying(identifier(ecName, null()))))
	m.between("signature/intermediate-inner-other", inner(ecdsaWith(crypto.SHA384).identifier))
	// The same name in a longer form of BER.
	m.plain("signature/outer-long-length", func(t *template) {
		t.outer = func(parts [][]byte) [][]byte {
			parts[1] = longTLV(tagSequence, oid(ecName))
			return parts
		}
	})
}

func flip(signature []byte) []byte {
	signature = bytes.Clone(signature)
	signature[len(signature)-1] ^= 1
	return signature
}

// signaturesBroken are signatures that do not hold, or only nearly.
func signaturesBroken(m *matrix) {
	change := func(f func([]byte) []byte) edit { return func(t *template) { t.signature = f } }
	constant := func(b ...byte) edit { return change(func([]byte) []byte { return b }) }
	m.plain("signature/broken", change(flip))
	m.plain("signature/empty", constant())
	m.plain("signature/zeros", constant(0x30, 6, 2, 1, 0, 2, 1, 0))
	m.plain("signature/ones", constant(0x30, 6, 2, 1, 1, 2, 1, 1))
	m.plain("signature/and-more", change(func(b []byte) []byte { return append(bytes.Clone(b), 0) }))
	m.plain("signature/inner-and-more", change(func(b []byte) []byte { return seq(b[2:], null()) }))
	m.plain("signature/long-length", change(func(b []byte) []byte { return longTLV(tagSequence, b[2:]) }))
	outer := func(f func(signature []byte) []byte) edit {
		return func(t *template) {
			t.outer = func(parts [][]byte) [][]byte {
				parts[2] = f(parts[2][3:])
				return parts
			}
		}
	}
	// The last bit is chance; it must not be.
	for bit, name := range []string{"clear", "set"} {
		e := m.leaf(m.ca, outer(func(b []byte) []byte { return bits(1, b...) }))
		for int(e.der[len(e.der)-1]&1) != bit {
			e = m.leaf(m.ca, outer(func(b []byte) []byte { return bits(1, b...) }))
		}
		m.add("signature/bits-unused-1-"+name, e)
	}
	m.plain("signature/bits-unused-4-shifted", outer(shifted))
	m.plain("signature/in-octets", outer(func(b []byte) []byte { return octets(b) }))
	m.plain("signature/missing", func(t *template) { t.outer = func(parts [][]byte) [][]byte { return parts[:2] } })
	m.plain("signature/algorithm-missing", func(t *template) {
		t.outer = func(parts [][]byte) [][]byte { return [][]byte{parts[0], parts[2]} }
	})
	other := m.authority("ca")
	m.add("signature/other-key-of-the-same-name", m.leaf(other))
	m.add("signature/other-key-sent-along", m.leaf(other), other)
	self := m.leafTemplate()
	m.add("signature/self-signed-unknown", self.sign(nil))
	self = m.leafTemplate(issuer(m.ca.subject))
	m.add("signature/self-signed-as-if-by-ca", self.sign(nil))
	m.add("signature/unknown-authority", m.leaf(m.authority("nobody trusts me")))
	m.add("signature/ecdsa-by-p384-over-p256-name", m.leaf(&entity{nil, m.ca.subject, ec(elliptic.P384())}))
	// Signed, and then changed.
	changed := m.leaf(m.ca)
	m.add("signature/subject-changed", changed.as(bytes.Replace(changed.der, []byte("jane"), []byte("john"), 1)))
}

// shifted moves a signature four bits to the right and says that the last four do not count: the
// number stays the same.
func shifted(b []byte) []byte {
	out := make([]byte, len(b)+1)
	for i, octet := range b {
		out[i] |= octet >> 4
		out[i+1] = octet << 4
	}
	return bits(4, out...)
}
