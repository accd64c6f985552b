package main

import (
	"encoding/pem"
	"strings"
)

// bundles are about the file of authorities itself. Each costs a start of the server.
func bundles(m *matrix) {
	root, second := m.authority("bundle root"), m.authority("bundle second root")
	// both tries a leaf of each of two roots.
	both := func(b *bundle) {
		m.addIn(b.Name, "bundle/"+b.Name+"-first", m.leaf(root))
		m.addIn(b.Name, "bundle/"+b.Name+"-second", m.leaf(second))
	}
	ends := func(e *entity) string {
		return "-----BEGIN CERTIFICATE-----\n" + base64Lines(e.der) + "-----END CERTIFICATE-----\n"
	}
	both(m.bundle("text-around").text("subject=CN = bundle root\n# a comment\n").add(root).text("\n\ntext between\n").add(second).text("the end"))
	both(m.bundle("carriage-returns").text(strings.ReplaceAll(ends(root)+ends(second), "\n", "\r\n")))
	both(m.bundle("no-newline-at-end").add(root).text(strings.TrimSuffix(ends(second), "\n")))
	both(m.bundle("one-line").text("-----BEGIN CERTIFICATE-----\n" + strings.ReplaceAll(base64Lines(root.der), "\n", "") + "\n-----END CERTIFICATE-----\n").add(second))
	both(m.bundle("indented").text(strings.ReplaceAll(ends(root), "\n", "\n  ")).text("\n").add(second))
	both(m.bundle("glued").text(strings.TrimSuffix(ends(root), "\n") + ends(second)))
	both(m.bundle("other-blocks").block("X509 CRL", nil, seq(null())).add(root).block("PRIVATE KEY", nil, seq(null())).
		block("EC PARAMETERS", nil, oid(oidP256)).add(second))
	both(m.bundle("other-labels").block("TRUSTED CERTIFICATE", nil, root.der).block("X509 CERTIFICATE", nil, root.der).add(second))
	both(m.bundle("headers").block("CERTIFICATE", map[string]string{"Comment": "mine"}, root.der).add(second))
	both(m.bundle("bad-base64").text("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n").add(root, second))
	both(m.bundle("bad-base64-inside").text(strings.Replace(ends(root), "M", "*", 1)).add(second))
	both(m.bundle("block-without-end").add(root).text("-----BEGIN CERTIFICATE-----\nMIIB\n").add(second))
	both(m.bundle("end-of-another").add(root).text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END PRIVATE KEY-----\n").add(second))
	both(m.bundle("twice").add(root, root, second, root))
	both(m.bundle("bom").text("\ufeff").add(root, second))
	leaf := m.leaf(root)
	only := m.bundle("only-a-leaf").add(leaf)
	m.addIn(only.Name, "bundle/only-a-leaf", leaf)
	m.addIn(only.Name, "bundle/only-a-leaf-other", m.leaf(root))
	m.addIn(only.Name, "bundle/only-a-leaf-none")
	m.doubtful(root, second)
}

// doubtful are bundles that a server had better not start with. What it does then is the bundle's
// verdict.
func (m *matrix) doubtful(root, second *entity) {
	t := func(edits ...edit) *entity { return m.authority("doubtful", edits...) }
	constraint := func(value []byte) edit { return also(extend(oidNameConstraints, true, value)) }
	for _, c := range []struct {
		name string
		root *entity
	}{
		{"garbage", root.as([]byte("garbage"))},
		{"empty-block", root.as([]byte{})},
		{"two-in-one-block", root.as(join(root.der, root.der))},
		{"trailing-byte", root.as(join(root.der, []byte{0}))},
		{"truncated", root.as(root.der[:len(root.der)-1])},
		{"version-4", t(versioned(3))},
		{"serial-negative", t(serial(integer(-1)))},
		{"serial-padded", t(serial(tlv(tagInteger, []byte{0, 1})))},
		{"subject-general-string", t(subject(cn(raw(tagGeneral, "x"))))},
		{"subject-bad-utf8", t(subject(cn(raw(tagUTF8, "\xff"))))},
		{"key-secp256k1", t(with(p256().withSPKI(spki(identifier(oidEC, oid(oidK256)), root.key.point()))))},
		{"key-rsa-without-null", t(with(p256().withSPKI(spki(identifier(oidRSA), rsaKey(1024).point()))))},
		{"key-unknown", t(with(p256().withSPKI(spki(identifier(oidUnknown), root.key.point()))))},
		{"date-malformed", t(from(raw(tagUTCTime, "201301000000Z")))},
		{"date-utc-without-seconds", t(from(raw(tagUTCTime, "2001010000Z")))},
		{"extension-twice", t(also(keyUsage(certSign)))},
		{"authority-key-id-critical", t(also(extend(oidAuthorityKeyID, true, seq())))},
		{"constraints-malformed", t(ext(extend(oidBasicConstraints, true, null())))},
		{"key-usage-unused-bit-set", t(ext(keyUsage(bits(3, 0x04))))},
		{"path-negative", t(ext(extend(oidBasicConstraints, true, seq(boolean(true), integer(-1)))))},
		{"name-constraints-empty", t(constraint(seq()))},
		{"name-constraints-bad-mask", t(constraint(subtrees(list(ipBytes(10, 0, 0, 0, 255, 0, 255, 0)), nil)))},
		{"name-constraints-trailing-dot", t(constraint(subtrees(list(dns("example.org.")), nil)))},
		{"algorithms-differ", t(func(t *template) { t.inner = identifier(oidUnknown) })},
		{"san-bad-ip", t(also(alternative(ipBytes(1))))},
	} {
		b := m.bundle("doubtful-"+c.name).add(c.root, second)
		m.addIn(b.Name, "bundle/"+b.Name, m.leaf(c.root))
		m.addIn(b.Name, "bundle/"+b.Name+"-second", m.leaf(second))
	}
	bad := root.as([]byte("garbage"))
	m.bundle("doubtful-last").add(root, bad)
	m.bundle("nothing").text("\n")
	m.bundle("only-text").text("no certificate here\n")
	m.bundle("only-a-key").block("PRIVATE KEY", nil, seq(null()))
	m.bundle("only-headers").block("CERTIFICATE", map[string]string{"Comment": "mine"}, root.der)
	m.bundle("only-other-label").block("TRUSTED CERTIFICATE", nil, root.der)
	m.bundle("only-without-end").text("-----BEGIN CERTIFICATE-----\n" + base64Lines(root.der))
	m.bundle("der").text(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: root.der})))
}
