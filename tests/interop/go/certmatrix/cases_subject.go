package main

import (
	"fmt"
	"strings"
)

// stringForms are the values that an attribute of a name is tried with.
var stringForms = []struct {
	name  string
	value []byte
}{
	{"utf8", utf8s("jürgen")},
	{"utf8-beyond-bmp", utf8s("j😀")},
	{"utf8-invalid", raw(tagUTF8, "j\xff")},
	{"utf8-overlong", raw(tagUTF8, "j\xc0\xaf")},
	{"utf8-surrogate", raw(tagUTF8, "j\xed\xa0\x80")},
	{"utf8-noncharacter", utf8s("j\uffff")},
	{"utf8-empty", utf8s("")},
	{"printable", printable("Jane Doe")},
	{"printable-all", printable("aZ0 '()+,-./:=?")},
	{"printable-star-ampersand", printable("*&")},
	{"printable-at", printable("jane@x")},
	{"printable-underscore", printable("a_b")},
	{"printable-high", raw(tagPrintable, "j\xfc")},
	{"printable-empty", printable("")},
	{"ia5", ia5("jane@example.org")},
	{"ia5-control", ia5("a\x01b")},
	{"ia5-high", raw(tagIA5, "j\xfc")},
	{"t61", raw(tagT61, "jane")},
	{"t61-latin1", raw(tagT61, "j\xfcrgen")},
	{"t61-all-high", raw(tagT61, "\x80\x9f\xa0\xc8u\xff")},
	{"bmp", bmp("jürgen")},
	{"bmp-odd", raw(tagBMP, "\x00j\x00")},
	{"bmp-surrogates", bmp("j😀")},
	{"bmp-noncharacter", raw(tagBMP, "\xff\xfe")},
	{"bmp-fdd0", raw(tagBMP, "\xfd\xd0")},
	{"bmp-terminated", bmp("jane\x00")},
	{"bmp-terminated-twice", bmp("jane\x00\x00")},
	{"bmp-empty", raw(tagBMP, "")},
	{"bmp-only-terminator", raw(tagBMP, "\x00\x00")},
	{"numeric", raw(tagNumeric, "12 34")},
	{"numeric-letters", raw(tagNumeric, "12a")},
	{"universal", universal("jane")},
	{"visible", raw(tagVisible, "jane")},
	{"general", raw(tagGeneral, "jane")},
	{"graphic", raw(tagGraphic, "jane")},
	{"videotex", raw(tagVideotex, "jane")},
	{"octets", octets([]byte("jane"))},
	{"integer", integer(42)},
	{"boolean", boolean(true)},
	{"null", null()},
	{"bits", bits(0, 'j')},
	{"oid", oid("1.2.3")},
	{"sequence", seq(utf8s("jane"))},
	{"context", context(0, false, []byte("jane"))},
	{"utf8-constructed", tlv(tagUTF8|constructed, utf8s("jane"))},
}

// subjects are about whom a certificate names.
func subjects(m *matrix) {
	for _, form := range stringForms {
		m.plain("subject/cn-"+form.name, subject(cn(form.value)))
	}
	for _, form := range stringForms {
		m.plain("subject/o-"+form.name, subject(org(form.value), cn(utf8s("jane"))))
	}
	// Attributes that mean nothing here must be readable all the same.
	for _, form := range stringForms {
		switch form.name {
		case "utf8-invalid", "universal", "visible", "integer", "ia5-high", "t61-latin1", "null":
			m.plain("subject/ou-"+form.name, subject(one(oidUnit, form.value), cn(utf8s("jane"))))
		}
	}
	subjectShapes(m)
	subjectNames(m)
	subjectEncodings(m)
}

// subjectShapes are about how many attributes there are, and where.
func subjectShapes(m *matrix) {
	a, b := cn(utf8s("a")), cn(utf8s("b"))
	dev, ops := org(utf8s("dev")), org(utf8s("ops"))
	o := func(s string) []byte { return attribute(oidOrganization, utf8s(s)) }
	jane, common := cn(utf8s("jane")), attribute(oidCommonName, utf8s("jane"))
	for _, c := range []struct {
		name string
		rdns [][]byte
	}{
		{"nothing", nil},
		{"only-o", list(dev)},
		{"two-cn", list(a, b)},
		{"three-cn", list(a, b, cn(utf8s("c")))},
		{"cn-then-empty-cn", list(a, cn(utf8s("")))},
		{"empty-cn-then-cn", list(cn(utf8s("")), a)},
		{"two-cn-in-one-set", list(rdn(attribute(oidCommonName, utf8s("a")), attribute(oidCommonName, utf8s("b"))))},
		{"two-cn-in-one-set-unsorted", list(rdn(attribute(oidCommonName, utf8s("b")), attribute(oidCommonName, utf8s("a"))))},
		{"cn-first", list(jane, dev, ops)},
		{"o-order", list(ops, dev, jane)},
		{"o-around-cn", list(ops, jane, dev)},
		{"o-twice", list(dev, dev, jane)},
		{"o-twice-apart", list(dev, ops, dev, jane)},
		{"o-empty-between", list(dev, org(utf8s("")), ops, jane)},
		{"o-multi-valued", list(rdn(o("dev"), o("ops")), jane)},
		{"o-multi-valued-unsorted", list(rdn(o("ops"), o("dev"), o("a")), jane)},
		{"o-and-cn-in-one-set", list(rdn(common, o("dev")))},
		{"o-and-cn-in-one-set-unsorted", list(rdn(o("dev"), common))},
		{"same-attribute-twice-in-one-set", list(rdn(o("dev"), o("dev")), jane)},
		{"empty-set", list(rdn(), jane)},
		{"only-empty-set", list(rdn())},
		{"every-attribute", list(one(oidCountry, printable("DE")), dev, one(oidUnit, utf8s("unit")), one(oidSerial, printable("1")),
			one(oidDomain, ia5("example")), one(oidUserID, utf8s("uid")), one(oidEmail, ia5("j@example.org")), jane)},
		{"email-only", list(one(oidEmail, ia5("j@example.org")))},
		{"user-id-only", list(one(oidUserID, utf8s("jane")))},
		{"unknown-attribute", list(one("1.3.6.1.4.1.57683.3", utf8s("x")), jane)},
		{"country-of-three-letters", list(one(oidCountry, printable("DEU")), jane)},
		{"cn-in-the-long-arc", list(one("2.5.4.3.1", utf8s("x")), jane)},
	} {
		m.plain("subject/"+c.name, subject(c.rdns...))
	}
}

// subjectNames are about what the names say.
func subjectNames(m *matrix) {
	for _, c := range []struct{ name, user string }{
		{"anonymous", "system:anonymous"}, {"node", "system:node:n1"}, {"masters", "system:masters"}, {"slash", "a/b"},
		{"service-account", "system:serviceaccount:kube-system:default"}, {"apiserver", "system:apiserver"},
		{"nul", "jane\x00admin"}, {"newline", "jane\nadmin"}, {"carriage-return", "jane\r\nX: y"}, {"blank", " "},
		{"blanks-around", " jane "}, {"zero-width", "ja\u200bne"}, {"right-to-left", "\u202ejane"}, {"bom", "\ufeffjane"},
		{"composed", "\u00fc"}, {"decomposed", "u\u0308"}, {"ligature", "\ufb01"}, {"replacement", "\ufffd"},
		{"html", "<script>&\"'"}, {"backslash", "a\\b"}, {"delete", "\x7f"}, {"line-separator", "a\u2028b"},
		{"64-octets", strings.Repeat("x", 64)}, {"65-octets", strings.Repeat("x", 65)},
		{"1000-octets", strings.Repeat("x", 1000)}, {"3000-octets", strings.Repeat("ü", 1500)},
	} {
		m.plain("subject/user-"+c.name, subject(cn(utf8s(c.user))))
	}
	for _, c := range []struct {
		name, user string
		groups     []string
	}{
		{"nodes", "system:node:n1", []string{"system:nodes"}},
		{"masters", "jane", []string{"system:masters"}},
		{"authenticated", "jane", []string{"system:authenticated"}},
		{"unauthenticated", "jane", []string{"system:unauthenticated"}},
		{"both", "jane", []string{"system:authenticated", "system:unauthenticated"}},
		{"authenticated-first", "jane", []string{"system:authenticated", "dev"}},
		{"anonymous-with-group", "system:anonymous", []string{"dev"}},
		{"anonymous-authenticated", "system:anonymous", []string{"system:authenticated"}},
		{"anonymous-unauthenticated", "system:anonymous", []string{"system:unauthenticated"}},
		{"authenticated-other-case", "jane", []string{"System:Authenticated"}},
		{"newline", "jane", []string{"a\nb"}},
		{"nul", "jane", []string{"system:masters\x00"}},
		{"comma", "jane", []string{"dev,ops"}},
		{"blank", "jane", []string{" "}},
		{"bootstrappers", "system:bootstrap:abcdef", []string{"system:bootstrappers"}},
	} {
		var rdns [][]byte
		for _, group := range c.groups {
			rdns = append(rdns, org(utf8s(group)))
		}
		m.plain("subject/group-"+c.name, subject(append(rdns, cn(utf8s(c.user)))...))
	}
	var many [][]byte
	for i := range 200 {
		many = append(many, org(utf8s(fmt.Sprintf("g%d", i))))
	}
	m.plain("subject/group-200", subject(append(many, cn(utf8s("jane")))...))
}

// subjectEncodings are about the shape of a Name itself.
func subjectEncodings(m *matrix) {
	jane := attribute(oidCommonName, utf8s("jane"))
	for _, c := range []struct {
		name string
		der  []byte
	}{
		{"set-instead-of-sequence", set(rdn(jane))},
		{"sequence-instead-of-set", seq(seq(jane))},
		{"attribute-without-value", name(rdn(seq(oid(oidCommonName))))},
		{"attribute-without-type", name(rdn(seq(utf8s("jane"))))},
		{"attribute-with-more", name(rdn(seq(oid(oidCommonName), utf8s("jane"), utf8s("admin"))))},
		{"attribute-is-a-set", name(rdn(set(oid(oidCommonName), utf8s("jane"))))},
		{"attribute-type-empty", name(rdn(seq(tlv(tagOID), utf8s("x"))), rdn(jane))},
		{"attribute-type-padded", name(rdn(seq(raw(tagOID, "\x55\x80\x04\x03"), utf8s("jane"))))},
		{"attribute-type-unfinished", name(rdn(seq(raw(tagOID, "\x55\x04\x83"), utf8s("jane"))))},
		{"attribute-type-huge-arc", name(rdn(seq(oid("2.5.4.340282366920938463463374607431768211455"), utf8s("x"))), rdn(jane))},
		{"attribute-type-arc-2-31", name(rdn(seq(oid("2.5.4.2147483647"), utf8s("x"))), rdn(jane))},
		{"attribute-type-arc-2-32", name(rdn(seq(oid("2.5.4.4294967296"), utf8s("x"))), rdn(jane))},
		{"attribute-type-long", name(rdn(attribute(repeat("1.2", 3, 120), utf8s("x"))), rdn(jane))},
		{"value-long-length", name(rdn(seq(oid(oidCommonName), longTLV(tagUTF8, []byte("jane")))))},
		{"garbage-after-attributes", name(rdn(jane), null())},
	} {
		m.plain("subject/der-"+c.name, subjectDER(c.der))
	}
}

// userIDs are about the attribute that is the user's UID.
func userIDs(m *matrix) {
	jane := cn(utf8s("jane"))
	for _, form := range stringForms {
		m.plain("uid/"+form.name, subject(jane, uid(form.value)))
	}
	a, b := uid(utf8s("a")), uid(utf8s("b"))
	at := func(s string) []byte { return attribute(oidUID, utf8s(s)) }
	for _, c := range []struct {
		name string
		rdns [][]byte
	}{
		{"two", list(jane, a, b)},
		{"two-equal", list(jane, a, a)},
		{"two-in-one-set", list(jane, rdn(at("a"), at("b")))},
		{"one-and-an-empty-one", list(jane, a, uid(utf8s("")))},
		{"two-empty", list(jane, uid(utf8s("")), uid(utf8s("")))},
		{"without-cn", list(a)},
		{"two-without-cn", list(a, b)},
		{"empty-without-cn", list(uid(utf8s("")))},
		{"two-with-empty-cn", list(cn(utf8s("")), a, b)},
		{"before-cn", list(a, jane)},
		{"with-cn-in-one-set", list(rdn(attribute(oidCommonName, utf8s("jane")), at("a")))},
		{"blank", list(jane, uid(utf8s(" ")))},
		{"nul", list(jane, uid(utf8s("\x00")))},
		{"long", list(jane, uid(utf8s(strings.Repeat("u", 2000))))},
		{"other-arc", list(jane, one("1.3.6.1.4.1.57683.1", utf8s("a")))},
		{"longer-arc", list(jane, one(oidUID+".1", utf8s("a")))},
		{"ldap-user-id", list(jane, one(oidUserID, utf8s("a")))},
		{"with-groups", list(org(utf8s("dev")), jane, a)},
	} {
		m.plain("uid/"+c.name, subject(c.rdns...))
	}
}
