package main

// leafExtensions are about extensions that a leaf may have, and how they are marked.
func leafExtensions(m *matrix) {
	policy := "1.3.6.1.4.1.57683.10"
	points := seq(seq(context(0, true, context(0, true, uri("http://crl.example.org/a.crl")))))
	info := seq(seq(oid("1.3.6.1.5.5.7.48.1"), uri("http://ocsp.example.org")))
	for _, c := range []struct {
		name, kind string
		value      []byte
	}{
		{"unknown", oidUnknown, []byte("anything at all")},
		{"unknown-empty", oidUnknown, nil},
		{"subject-key-id", oidSubjectKeyID, octets([]byte{1, 2, 3})},
		{"authority-key-id", oidAuthorityKeyID, seq(context(0, false, []byte{9}))},
		{"policies", oidPolicies, seq(seq(oid(policy)))},
		{"any-policy", oidPolicies, seq(seq(oid(anyPolicy)))},
		{"policy-constraints", oidPolicyConstraints, seq(context(0, false, []byte{5}))},
		{"inhibit-any-policy", oidInhibitAnyPolicy, integer(0)},
		{"policy-mappings", oidPolicyMappings, seq(seq(oid(policy), oid(policy)))},
		{"crl-points", oidCRLPoints, points},
		{"freshest-crl", oidFreshestCRL, points},
		{"authority-info", oidAuthorityInfo, info},
		{"subject-info", "1.3.6.1.5.5.7.1.11", info},
		{"name-constraints", oidNameConstraints, subtrees(list(dns("example.org")), nil)},
		{"issuer-alt-name", oidIssuerAltName, seq(dns("ca.example.org"))},
		{"subject-directory", "2.5.29.9", seq()},
		{"private-key-period", "2.5.29.16", seq()},
		{"tls-feature", oidTLSFeature, seq(integer(5))},
		{"netscape-type", oidNetscapeType, bits(7, 0x80)},
		{"netscape-comment", "2.16.840.1.113730.1.13", ia5("made by openssl")},
		{"ms-template", "1.3.6.1.4.1.311.20.2", bmp("User")},
		{"ms-sid", "1.3.6.1.4.1.311.25.2", seq(otherName("1.3.6.1.4.1.311.25.2.1", octets([]byte("S-1-5-21"))))},
		{"ct-poison", "1.3.6.1.4.1.11129.2.4.3", null()},
		{"ct-list", "1.3.6.1.4.1.11129.2.4.2", octets([]byte{0, 0})},
		{"ocsp-no-check", "1.3.6.1.5.5.7.48.1.5", null()},
	} {
		m.plain("extension/"+c.name, also(extend(c.kind, false, c.value)))
		m.plain("extension/"+c.name+"-critical", also(extend(c.kind, true, c.value)))
	}
	for _, c := range []struct{ name, kind string }{
		{"key-usage", oidKeyUsage}, {"extended-key-usage", oidExtendedKeyUsage},
	} {
		m.plain("extension/"+c.name+"-twice", func(t *template) {
			for _, e := range t.extensions {
				if e.kind == c.kind {
					t.extensions = append(t.extensions, e)
					return
				}
			}
		})
	}
	unknown := extend(oidUnknown, false)
	m.plain("extension/unknown-twice", also(unknown, unknown))
	m.plain("extension/unknown-twice-different", also(unknown, extend(oidUnknown, false, []byte{1})))
	m.between("extension/intermediate-unknown-critical", also(extend(oidUnknown, true)))
	m.between("extension/intermediate-unknown", also(unknown))
	m.between("extension/intermediate-twice", also(unknown, unknown))
	m.under("extension/root-unknown-critical", also(extend(oidUnknown, true)))
	m.under("extension/root-unknown", also(unknown))
	extensionShapes(m)
}

// extensionShapes are about how an extension is written.
func extensionShapes(m *matrix) {
	shape := func(parts ...[]byte) extension { return extension{oidUnknown, seq(parts...)} }
	id, value := oid(oidUnknown), octets([]byte("x"))
	for _, c := range []struct {
		name string
		ext  extension
	}{
		{"critical-false-said", shape(id, boolean(false), value)},
		{"critical-is-1", shape(id, []byte{tagBoolean, 1, 1}, value)},
		{"critical-of-two-octets", shape(id, []byte{tagBoolean, 2, 0, 0}, value)},
		{"critical-twice", shape(id, boolean(false), boolean(false), value)},
		{"without-value", shape(id)},
		{"without-type", shape(value)},
		{"value-in-bits", shape(id, bits(0, 'x'))},
		{"value-constructed", shape(id, tlv(tagOctets|constructed, value))},
		{"and-more", shape(id, value, null())},
		{"empty", shape()},
		{"set", extension{oidUnknown, set(id, value)}},
		{"long-length", extension{oidUnknown, longTLV(tagSequence, join(id, value))}},
		{"value-long-length", shape(id, longTLV(tagOctets, []byte("x")))},
		{"type-long", shape(oid(repeat("1.2", 3, 500)), value)},
		{"type-arc-2-31", shape(oid("1.3.2147483648"), value)},
		{"type-arc-2-70", shape(oid("1.3.1180591620717411303424"), value)},
		{"type-padded", shape(raw(tagOID, "\x2b\x80\x06"), value)},
	} {
		m.plain("extension/shape-"+c.name, also(c.ext))
	}
	set3 := func(element []byte) edit {
		return func(t *template) {
			t.fields = func(parts [][]byte) [][]byte {
				parts[len(parts)-1] = element
				return parts
			}
		}
	}
	usage := purposes(clientAuth).der
	m.plain("extension/list-is-a-set", set3(context(3, true, set(usage))))
	m.plain("extension/list-and-more", set3(context(3, true, seq(usage), null())))
	m.plain("extension/list-primitive", set3(context(3, false, seq(usage))))
	m.plain("extension/list-empty-tag", set3(context(3, true)))
	m.plain("extension/list-untagged", set3(seq(usage)))
	m.plain("extension/list-twice", func(t *template) {
		t.fields = func(parts [][]byte) [][]byte { return append(parts, parts[len(parts)-1]) }
	})
}

// alternativeNames are about the names beside the subject, which say nothing about the user.
func alternativeNames(m *matrix) {
	for _, c := range []struct {
		name  string
		names [][]byte
	}{
		{"dns", list(dns("n1.example.org"))},
		{"dns-wildcard", list(dns("*.example.org"))},
		{"dns-empty", list(dns(""))},
		{"dns-blank", list(dns(" "))},
		{"dns-underscore", list(dns("_a.b"))},
		{"dns-trailing-dot", list(dns("example.org."))},
		{"dns-high", list(dns("b\xfccher.example"))},
		{"dns-nul", list(dns("a\x00b"))},
		{"email", list(email("j@example.org"))},
		{"email-nonsense", list(email("@@"))},
		{"email-high", list(email("j\xfc@example.org"))},
		{"ip4", list(ip("10.0.0.1"))},
		{"ip6", list(ip("fd00::1"))},
		{"ip-mapped", list(ipBytes(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1))},
		{"ip-5-octets", list(ipBytes(1, 2, 3, 4, 5))},
		{"ip-empty", list(ipBytes())},
		{"ip-with-mask", list(subnet("10.0.0.0/8"))},
		{"uri-spiffe", list(uri("spiffe://example.org/ns/a/sa/b"))},
		{"uri-relative", list(uri("/a/b"))},
		{"uri-urn", list(uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"))},
		{"uri-empty", list(uri(""))},
		{"uri-percent", list(uri("http://example.org/%zz"))},
		{"uri-colon-first", list(uri(":a"))},
		{"uri-blank-in-host", list(uri("http://a b/"))},
		{"uri-control", list(uri("http://a/\x01"))},
		{"uri-ip6", list(uri("https://[fd00::1]/"))},
		{"uri-ip6-zone", list(uri("https://[fe80::1%25eth0]/"))},
		{"uri-ip6-open", list(uri("https://[fd00::1/"))},
		{"uri-ip4", list(uri("https://10.0.0.1/"))},
		{"uri-port", list(uri("https://example.org:8443/"))},
		{"uri-bad-port", list(uri("https://example.org:port/"))},
		{"uri-user", list(uri("https://jane@example.org/"))},
		{"uri-host-trailing-dot", list(uri("https://example.org./"))},
		{"uri-host-two-dots", list(uri("https://a..b/"))},
		{"uri-host-leading-dot", list(uri("https://.example.org/"))},
		{"uri-host-percent", list(uri("https://a%20b/"))},
		{"uri-high", list(uri("https://b\xfccher/"))},
		{"uri-only-scheme", list(uri("spiffe://"))},
		{"other-name", list(otherName("1.3.6.1.4.1.311.20.2.3", utf8s("jane@example.org")))},
		{"directory", list(directory(named("x")))},
		{"registered", list(registered("1.2.3"))},
		{"x400", list(context(3, true, null()))},
		{"edi-party", list(context(5, true, context(1, true, utf8s("x"))))},
		{"unknown-tag", list(context(9, false, []byte("x")))},
		{"universal-tag", list(utf8s("example.org"))},
		{"dns-constructed", list(context(2, true, ia5("example.org")))},
		{"empty", nil},
		{"every-form", list(otherName("1.2.3", null()), email("j@x"), dns("x"), directory(named("x")), uri("a://x"), ip("1.2.3.4"), registered("1.2"))},
	} {
		m.plain("san/"+c.name, also(alternative(c.names...)))
	}
	criticalNames(m)
}

// criticalNames are alternative names that somebody must understand, and such that nobody can read.
func criticalNames(m *matrix) {
	critical := func(names ...[]byte) edit { return also(extend(oidSubjectAltName, true, seq(names...))) }
	m.plain("san/critical-dns", critical(dns("a")))
	m.plain("san/critical-other-name", critical(otherName("1.2.3", null())))
	m.plain("san/critical-directory", critical(directory(named("x"))))
	m.plain("san/critical-registered", critical(registered("1.2.3")))
	m.plain("san/critical-empty", critical())
	m.plain("san/critical-dns-and-other-name", critical(dns("a"), otherName("1.2.3", null())))
	m.plain("san/critical-empty-dns", critical(dns("")))
	m.plain("san/critical-without-subject", subject(), critical(dns("a")))
	m.plain("san/without-subject", subject(), also(alternative(dns("jane"))))
	m.plain("san/no-sequence", also(extend(oidSubjectAltName, false, dns("a"))))
	m.plain("san/no-octets", also(extend(oidSubjectAltName, false)))
	m.plain("san/and-more", also(extend(oidSubjectAltName, false, seq(dns("a")), null())))
	m.between("san/intermediate-bad-ip", also(alternative(ipBytes(1))))
	m.between("san/intermediate-critical-other-name", also(extend(oidSubjectAltName, true, seq(otherName("1.2.3", null())))))
}

// malformedExtensions are extensions that are known and cannot be read: in a leaf, where they count
// for nothing else.
func malformedExtensions(m *matrix) {
	padded := tlv(tagInteger, []byte{0, 1})
	for _, c := range []struct {
		name, kind string
		value      []byte
	}{
		{"subject-key-id-sequence", oidSubjectKeyID, seq()},
		{"subject-key-id-empty", oidSubjectKeyID, nil},
		{"subject-key-id-of-no-octets", oidSubjectKeyID, octets()},
		{"subject-key-id-and-more", oidSubjectKeyID, join(octets([]byte{1}), null())},
		{"authority-key-id-octets", oidAuthorityKeyID, octets([]byte{1})},
		{"authority-key-id-empty", oidAuthorityKeyID, seq()},
		{"authority-key-id-of-no-octets", oidAuthorityKeyID, seq(context(0, false))},
		{"authority-key-id-constructed", oidAuthorityKeyID, seq(context(0, true, octets([]byte{1})))},
		{"authority-key-id-only-serial", oidAuthorityKeyID, seq(context(2, false, []byte{1}))},
		{"authority-key-id-garbage-after", oidAuthorityKeyID, seq(context(0, false, []byte{1}), []byte{0xff})},
		{"policies-empty", oidPolicies, seq()},
		{"policies-null", oidPolicies, null()},
		{"policies-twice", oidPolicies, seq(seq(oid("1.2.3")), seq(oid("1.2.3")))},
		{"policies-without-sequence", oidPolicies, seq(oid("1.2.3"))},
		{"policies-empty-oid", oidPolicies, seq(seq(tlv(tagOID)))},
		{"policies-padded-oid", oidPolicies, seq(seq(raw(tagOID, "\x2a\x80\x01")))},
		{"policies-qualifier-garbage", oidPolicies, seq(seq(oid("1.2.3"), []byte{0xff}))},
		{"policies-huge-arc", oidPolicies, seq(seq(oid("1.2.340282366920938463463374607431768211455")))},
		{"mappings-empty", oidPolicyMappings, seq()},
		{"mappings-one", oidPolicyMappings, seq(seq(oid("1.2.3")))},
		{"mappings-null", oidPolicyMappings, null()},
		{"policy-constraints-empty", oidPolicyConstraints, seq()},
		{"policy-constraints-null", oidPolicyConstraints, null()},
		{"policy-constraints-padded", oidPolicyConstraints, seq(context(0, false, []byte{0, 1}))},
		{"policy-constraints-negative", oidPolicyConstraints, seq(context(0, false, []byte{0xff}))},
		{"policy-constraints-no-octets", oidPolicyConstraints, seq(context(0, false))},
		{"policy-constraints-huge", oidPolicyConstraints, seq(context(1, false, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0}))},
		{"policy-constraints-field-2", oidPolicyConstraints, seq(context(2, false, []byte{1}))},
		{"inhibit-any-null", oidInhibitAnyPolicy, null()},
		{"inhibit-any-negative", oidInhibitAnyPolicy, integer(-1)},
		{"inhibit-any-padded", oidInhibitAnyPolicy, padded},
		{"inhibit-any-huge", oidInhibitAnyPolicy, tlv(tagInteger, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0})},
		{"inhibit-any-and-more", oidInhibitAnyPolicy, join(integer(1), null())},
		{"crl-points-null", oidCRLPoints, null()},
		{"crl-points-empty", oidCRLPoints, seq()},
		{"crl-points-empty-point", oidCRLPoints, seq(seq())},
		{"crl-points-point-no-sequence", oidCRLPoints, seq(uri("http://a"))},
		{"crl-points-relative-name", oidCRLPoints, seq(seq(context(0, true, context(1, true, attribute(oidCommonName, utf8s("x"))))))},
		{"crl-points-garbage-name", oidCRLPoints, seq(seq(context(0, true, []byte{0xff})))},
		{"crl-points-directory", oidCRLPoints, seq(seq(context(0, true, context(0, true, directory(named("x"))))))},
		{"authority-info-null", oidAuthorityInfo, null()},
		{"authority-info-empty", oidAuthorityInfo, seq()},
		{"authority-info-without-place", oidAuthorityInfo, seq(seq(oid("1.3.6.1.5.5.7.48.1")))},
		{"authority-info-directory", oidAuthorityInfo, seq(seq(oid("1.3.6.1.5.5.7.48.1"), directory(named("x"))))},
		{"authority-info-no-oid", oidAuthorityInfo, seq(seq(uri("http://a")))},
		{"name-constraints-null", oidNameConstraints, null()},
		{"issuer-alt-name-null", oidIssuerAltName, null()},
		{"freshest-crl-null", oidFreshestCRL, null()},
	} {
		m.plain("malformed/"+c.name, also(extend(c.kind, false, c.value)))
	}
}
