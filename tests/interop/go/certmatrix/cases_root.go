package main

// roots are about what an authority in the bundle says of itself.
func roots(m *matrix) {
	constraint := func(value ...[]byte) edit { return ext(extend(oidBasicConstraints, true, value...)) }
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"plain", nil},
		{"no-key-usage", []edit{without(oidKeyUsage)}},
		{"key-usage-no-bits", []edit{ext(keyUsage(noBits))}},
		{"key-usage-zero-octet", []edit{ext(keyUsage(bits(0, 0)))}},
		{"key-usage-signature", []edit{ext(keyUsage(digitalSignature))}},
		{"key-usage-crl-sign", []edit{ext(keyUsage(bits(1, 0x02)))}},
		{"key-usage-decipher-only", []edit{ext(keyUsage(bits(7, 0, 0x80)))}},
		{"key-usage-bit-9", []edit{ext(keyUsage(bits(6, 0, 0x40)))}},
		{"key-usage-not-critical", []edit{ext(extend(oidKeyUsage, false, digitalSignature))}},
		{"no-constraints", []edit{without(oidBasicConstraints)}},
		{"no-extensions", []edit{bare()}},
		{"constraints-not-critical", []edit{ext(extend(oidBasicConstraints, false, seq(boolean(true))))}},
		{"constraints-empty", []edit{ext(basic(false, -1))}},
		{"constraints-false", []edit{constraint(seq(boolean(false)))}},
		{"constraints-false-path-3", []edit{ext(basic(false, 3))}},
		{"path-0", []edit{ext(basic(true, 0))}},
		{"purpose-server", []edit{also(purposes(serverAuth))}},
		{"purpose-client", []edit{also(purposes(clientAuth))}},
		{"purpose-both", []edit{also(purposes(serverAuth, clientAuth))}},
		{"purpose-any", []edit{also(purposes(anyUsage))}},
		{"purpose-unknown", []edit{also(purposes(oidUnknown))}},
		{"purpose-ocsp", []edit{also(purposes(ocspSigning))}},
		{"purpose-empty", []edit{also(extend(oidExtendedKeyUsage, false, seq()))}},
		{"expired", []edit{dates(m.hours(-48), m.hours(-1))}},
		{"future", []edit{dates(m.hours(1), m.hours(48))}},
		{"dates-swapped", []edit{dates(m.hours(48), m.hours(-48))}},
		{"shorter-than-leaf", []edit{until(m.hours(2))}},
		{"san-critical-other-name", []edit{also(extend(oidSubjectAltName, true, seq(otherName("1.2.3", null()))))}},
		{"san", []edit{also(alternative(dns("ca.example.org")))}},
		{"authority-key-id", []edit{also(skid("k"), akid("k"))}},
		{"authority-key-id-other", []edit{also(skid("k"), akid("other"))}},
		{"issuer-other", []edit{issuer(named("somebody else"))}},
		{"policy-explicit", []edit{also(policyConstraints(0, 0))}},
		{"any-policy-inhibited", []edit{also(inhibitAny(0))}},
	} {
		m.under("root/"+c.name, c.edits...)
	}
	rootPaths(m)
}

// rootPaths are about how long a chain below a root may be.
func rootPaths(m *matrix) {
	for _, c := range []struct {
		name   string
		limit  int64
		length int
	}{{"0-of-0", 0, 0}, {"1-of-0", 0, 1}, {"1-of-1", 1, 1}, {"2-of-1", 1, 2}, {"2-of-2", 2, 2}, {"3-of-2", 2, 3}} {
		root := m.root("root/path-"+c.name, ext(basic(true, c.limit)))
		m.add("root/path-"+c.name, m.chainBelow(root, c.length, "root/path-"+c.name)...)
	}
	// RFC 5280 does not count certificates whose issuer has their own name.
	root := m.root("root/path-self-issued", ext(basic(true, 0)))
	renewed := m.sub(root, "root/path-self-issued")
	m.add("root/path-self-issued", m.leaf(renewed), renewed)
}

// chainBelow is a leaf and as many intermediates as it is said.
func (m *matrix) chainBelow(root *entity, length int, prefix string, edits ...edit) []*entity {
	var subs []*entity
	by := root
	for range length {
		by = m.sub(by, prefix+"/"+string(rune('a'+len(subs))), edits...)
		subs = append([]*entity{by}, subs...)
	}
	return append([]*entity{m.leaf(by)}, subs...)
}

// rootNames are about how an issuer is found: by its name, and by the identifiers of its key.
func rootNames(m *matrix) {
	leafBy := func(name string, by *entity, edits ...edit) { m.add("issuer/"+name, m.leaf(by, edits...)) }
	// Two keys of one name, in both orders.
	first, second := m.root("issuer/two"), m.root("issuer/two")
	leafBy("two-first", first)
	leafBy("two-second", second)
	first, second = m.root("issuer/two-with-ids", also(skid("first"))), m.root("issuer/two-with-ids", also(skid("second")))
	leafBy("two-with-ids-first", first, also(akid("first")))
	leafBy("two-with-ids-second", second, also(akid("second")))
	leafBy("two-with-ids-first-swapped", first, also(akid("second")))
	leafBy("two-with-ids-second-swapped", second, also(akid("first")))
	leafBy("two-with-ids-none", second)
	leafBy("two-with-ids-other", first, also(akid("third")))
	third := m.authority("issuer/two-with-ids")
	leafBy("two-with-ids-third-key", third, also(akid("first")))

	// One key renewed: the old certificate has ended.
	k := p256()
	old := m.root("issuer/renewed", with(k), dates(m.hours(-48), m.hours(-1)))
	m.root("issuer/renewed", with(k))
	leafBy("renewed-after-expired", old)
	m.root("issuer/renewed-before", with(k))
	leafBy("renewed-before-expired", m.root("issuer/renewed-before", with(k), dates(m.hours(-48), m.hours(-1))))
	limited := m.root("issuer/one-limited", with(k), also(purposes(serverAuth)))
	m.root("issuer/one-limited", with(k))
	leafBy("same-key-one-server-only", limited)
	constrained := m.root("issuer/one-constrained", with(k), also(constraints(list(dns("example.com")), nil)))
	m.root("issuer/one-constrained", with(k))
	leafBy("same-key-one-constrained", constrained, also(alternative(dns("example.org"))))
	notCA := m.root("issuer/one-not-ca", with(k), ext(basic(false, -1)))
	m.root("issuer/one-not-ca", with(k))
	leafBy("same-key-one-not-ca", notCA)

	issuerNames(m)
	for _, c := range []struct {
		name string
		root []extension
		leaf extension
	}{
		{"id-match", []extension{skid("k")}, akid("k")},
		{"id-mismatch", []extension{skid("k")}, akid("other")},
		{"id-only-in-leaf", nil, akid("k")},
		{"id-with-issuer-and-serial", []extension{skid("k")}, extend(oidAuthorityKeyID, false, seq(context(0, false, []byte("k")),
			context(1, true, directory(named("issuer/id-with-issuer-and-serial"))), context(2, false, []byte{1})))},
		{"id-of-another-serial", []extension{skid("k")}, extend(oidAuthorityKeyID, false, seq(
			context(1, true, directory(named("quite another"))), context(2, false, []byte{99})))},
	} {
		leafBy(c.name, m.root("issuer/"+c.name, also(c.root...)), also(c.leaf))
	}
	duplicate := m.root("issuer/duplicate")
	m.trust(duplicate)
	leafBy("twice-in-bundle", duplicate)
}

// issuerNames are about names that only look alike.
func issuerNames(m *matrix) {
	say := func(name string, root, inLeaf []byte) {
		t := m.template(root, nil, basic(true, -1), keyUsage(certSign))
		m.add("issuer/"+name, m.leaf(m.trust(t.sign(nil)), issuer(inLeaf)))
	}
	say("utf8-for-printable", seq(cn(printable("issuer a"))), seq(cn(utf8s("issuer a"))))
	say("printable-for-utf8", seq(cn(utf8s("issuer b"))), seq(cn(printable("issuer b"))))
	say("other-case", named("Issuer C"), named("issuer c"))
	say("more-blanks", named("issuer d"), named("issuer  d"))
	say("one-set-for-two", seq(cn(utf8s("e")), org(utf8s("e"))), seq(rdn(attribute(oidCommonName, utf8s("e")), attribute(oidOrganization, utf8s("e")))))
	say("other-order-in-set", seq(rdn(attribute(oidCommonName, utf8s("f")), attribute(oidOrganization, utf8s("f")))),
		seq(rdn(attribute(oidOrganization, utf8s("f")), attribute(oidCommonName, utf8s("f")))))
	say("other-order", seq(cn(utf8s("g")), org(utf8s("g"))), seq(org(utf8s("g")), cn(utf8s("g"))))
	say("prefix", seq(cn(utf8s("h")), org(utf8s("h"))), seq(cn(utf8s("h"))))
	say("bmp", seq(cn(bmp("issuer i"))), seq(cn(bmp("issuer i"))))
	say("t61", seq(cn(raw(tagT61, "issuer \xfc"))), seq(cn(raw(tagT61, "issuer \xfc"))))
	say("empty", seq(), seq())
	say("long-length", seq(cn(utf8s("issuer j"))), longTLV(tagSequence, cn(utf8s("issuer j"))))
	say("unreadable", named("issuer k"), seq(cn(raw(tagGeneral, "issuer k"))))
	m.plain("issuer/empty-for-ca", issuer(seq()))
	m.plain("issuer/missing", fields(func(p [][]byte) [][]byte { return append(p[:fieldIssuer], p[fieldIssuer+1:]...) }))
}
