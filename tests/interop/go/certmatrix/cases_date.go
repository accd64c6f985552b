package main

// dateForms are about when a certificate holds, and how that is written.
func dateForms(m *matrix) {
	utc := func(s string) []byte { return raw(tagUTCTime, s) }
	general := func(s string) []byte { return raw(tagGeneralTime, s) }
	stamp := func(hours int, layout string) string { return m.at(hours).Format(layout) }
	for _, c := range []struct {
		name        string
		from, until []byte
	}{
		{"expired", m.hours(-48), m.hours(-1)},
		{"expired-long-ago", utc("700101000000Z"), utc("710101000000Z")},
		{"future", m.hours(1), m.hours(48)},
		{"swapped", m.hours(48), m.hours(-48)},
		{"one-instant-past", m.hours(-2), m.hours(-2)},
		{"one-instant-future", m.hours(2), m.hours(2)},
		{"short", m.hours(-2), m.hours(2)},
		{"utc-49", m.hours(-1), utc("491231235959Z")},
		{"utc-50-is-1950", m.hours(-1), utc("500101000000Z")},
		{"utc-50-from", utc("500101000000Z"), m.hours(48)},
		{"utc-99-from", utc("991231235959Z"), m.hours(48)},
		{"utc-without-seconds", utc(stamp(-2, "0601021504Z")), m.hours(48)},
		{"utc-until-without-seconds", m.hours(-2), utc(stamp(48, "0601021504Z"))},
		{"utc-offset", utc(stamp(-2, "060102150405") + "+0000"), m.hours(48)},
		{"utc-offset-east", utc(stamp(1, "060102150405") + "+0200"), m.hours(48)},
		{"utc-offset-west", utc(stamp(-1, "060102150405") + "-0200"), m.hours(48)},
		{"utc-offset-until", m.hours(-2), utc(stamp(-1, "060102150405") + "-0200")},
		{"utc-without-z", utc(stamp(-2, "060102150405")), m.hours(48)},
		{"utc-lower-z", utc(stamp(-2, "060102150405z")), m.hours(48)},
		{"utc-fraction", utc(stamp(-2, "060102150405.0Z")), m.hours(48)},
		{"utc-four-digit-year", utc(stamp(-2, "20060102150405Z")), m.hours(48)},
		{"utc-empty", utc(""), m.hours(48)},
		{"utc-letters", utc("yymmddhhmmssZ"), m.hours(48)},
		{"utc-day-31-of-february", utc("200231000000Z"), m.hours(48)},
		{"utc-leap-day", utc("200229000000Z"), m.hours(48)},
		{"utc-no-leap-day", utc("210229000000Z"), m.hours(48)},
		{"utc-month-13", utc("201301000000Z"), m.hours(48)},
		{"utc-month-0", utc("200001000000Z"), m.hours(48)},
		{"utc-hour-24", utc("200101240000Z"), m.hours(48)},
		{"utc-second-60", utc("200101000060Z"), m.hours(48)},
		{"utc-blank", utc(" 00101000000Z"), m.hours(48)},
		{"utc-and-more", utc("200101000000Z "), m.hours(48)},
		{"general-before-2050", general(stamp(-2, "20060102150405Z")), general(stamp(48, "20060102150405Z"))},
		{"general-fraction", general(stamp(-2, "20060102150405.5Z")), m.hours(48)},
		{"general-fraction-until", m.hours(-2), general(stamp(48, "20060102150405.5Z"))},
		{"general-fraction-zero", general(stamp(-2, "20060102150405.0Z")), m.hours(48)},
		{"general-without-seconds", general(stamp(-2, "200601021504Z")), m.hours(48)},
		{"general-without-z", general(stamp(-2, "20060102150405")), m.hours(48)},
		{"general-offset", general(stamp(1, "20060102150405") + "+0200"), m.hours(48)},
		{"general-offset-zero", general(stamp(-2, "20060102150405") + "+0000"), m.hours(48)},
		{"general-comma", general(stamp(-2, "20060102150405,5Z")), m.hours(48)},
		{"year-9999", m.hours(-2), general("99991231235959Z")},
		{"year-0000", general("00000101000000Z"), m.hours(48)},
		{"year-0001", general("00010101000000Z"), m.hours(48)},
		{"year-1900", general("19000101000000Z"), m.hours(48)},
		{"year-0000-until", general("00000101000000Z"), general("00001231235959Z")},
		{"year-10000", m.hours(-2), general("100000101000000Z")},
		{"year-2262", m.hours(-2), general("23000101000000Z")},
		{"printable", printable("200101000000Z"), m.hours(48)},
		{"integer", integer(0), m.hours(48)},
		{"visible", raw(tagVisible, "20200101000000Z"), m.hours(48)},
		{"utc-constructed", tlv(tagUTCTime|constructed, utc("200101000000Z")), m.hours(48)},
	} {
		m.plain("date/"+c.name, dates(c.from, c.until))
	}
	m.validities(utc)
}

// validities are about the pair of times, and about those of authorities.
func (m *matrix) validities(utc func(string) []byte) {
	general := func(s string) []byte { return raw(tagGeneralTime, s) }
	m.plain("date/only-from", field(fieldValidity, seq(m.hours(-2))))
	m.plain("date/none", field(fieldValidity, seq()))
	m.plain("date/three", field(fieldValidity, seq(m.hours(-2), m.hours(48), m.hours(-1))))
	m.plain("date/null-after", field(fieldValidity, seq(m.hours(-2), m.hours(48), null())))
	m.plain("date/validity-is-a-set", field(fieldValidity, set(m.hours(-2), m.hours(48))))
	m.under("date/root-year-9999", until(general("99991231235959Z")))
	m.under("date/root-utc-50", dates(utc("500101000000Z"), m.hours(48)))
	m.between("date/intermediate-swapped", dates(m.hours(48), m.hours(-48)))
	m.between("date/intermediate-malformed", dates(utc("201301000000Z"), m.hours(48)))
}
