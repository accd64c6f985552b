package main

// leafUsages are about what a leaf says it is for.
func leafUsages(m *matrix) {
	raw := func(value []byte) extension { return extend(oidExtendedKeyUsage, false, value) }
	for _, c := range []struct {
		name string
		edit edit
	}{
		{"none", without(oidExtendedKeyUsage)},
		{"client", ext(purposes(clientAuth))},
		{"client-critical", ext(extend(oidExtendedKeyUsage, true, seq(oid(clientAuth))))},
		{"server", ext(purposes(serverAuth))},
		{"both", ext(purposes(serverAuth, clientAuth))},
		{"any", ext(purposes(anyUsage))},
		{"any-critical", ext(extend(oidExtendedKeyUsage, true, seq(oid(anyUsage))))},
		{"server-and-any", ext(purposes(serverAuth, anyUsage))},
		{"unknown", ext(purposes(oidUnknown))},
		{"unknown-and-client", ext(purposes(oidUnknown, clientAuth))},
		{"unknown-and-any", ext(purposes(oidUnknown, anyUsage))},
		{"logon", ext(purposes(msLogon))},
		{"code-signing", ext(purposes(codeSigning))},
		{"email", ext(purposes(emailProtection))},
		{"ocsp", ext(purposes(ocspSigning))},
		{"client-twice", ext(purposes(clientAuth, clientAuth))},
		{"empty", ext(raw(seq()))},
		{"empty-critical", ext(extend(oidExtendedKeyUsage, true, seq()))},
		{"no-octets", ext(raw(nil))},
		{"set", ext(raw(set(oid(clientAuth))))},
		{"oid-alone", ext(raw(oid(clientAuth)))},
		{"with-integer", ext(raw(seq(oid(clientAuth), integer(1))))},
		{"and-more", ext(raw(join(seq(oid(clientAuth)), null())))},
		{"malformed-oid", ext(raw(seq(tlv(tagOID))))},
		{"long-oid", ext(purposes(clientAuth, repeat("1.2", 3, 200)))},
		{"huge-arc", ext(purposes("1.2.340282366920938463463374607431768211455", clientAuth))},
		{"client-prefix", ext(purposes(clientAuth + ".1"))},
	} {
		m.plain("purpose/"+c.name, c.edit)
	}
	leafKeyUsages(m)
	leafConstraints(m)
}

func leafKeyUsages(m *matrix) {
	for _, c := range []struct {
		name  string
		value []byte
	}{
		{"encipherment", keyEncipherment},
		{"agreement", keyAgreement},
		{"cert-sign", certSign},
		{"crl-sign", bits(1, 0x02)},
		{"all", bits(7, 0xff, 0x80)},
		{"no-bits", noBits},
		{"zero-octet", bits(0, 0)},
		{"unused-bits-set", bits(7, 0xff)},
		{"unused-8", bits(8, 0x80)},
		{"unused-without-octet", bits(3)},
		{"trailing-zeros", bits(0, 0x80, 0)},
		{"three-octets", bits(0, 0x80, 0, 1)},
		{"no-unused-octet", tlv(tagBits)},
		{"octets", octets([]byte{0x80})},
		{"integer", integer(128)},
		{"empty", nil},
		{"and-more", join(digitalSignature, null())},
	} {
		m.plain("key-usage/"+c.name, ext(keyUsage(c.value)))
	}
	m.plain("key-usage/none", without(oidKeyUsage))
	m.plain("key-usage/not-critical", ext(extend(oidKeyUsage, false, digitalSignature)))
}

// leafConstraints are about leaves that say whether they are authorities.
func leafConstraints(m *matrix) {
	raw := func(value ...[]byte) extension { return extend(oidBasicConstraints, true, value...) }
	minusOne, huge := integer(-1), tlv(tagInteger, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, c := range []struct {
		name string
		ext  extension
	}{
		{"empty", basic(false, -1)},
		{"ca", basic(true, -1)},
		{"ca-path-0", basic(true, 0)},
		{"path-0", basic(false, 0)},
		{"path-5", basic(false, 5)},
		{"not-critical", extend(oidBasicConstraints, false, seq())},
		{"false-said", raw(seq(boolean(false)))},
		{"true-is-1", raw(seq([]byte{tagBoolean, 1, 1}))},
		{"true-of-two-octets", raw(seq([]byte{tagBoolean, 2, 0, 0xff}))},
		{"true-empty", raw(seq([]byte{tagBoolean, 0}))},
		{"path-negative", raw(seq(boolean(true), minusOne))},
		{"path-huge", raw(seq(boolean(true), huge))},
		{"path-2-63", raw(seq(boolean(true), tlv(tagInteger, []byte{0, 0x80, 0, 0, 0, 0, 0, 0, 0})))},
		{"path-2-63-less-1", raw(seq(boolean(true), tlv(tagInteger, []byte{0x7f, 255, 255, 255, 255, 255, 255, 255})))},
		{"path-padded", raw(seq(boolean(true), tlv(tagInteger, []byte{0, 1})))},
		{"path-first", raw(seq(integer(1), boolean(true)))},
		{"and-more", raw(seq(boolean(true), integer(1), null()))},
		{"and-more-outside", raw(seq(boolean(true)), null())},
		{"no-octets", raw()},
		{"set", raw(set())},
		{"null", raw(null())},
	} {
		m.plain("leaf/constraints-"+c.name, ext(c.ext))
	}
	m.plain("leaf/ca-that-signs", ext(basic(true, -1), keyUsage(certAndCRLSign)))
	m.plain("leaf/ca-without-purpose", bare(), ext(basic(true, -1), keyUsage(certSign)))
	m.plain("leaf/no-extensions", bare())
	m.add("leaf/none")
	m.add("leaf/twice", repeated(m.leaf(m.ca), 2)...)
	m.add("leaf/with-root", m.leaf(m.ca), m.ca)
	empty := m.leaf(m.ca)
	m.add("leaf/empty", empty.as(nil))
	m.add("leaf/garbage", empty.as([]byte("not a certificate")))
	m.add("leaf/null", empty.as(null()))
	m.add("leaf/empty-sequence", empty.as(seq()))
	m.add("leaf/pem", empty.as([]byte("-----BEGIN CERTIFICATE-----\n"+base64Lines(empty.der)+"-----END CERTIFICATE-----\n")))
	m.add("leaf/truncated", empty.as(empty.der[:len(empty.der)-1]))
	m.add("leaf/two-in-one", empty.as(join(empty.der, m.ca.der)))
}

func repeated(e *entity, n int) []*entity {
	var all []*entity
	for range n {
		all = append(all, e)
	}
	return all
}
