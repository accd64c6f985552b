package main

import (
	"bytes"
	"math/big"
)

// versions are about the version, the serial number and the unique identifiers.
func versions(m *matrix) {
	explicit := func(element []byte) edit {
		return func(t *template) { t.version = context(0, true, element) }
	}
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"1", []edit{v1()}},
		{"1-said", []edit{bare(), versioned(0)}},
		{"1-with-extensions", []edit{func(t *template) { t.version = nil }}},
		{"2", []edit{bare(), versioned(1)}},
		{"2-with-extensions", []edit{versioned(1)}},
		{"3-without-extensions", []edit{bare()}},
		{"3-empty-extensions", []edit{bare(), fields(func(p [][]byte) [][]byte { return append(p, context(3, true, seq())) })}},
		{"4", []edit{versioned(3)}},
		{"4-without-extensions", []edit{bare(), versioned(3)}},
		{"minus-1", []edit{versioned(-1)}},
		{"256", []edit{versioned(256)}},
		{"huge", []edit{explicit(bigInteger(big.NewInt(0).Lsh(big.NewInt(1), 70)))}},
		{"padded", []edit{explicit(tlv(tagInteger, []byte{0, 2}))}},
		{"octets", []edit{explicit(octets([]byte{2}))}},
		{"empty", []edit{func(t *template) { t.version = context(0, true) }}},
		{"and-more", []edit{func(t *template) { t.version = context(0, true, integer(2), null()) }}},
		{"primitive", []edit{func(t *template) { t.version = context(0, false, []byte{2}) }}},
		{"untagged", []edit{func(t *template) { t.version = integer(2) }}},
	} {
		m.plain("version/leaf-"+c.name, c.edits...)
	}
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"1", []edit{v1()}},
		{"1-with-extensions", []edit{func(t *template) { t.version = nil }}},
		{"2", []edit{bare(), versioned(1)}},
		{"3-without-extensions", []edit{bare()}},
	} {
		m.between("version/intermediate-"+c.name, c.edits...)
		m.under("version/root-"+c.name, c.edits...)
		root := m.root("version/root-below-"+c.name, c.edits...)
		sub := m.sub(root, "version/root-below-"+c.name+"/sub")
		m.add("version/root-"+c.name+"-with-intermediate", m.leaf(sub), sub)
	}
	m.between("version/intermediate-4", versioned(3))
	ids(m)
	serials(m)
}

// ids are about the unique identifiers, which nothing has had for thirty years.
func ids(m *matrix) {
	unique := func(ids ...[]byte) edit { return func(t *template) { t.ids = ids } }
	issuerID, subjectID := context(1, false, []byte{0, 1}), context(2, false, []byte{0, 2})
	m.plain("version/2-with-ids", bare(), versioned(1), unique(issuerID, subjectID))
	m.plain("version/3-with-ids", unique(issuerID, subjectID))
	m.plain("version/3-with-subject-id", unique(subjectID))
	m.plain("version/1-with-ids", v1(), unique(issuerID, subjectID))
	m.plain("version/3-ids-swapped", unique(subjectID, issuerID))
	m.plain("version/3-ids-constructed", unique(context(1, true, bits(0, 1))))
	m.plain("version/3-id-no-bit-string", unique(context(1, false)))
	m.under("version/root-2-with-ids", bare(), versioned(1), unique(issuerID, subjectID))
	m.plain("version/field-4", func(t *template) {
		t.fields = func(p [][]byte) [][]byte { return append(p, context(4, true, null())) }
	})
}

func serials(m *matrix) {
	number := func(octets ...byte) []byte { return tlv(tagInteger, octets) }
	for _, c := range []struct {
		name    string
		element []byte
	}{
		{"zero", integer(0)},
		{"one", integer(1)},
		{"minus-one", integer(-1)},
		{"negative-long", number(append([]byte{0x80}, bytes.Repeat([]byte{1}, 15)...)...)},
		{"20-octets", number(bytes.Repeat([]byte{0x7f}, 20)...)},
		{"21-octets", number(append([]byte{0}, bytes.Repeat([]byte{0xff}, 20)...)...)},
		{"100-octets", number(bytes.Repeat([]byte{0x11}, 100)...)},
		{"padded", number(0, 1)},
		{"padded-negative", number(0xff, 0x80)},
		{"empty", number()},
		{"octets", octets([]byte{1})},
		{"enumerated", tlv(tagEnumerated, []byte{1})},
	} {
		m.plain("serial/"+c.name, serial(c.element))
	}
	m.under("serial/root-zero", serial(integer(0)))
	m.between("serial/intermediate-negative", serial(integer(-5)))
	m.between("serial/intermediate-zero", serial(integer(0)))
	same := integer(77)
	first, second := m.leaf(m.ca, serial(same)), m.leaf(m.ca, serial(same), subject(cn(utf8s("john"))))
	m.add("serial/same-first", first)
	m.add("serial/same-second", second)
}
