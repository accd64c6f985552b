package main

import "encoding/asn1"

// encodings are about bytes that say the right thing in a wrong way, or more than they should.
func encodings(m *matrix) {
	whole := func(f func(der []byte) []byte) edit { return func(t *template) { t.whole = f } }
	tbs := func(f func(der []byte) []byte) edit { return func(t *template) { t.tbs = f } }
	outer := func(f func([][]byte) [][]byte) edit { return func(t *template) { t.outer = f } }
	content := func(der []byte) []byte {
		var element asn1.RawValue
		must(asn1.Unmarshal(der, &element))
		return element.Bytes
	}
	after := func(at int) edit {
		return fields(func(parts [][]byte) [][]byte {
			parts[at] = append(parts[at][:len(parts[at]):len(parts[at])], 5, 0)
			return parts
		})
	}
	m.plain("der/trailing-zero", whole(func(der []byte) []byte { return append(der, 0) }))
	m.plain("der/trailing-null", whole(func(der []byte) []byte { return append(der, 5, 0) }))
	m.plain("der/trailing-newline", whole(func(der []byte) []byte { return append(der, '\n') }))
	m.plain("der/twice", whole(func(der []byte) []byte { return append(der, der...) }))
	m.plain("der/leading-zero", whole(func(der []byte) []byte { return append([]byte{0}, der...) }))
	m.plain("der/long-length", whole(func(der []byte) []byte { return longTLV(tagSequence, content(der)) }))
	m.plain("der/indefinite", whole(func(der []byte) []byte { return indefinite(tagSequence, content(der)) }))
	m.plain("der/set", whole(func(der []byte) []byte { return append([]byte{tagSet}, der[1:]...) }))
	m.plain("der/primitive", whole(func(der []byte) []byte { return append([]byte{0x10}, der[1:]...) }))
	m.plain("der/length-too-long", whole(func(der []byte) []byte { return der[:len(der)-2] }))
	m.plain("der/length-of-5-octets", whole(func(der []byte) []byte {
		inside := content(der)
		return join([]byte{tagSequence, 0x85, 0, 0, 0, byte(len(inside) >> 8), byte(len(inside))}, inside)
	}))
	m.plain("der/high-tag", whole(func(der []byte) []byte { return append([]byte{0x3f, 0x10}, der[1:]...) }))
	m.plain("der/field-after-signature", outer(func(p [][]byte) [][]byte { return append(p, null()) }))
	m.plain("der/octets-after-signature", outer(func(p [][]byte) [][]byte { return append(p, []byte{1, 2, 3}) }))
	m.plain("der/signature-twice", outer(func(p [][]byte) [][]byte { return append(p, p[2]) }))
	m.plain("der/only-signed-part", outer(func(p [][]byte) [][]byte { return p[:1] }))
	m.plain("der/order-of-parts", outer(func(p [][]byte) [][]byte { return [][]byte{p[1], p[0], p[2]} }))
	m.plain("der/signed-part-long-length", tbs(func(der []byte) []byte { return longTLV(tagSequence, content(der)) }))
	m.plain("der/signed-part-indefinite", tbs(func(der []byte) []byte { return indefinite(tagSequence, content(der)) }))
	m.plain("der/signed-part-set", tbs(func(der []byte) []byte { return append([]byte{tagSet}, der[1:]...) }))
	m.plain("der/signed-part-empty", tbs(func([]byte) []byte { return seq() }))
	for at, part := range []string{"version", "serial", "algorithm", "issuer", "validity", "subject", "key", "extensions"} {
		m.plain("der/null-after-"+part, after(at))
		if part != "version" && part != "extensions" {
			m.plain("der/missing-"+part, fields(func(p [][]byte) [][]byte { return append(p[:at:at], p[at+1:]...) }))
		}
	}
	m.between("der/intermediate-null-at-end", after(7))
	m.under("der/root-null-at-end", after(7))
	m.plain("der/algorithm-and-more", signed(usual(m.ca.key).saying(seq(oid("1.2.840.10045.4.3.2"), []byte{0xff}))))
	m.plain("der/names-swapped", fields(func(p [][]byte) [][]byte {
		p[fieldIssuer], p[fieldSubject] = p[fieldSubject], p[fieldIssuer]
		return p
	}))
}

// namesEncoded are about certificates that are large.
func namesEncoded(m *matrix) {
	padding := func(n int) edit { return also(extend(oidUnknown, false, make([]byte, n))) }
	m.plain("size/127-of-extension", padding(127))
	m.plain("size/128-of-extension", padding(128))
	m.plain("size/4-kib", padding(1<<12))
	var many [][]byte
	for range 150 {
		many = append(many, dns("a.example.org"))
	}
	m.plain("size/150-names", also(alternative(many...)))
	sub := m.sub(m.ca, "size/150-constraints", also(constraints(append(many, dns("example.net")), nil)))
	m.add("size/150-constraints", m.leaf(sub, also(alternative(dns("b.example.net")))), sub)
	var extensions []extension
	for i := range 40 {
		extensions = append(extensions, extend(oidUnknown+"."+string(rune('1'+i/10))+"."+string(rune('0'+i%10)), false))
	}
	m.plain("size/40-extensions", also(extensions...))
	m.plain("size/serial-of-1000-octets", serial(tlv(tagInteger, append([]byte{1}, make([]byte, 999)...))))
}
